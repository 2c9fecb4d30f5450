"""Networks as they are when nothing more is learnt: the same outputs from fewer operators."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ..errors import UserError
from .folding import Folder
from .networks import FOLDS

MARK = 'folded_for_inference'


class FoldedForInference(nn.Identity):
    """What tells a folded model from one that can be trained, in memory and in a file."""

    def __init__(self, num_folded: int) -> None:
        super().__init__()
        self.register_buffer('num_folded', torch.tensor(num_folded))

    def train(self, mode: bool = True) -> FoldedForInference:
        """Stay in evaluation mode.

        Raises:
            UserError: `mode` asks for training.
        """
        if mode:
            raise UserError(
                'a model folded for inference cannot be trained: its BatchNorm layers are gone',
                do='train the model that it was made from',
            )
        return super().train(mode)


def fuse_for_inference(model: nn.Module) -> nn.Module:
    """A copy of a model that predicts the same with fewer operators.

    BatchNorm layers become part of the convolutions beside them, and so do the factors of scaled
    residuals, where that is the same function: in our backbones, in mmcv's `ConvModule` (the
    libraries' necks and heads) and in `nn.Sequential`. All else is copied as it is. Outputs differ
    by rounding: the new weights are computed in float64.

    Args:
        model: A network, a backbone or a part of one, in evaluation mode. It is left as it is.

    Returns:
        The copy, which needs no gradients and refuses to train. Its state dict fits a folded
        model of the same config alone.

    Raises:
        UserError: The model, or a part of it, is in training mode.

    Examples:
        >>> model = fuse_for_inference(model.eval())
    """
    training = next((name for name, m in model.named_modules() if m.training), None)
    if training is not None:
        raise UserError(
            'a model in training cannot be folded: its statistics still change',
            got=f'{training or type(model).__name__} in training mode',
            do='call model.eval() before',
        )
    model = deepcopy(model)
    folder = Folder(model)
    folded = {part: _folded(part, folder) for part in list(model.modules())}
    for owner in folded:
        for name, part in list(owner._modules.items()):
            if folded.get(part, part) is not part:
                setattr(owner, name, folded[part])
    model = folded[model]
    if not hasattr(model, MARK):
        parts = dict(model._modules)
        model._modules.clear()
        # First, so that it refuses to train before another part is changed.
        model.add_module(MARK, FoldedForInference(folder.num_folded))
        model._modules.update(parts)
    model.requires_grad_(False)
    model.eval()  # some libraries' return nothing
    return model


def is_folded(state_dict: dict[str, Tensor]) -> bool:
    """Whether the weights are those of a model that was folded for inference."""
    return any(name.rpartition('.')[0].rpartition('.')[2] == MARK for name in state_dict)


def _folded(part: nn.Module, folder: Folder) -> nn.Module:
    """A part of a model with what it holds folded; it may be another module then."""
    fold = FOLDS.get(type(part))
    return part if fold is None else fold(part, folder) or part
