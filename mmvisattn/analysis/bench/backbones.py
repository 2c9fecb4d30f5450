"""`backbone`: whole backbones, inference and training step, and how they grow with pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import timm
import torch
from mmengine.registry import MODELS
from torch import nn

from ...backbones import NAMES
from ...deploy import fuse_for_inference
from ..complexity import complexity
from .measure import Bench, Contest, Peer, growth_exponent
from .references import as_published
from .report import Growth, Report

ALL_MAPS = (0, 1, 2, 3)
# mmpretrain's VAN is the release's: NCHW, tokens around each block; its 'b' is B2.
RELEASED_VAN = dict(type='mmpretrain.VAN', out_indices=ALL_MAPS)
RELEASED_ARCH = dict(b0='t', b1='s', b2='b', b3='l')
CONVNEXT_T = dict(
    type='mmpretrain.ConvNeXt', arch='tiny', gap_before_final_norm=False, out_indices=ALL_MAPS
)
SWIN_T = dict(
    type='mmdet.SwinTransformer', embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]
)
LEVERS = ('channels-last', 'bf16', 'folded', 'compiled')  # folded: for inference


def ours(name: str) -> nn.Module:
    """A backbone of ours, with all its maps."""
    network, arch = NAMES[name]
    return network(arch, out_indices=ALL_MAPS)


def stock(settings: dict) -> nn.Module:
    """A backbone of OpenMMLab's libraries."""
    return MODELS.build(settings)


def of_timm(name: str, size: tuple[int, int]) -> nn.Module:
    """A network of timm, up to its last map."""
    return timm.create_model(name, img_size=size, num_classes=0, global_pool='')


@dataclass(frozen=True)
class Entrant:
    """A network in a contest.

    Attributes:
        name: What the table calls it.
        build: Builds it.
        published: Whether our operators are computed as published.
        chosen: Whether it is ours, as a user gets it.
        lever: One of `LEVERS`, or None.
    """

    name: str
    build: Callable[[], nn.Module]
    published: bool = False
    chosen: bool = False
    lever: str | None = None


@dataclass(frozen=True)
class Case:
    """Networks that do the same work.

    Attributes:
        title: Its name.
        others: What ours is compared with, the first one above all.
        name: Ours, such as 'van_b2'.
        size: Height and width of the pictures.
        batch: How many.
    """

    title: str
    others: Sequence[Entrant]
    name: str
    size: tuple[int, int]
    batch: int = 2

    def entrants(self, short: bool) -> Iterator[Entrant]:
        """The others, ours, and ours with each lever; compiling takes too long to be short."""
        build = partial(ours, self.name)
        yield from self.others
        yield Entrant(self.name, build, chosen=True)
        for lever in LEVERS[:-1] if short else LEVERS:
            yield Entrant(f'{self.name}, {lever}', build, lever=lever)


class Runner:
    """A network on its device with pictures to compute.

    Args:
        entrant: The network.
        bench: Device and dtype; another dtype than float32 means autocast.
        size: Height and width of the pictures.
        batch: How many.
    """

    def __init__(self, entrant: Entrant, bench: Bench, size: tuple[int, int], batch: int) -> None:
        torch.manual_seed(0)
        self.entrant, self.bench = entrant, bench
        self.network = entrant.build().to(bench.device)
        self.picture = torch.randn(batch, 3, *size, device=bench.device)
        self.multiply_adds = batch * complexity(self.network, (3, *size)).multiply_adds
        if entrant.lever == 'channels-last':
            self.network.to(memory_format=torch.channels_last)
            self.picture = self.picture.contiguous(memory_format=torch.channels_last)
        if entrant.lever == 'folded':
            self.network.eval()
            self.network = fuse_for_inference(self.network)
        if entrant.lever == 'compiled':
            self.network.compile()

    def inference(self) -> object:
        """One forward pass without gradients."""
        with torch.no_grad():
            return self._forward()

    def step(self) -> None:
        """Forward, and backward to every parameter."""
        maps = self._forward()
        loss = sum(x.float().mean() for x in (maps if isinstance(maps, tuple | list) else [maps]))
        loss.backward()
        self.network.zero_grad()

    def _forward(self) -> object:
        with ExitStack() as stack:
            if self.entrant.published:
                stack.enter_context(as_published())
            stack.enter_context(self.bench.autocast(half=self.entrant.lever == 'bf16'))
            return self.network(self.picture)

    def peer(self, training: bool) -> Peer:
        """What is measured of it."""
        self.network.train(training)
        return Peer(
            self.entrant.name,
            self.step if training else self.inference,
            self.entrant.chosen,
            operations=2 * self.multiply_adds * (3 if training else 1),
            dtype='bf16' if self.entrant.lever == 'bf16' else None,
        )


