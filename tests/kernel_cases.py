"""What the Triton kernels compute, and what it is compared with: all their tests go through this.

A new kernel is a function here that makes its `Case`, the arguments of its proofs in `PROOFS`, its
`contracts` of custom operators, and what the compiler takes in `to_compile`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from mmvisattn.ops import (
    cycle_fc,
    cycle_offsets,
    depthwise_conv2d,
    large_kernel_attention,
    local_attention,
    relative_attention,
)
from mmvisattn.ops.kernels import launch

INTERPRETED = launch.INTERPRETED
DEVICE = 'cpu' if INTERPRETED else 'cuda'

# (N, C, H, W): maps below the kernel, odd ones, no batch; channels of one block and of several.
MAPS = [(3, 6, 7, 10), (1, 3, 1, 1), (1, 5, 2, 3), (0, 4, 3, 3)]
# (N, H, W) of attentions: maps of one tile and of several, one pixel, no batch.
GRIDS = [(2, 5, 10), (1, 1, 1), (1, 9, 3), (0, 3, 3)]
# What tests of something else than sizes take, and heads.
MAP, GRID = (2, 3, 4, 5), (1, 2, 4)
HEADS, D, DV = 2, 6, 5
if not INTERPRETED:
    MAPS += [(4, 64, 128, 128), (4, 320, 32, 32), (3, 70, 45, 37), (16, 512, 16, 16)]
    GRIDS += [(4, 28, 28), (3, 45, 37), (2, 56, 56)]
    MAP, GRID = (3, 70, 45, 37), (3, 45, 37)
    HEADS, D, DV = 8, 64, 32


@dataclass
class Case:
    """One call of an operator.

    Args:
        name: Of the operator.
        by: The function that computes it by a backend, or by the best for None.
        stock: The same in stock PyTorch.
        tensors: {name: what both take}.
        maps: Names of the maps that the result lies in memory as.
        least: What its sums are about, where they are differences of equal numbers.
    """

    name: str
    by: Callable
    stock: Callable
    tensors: dict[str, torch.Tensor]
    maps: tuple[str, ...] = ()
    least: float = 0

    @property
    def fast(self):
        return self.by('triton')


def case(function, stock, shapes, options, **more):
    """A `Case` with random tensors; weights are so small that results are about one."""

    def by(backend):
        def run(*tensors):
            return function(**dict(zip(shapes, tensors, strict=True)), **options, backend=backend)

        return run

    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        / (max(1, torch.Size(shape[1:]).numel()) ** 0.5 if 'weight' in name else 1)
        for name, shape in shapes.items()
    }
    return Case(function.__name__, by, stock, tensors, **more)


def depthwise(size=MAP, k=3, dilation=2):
    n, c, h, w = size
    reach = dilation * (k - 1)
    padding = (reach // 2, reach - reach // 2) * 2

    def stock(x, weight, bias):
        return F.conv2d(F.pad(x, padding), weight, bias, 1, 0, dilation, groups=c)

    shapes = dict(x=size, weight=(c, 1, k, k), bias=(c,))
    return case(depthwise_conv2d, stock, shapes, dict(dilation=dilation), maps=('x',))


def cycle(size=MAP, step_size=(1, 3), order='released'):
    n, c, h, w = size
    options = dict(step_size=step_size, order=order)
    offsets = cycle_offsets(c, step_size, order).tolist()
    reach = max(step_size) // 2

    def stock(x, weight, bias):
        padded = F.pad(x, [reach] * 4)
        shifted = [
            padded[:, channel, reach + dy :, reach + dx :][:, :h, :w]
            for channel, (dy, dx) in enumerate(offsets)
        ]
        return F.conv2d(torch.stack(shifted, 1), weight, bias)

    shapes = dict(x=size, weight=(c + 3, c, 1, 1), bias=(c + 3,))
    return case(cycle_fc, stock, shapes, options, maps=('x',))


def large_kernel(size=MAP, k0=2, k1=3):
    n, c, h, w = size
    shapes = dict(
        x=size, depthwise_weight=(c, 1, k0, k0), depthwise_bias=(c,),
        dilated_weight=(c, 1, k1, k1), dilated_bias=(c,),
        pointwise_weight=(c, c, 1, 1), pointwise_bias=(c,),
    )  # fmt: skip

    def stock(x, *weights):
        first, first_bias, second, second_bias, third, third_bias = weights
        gate = F.conv2d(x, first, first_bias, padding='same', groups=c)
        gate = F.conv2d(gate, second, second_bias, padding='same', dilation=3, groups=c)
        return x * F.conv2d(gate, third, third_bias)

    return case(large_kernel_attention, stock, shapes, {}, maps=('x',))


def local(size=GRID, kernel_size=3, key=True, embeddings=HEADS):
    """`embeddings` is how many heads have some of their own: all, one that all share, or none."""
    n, h, w = size
    shapes = dict(query=(n, HEADS * D, h, w))
    if key:
        shapes |= dict(key=(n, HEADS * D, h, w))
    shapes |= dict(value=(n, HEADS * DV, h, w))
    if embeddings:
        table = embeddings, kernel_size, D // 2
        shapes |= dict(row_embedding=table, column_embedding=table)

    def unfolded(x):
        """(N, heads, H * W, d, k * k)"""
        x = F.unfold(x, kernel_size, padding=kernel_size // 2)
        return x.unflatten(1, (HEADS, -1, kernel_size**2)).permute(0, 1, 4, 2, 3)

    def stock(query, key, value, row, column):
        query = query.flatten(2).unflatten(1, (HEADS, -1)).mT  # (N, heads, H * W, d)
        r = torch.cat(
            [
                row[:, :, None].expand(-1, -1, kernel_size, -1),
                column[:, None].expand(-1, kernel_size, -1, -1),
            ],
            dim=3,
        ).flatten(1, 2)
        logits = torch.einsum('nhpd,nhpdk->nhpk', query, unfolded(key)) + query @ r.mT
        outside = unfolded(torch.zeros_like(value).add(1))[:, :, :, 0] == 0
        weights = (0.3 * logits).masked_fill(outside, -torch.inf).softmax(3)
        out = torch.einsum('nhpk,nhpdk->nhdp', weights.to(value.dtype), unfolded(value))
        return out.flatten(1, 2).unflatten(2, (h, w))

    options = dict(kernel_size=kernel_size, num_heads=HEADS, scale=0.3)
    options |= {} if key else dict(key=None)
    maps = tuple(name for name in ('query', 'key', 'value') if name in shapes)
    return case(local_attention, stock, shapes, options, maps=maps, least=1)


def relative(size=GRID):
    n, h, w = size
    shapes = dict(
        query=(n, HEADS, h * w, D), key=(n, HEADS, h * w, D), value=(n, HEADS, h * w, DV),
        bias_table=(HEADS, 2 * h - 1, 2 * w - 1),
    )  # fmt: skip

    def stock(query, key, value, table):
        y, x = (torch.arange(h * w, device=DEVICE) // w, torch.arange(h * w, device=DEVICE) % w)
        bias = table[:, y[:, None] - y + h - 1, x[:, None] - x + w - 1]
        return (0.3 * query @ key.mT + bias).softmax(3).to(value.dtype) @ value

    return case(relative_attention, stock, shapes, dict(size=(h, w), scale=0.3), least=1)


# (k, dilation): of VAN, an even one whose padding is odd, one pixel.
TAPS = [(7, 3), (5, 1), (4, 3), (1, 1)]
CYCLES = [((1, 3), 'released'), ((7, 1), 'released'), ((3, 3), 'paper'), ((1, 16), 'released')]
SEVERAL_BLOCKS = (1, 67, 9, 11)
# {operator: the arguments with which it is compared with its definition}.
PROOFS = {
    depthwise: [(size, *taps) for size in MAPS for taps in TAPS] + [(SEVERAL_BLOCKS, 2, 1)],
    cycle: [(size, *steps) for size in MAPS for steps in CYCLES] + [(SEVERAL_BLOCKS,)],
    large_kernel: [(size, 5, 7) for size in MAPS],
    local: [
        *((size, kernel_size) for size in GRIDS for kernel_size in (1, 7, 25)),
        ((1, 2, 40), 31),  # a row that takes several steps
        (GRID, 3, True, 0),  # by contents alone
        (GRID, 3, False),  # by positions alone
        (GRID, 3, True, 1),
    ],
    relative: [(size,) for size in [*GRIDS, (1, 9, 8), (2, 2, 17), (1, 1, 70)]],
}
OPERATORS = list(PROOFS)
# Triton's interpreter multiplies the integers that hold bfloat16 where a kernel has products.
PRODUCTS = cycle, local, relative


def at(tensors, dtype=torch.float32):
    """Copies on the device that need gradients, rounded to float32 at least."""
    return [t.float().to(DEVICE, dtype).requires_grad_() for t in tensors.values()]


def results(function, tensors):
    """The output, and the gradients of what needs one for a fixed gradient of the output."""
    out = function(*tensors)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    wanted = [t for t in tensors if t.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, gradient, materialize_grads=True)]


def contracts():
    """Each custom operator, its arguments, and what of PyTorch's checks it is to pass."""
    from mmvisattn.ops.kernels import biased_attention as by_blocks
    from mmvisattn.ops.kernels import depthwise as by_taps
    from mmvisattn.ops.kernels import shifted_product as by_shifts
    from mmvisattn.ops.kernels import square_attention as by_tiles

    every = tuple(f'test_{name}' for name in ('schema', 'autograd_registration', 'faketensor'))
    every += ('test_aot_dispatch_dynamic',)
    gradients = 'test_schema', 'test_faketensor'  # without derivatives of their own
    x, out, taps, weight = (
        torch.randn(shape, device=DEVICE, requires_grad=True)
        for shape in [(2, 3, 4, 5), (2, 4, 4, 5), (3, 1, 3, 3), (4, 3)]
    )
    kernel, offsets = [3, 1], [0, 0, 0, 1]
    yield by_taps._convolution, (x, taps, None, kernel), every
    yield by_taps._input_gradient, (x, taps, kernel), every
    yield by_taps._weight_gradient, (x, x, kernel), every
    yield by_shifts._product, (x, weight, None, offsets), every
    yield by_shifts._input_gradient, (out, weight, offsets), every
    yield by_shifts._weight_gradient, (out, x, offsets), every

    size = 2, 2, 4
    query, key, value, *tables = at(local(size).tensors)
    tokens = at(relative(size).tensors)
    for module, tensors, options, checks in [
        (by_tiles, (query, key, value, *tables), (HEADS, 1, 0.3), every),
        (by_tiles, (query, None, value, *tables), (HEADS, 1, 0.3), 'test_faketensor'),
        (by_blocks, tokens, (list(size[1:]), 0.3), every),
    ]:
        yield module._attention, (*tensors, *options), checks
        with torch.no_grad():
            kept = module._attention(*tensors, *options)
            constants = [None if t is None else t.detach() for t in (tensors[2], *tensors, *kept)]
        yield module._gradients, (*constants, *options), gradients


