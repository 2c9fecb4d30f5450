"""A config's model with the weights of a checkpoint, ready to predict."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..deploy import fuse_for_inference, is_folded
from ..engine.config import load_config
from ..errors import UserError
from ..weights import convert_inside, read_checkpoint, require_match, state_dict_of


def load_model(
    config: str | Path, checkpoint: str | Path, options: dict | None = None, fold: bool = True
) -> tuple[nn.Module, Config]:
    """The model of a config, on the CPU, in evaluation mode, and the config.

    Args:
        config: Path of the config.
        checkpoint: File of weights, every one of which the model needs; no code of it is run.
        options: What changes in the config, {'dotted.key': value}.
        fold: Whether BatchNorm and scales become part of convolutions.

    Raises:
        UserError: What cannot be read, or weights of another model.
    """
    cfg = load_config(config, options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    cfg.model.get('backbone', {}).pop('init_cfg', None)  # the checkpoint holds every weight
    model = MODELS.build(cfg.model)
    weights = state_dict_of(read_checkpoint(checkpoint))
    if is_folded(weights):
        raise UserError(
            f'{checkpoint} was folded for inference: its BatchNorm layers are gone',
            do='give the checkpoint that it was made from',
        )
    weights = convert_inside(weights)
    require_match(model, weights, checkpoint, min_coverage=1.0)
    model.load_state_dict(weights, strict=False)
    model.requires_grad_(False)
    model.eval()
    return (fuse_for_inference(model) if fold else model), cfg
