"""Segmentors that predict label maps without the logits of every class at full size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from mmengine.structures import PixelData
from torch import nn

from ..errors import UserError
from ..registry import MODELS
from .labels import best_channel, channels, fit, group_size
from .toolbox import on_top_of


@on_top_of('mmseg.EncoderDecoder', MODELS)
class EncoderDecoder:
    """mmseg's EncoderDecoder, whose predictions are the same labels in less memory and time.

    mmseg resizes the logits of all classes to the input's size, then to the picture's, takes the
    best class of each pixel, and hands out the logits as `seg_logits`. Here both resizes are done
    for a few channels at a time, and no `seg_logits` are handed out unless asked for.

    Args:
        keep_logits: Predict as mmseg does, `seg_logits` included.
        *args: For mmseg's EncoderDecoder.
        **kwargs: For mmseg's EncoderDecoder.
    """

    def __init__(self, *args, keep_logits: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.keep_logits = keep_logits

    def predict(self, inputs: torch.Tensor, data_samples: list | None = None) -> list:
        """Predict the labels of pictures (N, 3, H, W), as `pred_sem_seg` of their samples."""
        if self.keep_logits or self.out_channels == 1 or data_samples is None:
            return super().predict(inputs, data_samples)
        metas = [sample.metainfo for sample in data_samples]
        size, channels_of = self._logits(inputs, metas)
        for number, (sample, meta) in enumerate(zip(data_samples, metas, strict=True)):
            labels = best_channel(
                lambda group, n=number, m=meta: fit(channels_of(n, group), m, self.align_corners),
                self.out_channels,
                size,
            )
            sample.set_data({'pred_sem_seg': PixelData(data=labels[None])})
        return data_samples

    def _logits(
        self, inputs: torch.Tensor, metas: list[dict]
    ) -> tuple[int, Callable[[int, slice], torch.Tensor]]:
        """How many channels to take at a time, and what gives those of a picture, (1, n, H, W)."""
        mode = self.test_cfg.get('mode', 'whole')
        if not _only_resizes(self.decode_head) or mode not in ('slide', 'whole'):
            logits = self.inference(inputs, metas)
            return group_size(logits), lambda n, group: channels(logits[n : n + 1], group)
        if mode == 'slide':
            return self._logits_of_windows(inputs)
        logits = self._small_logits(inputs)

        def channels_of(number: int, group: slice) -> torch.Tensor:
            part = channels(logits[number : number + 1], group)
            return self.decode_head.predict_by_feat(part, metas)

        return group_size(logits), channels_of

    def _logits_of_windows(
        self, inputs: torch.Tensor
    ) -> tuple[int, Callable[[int, slice], torch.Tensor]]:
        """As `_logits`: the mean over the windows that a pixel is in."""
        height, width = inputs.shape[2:]
        count = inputs.new_zeros(height, width)
        windows = []
        for window in _windows((height, width), self.test_cfg.crop_size, self.test_cfg.stride):
            count[window] += 1
            windows.append((window, self._small_logits(inputs[(..., *window)])))
        if not count.all():
            raise UserError(
                'the windows of test_cfg do not cover the picture',
                expected='a stride of at most crop_size',
                got=f'stride={self.test_cfg.stride}, crop_size={self.test_cfg.crop_size}',
            )

        def channels_of(number: int, group: slice) -> torch.Tensor:
            total = inputs.new_zeros(1, group.stop - group.start, height, width)
            for window, logits in windows:
                part = channels(logits[number : number + 1], group)
                meta = {'img_shape': count[window].shape}
                total[(..., *window)] += self.decode_head.predict_by_feat(part, [meta])
            return total.div_(count)

        return group_size(windows[0][1]), channels_of

    def _small_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C, h, w) at the size of the head's features."""
        return self.decode_head(self.extract_feat(inputs))


@on_top_of('mmseg.SegTTAModel', MODELS)
class SegTTAModel:
    """mmseg's SegTTAModel, which merges `seg_logits` and so asks its segmentor to keep them."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.module.keep_logits = True


def _only_resizes(head: nn.Module) -> bool:
    """Whether a head predicts as most do: its forward pass, resized to the size of the input."""
    bases = [cls for cls in type(head).__mro__ if cls.__name__ == 'BaseDecodeHead']
    methods = ('predict', 'predict_by_feat')
    return any(all(getattr(type(head), m) is getattr(b, m) for m in methods) for b in bases)


def _windows(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the windows that cover a picture, the last ones moved inside."""
    return product(*map(_spans, size, crop, stride))


def _spans(length: int, crop: int, stride: int) -> list[slice]:
    count = max(-(-(length - crop) // stride), 0) + 1
    stops = [min(i * stride + crop, length) for i in range(count)]
    return [slice(max(stop - crop, 0), stop) for stop in stops]
