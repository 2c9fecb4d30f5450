"""The Triton kernels: on a GPU, and everywhere else in Triton's interpreter and compiler.

The interpreter must be chosen before Triton is imported. So this file runs itself once more, in a
process where it is: there the tests of `proof` compute small maps on the CPU.
"""

import importlib
import re
import sys

import kernel_cases
import pytest
import torch
from conftest import run
from kernel_cases import (
    DEVICE,
    INTERPRETED,
    OPERATORS,
    PRODUCTS,
    PROOFS,
    at,
    cycle,
    depthwise,
    large_kernel,
    local,
    relative,
    results,
)
from torch.utils.checkpoint import checkpoint

from mmvisattn.errors import UserError
from mmvisattn.ops import (
    counting,
    cycle_fc,
    explain,
    kernels,
    large_kernel_attention,
    local_attention,
    relative_attention,
)
from mmvisattn.ops.kernels import launch

VERDICT = 'can run, not preferred' if kernels.BY_REQUEST else 'chosen'
needs_triton = pytest.mark.skipif(launch.UNUSABLE is not None, reason=str(launch.UNUSABLE))
once = pytest.mark.skipif(INTERPRETED, reason='shown by the process that started the interpreter')
operators = pytest.mark.parametrize('operator', OPERATORS)


def proof(test):
    """A test of what the kernels compute, which takes a GPU or the interpreter."""
    return test if INTERPRETED else pytest.mark.gpu(test)


def assert_equal_sums(found, expected, least=0):
    """Equal but for the order of float32 sums: 1e-5 of the largest number, of `least` at least."""
    for one, other in zip(found, expected, strict=True):
        largest = other.abs().max().item() if other.numel() else 0
        torch.testing.assert_close(
            one.double(),
            other.double(),
            rtol=0,
            atol=1e-5 * max(least, largest),
            check_stride=False,
        )


def assert_same_bits(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_stride=False)


# ---- what the kernels compute


@proof
@pytest.mark.parametrize(
    ('operator', 'args'),
    [
        pytest.param(operator, args, id='-'.join([operator.__name__, *map(str, args)]))
        for operator in OPERATORS
        for args in PROOFS[operator]
    ],
)
def test_kernels_compute_the_definition(operator, args):
    case = operator(*args)
    tensors = at(case.tensors)
    # The definition of large sums is float64, which no kernel computes.
    exact = [t.detach().double().requires_grad_() for t in tensors]
    assert_equal_sums(results(case.fast, tensors), results(case.by('naive'), exact), case.least)


@proof
@operators
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_as_good_as_stock_torch(operator, dtype, autocast):
    """The error against float64, in value and every gradient, is at most twice stock PyTorch's."""
    cut = INTERPRETED and dtype == torch.bfloat16
    if cut and operator in PRODUCTS:
        pytest.skip('the interpreter multiplies the integers that hold bfloat16')
    case = operator()
    exact = at(case.tensors, torch.float64)
    if not autocast:
        exact = [t.detach().to(dtype).double().requires_grad_() for t in exact]
    truth = results(case.stock, exact)
    halves = [t.detach().to(torch.float32 if autocast else dtype).requires_grad_() for t in exact]
    with torch.autocast(DEVICE, dtype, enabled=autocast):
        ours, others = results(case.fast, halves), results(case.stock, halves)
    for one, other, true in zip(ours, others, truth, strict=True):
        assert one.dtype == other.dtype
        error, allowed = ((r.double() - true).square().mean().sqrt() for r in (one, other))
        # Few numbers may all round luckily: one rounding of each is always allowed.
        rounding = torch.finfo(dtype).eps * true.square().mean().sqrt()
        # The interpreter cuts bfloat16 off where a GPU rounds: twice the error again.
        assert error <= (4 if cut else 2) * allowed + rounding
    assert (ours[0].double() - truth[0]).any(), 'nothing was rounded'


@proof
@operators
def test_memory_layout_is_kept_and_changes_nothing(operator):
    case = operator()
    tensors = at(case.tensors)
    expected = results(case.fast, tensors)
    assert expected[0].is_contiguous()

    def laid_out(turn):
        return [turn(t.detach()).requires_grad_() for t in tensors]

    turned = laid_out(lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1))
    every_second = laid_out(lambda t: t.repeat_interleave(2, -1)[..., ::2])
    assert not every_second[0].is_contiguous()
    for others in (turned, every_second):
        assert_same_bits(results(case.fast, others), expected)
    if case.maps:
        last = [
            t.contiguous(memory_format=torch.channels_last) if name in case.maps else t
            for name, t in zip(case.tensors, laid_out(torch.clone), strict=True)
        ]
        found = results(case.fast, [t.detach().requires_grad_() for t in last])
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        assert_same_bits(found, expected)


