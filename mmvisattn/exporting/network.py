"""What the networks of all tasks share, from pictures to what a user reads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmengine.config import Config
from torch import Tensor, nn

from .pictures import Pictures


class Network(nn.Module):
    """What the tasks share.

    Args:
        model: The library's model, in evaluation mode.
        cfg: Its config.

    Attributes:
        outputs: Names of what it returns.
        onnx_alone: Whether only ONNX has a step for what it does.
    """

    task = ''
    onnx_alone = False

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__()
        self.pictures = Pictures(model.data_preprocessor)
        self.model = model
        self.outputs: tuple[str, ...] = ()

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """The largest difference of outputs, over the largest magnitude if that is above 1."""
        return max(far(*pair) for pair in zip(self(pictures), others, strict=True))


def far(expected: Tensor, other: Tensor) -> float:
    """The largest difference, over the largest magnitude expected if that is above 1."""
    if expected.shape != other.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    unit = max(1.0, expected.abs().max().item())
    difference = (expected - other).abs().max().item()
    return math.inf if math.isnan(difference) else difference / unit


def labels_far(logits: Tensor, labels: Tensor) -> float:
    """By how much labels (N, H, W) are less likely than the best by logits (N, C, H, W), at most.

    Two labels that are as likely as each other are the same to it.
    """
    if logits[:, 0].shape != labels.shape:
        return math.inf
    best, chosen = logits.amax(1), logits.gather(1, labels[:, None].long())[:, 0]
    return (best - chosen).max().item() / max(1.0, logits.abs().max().item())
