"""Initialise a network from a file, or stop: weights never fail to load in silence."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_INITIALIZERS
from torch import Tensor, nn

from ..errors import UserError
from ..registry import WEIGHT_INITIALIZERS
from .download import sha256_of
from .files import places_of, read_checkpoint, state_dict_of
from .layouts import HEADS, Converted, convert
from .loads import Load, announce
from .match import Match, require_match
from .zoo import locate, require_published_arch

# The norm of an output, which a library's classifier has of its last map alone.
OUT_NORM = re.compile(r'norm\d+\.')


@WEIGHT_INITIALIZERS.register_module()
class CheckedPretrained:
    """Initialise a module from a checkpoint of any known layout, and say what was loaded.

    `init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint=...)` for any module.

    Args:
        checkpoint: A path, a URL or a published name (`mmvisattn.weights.published()`).
        min_coverage: The share of the module's tensors that the file must hold; what a file of
            its kind cannot hold (`new_in_dense` of the module) does not count.
        prefix: Where in the file the network stands, such as 'backbone.'; None finds out.
        sha256: The first digits that the file's sha256 must have, eight or more.
        place: The key of the file to take, such as 'state_dict_ema' for averaged weights; None
            takes 'state_dict' or 'model' where they are there.

    Raises:
        UserError: A share that is none, or too few digits.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        min_coverage: float = 1.0,
        prefix: str | None = None,
        sha256: str | None = None,
        place: str | None = None,
    ) -> None:
        if not 0 <= min_coverage <= 1:
            raise UserError('min_coverage is a share', expected='0 to 1', got=min_coverage)
        if sha256 and not re.fullmatch('[0-9a-fA-F]{8,64}', sha256):
            raise UserError(
                'sha256 is not one', expected='its first 8 to 64 hexadecimal digits', got=sha256
            )
        self.checkpoint = str(checkpoint)
        self.min_coverage = min_coverage
        self.prefix = prefix
        self.sha256 = sha256
        self.place = place

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into the module, and log what of it.

        Raises:
            UserError: See `check`.
        """
        # MMEngine would initialise the children afterwards, and overwrite what was loaded.
        for child in module.children():
            if hasattr(child, 'init_weights') and not getattr(child, 'is_init', False):
                child.init_weights()
        path, weights, match, taken = self._read(module)
        before = _norm(module)
        wrong = set(match.wrong_shape)
        fit = {key: value for key, value in weights.state_dict.items() if key not in wrong}
        module.load_state_dict(fit, strict=False)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'CheckedPretrained: loaded from {self.checkpoint}')
        announce(Load('pretrained', self.checkpoint, path, match))
        where = '' if str(path) == self.checkpoint else f' ({path})'
        fitting, wanted = match.counts
        print_log(
            f'Loaded {self.checkpoint}{where} into {type(module).__name__}\n'
            f'sha256: {sha256_of(path)}\n'
            f'{taken}'
            f'{weights}\n{match}\n'
            f'coverage: {match.coverage:.1%} ({fitting} of {wanted} tensors)\n'
            f'parameter norm: {before:.6g} before, {_norm(module):.6g} after',
            logger='current',
        )

    def check(self, module: nn.Module) -> Match:
        """Compare the file with the module, and load nothing.

        Raises:
            UserError: The file cannot be had, would run code, or does not fit the module.
        """
        return self._read(module)[2]

    def _read(self, module: nn.Module) -> tuple[Path, Converted, Match, str]:
        require_published_arch(self.checkpoint, module)
        path = locate(self.checkpoint, self.sha256)
        checkpoint = read_checkpoint(path)
        weights = convert(state_dict_of(checkpoint, self.place), self.prefix)
        own = module.state_dict()
        for key in own.keys() & weights.state_dict.keys():
            weights.state_dict[key] = _in_shape_of(own[key], weights.state_dict[key])
        _compare_constants(module, weights)
        match = require_match(
            module,
            weights.state_dict,
            self.checkpoint,
            min_coverage=self.min_coverage,
            exact=self.min_coverage == 1,
            dropped=weights.dropped,
            heads=HEADS[weights.network],
            note=str(weights),
        )
        places = [self.place or '', *places_of(checkpoint)]
        places = list(dict.fromkeys(filter(None, places)))
        others = f'; the file also holds {", ".join(places[1:])} (place=)' if places[1:] else ''
        return path, weights, match, f'taken from: {places[0]}{others}\n' if places else ''


def _compare_constants(module: nn.Module, weights: Converted) -> None:
    """Let constants of the file that are not the module's show as unexpected, all others not."""
    own = module.constants() if hasattr(module, 'constants') else {}
    for name, constant in own.items():
        theirs = weights.constants.get(name, weights.state_dict.get(name))
        if theirs is None:
            continue
        if torch.equal(theirs.float(), constant.to(theirs.device)):
            weights.state_dict.pop(name, None)
        else:
            weights.state_dict[name] = theirs