def to_compile():
    """Each kernel, a GPU's capability, a dtype, and constants and options for common sizes."""
    taps = dict(K=5, DILATION=1, CHANNELS=64)
    product = dict(OFFSETS=(0, 0, 0, 1, 0, -1), DEPTH=32, PRECISION='tf32x3')
    head = dict(D=64, DV=64, BLOCK=64, BLOCK_V=64, PRECISION='tf32x3')
    for capability, dtype in [(80, 'fp16'), (90, 'bf16'), (90, 'fp32')]:
        stages, tokens = (2, 32) if dtype == 'fp32' else (3, 64)
        square = dict(
            **head, RADIUS=3, OFFSETS=16, COLUMNS=16, SIDE=8, num_warps=4, num_stages=stages
        )
        kernels = [
            ('depthwise._convolve_kernel', dict(**taps, FLIP=False, LANES=16, STRIP=4)),
            ('depthwise._weight_gradient_kernel', dict(**taps, LANES=4, STRIP=2, TAP_ROWS=3)),
            ('shifted_product._product_kernel', dict(**product, PIXELS=64, OUTPUTS=64)),
            ('shifted_product._input_gradient_kernel', dict(**product, PIXELS=64, CHANNELS=32)),
            ('shifted_product._weight_gradient_kernel', dict(**product, OUTPUTS=64, CHANNELS=64)),
        ]
        left_out = [{}]
        if (capability, dtype) == (90, 'bf16'):
            left_out += [
                dict(row_embedding=None, column_embedding=None),
                dict(key=None, grad_key=None),
            ]
        for name in ('attention', 'query_gradient', 'key_gradient'):
            kernels += [(f'square_attention._{name}_kernel', square | none) for none in left_out]
        for name in ('attention', 'query_gradient', 'key_gradient', 'table_gradient'):
            count = 32 if name == 'table_gradient' else tokens
            constants = dict(**head, TOKENS=count, num_warps=4, num_stages=2)
            kernels.append((f'biased_attention._{name}_kernel', constants))
        for kernel, constants in kernels:
            yield kernel, capability, dtype, constants
