"""`op`: the operators, every backend of theirs beside the published computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ... import ops
from .measure import Bench, Contest, Peer
from .references import as_published
from .report import Report

Shape = tuple[int, int, int, int]  # batch, channels, height, width
GPU_BATCH = 16  # pictures in place of each, so that no cache of a GPU holds them
HEADS = 8
KERNEL_SIZE = 7
HEAD_CHANNELS = 32


@dataclass(frozen=True)
class Problem:
    """A call of an operator.

    Attributes:
        function: The operator.
        maps: What it computes on, by name.
        parameters: Its other tensors.
        options: Arguments that are no tensors.
    """

    function: Callable[..., Tensor]
    maps: dict[str, Tensor]
    parameters: dict[str, Tensor] = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that gradients are taken of."""
        return self.maps | self.parameters

    def forward(self) -> Tensor:
        """Compute it."""
        return self.function(**self.tensors, **self.options)

    def inference(self) -> Tensor:
        """Compute it, and keep nothing for a gradient."""
        with torch.no_grad():
            return self.forward()

    def training(self) -> tuple[Tensor, ...]:
        """Compute it and the gradient of every tensor."""
        out = self.forward()
        return torch.autograd.grad(out, list(self.tensors.values()), torch.ones_like(out))


def _random(bench: Bench, *shape: int) -> Tensor:
    return torch.randn(*shape, device=bench.device, dtype=bench.torch_dtype) / 8


