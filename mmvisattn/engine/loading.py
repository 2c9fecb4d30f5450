"""Weights into a network, as strictly as a test takes them, and a network to predict with."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..deploy import fuse_for_inference, is_folded
from ..errors import UserError
from ..survival.checkpoints import latest_checkpoint
from ..weights import Match, convert_inside, read_checkpoint, require_match, state_dict_of


def newest_in(checkpoint: str) -> str:
    """The path itself, or the newest checkpoint in it if it is the folder of a run.

    Raises:
        UserError: A folder without one.
    """
    if not Path(checkpoint).is_dir():
        return checkpoint
    newest, broken = latest_checkpoint(checkpoint)
    if newest is None:
        raise UserError(
            f'no readable checkpoint in {checkpoint}',
            expected='iter_N.pth or epoch_N.pth',
            got=', '.join(path.name for path in broken) or None,
        )
    return str(newest)


def weights_in(checkpoint: dict, filename: str) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, those of a backbone by the names that ours has.

    Raises:
        UserError: They were folded for inference.
    """
    state_dict = state_dict_of(checkpoint)
    if is_folded(state_dict):
        raise UserError(
            f'{filename} was folded for inference: its BatchNorm layers are gone',
            expected='a checkpoint as training writes it',
            do='give the checkpoint that it was made from; tools/test.py --deploy folds it',
        )
    return convert_inside(state_dict)


def put_into(
    model: nn.Module, state_dict: dict[str, torch.Tensor], filename: str, min_coverage: float = 1.0
) -> Match:
    """Load weights that fit; those of another shape are taken out of `state_dict`.

    Raises:
        UserError: Less than `min_coverage` of the model is there.
    """
    match = require_match(model, state_dict, filename, min_coverage=min_coverage)
    for key in match.wrong_shape:
        del state_dict[key]
    model.load_state_dict(state_dict, strict=False)
    return match


def load_network(
    cfg: Config, checkpoint: str, device: str | torch.device = 'cpu', *, deploy: bool = False
) -> nn.Module:
    """The network of a config with the weights of a checkpoint, in evaluation mode.

    Args:
        cfg: What `load_config` returned; it is left as it is.
        checkpoint: A file, or the work dir of a run, whose newest checkpoint is taken.
        device: Where the network is to be.
        deploy: Fold BatchNorm and scales into convolutions (`mmvisattn.deploy`).

    Raises:
        UserError: The file is unreadable, would run code, or belongs to another network.
    """
    filename = newest_in(str(checkpoint))
    state_dict = weights_in(read_checkpoint(filename), filename)
    model = deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model = MODELS.build(model)
    put_into(model, state_dict, filename)
    model.to(device).eval()
    return fuse_for_inference(model) if deploy else model
