"""A config's model with the weights of a checkpoint, ready to predict."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..engine.config import load_config
from ..engine.loading import load_network


def load_model(
    config: str | Path, checkpoint: str | Path, options: dict | None = None, fold: bool = True
) -> tuple[nn.Module, Config]:
    """The model of a config, on the CPU, in evaluation mode, and the config.

    Args:
        config: Path of the config.
        checkpoint: File of weights, every one of which the model needs, or the work dir of a run.
        options: What changes in the config, {'dotted.key': value}.
        fold: Whether BatchNorm and scales become part of convolutions.

    Raises:
        UserError: What cannot be read, or weights of another model.
    """
    cfg = load_config(config, options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    cfg.model.get('backbone', {}).pop('init_cfg', None)  # the checkpoint holds every weight
    model = load_network(cfg, str(checkpoint), deploy=fold)
    model.requires_grad_(False)
    return model, cfg
