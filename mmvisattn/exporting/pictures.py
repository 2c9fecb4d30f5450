"""What a network does to pictures before its first layer, as a part of the graph."""

from __future__ import annotations

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError


class Pictures(nn.Module):
    """Pictures as files hold them to what the backbone reads.

    The arguments of the library's own preprocessor: order of colours, mean, deviation, padding.

    Attributes:
        divisor: Height and width are filled up to multiples of this, on the right and below.
    """

    def __init__(self, preprocessor: BaseDataPreprocessor) -> None:
        super().__init__()
        converts = getattr(preprocessor, '_channel_conversion', None)
        # Loaders give BGR; a preprocessor that turns it round feeds RGB.
        self.rgb = bool(getattr(preprocessor, 'to_rgb', False) if converts is None else converts)
        none = not getattr(preprocessor, '_enable_normalize', False)
        mean, std = (0.0, 1.0) if none else (preprocessor.mean, preprocessor.std)
        for name, value in (('mean', mean), ('std', std)):
            value = torch.as_tensor(value, dtype=torch.float32).flatten().clone()
            self.register_buffer(name, value.expand(3).reshape(1, 3, 1, 1).clone())
        tested = getattr(preprocessor, 'test_cfg', None) or {}  # mmseg's
        if tested.get('size'):
            raise UserError(
                'a fixed size that pictures are filled up to has no graph of any size',
                got=f'data_preprocessor.test_cfg.size={tested["size"]}',
                do='--cfg-options model.data_preprocessor.test_cfg=None',
            )
        divisor = tested.get('size_divisor') or getattr(preprocessor, 'pad_size_divisor', 1)
        self.divisor = int(divisor or 1)
        self.pad_value = float(getattr(preprocessor, 'pad_value', 0) or 0)

    def forward(self, pictures: Tensor) -> Tensor:
        """RGB pictures (N, H, W, 3), uint8, to (N, 3, H', W'), normalised and filled up."""
        x = pictures.permute(0, 3, 1, 2).float()
        if not self.rgb:
            x = x.flip(1)
        x = (x - self.mean) / self.std
        if self.divisor > 1:
            height, width = x.shape[2:]
            missing = (0, -width % self.divisor, 0, -height % self.divisor)
            x = F.pad(x, missing, value=self.pad_value)
        return x