def report(bench: Bench) -> Report:
    """Measure backbones."""
    found = Report('backbone')
    for case in _cases(bench):
        size = bench.size or case.size
        title = f'{case.title} {size[0]}x{size[1]}, batch {case.batch}'
        if not bench.wanted(title):
            continue
        runners = [Runner(e, bench, size, case.batch) for e in case.entrants(bench.short)]
        for run, training in (('inference', False), ('training step', True)):
            able = [r for r in runners if not (training and r.entrant.lever == 'folded')]
            peers = [runner.peer(training) for runner in able]
            found.rows.extend(bench.rows(Contest(title, run, peers, images=case.batch)))
        if case.title in GROWING:
            found.growth.append(_growth(case, bench))
    return found


GROWING = ('VAN', 'CycleMLP', 'SASA', 'CoAtNet')
SIDES = {True: (128, 256, 512), False: (512, 768, 1024, 1536, 2048)}


def _cases(bench: Bench) -> Iterator[Case]:
    van, cyclemlp, sasa = ('b0', 'b1', 'r26') if bench.short else ('b2', 'b2', 'r50')
    side = 128 if bench.short else 512
    square, large = (side, side), ((224, 224) if bench.short else (800, 1344))
    timm_size = bench.size or (224, 224)

    def published(name: str) -> Entrant:
        return Entrant(f'{name} as published', partial(ours, name), published=True)

    released = RELEASED_VAN | dict(arch=RELEASED_ARCH[van])
    mmpretrain = Entrant(f'van_{van} of mmpretrain', partial(stock, released))
    yield Case('VAN', [mmpretrain, published(f'van_{van}')], f'van_{van}', square)
    yield Case('CycleMLP', [published(f'cyclemlp_{cyclemlp}')], f'cyclemlp_{cyclemlp}', square)
    yield Case('SASA', [published(f'sasa_{sasa}')], f'sasa_{sasa}', square)
    yield Case('CoAtNet', [published('coatnet_0')], 'coatnet_0', large, batch=1)
    rw = 'coatnet_0_rw_224'
    of = Entrant(f'{rw} of timm', partial(of_timm, rw, timm_size))
    yield Case('CoAtNet, timm', [of], rw, (224, 224))
    tiny = [
        Entrant('swin_t of mmdet', partial(stock, SWIN_T)),
        Entrant('convnext_t of mmpretrain', partial(stock, CONVNEXT_T)),
    ]
    yield Case('Networks of a size', tiny, 'van_b2', square)


def _growth(case: Case, bench: Bench) -> Growth:
    """The time of a forward pass of one picture, as pictures grow."""
    sides = [bench.size[0], 2 * bench.size[0]] if bench.size else SIDES[bench.short]
    seconds = []
    for side in sides:
        runner = Runner(Entrant(case.name, partial(ours, case.name)), bench, (side, side), 1)
        seconds.append(bench.median(runner.peer(training=False).run))
    pixels = [side**2 for side in sides]
    exponent = growth_exponent(pixels, seconds)
    return Growth(case.name, pixels, [1e3 * s for s in seconds], exponent)
