"""Read checkpoints without running code, and know whether they fit before they are loaded."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from ..errors import UserError


def _history_method(owner: object, name: str) -> object:
    """Stands in for `getattr`: MMEngine's log buffers are pickled with their methods by name."""
    if owner is not HistoryBuffer:
        raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr')
    return getattr(owner, name)


# What MMEngine's own training checkpoints hold besides tensors: logged numbers.
SAFE_GLOBALS = [
    Namespace,  # timm saves its arguments
    HistoryBuffer,
    (_history_method, 'builtins.getattr'),
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ('bool', 'int32', 'int64', 'uint8', 'float32', 'float64')),
]


def read_checkpoint(path: str | Path, map_location: str | torch.device = 'cpu') -> dict:
    """The content of a checkpoint file or URL, whose pickle may hold data only.

    Raises:
        UserError: No such file, no checkpoint, or one that would run code.
    """
    source = str(path)
    remote = re.match('https?://', source)
    if not remote and not Path(source).is_file():
        raise UserError(f'no such checkpoint: {source}', do='check the path')
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            if remote:
                content = torch.hub.load_state_dict_from_url(
                    source, map_location=map_location, weights_only=True
                )
            else:
                content = torch.load(source, map_location=map_location, weights_only=True)
    except Exception as error:  # broken files make torch raise anything
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found is None:
            raise _unreadable(source, error) from error
        raise UserError(
            f'{source} would run code when loaded, so it was not loaded',
            expected='a checkpoint of tensors and plain data',
            got=f'a pickle that calls {found[1]}',
            do='get the weights from a source that publishes plain tensors',
        ) from error
    if not isinstance(content, dict):
        raise _unreadable(source, TypeError(f'it holds a {type(content).__name__}'))
    return content


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """The parameters in a checkpoint: under `state_dict` or `model`, or the file itself."""
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
    tensors = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    return {key.removeprefix('module.'): value for key, value in tensors.items()}


@dataclass
class Match:
    """How the tensors of a file fit those of a model, by name and shape."""

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    wrong_shape: list[str]

    @classmethod
    def of(cls, module: nn.Module, state_dict: dict[str, Tensor]) -> Match:
        """Compare without loading. Batch counters may be missing: nothing depends on them."""
        own = module.state_dict()
        common = [key for key in own if key in state_dict]
        fits = {key: own[key].shape == state_dict[key].shape for key in common}
        counter = 'num_batches_tracked'
        return cls(
            matched=[key for key in common if fits[key]],
            missing=[k for k in own if k not in state_dict and not k.endswith(counter)],
            unexpected=[key for key in state_dict if key not in own],
            wrong_shape=[key for key in common if not fits[key]],
        )

    def __str__(self) -> str:
        return '\n'.join(
            f'{len(keys):5d} {kind:<13}' + (_first(keys) if kind != 'matched' else '')
            for kind, keys in (
                ('matched', self.matched),
                ('missing', self.missing),
                ('wrong shape', self.wrong_shape),
                ('unexpected', self.unexpected),
            )
        )


def require_match(
    module: nn.Module, state_dict: dict[str, Tensor], source: str, *, min_coverage: float = 1.0
) -> Match:
    """Stop unless the file holds the module's tensors.

    Args:
        module: The model that is to be loaded.
        state_dict: What the file holds.
        source: The file, for the message.
        min_coverage: The share of the module's tensors that must be in the file and fit.

    Raises:
        UserError: Less than `min_coverage` fits; with the first keys of each kind.
    """
    match = Match.of(module, state_dict)
    wanted = len(match.matched) + len(match.missing) + len(match.wrong_shape)
    if len(match.matched) < min_coverage * wanted:
        raise UserError(
            f'{source} is not a checkpoint of this network',
            expected=f'{wanted} tensors of {type(module).__name__}',
            got=match,
            do='give the checkpoint that belongs to the config, or the config that belongs to the '
            'checkpoint',
        )
    return match


def require_pretrained_match(module: nn.Module | None) -> Match | None:
    """Stop unless the file named in a module's `init_cfg` holds all its tensors.

    Returns:
        The match, or None if the module is not initialised from a file. The libraries' own
        backbones rename keys while they load: theirs are not for us to judge.

    Raises:
        UserError: The file is unreadable or belongs to another network.
    """
    init_cfg = getattr(module, 'init_cfg', None)
    ours = type(module).__module__.startswith('mmvisattn.')
    if not ours or not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
        return None
    source, prefix = init_cfg['checkpoint'], init_cfg.get('prefix') or ''
    prefix = prefix and prefix.rstrip('.') + '.'
    state_dict = state_dict_of(read_checkpoint(source)).items()
    own = {k.removeprefix(prefix): v for k, v in state_dict if k.startswith(prefix)}
    return require_match(module, own, source)


def latest_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint of a run that can be read, and those passed over because they cannot.

    The newest is the one that MMEngine's `last_checkpoint` names (an older run may have left a
    higher number); then they go by number. The folder may have been moved.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    named = Path(pointer.read_text().strip()).name if pointer.is_file() else None
    saved = [path for path in work_dir.glob('*.pth') if _step(path) is not None]
    broken = []
    for path in sorted(saved, key=lambda p: (p.name == named, _step(p)), reverse=True):
        try:
            read_checkpoint(path)
        except UserError:
            broken.append(path)
        else:
            return path, broken
    return None, broken


def _step(path: Path) -> int | None:
    """The number in iter_N.pth or epoch_N.pth; None for another name (best_*)."""
    found = re.fullmatch(r'(?:iter|epoch)_(\d+)', path.stem)
    return int(found[1]) if found else None


def _first(keys: Iterable[str], count: int = 3) -> str:
    keys = list(keys)
    return ', '.join(keys[:count]) + (', ...' if len(keys) > count else '')


def _unreadable(source: str, error: Exception) -> UserError:
    reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip().splitlines()
    return UserError(
        f'{source} is not a readable checkpoint',
        expected='a file written by torch.save, with a dict of tensors',
        got=reason[0] if reason else type(error).__name__,
        do='download or copy it again',
    )
