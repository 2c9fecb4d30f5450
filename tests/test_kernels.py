"""The Triton kernels: on a GPU, and everywhere else in Triton's interpreter and compiler.

The interpreter must be chosen before Triton is imported. So this file runs itself once more, in a
process where it is: there the tests of `proof` compute small maps on the CPU.
"""

import re
import sys

import pytest
import torch
from conftest import run
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmvisattn.ops import (
    counting,
    cycle_fc,
    cycle_offsets,
    explain,
    kernels,
    large_kernel_attention,
)
from mmvisattn.ops.depthwise import naive
from mmvisattn.ops.kernels import launch

INTERPRETED = launch.INTERPRETED
DEVICE = 'cpu' if INTERPRETED else 'cuda'
needs_triton = pytest.mark.skipif(launch.UNUSABLE is not None, reason=str(launch.UNUSABLE))
once = pytest.mark.skipif(INTERPRETED, reason='shown by the process that started the interpreter')


def proof(test):
    """A test of what the kernels compute, which takes a GPU or the interpreter."""
    return test if INTERPRETED else pytest.mark.gpu(test)


# (N, C, H, W): maps below the kernel, odd ones, no batch; channels of one block and of several.
SMALL = [(3, 6, 7, 10), (1, 3, 1, 1), (1, 5, 2, 3), (0, 4, 3, 3)]
LARGE = [(4, 64, 128, 128), (4, 320, 32, 32), (3, 70, 45, 37), (16, 512, 16, 16)]
sizes = pytest.mark.parametrize('size', SMALL if INTERPRETED else SMALL + LARGE, ids=str)
SIZE = (2, 3, 4, 5) if INTERPRETED else LARGE[2]
# (k, dilation): of VAN, an even one whose padding is odd, one pixel.
KERNELS = [(7, 3), (5, 1), (4, 3), (1, 1)]
CYCLES = [((1, 3), 'released'), ((7, 1), 'released'), ((3, 3), 'paper'), ((1, 16), 'released')]


