"""A model to count, from a config or by the name of a backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from ..backbones import NAMES
from ..engine.config import load_config
from ..engine.spelling import is_ours
from ..errors import UserError, did_you_mean
from ..places import find_config


def model_of(name: str, options: dict | None = None) -> tuple[nn.Module, Callable]:
    """Build a model without memory, and say how it is run.

    Args:
        name: Path of a config, or a backbone such as 'van_b2' or 'coatnet_0'.
        options: What to change of a config, as `load_config` takes it.

    Returns:
        The module, on PyTorch's meta device, and what runs it on a picture (1, 3, H, W).

    Raises:
        UserError: Neither a config nor a backbone.
    """
    if name in NAMES:
        network, arch = NAMES[name]
        with torch.device('meta'):
            return network(arch), nn.Module.__call__
    if not (Path(name).is_file() or find_config(name)):
        raise UserError(
            f'{name} is neither a config nor a backbone',
            expected=f'a file, or one of {", ".join(NAMES)}',
            do=did_you_mean(name, NAMES),
        )
    cfg = load_config(name, options)
    scope = MODELS.switch_scope_and_registry(cfg.get('default_scope'))
    # The libraries' backbones need numbers while they are built.
    device = 'meta' if is_ours(cfg.model.get('backbone', {})) else 'cpu'
    with torch.device(device), scope as models:
        return models.build(cfg.model).to('meta'), _forward


def _forward(model: nn.Module, picture: torch.Tensor) -> object:
    """The network and its head alone: no losses, no post-processing, no second stage."""
    if has_second_stage(model):
        return model.rpn_head(model.extract_feat(picture))
    return model(picture, None, mode='tensor')


def has_second_stage(model: nn.Module) -> bool:
    """Whether a detector goes on from what it has found, which nothing computes here."""
    return hasattr(model, 'roi_head')
