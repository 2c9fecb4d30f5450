"""The weights of the branches, from their mean."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def branch_weights(
    mean: Tensor, fc1_weight: Tensor, fc1_bias: Tensor, fc2_weight: Tensor, fc2_bias: Tensor
) -> Tensor:
    """(N, C), the mean of the branches' sum, to (3, N, C): two layers and a softmax."""
    logits = F.linear(F.gelu(F.linear(mean, fc1_weight, fc1_bias)), fc2_weight, fc2_bias)
    weights = logits.unflatten(1, (-1, 3)).softmax(-1)
    # Side by side in memory: a product with every third number takes several times as long.
    return weights.permute(2, 0, 1).contiguous()