def depthwise(size, k=3, dilation=2):
    """The fast function, its definition, the same in stock PyTorch, and their tensors."""
    n, c, h, w = size
    reach = dilation * (k - 1)
    padding = (reach // 2, reach - reach // 2) * 2

    def stock(x, weight, bias):
        return F.conv2d(F.pad(x, padding), weight, bias, 1, 0, dilation, groups=c)

    return (
        lambda *tensors: kernels.depthwise_conv2d(*tensors, dilation),
        lambda *tensors: naive.depthwise_conv2d(*tensors, dilation),
        stock,
        normal(dict(x=size, weight=(c, 1, k, k), bias=(c,))),
    )


def cycle(size, step_size=(1, 3), order='released'):
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

    return (
        lambda *tensors: cycle_fc(*tensors, **options, backend='triton'),
        lambda *tensors: cycle_fc(*tensors, **options, backend='naive'),
        stock,
        normal(dict(x=size, weight=(c + 3, c, 1, 1), bias=(c + 3,))),
    )


def large_kernel(size, k0=2, k1=3):
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

    return (
        lambda *tensors: large_kernel_attention(*tensors, backend='triton'),
        lambda *tensors: large_kernel_attention(*tensors, backend='naive'),
        stock,
        normal(shapes),
    )


operators = pytest.mark.parametrize('operator', [depthwise, cycle, large_kernel])


def normal(shapes):
    """Random tensors; weights so small that outputs are about one."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        / (max(1, shape[1:].numel()) ** 0.5 if 'weight' in name else 1)
        for name, shape in ((name, torch.Size(shape)) for name, shape in shapes.items())
    }


def at(tensors, dtype=torch.float32):
    """Copies on the device that need gradients, rounded to float32 at least."""
    return [t.float().to(DEVICE, dtype).requires_grad_() for t in tensors.values()]


def results(function, tensors):
    """The output, and the gradients of what needs one for a fixed gradient of the output."""
    out = function(*tensors)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    wanted = [t for t in tensors if t.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, gradient, materialize_grads=True)]


def assert_equal_sums(found, expected):
    """Equal but for the order of float32 sums: 1e-5 of the largest number among the results."""
    for one, other in zip(found, expected, strict=True):
        largest = other.abs().max().item() if other.numel() else 0
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=1e-5 * largest, check_stride=False
        )


# ---- what the kernels compute


def is_the_definition(operator, *args):
    fast, definition, _, tensors = operator(*args)
    tensors = at(tensors)
    # The definition of large sums is float64, which no kernel computes.
    exact = [t.detach().double().requires_grad_() for t in tensors]
    assert_equal_sums(results(fast, tensors), results(definition, exact))


@proof
@sizes
@pytest.mark.parametrize(('k', 'dilation'), KERNELS)
def test_depthwise_convolution_is_its_definition(size, k, dilation):
    is_the_definition(depthwise, size, k, dilation)


@proof
@sizes
@pytest.mark.parametrize(('step_size', 'order'), CYCLES)
def test_cycle_fc_is_its_definition(size, step_size, order):
    is_the_definition(cycle, size, step_size, order)


@proof
@sizes
def test_large_kernel_attention_is_its_definition(size):
    is_the_definition(large_kernel, size, 5, 7)


@proof
@pytest.mark.parametrize('operator', [depthwise, cycle])
def test_several_blocks_of_channels_and_pixels(operator):
    is_the_definition(operator, (1, 67, 9, 11), *((2, 1) if operator is depthwise else ()))


@proof
@operators
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_as_good_as_stock_torch(operator, dtype, autocast):
    """The error against float64, in value and every gradient, is at most twice stock PyTorch's."""
    cut = INTERPRETED and dtype == torch.bfloat16
    if cut and operator is cycle:
        pytest.skip('the interpreter multiplies the integers that hold bfloat16')
    fast, _, stock, tensors = operator(SIZE)
    exact = at(tensors, torch.float64)
    if not autocast:
        exact = [t.detach().to(dtype).double().requires_grad_() for t in exact]
    truth = results(stock, exact)
    halves = [t.detach().to(torch.float32 if autocast else dtype).requires_grad_() for t in exact]
    with torch.autocast(DEVICE, dtype, enabled=autocast):
        ours, others = results(fast, halves), results(stock, halves)
    for one, other, true in zip(ours, others, truth, strict=True):
        assert one.dtype == other.dtype
        error, allowed = ((r.double() - true).square().mean().sqrt() for r in (one, other))
        # Three numbers may all round luckily: one rounding of each is always allowed.
        rounding = torch.finfo(dtype).eps * true.square().mean().sqrt()
        # The interpreter cuts bfloat16 off where a GPU rounds: twice the error again.
        assert error <= (4 if cut else 2) * allowed + rounding
    assert (ours[0].double() - truth[0]).any(), 'nothing was rounded'


@proof
@operators
def test_memory_layout_is_kept_and_changes_nothing(operator):
    fast, _, _, tensors = operator(SIZE)
    x, *weights = at(tensors)
    expected = results(fast, [x, *weights])
    assert expected[0].is_contiguous()
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    found = results(fast, [last, *weights])
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_stride=False)
    wider = torch.cat([x, x], 3).detach()[..., : x.shape[3]]
    strided = [t.detach().repeat_interleave(2, 0)[::2] for t in weights]
    found = results(fast, [t.requires_grad_() for t in (wider, *strided)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_stride=False)


@proof
@operators
def test_only_what_needs_a_gradient_gets_one(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    expected = results(fast, tensors)
    for i, wanted in enumerate(tensors):
        alone = [t.detach().requires_grad_(t is wanted) for t in tensors]
        torch.testing.assert_close(results(fast, alone)[1], expected[1 + i], rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(fast(*tensors), expected[0], rtol=0, atol=0)


@proof
@operators
def test_biases_can_be_left_out(operator):
    fast, _, _, tensors = operator(SIZE)
    arguments = {name: t.to(DEVICE).float() for name, t in tensors.items()}
    zero = [t.zero_() if 'bias' in name else t for name, t in arguments.items()]
    without = [None if 'bias' in name else t for name, t in arguments.items()]
    torch.testing.assert_close(fast(*without), fast(*zero), rtol=0, atol=0)


@proof
@operators
def test_checkpoint_and_compile_change_nothing(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    expected = results(fast, tensors)
    again = results(lambda *args: checkpoint(fast, *args, use_reentrant=False), tensors)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    torch._dynamo.reset()
    backend = 'aot_eager' if INTERPRETED else 'inductor'
    compiled = results(torch.compile(fast, backend=backend, fullgraph=True), tensors)
    assert_equal_sums(compiled, expected)


@proof
@pytest.mark.parametrize('operator', [depthwise, cycle])
def test_second_derivatives(operator):
    """By gradients of gradients, and by the same of stock PyTorch in double precision."""
    fast, _, stock, tensors = operator((1, 3, 3, 4), *((3, 1) if operator is depthwise else ()))
    tensors = at(tensors)

    def second(function, tensors):
        out = function(*tensors)
        gradient = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out).requires_grad_()
        first = torch.autograd.grad(out, tensors, gradient, create_graph=True)
        # A sum of cubes: every term of every first derivative counts differently.
        return torch.autograd.grad(sum(f.pow(3).sum() for f in first), [*tensors[:2], gradient])

    exact = [t.detach().double().requires_grad_() for t in tensors]
    assert_equal_sums(second(fast, tensors), second(stock, exact))


@proof
def test_operators_keep_the_contract_of_torch_library():
    """Schemas, fake kernels (shapes, strides, dtypes) and autograd, as PyTorch checks them."""
    from mmvisattn.ops.kernels import depthwise as by_taps
    from mmvisattn.ops.kernels import shifted_product as by_shifts

    x, out, taps, weight = (
        torch.randn(shape, device=DEVICE, requires_grad=True)
        for shape in [(2, 3, 4, 5), (2, 4, 4, 5), (3, 1, 3, 3), (4, 3)]
    )
    kernel, offsets = [3, 1], [0, 0, 0, 1]
    for operator, *args in [
        (by_taps._convolution, x, taps, None, kernel),
        (by_taps._input_gradient, x, taps, kernel),
        (by_taps._weight_gradient, x, x, kernel),
        (by_shifts._product, x, weight, None, offsets),
        (by_shifts._input_gradient, out, weight, offsets),
        (by_shifts._weight_gradient, out, x, offsets),
    ]:
        torch.library.opcheck(operator, tuple(args))


@proof
@operators
def test_same_bits_twice(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    torch.testing.assert_close(results(fast, tensors), results(fast, tensors), rtol=0, atol=0)


@proof
@pytest.mark.parametrize('operator', [cycle_fc, large_kernel_attention])
def test_triton_is_preferred_where_it_is_trusted_and_counted(operator):
    case = cycle if operator is cycle_fc else large_kernel
    arguments = [t.to(DEVICE).float() for t in case(SIZE)[3].values()]
    verdict = 'can run, not preferred' if kernels.BY_REQUEST else 'chosen'
    assert explain(operator, *arguments)['triton'] == verdict
    with counting() as multiply_adds:
        operator(*arguments)
    assert multiply_adds[operator.__name__] > 0


# ---- without a GPU


@once
@needs_triton
def test_interpreter_agrees():
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:xdist', __file__]
    done = run(*command, env=dict(TRITON_INTERPRET='1', MMVISATTN_TRITON='1'))
    assert done.returncode == 0, done.tail
    assert int(re.search(r'(\d+) passed', done.output)[1]) > 50


def maps(dtype=torch.float32, device='cpu'):
    shapes = (1, 8, 4, 4), (8, 1, 5, 5), (8,), (8, 1, 7, 7), (8,), (8, 8, 1, 1), (8,)
    return [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]


@once
@needs_triton
def test_reasons_not_to_run():
    assert explain(large_kernel_attention, *maps())['triton'] == (
        'it is for CUDA devices, and x is on cpu'
    )
    assert 'x is on meta' in explain(large_kernel_attention, *maps(device='meta'))['triton']
    x, weight = torch.zeros(1, 17, 2, 2), torch.zeros(3, 17, 1, 1)
    assert '16 at most' in explain(cycle_fc, x, weight, None, (1, 17))['triton']


@needs_triton
def test_reasons_not_to_run_on_its_own_device(monkeypatch):
    monkeypatch.setattr(launch, 'INTERPRETED', True)  # so that the CPU is its device
    assert launch.why_not(*maps()) is None
    assert 'not torch.float64' in launch.why_not(*maps(torch.float64))
    assert 'not torch.float64' in launch.why_not(maps()[0], *maps(torch.float64))
    assert '32 bits' in launch.why_not(torch.zeros(1).expand(2**31))
    reasons = []
    torch.jit.trace(lambda x: (reasons.append(launch.why_not(x)), x + 1)[1], torch.zeros(1))
    assert 'exported graph' in reasons[0]
    monkeypatch.setattr(launch, 'UNUSABLE', 'triton is not installed')
    assert launch.why_not(*maps()) == 'triton is not installed'


def test_an_old_triton_is_named(monkeypatch):
    monkeypatch.setattr(launch.importlib.util, 'find_spec', lambda name: object())
    for found, reason in [('3.5.1', 'it needs triton 3.6, and 3.5.1'), ('3.10.0+git1', None)]:
        monkeypatch.setattr(launch, 'version', lambda name, found=found: found)
        assert (launch._unusable() or '').startswith(reason or '')
        assert (launch._unusable() is None) == (reason is None)
    monkeypatch.setattr(launch.importlib.util, 'find_spec', lambda name: None)
    assert launch._unusable() == 'triton is not installed'


@once
def test_operators_need_no_triton():
    program = (
        "import sys; sys.modules['triton'] = None\n"  # as if it were not installed
        'import torch, mmvisattn.ops as o\n'
        'arguments = torch.zeros(1, 8, 5, 5), torch.zeros(4, 8, 1, 1)\n'
        "print(o.explain(o.cycle_fc, *arguments)['triton'], o.cycle_fc(*arguments).shape[1])\n"
        "print([m for m in sys.modules if m.startswith('mmvisattn.ops.kernels.')])"
    )
    assert run(sys.executable, '-c', program).output.splitlines() == [
        'triton is not installed 4',
        "['mmvisattn.ops.kernels.launch']",
    ]


COMPILE = """
from triton import JITFunction, compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmvisattn.ops.kernels import depthwise, shifted_product

def assembly(kernel, capability, dtype, **constants):
    types, aligned = {}, {}
    for i, name in enumerate(kernel.arg_names):
        pointer = name in ('x', 'weight', 'bias', 'out', 'gradient', 'partial')
        dtype_here = 'fp32' if name == 'partial' else dtype
        types[name] = 'constexpr' if name in constants else f'*{dtype_here}' if pointer else 'i32'
        if name not in constants and (pointer or name in ('channels', 'outputs')):
            aligned[(i,)] = [['tt.divisibility', 16]]
    source = ASTSource(kernel, types, constants, aligned)
    return compile(source, target=GPUTarget('cuda', capability, 32)).asm

taps = dict(K=5, DILATION=1, CHANNELS=64)
product = dict(OFFSETS=(0, 0, 0, 1, 0, -1), DEPTH=32, PRECISION='tf32x3')
for capability, dtype in [(80, 'fp16'), (90, 'bf16'), (90, 'fp32')]:
    for kernel, constants in [
        (depthwise._convolve_kernel, dict(**taps, FLIP=False, LANES=16, STRIP=4)),
        (depthwise._weight_gradient_kernel, dict(**taps, LANES=4, STRIP=2, TAP_ROWS=3)),
        (shifted_product._product_kernel, dict(**product, PIXELS=64, OUTPUTS=64)),
        (shifted_product._input_gradient_kernel, dict(**product, PIXELS=64, CHANNELS=32)),
        (shifted_product._weight_gradient_kernel, dict(**product, OUTPUTS=64, CHANNELS=64)),
    ]:
        kernel = kernel if isinstance(kernel, JITFunction) else kernel.fn  # without autotuning
        code = assembly(kernel, capability, dtype, **constants)
        loads = 'global.v4.b32', 'cp.async.cg.shared.global'  # 16 bytes each
        wide = any(load in code['ptx'] for load in loads)
        print(kernel.__module__, kernel.__name__, dtype, len(code['cubin']) > 1000, wide)
"""


@once
@needs_triton
def test_kernels_compile_for_gpus_and_load_whole_vectors(tmp_path):
    """Triton compiles for a GPU without one; what its interpreter takes it may refuse."""
    done = run(
        *(sys.executable, '-c', COMPILE),
        env=dict(TRITON_INTERPRET='0', TRITON_CACHE_DIR=str(tmp_path)),
    )
    assert done.returncode == 0, done.tail
    lines = [line.split() for line in done.output.splitlines()]
    assert len(lines) == 15
    for module, kernel, dtype, compiled, wide in lines:
        assert compiled == 'True', (module, kernel, dtype)
        # Its threads take two channels each, by design: registers hold 49 sums of them.
        by_pairs = module.endswith('depthwise') and kernel == '_weight_gradient_kernel'
        assert wide == str(not by_pairs), (module, kernel, dtype)
