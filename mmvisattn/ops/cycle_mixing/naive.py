"""CycleMLP's spatial mixing as it is defined: branch by branch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cycle_fc.naive import cycle_fc


def cycle_mixing(
    x: Tensor,
    height_weight: Tensor,
    height_bias: Tensor,
    width_weight: Tensor,
    width_bias: Tensor,
    channel_weight: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    fc1_weight: Tensor | None,
    fc1_bias: Tensor | None,
    fc2_weight: Tensor | None,
    fc2_bias: Tensor | None,
    step_sizes: tuple[tuple[int, int], tuple[int, int]],
    order: str,
) -> Tensor:
    """(N, C, H, W) to (N, C, H, W)."""
    branches = [
        cycle_fc(x, height_weight, height_bias, step_sizes[0], order),
        cycle_fc(x, width_weight, width_bias, step_sizes[1], order),
        torch.einsum('nchw,oc->nohw', x, channel_weight),
    ]
    mixed = sum(branches)
    if fc1_weight is not None:
        hidden = F.gelu(mixed.mean((2, 3)) @ fc1_weight.T + fc1_bias)
        logits = hidden @ fc2_weight.T + fc2_bias  # (N, 3 C), the branches innermost
        weights = logits.reshape(*x.shape[:2], 3).softmax(2)
        mixed = sum(b * weights[:, :, i, None, None] for i, b in enumerate(branches))
    return torch.einsum('nchw,oc->nohw', mixed, proj_weight) + proj_bias[:, None, None]