@proof
@operators
def test_only_what_needs_a_gradient_gets_one(operator):
    case = operator()
    tensors = at(case.tensors)
    expected = results(case.fast, tensors)
    for i, wanted in enumerate(tensors):
        alone = [t.detach().requires_grad_(t is wanted) for t in tensors]
        assert_same_bits(results(case.fast, alone)[1], expected[1 + i])
    with torch.no_grad():
        assert_same_bits(case.fast(*tensors), expected[0])


@proof
@pytest.mark.parametrize('operator', [depthwise, cycle, large_kernel])
def test_biases_can_be_left_out(operator):
    case = operator()
    arguments = {name: t.to(DEVICE).float() for name, t in case.tensors.items()}
    zero = [t.zero_() if 'bias' in name else t for name, t in arguments.items()]
    without = [None if 'bias' in name else t for name, t in arguments.items()]
    assert_same_bits(case.fast(*without), case.fast(*zero))


@proof
@operators
def test_checkpoint_and_compile_change_nothing(operator):
    case = operator()
    tensors = at(case.tensors)
    expected = results(case.fast, tensors)
    again = results(lambda *args: checkpoint(case.fast, *args, use_reentrant=False), tensors)
    assert_same_bits(again, expected)
    torch._dynamo.reset()
    backend = 'aot_eager' if INTERPRETED else 'inductor'
    compiled = results(torch.compile(case.fast, backend=backend, fullgraph=True), tensors)
    assert_equal_sums(compiled, expected, case.least)


@proof
@operators
def test_export_takes_another_backend(operator):
    case = operator()
    tensors = [t.detach() for t in at(case.tensors)]

    class Network(torch.nn.Module):
        def forward(self, *tensors):
            return case.by(None)(*tensors)

    exported = torch.export.export(Network(), tuple(tensors))
    assert 'triton' not in str(exported.graph)
    assert_equal_sums([exported.module()(*tensors)], [case.fast(*tensors)], case.least)


@proof
@pytest.mark.parametrize('operator', [depthwise, cycle])
def test_second_derivatives(operator):
    """By gradients of gradients, and by the same of stock PyTorch in double precision."""
    case = operator((1, 3, 3, 4), *((3, 1) if operator is depthwise else ()))
    tensors = at(case.tensors)

    def second(function, tensors):
        out = function(*tensors)
        gradient = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out).requires_grad_()
        first = torch.autograd.grad(out, tensors, gradient, create_graph=True)
        # A sum of cubes: every term of every first derivative counts differently.
        return torch.autograd.grad(sum(f.pow(3).sum() for f in first), [*tensors[:2], gradient])

    exact = [t.detach().double().requires_grad_() for t in tensors]
    assert_equal_sums(second(case.fast, tensors), second(case.stock, exact))


@proof
@pytest.mark.parametrize('operator', [local, relative])
def test_second_derivatives_are_refused(operator):
    case = operator()
    tensors = at(case.tensors)
    first = torch.autograd.grad(case.fast(*tensors).square().sum(), tensors, create_graph=True)
    with pytest.raises(UserError, match='no second derivatives'):
        first[0].sum().backward()


@proof
def test_operators_keep_the_contract_of_torch_library():
    """Schemas, fake kernels (shapes, strides, dtypes) and autograd, as PyTorch checks them."""
    for operator, args, checks in kernel_cases.contracts():
        torch.library.opcheck(operator, args, test_utils=checks)


@proof
@operators
def test_same_bits_twice(operator):
    case = operator()
    tensors = at(case.tensors)
    assert_same_bits(results(case.fast, tensors), results(case.fast, tensors))


@proof
@operators
def test_triton_is_preferred_where_it_is_trusted_and_counted(operator):
    case = operator()
    tensors = at(case.tensors)
    assert explain(case.by(None), *tensors)['triton'] == VERDICT
    with counting() as multiply_adds:
        case.by(None)(*tensors)
    assert multiply_adds[case.name] > 0


def peak_memory(case):
    tensors = at(case.tensors)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    results(case.fast, tensors)
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.gpu
def test_memory_of_local_attention_does_not_grow_with_the_square():
    # Partial sums of the embeddings' gradients are all that grows.
    assert peak_memory(local((4, 56, 56), 15)) < 1.3 * peak_memory(local((4, 56, 56), 3))


@pytest.mark.gpu
def test_memory_of_relative_attention_grows_as_tokens_do():
    # Four times the tokens; the sums of offsets grow as the table, and all else as the tokens.
    assert peak_memory(relative((1, 112, 112))) < 4.4 * peak_memory(relative((1, 56, 56)))


# ---- without a GPU


@once
@needs_triton
def test_interpreter_agrees():
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:xdist', __file__]
    done = run(*command, env=dict(TRITON_INTERPRET='1', MMVISATTN_TRITON='1'))
    assert done.returncode == 0, done.tail
    assert int(re.search(r'(\d+) passed', done.output)[1]) > 100