def require_pretrained_match(module: nn.Module | None) -> Match | None:
    """Stop unless the file named in a module's `init_cfg` holds its tensors.

    Returns:
        The match, or None if the module is not initialised from a file that is ours to judge.

    Raises:
        UserError: The file is unreadable or belongs to another network.
    """
    for cfg, kind in _initialisers(getattr(module, 'init_cfg', None)):
        if kind is CheckedPretrained:
            options = {key: value for key, value in cfg.items() if key != 'type'}
            return CheckedPretrained(**options).check(module)
    return require_plain_match(module)


def require_plain_match(module: nn.Module | None) -> Match | None:
    """The same for MMEngine's `Pretrained`, which renames nothing and loads what it can.

    Judged in our own backbones, and in the libraries' where a file of this machine holds a whole
    model (`prefix`): of other files they may rename keys while they load.

    Raises:
        UserError: The file is unreadable or belongs to another network.
    """
    for cfg, kind in _initialisers(getattr(module, 'init_cfg', None)):
        ours = type(module).__module__.startswith('mmvisattn.')
        whole = cfg.get('prefix') and Path(str(cfg['checkpoint'])).is_file()
        if kind is PretrainedInit and (ours or whole):
            content = read_checkpoint(cfg['checkpoint'])
            content = content.get('state_dict', content)
            prefix = cfg.get('prefix') or ''
            start = prefix.rstrip('.') + '.' if prefix else 'module.'
            seen = {
                key.removeprefix(start): value
                for key, value in content.items()
                if isinstance(value, Tensor) and (not prefix or key.startswith(start))
            }
            match = require_match(
                module,
                seen,
                cfg['checkpoint'],
                min_coverage=1.0 if ours else 0.0,
                exact=ours,
                optional=None if ours else OUT_NORM,
                heads=HEADS.get(type(module).__name__, HEADS['']),
                note="read by type='Pretrained', which knows our names alone; "
                "type='mmvisattn.CheckedPretrained' knows other layouts",
            )
            # MMEngine loads it next.
            announce(Load('pretrained', cfg['checkpoint'], locate(cfg['checkpoint']), match))
            return match
    return None


def library_init(source: str) -> dict:
    """The `init_cfg` of a library's backbone: MMEngine's, told where in a model's file it stands.

    Ours will not do: after it, ResNet would set what it starts with once more.

    Args:
        source: A file; or an address, of which nothing is asked here.

    Raises:
        UserError: There is no such file, or it would run code.
    """
    if '://' in source:
        return dict(type='Pretrained', checkpoint=source)
    path = locate(source)
    prefix = convert(state_dict_of(read_checkpoint(path))).prefix
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    return {**init_cfg, 'prefix': prefix} if prefix else init_cfg


def loads_weights(init_cfg: dict | list | None) -> bool:
    """Whether an `init_cfg` names a file, not how to draw numbers."""
    return any(kind in (CheckedPretrained, PretrainedInit) for _, kind in _initialisers(init_cfg))


def forget_weights(part: dict) -> None:
    """Let a part of a config start from random weights, as its class draws them.

    The key goes: most of the libraries' networks say in the default of `init_cfg` how they are
    initialised, and None would keep them from it.
    """
    if loads_weights(part.get('init_cfg')):
        del part['init_cfg']


def _initialisers(init_cfg: dict | list | None) -> list[tuple[dict, type | None]]:
    """The entries of an `init_cfg` with their classes, None for unknown ones."""
    cfgs = init_cfg or []
    cfgs = [cfgs] if isinstance(cfgs, dict) else cfgs
    kinds = [cfg.get('type') for cfg in cfgs]
    found = [MMENGINE_INITIALIZERS.get(k) if isinstance(k, str) else k for k in kinds]
    return list(zip(cfgs, found, strict=True))


def _in_shape_of(own: Tensor, theirs: Tensor) -> Tensor:
    """A linear layer and a 1 x 1 convolution hold one matrix, which timm loads into either."""
    if theirs.shape + (1, 1) == own.shape or theirs.shape == own.shape + (1, 1):
        return theirs.reshape(own.shape)
    return theirs


def _norm(module: nn.Module) -> float:
    squares = (p.detach().double().square().sum().item() for p in module.parameters())
    return sum(squares) ** 0.5