def cycle_fc(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """CycleFC, 1 x 3."""
    weights = dict(weight=_random(bench, c, c, 1, 1), bias=_random(bench, c))
    return Problem(ops.cycle_fc, dict(x=_random(bench, n, c, h, w)), weights)


def cycle_mixing(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """CycleMLP's three branches, their weights and the projection, in NHWC as in the network."""
    shapes = dict(
        height_weight=(c, c, 1, 1), height_bias=(c,), width_weight=(c, c, 1, 1), width_bias=(c,),
        channel_weight=(c, c), proj_weight=(c, c), proj_bias=(c,),
        fc1_weight=(c // 4, c), fc1_bias=(c // 4,), fc2_weight=(3 * c, c // 4), fc2_bias=(3 * c,),
    )  # fmt: skip
    weights = {name: _random(bench, *shape) for name, shape in shapes.items()}
    x = _random(bench, n, h, w, c).permute(0, 3, 1, 2)
    return Problem(ops.cycle_mixing, dict(x=x), weights)


def depthwise_conv2d(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """The 3 x 3 convolution of VAN's MLP."""
    weights = dict(weight=_random(bench, c, 1, 3, 3), bias=_random(bench, c))
    return Problem(ops.depthwise_conv2d, dict(x=_random(bench, n, c, h, w)), weights)


def large_kernel_attention(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """VAN's large kernel attention: 5 x 5, 7 x 7 with dilation 3, 1 x 1."""
    names = ('depthwise', 'dilated', 'pointwise')
    shapes = ((c, 1, 5, 5), (c, 1, 7, 7), (c, c, 1, 1))
    weights = {f'{name}_weight': _random(bench, *s) for name, s in zip(names, shapes, strict=True)}
    biases = {f'{name}_bias': _random(bench, c) for name in names}
    return Problem(ops.large_kernel_attention, dict(x=_random(bench, n, c, h, w)), weights | biases)


def local_attention(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """SASA's attention, 7 x 7 with 8 heads and both embeddings."""
    maps = {name: _random(bench, n, c, h, w) for name in ('query', 'key', 'value')}
    embeddings = {
        f'{axis}_embedding': _random(bench, HEADS, KERNEL_SIZE, c // HEADS // 2)
        for axis in ('row', 'column')
    }
    options = dict(kernel_size=KERNEL_SIZE, num_heads=HEADS)
    return Problem(ops.local_attention, maps, embeddings, options)


def relative_attention(bench: Bench, n: int, c: int, h: int, w: int) -> Problem:
    """CoAtNet's attention, with heads of 32 channels."""
    tokens = (n, c // HEAD_CHANNELS, h * w, HEAD_CHANNELS)
    maps = {name: _random(bench, *tokens) for name in ('query', 'key', 'value')}
    table = dict(bias_table=_random(bench, tokens[1], 2 * h - 1, 2 * w - 1))
    return Problem(ops.relative_attention, maps, table, dict(size=(h, w)))


@dataclass(frozen=True)
class Case:
    """An operator, and the shapes that it is measured at.

    Attributes:
        title: Its name.
        published: What the published computation is called.
        make: Makes its problem of a shape.
        shapes: Of the whole benchmark.
        short: Of a short one, if they are others.
    """

    title: str
    published: str
    make: Callable[..., Problem]
    shapes: Sequence[Shape]
    short: Sequence[Shape] = ()


CYCLE_SHAPES = [(2, 64, 56, 56), (2, 128, 28, 28), (2, 320, 14, 14)]
DEPTHWISE_SHAPES = [(1, 512, 64, 64), (1, 1280, 16, 16)]
LARGE_KERNEL_SHAPES = [(1, 64, 128, 128), (2, 64, 56, 56), (2, 128, 28, 28)]
LOCAL_SHAPES = [(1, 512, 28, 28), (1, 256, 56, 56)]
# A picture of 800 x 1333 at stride 16 is 4,200 tokens.
CASES = [
    Case('CycleFC', 'deform_conv2d', cycle_fc, CYCLE_SHAPES),
    Case('CycleMLP block', 'deform_conv2d', cycle_mixing, CYCLE_SHAPES),
    Case('Depthwise 3x3', 'convolution', depthwise_conv2d, DEPTHWISE_SHAPES),
    Case('Large kernel attention', 'convolutions', large_kernel_attention, LARGE_KERNEL_SHAPES),
    Case('Local attention', 'unfold', local_attention, LOCAL_SHAPES),
    Case(
        'Relative attention', 'indexed bias', relative_attention,
        [(1, 384, 50, 84)], short=[(1, 384, 32, 32)],
    ),
]  # fmt: skip


def report(bench: Bench, cases: Sequence[Case] = CASES) -> Report:
    """Measure operators."""
    found = Report('op')
    for case in cases:
        for n, *shape in (bench.short and case.short) or case.shapes:
            n *= GPU_BATCH if bench.device.type == 'cuda' else 1
            title = f'{case.title} {"x".join(map(str, (n, *shape)))}'
            if bench.wanted(title):
                problem = case.make(bench, n, *shape)
                for tensor in problem.tensors.values():
                    tensor.requires_grad_()
                for contest in _contests(title, case.published, problem, bench):
                    found.rows.extend(bench.rows(contest))
    return found


def _contests(title: str, published: str, problem: Problem, bench: Bench) -> Iterator[Contest]:
    written = problem.inference().nbytes
    read = sum(tensor.nbytes for tensor in problem.tensors.values())
    with ops.counting() as multiply_adds:
        problem.inference()
    operations = 2 * multiply_adds.total()
    with torch.no_grad():  # a backend may be for inference alone
        variants = list(_variants(published, problem, bench))
    peers = [Peer(n, v.inference, c, read + written, operations) for n, v, c in variants]
    yield Contest(title, 'forward', peers)
    variants = _variants(published, problem, bench)
    # Backward reads the inputs again and the gradient of the output, writes one for each input,
    # and multiplies twice as much.
    least = dict(moved=3 * read + 2 * written, operations=3 * operations)
    peers = [Peer(n, v.training, c, **least) for n, v, c in variants]
    yield Contest(title, 'forward + backward', peers)


def _variants(
    published: str, problem: Problem, bench: Bench
) -> Iterator[tuple[str, Problem, bool]]:
    """Names, ways to compute a problem, and whether they are what a user gets.

    'naive' is there to be believed, not to be fast, and left out.
    """

    def as_released(**arguments: object) -> Tensor:
        with as_published():
            return problem.function(**arguments)

    yield f'{published} (published)', replace(problem, function=as_released), False
    verdicts = ops.explain(problem.function, **problem.tensors, **problem.options)
    for name, verdict in verdicts.items():
        if name != 'naive' and verdict in ('chosen', 'can run, not preferred'):
            options = problem.options | dict(backend=name)
            yield name, replace(problem, options=options), verdict == 'chosen'
    if all(x.is_contiguous() for x in problem.maps.values()) and 'size' not in problem.options:
        yield 'ours, channels-last', replace(problem, maps=_channels_last(problem.maps)), False
    if not bench.short:
        compiled = torch.compile(problem.function, fullgraph=True, dynamic=False)
        yield 'ours, compiled', replace(problem, function=compiled), False


def _channels_last(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        for name, x in maps.items()
    }
