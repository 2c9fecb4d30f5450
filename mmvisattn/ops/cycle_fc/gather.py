"""The pixels that the channels of CycleFC look at, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensors import memory_format, records_steps


class Group(NamedTuple):
    """Channels first, first + period, ... of a map, all read `offset` (dy, dx) further on."""

    first: int
    period: int
    offset: tuple[int, int]

    @property
    def channels(self) -> slice:
        """These channels of a map (N, C, H, W), or these columns of a weight (O, C, ...)."""
        return slice(self.first, None, self.period)

    def count(self, channels: int) -> int:
        """How many there are among so many channels."""
        return len(range(self.first, channels, self.period))


def groups_of(offsets: Sequence[tuple[int, int]]) -> list[Group]:
    """One group for each place of a cycle, whose offsets are those of `period_offsets`."""
    return [Group(r, len(offsets), offset) for r, offset in enumerate(offsets)]


def gather(x: Tensor, groups: Sequence[Group]) -> Tensor:
    """(N, C, H, W) to (N, K, H, W): the groups one after the other, zero outside the map.

    The memory format is kept. A compiler or exporter sees plain slices, which it fuses with what
    surrounds them; run as it stands, the slices go to their place without a padded map between.
    """
    return _joined(x, groups) if records_steps() else _Gather.apply(x, groups, False, None)[0]


def gather_and_sum(x: Tensor, groups: Sequence[Group], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`gather`, and the sum (N, K) over its pixels in a dtype of its own."""
    if not records_steps():
        return _Gather.apply(x, groups, False, dtype)
    gathered = _joined(x, groups)
    return gathered, gathered.sum((2, 3), dtype=dtype)


def shift(x: Tensor, groups: Sequence[Group]) -> Tensor:
    """(N, C, H, W) to (N, C, H, W): each channel, looked up by its group, stays in its place.

    It runs as it stands alone: a compiler fuses `gather`, but not this.
    """
    return _Gather.apply(x, groups, True, None)[0]


def joined_columns(weight: Tensor, groups: Sequence[Group]) -> Tensor:
    """The columns of a weight (O, C, ...) in the order in which `gather` joins the channels."""
    return torch.cat([weight[:, group.channels] for group in groups], dim=1)


def _joined(x: Tensor, groups: Sequence[Group]) -> Tensor:
    height, width = x.shape[2:]
    reach = [max(abs(g.offset[axis]) for g in groups) for axis in (0, 1)]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    slices = [
        padded[:, g.channels, reach[0] + dy :, reach[1] + dx :][:, :, :height, :width]
        for g in groups
        for dy, dx in [g.offset]
    ]
    if memory_format(x) is torch.channels_last:
        # torch.cat keeps the format of whole maps, not that of every third channel
        return torch.cat([s.permute(0, 2, 3, 1) for s in slices], dim=3).permute(0, 3, 1, 2)
    return torch.cat(slices, dim=1)


class _Gather(torch.autograd.Function):
    """`shift` if `in_place`, `gather` if not, and its sum if there is a dtype to sum in.

    It and `_Scatter` are each other's gradient.
    """

    @staticmethod
    def forward(
        x: Tensor, groups: Sequence[Group], in_place: bool, dtype: torch.dtype | None
    ) -> tuple[Tensor, Tensor | None]:
        channels = x.shape[1] if in_place else sum(g.count(x.shape[1]) for g in groups)
        out = _zeros(x, channels)
        for there, here in _pairs(x, out, groups, in_place):
            here.copy_(there)
        return out, None if dtype is None else out.sum((2, 3), dtype=dtype)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        x, ctx.groups, ctx.in_place, _ = inputs
        ctx.channels = x.shape[1]

    @staticmethod
    def backward(ctx, gradient: Tensor, of_sum: Tensor | None) -> tuple[Tensor | None, ...]:
        x = _Scatter.apply(gradient, of_sum, ctx.groups, ctx.in_place, ctx.channels)
        return x, None, None, None


class _Scatter(torch.autograd.Function):
    """(N, K, H, W) to (N, C, H, W): every pixel added to where `_Gather` took it from.

    `sums` (N, K) is first added to every pixel.
    """

    @staticmethod
    def forward(
        gathered: Tensor,
        sums: Tensor | None,
        groups: Sequence[Group],
        in_place: bool,
        channels: int,
    ) -> Tensor:
        out = _zeros(gathered, channels)
        pairs = _pairs(out, gathered, groups, in_place)
        if sums is not None:
            counts = [group.count(channels) for group in groups]
            parts = sums[:, :, None, None].to(gathered.dtype).split(counts, 1)
            pairs = [(there, here + p) for (there, here), p in zip(pairs, parts, strict=True)]
        for there, here in pairs:
            there.copy_(here) if in_place else there.add_(here)
        return out

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        _, sums, ctx.groups, ctx.in_place, _ = inputs
        ctx.dtype = None if sums is None else sums.dtype

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gathered, sums = _Gather.apply(gradient, ctx.groups, ctx.in_place, ctx.dtype)
        return gathered, sums, None, None, None


def _zeros(x: Tensor, channels: int) -> Tensor:
    """A map of zeros of that many channels, which lies in memory as x does."""
    n, _, height, width = x.shape
    shape, like = (n, channels, height, width), dict(dtype=x.dtype, device=x.device)
    return torch.empty(shape, **like, memory_format=memory_format(x)).zero_()


def _pairs(
    x: Tensor, gathered: Tensor, groups: Sequence[Group], in_place: bool
) -> list[tuple[Tensor, Tensor]]:
    """For each group the part of x that is looked at, and its place in the gathered map."""
    channels, height, width = x.shape[1:]
    pairs, start = [], 0
    for group in groups:
        dy, dx = group.offset
        (rows, from_rows), (columns, from_columns) = _overlap(dy, height), _overlap(dx, width)
        end = start + group.count(channels)
        place = group.channels if in_place else slice(start, end)
        there = x[:, group.channels, rows, columns]
        pairs.append((there, gathered[:, place, from_rows, from_columns]))
        start = end
    return pairs


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """The places that are looked at along one axis, and those they are looked at from."""
    inside = max(0, length - abs(offset))
    there, here = max(0, offset), max(0, -offset)
    return slice(there, there + inside), slice(here, here + inside)
