"""The Triton kernels of the attentions, in the way of `test_kernels.py`."""

import re
import sys

import pytest
import torch
from conftest import run
from test_kernels import (
    DEVICE,
    INTERPRETED,
    at,
    needs_triton,
    normal,
    once,
    proof,
    results,
)
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmvisattn.errors import UserError
from mmvisattn.ops import counting, explain, kernels, local_attention, relative_attention
from mmvisattn.ops.kernels import launch

# (N, H, W): maps of one tile and of several, one pixel, no batch.
SMALL = [(2, 5, 10), (1, 1, 1), (1, 9, 3), (0, 3, 3)]
LARGE = [(4, 28, 28), (3, 45, 37), (2, 56, 56)]
sizes = pytest.mark.parametrize('size', SMALL if INTERPRETED else SMALL + LARGE, ids=str)
SIZE = (2, 3, 4) if INTERPRETED else LARGE[1]
VERDICT = 'can run, not preferred' if kernels.BY_REQUEST else 'chosen'
HEADS, D, DV = (2, 6, 5) if INTERPRETED else (8, 64, 32)


def local(size, kernel_size=3, key=True, embeddings=True, d=D):
    """The fast function, its definition, the same in stock PyTorch, and their tensors."""
    n, h, w = size
    shapes = dict(
        query=(n, HEADS * d, h, w), key=(n, HEADS * d, h, w), value=(n, HEADS * DV, h, w),
        row=(HEADS, kernel_size, d // 2), column=(HEADS, kernel_size, d // 2),
    )  # fmt: skip
    if not key:
        del shapes['key']
    if not embeddings:
        del shapes['row'], shapes['column']

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

    def by(backend):
        def attend(query, *others):
            others = list(others)
            first = others.pop(0) if key else None
            return local_attention(
                query, first, *others,
                kernel_size=kernel_size, num_heads=HEADS, scale=0.3, backend=backend,
            )  # fmt: skip

        return attend

    return by('triton'), by('naive'), stock, normal(shapes)


def relative(size, d=D):
    """The same for attention to all tokens."""
    n, h, w = size
    shapes = dict(
        query=(n, HEADS, h * w, d), key=(n, HEADS, h * w, d), value=(n, HEADS, h * w, DV),
        table=(HEADS, 2 * h - 1, 2 * w - 1),
    )  # fmt: skip

    def stock(query, key, value, table):
        y, x = (torch.arange(h * w, device=DEVICE) // w, torch.arange(h * w, device=DEVICE) % w)
        bias = table[:, y[:, None] - y + h - 1, x[:, None] - x + w - 1]
        return (0.3 * query @ key.mT + bias).softmax(3).to(value.dtype) @ value

    def by(backend):
        return lambda *t: relative_attention(*t, size=(h, w), scale=0.3, backend=backend)

    return by('triton'), by('naive'), stock, normal(shapes)


operators = pytest.mark.parametrize('operator', [local, relative])


def assert_equal_sums(found, expected):
    """Equal but for the order of float32 sums of numbers about one: 1e-5, and of the largest sum.

    Where a query sees one key, gradients are differences of equal numbers.
    """
    for one, other in zip(found, expected, strict=True):
        largest = other.abs().max().item() if other.numel() else 0
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=1e-5 * max(1, largest), check_stride=False
        )


def is_the_definition(operator, *args):
    fast, definition, _, tensors = operator(*args)
    tensors = at(tensors)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    assert_equal_sums(results(fast, tensors), results(definition, exact))


# ---- what the kernels compute


@proof
@sizes
@pytest.mark.parametrize('kernel_size', [1, 7, 25])
def test_local_attention_is_its_definition(size, kernel_size):
    is_the_definition(local, size, kernel_size)


@proof
@pytest.mark.parametrize('only', ['key', 'embeddings'])
def test_local_attention_by_contents_or_by_positions_alone(only):
    is_the_definition(local, SIZE, 3, only == 'key', only == 'embeddings')


@proof
def test_a_row_that_takes_several_steps():
    is_the_definition(local, (1, 2, 40), 31)


@proof
@sizes
def test_relative_attention_is_its_definition(size):
    is_the_definition(relative, size)


@proof
@pytest.mark.parametrize('size', [(1, 9, 8), (2, 2, 17), (1, 1, 70)], ids=str)
def test_tokens_of_several_blocks(size):
    is_the_definition(relative, size)


@proof
def test_heads_share_embeddings():
    fast, definition, _, tensors = local(SIZE)
    *maps, row, column = at(tensors)
    shared = [e[:1].detach().requires_grad_() for e in (row, column)]
    assert_equal_sums(
        results(fast, [*maps, *shared]),
        results(definition, [t.detach().double().requires_grad_() for t in (*maps, *shared)]),
    )


@proof
@operators
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_as_good_as_stock_torch(operator, dtype, autocast):
    """The error against float64, in value and every gradient, is at most twice stock PyTorch's."""
    if INTERPRETED and dtype == torch.bfloat16:
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
        # Few numbers may all round luckily: one rounding of each is always allowed.
        rounding = torch.finfo(dtype).eps * true.square().mean().sqrt()
        assert error <= 2 * allowed + rounding
    assert (ours[0].double() - truth[0]).any(), 'nothing was rounded'


@proof
@operators
def test_memory_layout_changes_nothing(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    expected = results(fast, tensors)
    turned = [t.detach().mT.contiguous().mT.requires_grad_() for t in tensors]
    assert not turned[0].is_contiguous()
    every_second = [t.detach().repeat_interleave(2, -1)[..., ::2].requires_grad_() for t in tensors]
    for others in (turned, every_second):
        found = results(fast, others)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, check_stride=False)


@proof
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_local_attention_keeps_the_layout_of_maps(layout):
    fast, _, _, tensors = local(SIZE)
    *maps, row, column = at(tensors)
    maps = [t.detach().contiguous(memory_format=layout).requires_grad_() for t in maps]
    expected = results(fast, at(tensors))
    found = results(fast, [*maps, row, column])
    assert found[0].is_contiguous(memory_format=layout)
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
@pytest.mark.parametrize('operator', [local_attention, relative_attention])
def test_export_takes_another_backend(operator):
    case = local if operator is local_attention else relative
    tensors = [t.detach() for t in at(case(SIZE)[3])]
    options = dict(size=SIZE[1:], scale=0.3)
    if operator is local_attention:
        options = dict(kernel_size=3, num_heads=HEADS, scale=0.3)

    class Network(torch.nn.Module):
        def forward(self, *tensors):
            return operator(*tensors, **options)

    exported = torch.export.export(Network(), tuple(tensors))
    assert 'triton' not in str(exported.graph)
    assert_equal_sums([exported.module()(*tensors)], [case(SIZE)[0](*tensors)])


@proof
@operators
def test_second_derivatives_are_refused(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    first = torch.autograd.grad(fast(*tensors).square().sum(), tensors, create_graph=True)
    with pytest.raises(UserError, match='no second derivatives'):
        first[0].sum().backward()


@proof
@pytest.mark.parametrize('key', [True, False])
def test_local_attention_keeps_the_contract_of_torch_library(key):
    """Schemas, fake kernels (shapes, strides, dtypes) and autograd, as PyTorch checks them."""
    from mmvisattn.ops.kernels import square_attention as by_tiles

    query, other, value, row, column = at(local(SIZE)[3])
    tensors = query, other if key else None, value, row, column
    options = HEADS, 1, 0.3
    checks = {} if key else dict(test_utils='test_faketensor')
    torch.library.opcheck(by_tiles._attention, (*tensors, *options), **checks)
    with torch.no_grad():
        kept = by_tiles._attention(*tensors, *options)
        constants = [None if t is None else t.detach() for t in (value, *tensors, *kept)]
    contract = 'test_schema', 'test_faketensor'  # without derivatives of their own
    torch.library.opcheck(by_tiles._gradients, (*constants, *options), test_utils=contract)


@proof
def test_relative_attention_keeps_the_contract_of_torch_library():
    from mmvisattn.ops.kernels import biased_attention as by_blocks

    tensors, options = at(relative(SIZE)[3]), (list(SIZE[1:]), 0.3)
    torch.library.opcheck(by_blocks._attention, (*tensors, *options))
    with torch.no_grad():
        kept = by_blocks._attention(*tensors, *options)
        constants = [t.detach() for t in (tensors[2], *tensors, *kept)]
    contract = 'test_schema', 'test_faketensor'  # without derivatives of their own
    torch.library.opcheck(by_blocks._gradients, (*constants, *options), test_utils=contract)


@proof
@operators
def test_same_bits_twice(operator):
    fast, _, _, tensors = operator(SIZE)
    tensors = at(tensors)
    torch.testing.assert_close(results(fast, tensors), results(fast, tensors), rtol=0, atol=0)


def peak_memory(operator, *args):
    fast, _, _, tensors = operator(*args)
    tensors = at(tensors)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    results(fast, tensors)
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.gpu
def test_memory_of_local_attention_does_not_grow_with_the_square():
    # Partial sums of the embeddings' gradients are all that grows.
    assert peak_memory(local, (4, 56, 56), 15) < 1.3 * peak_memory(local, (4, 56, 56), 3)


@pytest.mark.gpu
def test_memory_of_relative_attention_grows_as_tokens_do():
    # Four times the tokens; the sums of offsets grow as the table, and all else as the tokens.
    assert peak_memory(relative, (1, 112, 112)) < 4.4 * peak_memory(relative, (1, 56, 56))


@proof
def test_triton_is_listed_and_counted():
    for operator, case, options in [
        (local_attention, local, dict(kernel_size=3, num_heads=HEADS)),
        (relative_attention, relative, dict(size=SIZE[1:])),
    ]:
        tensors = at(case(SIZE)[3])
        assert explain(operator, *tensors, **options)['triton'] == VERDICT
        with counting() as multiply_adds:
            operator(*tensors, **options)
        assert multiply_adds[operator.__name__] > 0


# ---- without a GPU


@once
@needs_triton
def test_interpreter_agrees():
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:xdist', __file__]
    done = run(*command, env=dict(TRITON_INTERPRET='1', MMVISATTN_TRITON='1'))
    assert done.returncode == 0, done.tail
    assert int(re.search(r'(\d+) passed', done.output)[1]) > 20


@once
@needs_triton
def test_reasons_not_to_run():
    def reason(device, d=4, kernel_size=3):
        x = torch.zeros(1, d, 4, 4, device=device)
        options = dict(kernel_size=kernel_size, num_heads=1)
        return explain(local_attention, x, x, x, **options)['triton']

    assert reason('cpu') == 'it is for CUDA devices, and x is on cpu'
    assert 'x is on meta' in reason('meta')
    assert '31 at most' in reason('cpu', kernel_size=33)
    assert '256 bytes at most' in reason('cpu', d=65)
    with torch.autocast('cpu', torch.bfloat16):
        assert '256 bytes' not in reason('cpu', d=65)


@once
@needs_triton
def test_reasons_not_to_run_relative_attention():
    def reason(device='cpu', d=4, table=True, **options):
        x = torch.zeros(1, 1, 6, d, device=device)
        bias = torch.zeros(1, 3, 5, device=device) if table else None
        return explain(relative_attention, x, x, x, bias, size=(2, 3), **options)['triton']

    assert reason() == 'it is for CUDA devices, and x is on cpu'
    assert 'x is on meta' in reason('meta')
    assert '256 bytes at most' in reason(d=65)
    assert 'PyTorch itself' in reason(table=False)
    assert 'before the softmax' in reason(position='post_softmax')


@needs_triton
def test_reasons_not_to_run_on_its_own_device(monkeypatch):
    monkeypatch.setattr(launch, 'INTERPRETED', True)  # so that the CPU is its device
    x, e = torch.zeros(1, 4, 3, 3), torch.zeros(1, 3, 2, dtype=torch.float64)
    options = dict(kernel_size=3, num_heads=1)
    assert explain(local_attention, x, x, x, **options)['triton'] == VERDICT
    assert 'not torch.float64' in explain(local_attention, x, x, x, e, e, **options)['triton']


COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmvisattn.ops.kernels import biased_attention, square_attention

INTEGERS = 'height', 'width', 'heads', 'tiles', 'chunks', 'tokens', 'batch'

def assembly(kernel, capability, dtype, options, **constants):
    types, aligned = {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            types[name] = 'constexpr'
        elif name in INTEGERS or name == 'scale':
            types[name] = 'i32' if name in INTEGERS else 'fp32'
        else:
            types[name] = '*fp32' if name in ('sums', 'means', 'partial') else f'*{dtype}'
            aligned[(i,)] = [['tt.divisibility', 16]]
    constants = {name: constants[name] for name in constants if name in kernel.arg_names}
    source = ASTSource(kernel, types, constants, aligned)
    return compile(source, target=GPUTarget('cuda', capability, 32), options=options)

head = dict(D=64, DV=64, BLOCK=64, BLOCK_V=64, PRECISION='tf32x3')
square = dict(**head, RADIUS=3, OFFSETS=16, COLUMNS=16, SIDE=8)
positions = dict(row_embedding=None, column_embedding=None)
contents = dict(key=None, grad_key=None)
for module, capability, dtype, stages, constants in [
    (square_attention, 80, 'fp16', 3, square),
    (square_attention, 90, 'bf16', 3, square),
    (square_attention, 90, 'fp32', 2, square),
    (square_attention, 90, 'bf16', 3, square | positions),
    (square_attention, 90, 'bf16', 3, square | contents),
    (biased_attention, 80, 'fp16', 2, dict(**head, TOKENS=64)),
    (biased_attention, 90, 'bf16', 2, dict(**head, TOKENS=64)),
    (biased_attention, 90, 'fp32', 2, dict(**head, TOKENS=32)),
]:
    options = dict(num_warps=4, num_stages=stages)
    for name in ('attention', 'query_gradient', 'key_gradient', 'table_gradient'):
        kernel = getattr(module, f'_{name}_kernel', None)
        if kernel is None:
            continue
        if name == 'table_gradient':
            constants = constants | dict(TOKENS=32)
        done = assembly(kernel, capability, dtype, options, **constants)
        loads = 'global.v4.b32', 'cp.async.cg.shared.global'  # 16 bytes each
        wide = any(load in done.asm['ptx'] for load in loads)
        print(kernel.__name__, dtype, len(done.asm['cubin']) > 1000, wide, done.metadata.shared)
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
    assert len(lines) == 5 * 3 + 3 * 4
    for kernel, dtype, compiled, wide, shared in lines:
        assert (compiled, wide) == ('True', 'True'), (kernel, dtype)
        assert int(shared) <= 99 * 1024, (kernel, dtype)  # what the smallest GPUs have
