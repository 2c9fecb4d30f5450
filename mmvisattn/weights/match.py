"""Know whether the tensors of a file fit a network before any is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..errors import UserError

COUNTER = 'num_batches_tracked'  # BatchNorm's; nothing depends on it, and files may lack it
SHOWN = 3  # keys of each kind


@dataclass
class Match:
    """How the tensors of a file fit those of a module, by name and shape.

    Attributes:
        matched: In both.
        dropped: In the file alone, as expected: a classifier, other parts of a model.
        new: In the module alone, as expected: what a classification file cannot hold.
        missing: In the module alone.
        unexpected: In the file alone.
        wrong_shape: In both, of different shapes.
        amiss: Those of the last three that belong to one of our backbones: what tells a file of
            another network, such as a deeper one's, which fits but for the blocks left over.
    """

    matched: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    amiss: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        state_dict: dict[str, Tensor],
        *,
        dropped: Iterable[str] = (),
        heads: tuple[str, ...] = (),
    ) -> Match:
        """Compare without loading.

        Args:
            module: It may say in `new_in_dense` which of its keys, by their beginnings, the files
                of its kind cannot hold. A beginning that a file has is expected as any other. In
                `unbuilt` it may say which keys of the file it has left out.
            state_dict: What the file holds.
            dropped: Keys of the file that were left out of `state_dict`.
            heads: Beginnings of keys that the module need not have.
        """
        own = module.state_dict()
        new = tuple(
            start
            for start in getattr(module, 'new_in_dense', ())
            if not any(key.startswith(start) for key in state_dict)
        )
        match = cls(dropped=list(dropped))
        for key in own:
            if key not in state_dict:
                if not key.endswith(COUNTER):
                    (match.new if key.startswith(new) else match.missing).append(key)
            elif own[key].shape == state_dict[key].shape:
                match.matched.append(key)
            else:
                match.wrong_shape.append(key)
        ours, unbuilt = _backbones(module)
        for key in state_dict:
            if key not in own:
                expected = key.startswith((*heads, *unbuilt))
                (match.dropped if expected else match.unexpected).append(key)
        match.amiss = [key for key in match.strange if key.startswith(ours)]
        return match

    @property
    def strange(self) -> list[str]:
        """Keys that the file or the module has alone, or in another shape."""
        return [*self.missing, *self.unexpected, *self.wrong_shape]

    @property
    def counts(self) -> tuple[int, int]:
        """How many tensors fit, of how many that the file should hold."""
        fit = sum(not key.endswith(COUNTER) for key in self.matched)
        return fit, fit + len(self.missing) + len(self.wrong_shape)

    @property
    def coverage(self) -> float:
        """The share of the module's tensors that fit, of those that the file should hold."""
        fit, wanted = self.counts
        return fit / wanted if wanted else 1.0

    def __str__(self) -> str:
        rows = (
            ('matched', self.matched),
            ('dropped as expected', self.dropped),
            ('new as expected', self.new),
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('wrong shape', self.wrong_shape),
        )
        return '\n'.join(
            f'{len(keys):5d} {kind:<21}{"" if kind == "matched" else _first(keys)}'.rstrip()
            for kind, keys in rows
        )


def require_match(
    module: nn.Module,
    state_dict: dict[str, Tensor],
    source: str,
    *,
    min_coverage: float = 1.0,
    exact: bool = True,
    dropped: Iterable[str] = (),
    heads: tuple[str, ...] = (),
    optional: re.Pattern | None = None,
    note: str = '',
) -> Match:
    """Stop unless the file holds the module's tensors.

    Args:
        module: The module that is to be loaded.
        state_dict: What the file holds.
        source: The file, for the message.
        min_coverage: The share of the module's tensors that must be in the file and fit.
        exact: Whether the file must hold the tensors of our backbones, all and no others.
        dropped: See `Match.of`.
        heads: See `Match.of`.
        optional: What keys begin with that the file or the module may have alone. All others must
            be the same then, in any network.
        note: What else the message should say of the file.

    Raises:
        UserError: Less than `min_coverage` fits; with the first keys of each kind.
    """
    match = Match.of(module, state_dict, dropped=dropped, heads=heads)
    amiss = match.amiss if exact else []
    if optional:
        amiss = [key for key in match.strange if not optional.match(key)]
    if match.coverage < min_coverage or amiss:
        raise UserError(
            f'{source} is not a checkpoint of this network',
            expected=f'{match.counts[1]} tensors of {type(module).__name__}',
            got=f'{note}\n{match}' if note else match,
            do='give the checkpoint that belongs to the config, or the config that belongs to the '
            'checkpoint',
        )
    return match


def _backbones(module: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Beginnings of the keys of our backbones in a model, and of those that they leave out.

    A head expects its backbone's outputs normalised or not: only a backbone by itself may leave
    the file's normalisation of an output out.
    """
    if _is_ours(module):
        return ('',), (*module.unbuilt, *module.unbuilt_out_norms)
    ours = {f'{n}.': child.unbuilt for n, child in module.named_children() if _is_ours(child)}
    return tuple(ours), tuple(name + start for name, starts in ours.items() for start in starts)


def _is_ours(module: nn.Module) -> bool:
    return hasattr(module, 'unbuilt')


def _first(keys: list[str]) -> str:
    return ', '.join(keys[:SHOWN]) + (', ...' if len(keys) > SHOWN else '')
