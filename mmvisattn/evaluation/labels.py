"""The best class of each pixel from logits that are resized a few channels at a time.

Resizing does not mix channels. So the class maps of 150 classes need one resized channel and the
best so far, where the resized logits of a photograph take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

# Resized together, where one at a time does not pay: on a GPU, and in channels-last, which PyTorch
# resizes by vectors of channels; no rounding changes where groups are made of whole vectors.
GROUP = 16


def group_size(logits: torch.Tensor) -> int:
    """How many channels of logits (N, C, H, W) are best resized at a time."""
    one_by_one = _order(logits) is torch.contiguous_format and logits.device.type == 'cpu'
    return 1 if one_by_one else GROUP


def channels(logits: torch.Tensor, group: slice) -> torch.Tensor:
    """A group of channels of logits (N, C, H, W), in their memory format."""
    return logits[:, group].contiguous(memory_format=_order(logits))


def _order(logits: torch.Tensor) -> torch.memory_format:
    by_channel = logits.is_contiguous(memory_format=torch.channels_last)
    by_plane = logits.is_contiguous() or not by_channel
    return torch.contiguous_format if by_plane else torch.channels_last


def best_channel(
    channels_of: Callable[[slice], torch.Tensor], num_channels: int, size: int
) -> torch.Tensor:
    """Equal to `logits.argmax(0)`, for logits made in groups of channels.

    Args:
        channels_of: The logits (n, H, W) of a group of n channels.
        num_channels: C, the number of channels of all groups.
        size: n.

    Returns:
        (H, W) int64: the first of the channels with the highest value; NaN is higher than any.
    """
    best = labels = None
    for start in range(0, num_channels, size):
        values = channels_of(slice(start, min(start + size, num_channels)))
        values, index = (values[0], 0) if len(values) == 1 else values.max(0)
        if best is None:
            best, labels = values, torch.zeros_like(values, dtype=torch.int64) + index
        else:
            labels = torch.where(values > best, index + start, labels)
            best = torch.maximum(best, values)  # it keeps NaN
    broken = best.isnan()
    if broken.any():
        first = best_channel(lambda group: channels_of(group).isnan().byte(), num_channels, size)
        labels = torch.where(broken, first, labels)
    return labels


def fit(logits: torch.Tensor, meta: dict, align_corners: bool) -> torch.Tensor:
    """Bring logits at the network's input size to a picture's own: crop, turn back, resize.

    Args:
        logits: (1, n, h, w).
        meta: The picture's `ori_shape`, and how its input was padded and flipped.
        align_corners: As in `torch.nn.functional.interpolate`.

    Returns:
        (n, H, W) with (H, W) = `ori_shape`.
    """
    height, width = logits.shape[2:]
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
    logits = logits[..., top : height - bottom, left : width - right]
    if meta.get('flip'):
        logits = logits.flip({'horizontal': 3, 'vertical': 2}[meta['flip_direction']])
    if tuple(logits.shape[2:]) != tuple(meta['ori_shape']):
        logits = F.interpolate(
            logits, meta['ori_shape'], mode='bilinear', align_corners=align_corners
        )
    return logits[0]
