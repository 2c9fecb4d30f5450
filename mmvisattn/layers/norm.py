"""Normalisation of feature maps."""

from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel: (N, C, H, W) to (N, C, H, W).

    The same numbers and the same parameter names as `nn.LayerNorm(C)` on the flattened tokens.
    The permutations are views; on a channels-last map they cost nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of x (N, C, H, W)."""
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