def maps(dtype=torch.float32, device='cpu'):
    shapes = (1, 8, 4, 4), (8, 1, 5, 5), (8,), (8, 1, 7, 7), (8,), (8, 8, 1, 1), (8,)
    return [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]


def reason_local(device='cpu', d=4, kernel_size=3):
    x = torch.zeros(1, d, 4, 4, device=device)
    return explain(local_attention, x, x, x, kernel_size=kernel_size, num_heads=1)['triton']


def reason_relative(device='cpu', d=4, table=True, **options):
    x = torch.zeros(1, 1, 6, d, device=device)
    bias = torch.zeros(1, 3, 5, device=device) if table else None
    return explain(relative_attention, x, x, x, bias, size=(2, 3), **options)['triton']


def reason_large_kernel(device='cpu'):
    return explain(large_kernel_attention, *maps(device=device))['triton']


@once
@needs_triton
@pytest.mark.parametrize('reason', [reason_large_kernel, reason_local, reason_relative])
def test_kernels_are_for_cuda_devices(reason):
    assert reason() == 'it is for CUDA devices, and x is on cpu'
    assert 'x is on meta' in reason(device='meta')


@once
@needs_triton
def test_reasons_not_to_run():
    x, weight = torch.zeros(1, 17, 2, 2), torch.zeros(3, 17, 1, 1)
    assert '16 at most' in explain(cycle_fc, x, weight, None, (1, 17))['triton']
    assert '31 at most' in reason_local(kernel_size=33)
    for reason in (reason_local, reason_relative):
        assert '256 bytes at most' in reason(d=65)
        with torch.autocast('cpu', torch.bfloat16):
            assert '256 bytes' not in reason(d=65)
    assert 'PyTorch itself' in reason_relative(table=False)
    assert 'before the softmax' in reason_relative(position='post_softmax')


@needs_triton
def test_reasons_not_to_run_on_its_own_device(monkeypatch):
    monkeypatch.setattr(launch, 'INTERPRETED', True)  # so that the CPU is its device
    assert launch.why_not(*maps()) is None
    assert 'not torch.float64' in launch.why_not(*maps(torch.float64))
    assert 'not torch.float64' in launch.why_not(maps()[0], *maps(torch.float64))
    assert '32 bits' in launch.why_not(torch.zeros(1).expand(2**31))
    x, e = torch.zeros(1, 4, 3, 3), torch.zeros(1, 3, 2, dtype=torch.float64)
    options = dict(kernel_size=3, num_heads=1)
    assert explain(local_attention, x, x, x, **options)['triton'] == VERDICT
    assert 'not torch.float64' in explain(local_attention, x, x, x, e, e, **options)['triton']
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


INTEGERS = {
    *('batch', 'channels', 'chunks', 'heads', 'height', 'outputs', 'pixels', 'tiles', 'tokens'),
    'width',
}
OPTIONS = 'num_warps', 'num_stages'


def compiled(name, capability, dtype, constants):
    """What Triton makes of a kernel, for a GPU that need not be there."""
    from triton import JITFunction, compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, name = name.split('.')
    kernel = getattr(importlib.import_module(f'mmvisattn.ops.kernels.{module}'), name)
    kernel = kernel if isinstance(kernel, JITFunction) else kernel.fn  # without autotuning
    types, aligned = {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            types[argument] = 'constexpr'
        elif argument in INTEGERS or argument == 'scale':
            types[argument] = 'fp32' if argument == 'scale' else 'i32'
        else:
            types[argument] = '*fp32' if argument in ('means', 'partial', 'sums') else f'*{dtype}'
        if types[argument][0] == '*' or argument in ('channels', 'outputs'):
            aligned[(i,)] = [['tt.divisibility', 16]]
    options = {option: constants[option] for option in OPTIONS if option in constants}
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
    source = ASTSource(kernel, types, constants, aligned)
    return compile(source, target=GPUTarget('cuda', capability, 32), options=options)


@once
@needs_triton
@pytest.mark.parametrize(
    ('kernel', 'capability', 'dtype', 'constants'),
    [
        pytest.param(*row, id='-'.join([row[0], f'sm{row[1]}', row[2]]))
        for row in kernel_cases.to_compile()
    ],
)
def test_kernels_compile_for_gpus_and_load_whole_vectors(
    kernel, capability, dtype, constants, tmp_path, monkeypatch
):
    """Triton compiles for a GPU without one; what its interpreter takes it may refuse."""
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    done = compiled(kernel, capability, dtype, constants)
    assert len(done.asm['cubin']) > 1000
    loads = 'global.v4.b32', 'cp.async.cg.shared.global'  # 16 bytes each
    # Its threads take two channels each, by design: registers hold 49 sums of them.
    by_pairs = kernel == 'depthwise._weight_gradient_kernel'
    assert any(load in done.asm['ptx'] for load in loads) != by_pairs
    assert done.metadata.shared <= 99 * 1024  # what the smallest GPUs have
