"""The backward passes that the attentions bring themselves, and what may surround them."""

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmvisattn.ops import local_attention, native, relative_attention
from mmvisattn.ops.local_attention import squares, strips
from mmvisattn.ops.relative_attention import chunks

# In double precision, two orders of the same few hundred sums differ by about 1e-13.
EXACT = dict(rtol=1e-10, atol=1e-10)


def local(*shape, n=2, heads=2, d=4, kernel_size=3, backend=None):
    """Query, key, value and both embeddings, and the operator on them."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(n, heads * d, *shape)] * 3 + [(heads, kernel_size, d // 2)] * 2
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    options = dict(kernel_size=kernel_size, num_heads=heads, backend=backend)
    return tensors, lambda *t: local_attention(*t, **options)


def in_strips(*shape):
    """The same, by what computes it where there is no C++."""
    return local(*shape, backend='strips')


def relative(*shape, n=2, heads=2, d=3):
    """Query, key, value and the table, and the operator on them."""
    generator = torch.Generator().manual_seed(0)
    height, width = shape
    shapes = [(n, heads, height * width, d)] * 3 + [(heads, 2 * height - 1, 2 * width - 1)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return tensors, lambda *t: relative_attention(*t, size=shape)


each = pytest.mark.parametrize('attention', [local, in_strips, relative])


@pytest.fixture(params=['whole', 'pieces'])
def pieces(request, monkeypatch):
    """Compute in one piece, and in the smallest there are."""
    elements = dict(whole=2**30, pieces=1)[request.param]
    monkeypatch.setattr(squares, 'PIECE_ELEMENTS', elements)
    monkeypatch.setattr(strips, 'STRIP_ELEMENTS', elements)
    monkeypatch.setattr(chunks, 'CHUNK_ELEMENTS', elements)


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@each
def test_gradients_of_both_orders_are_those_of_differences(attention, pieces):
    tensors, operator = attention(2, 5)
    tensors = leaves(tensors)
    assert gradcheck(operator, tensors, fast_mode=True)
    assert gradgradcheck(operator, tensors, fast_mode=True)


@each
def test_each_input_may_be_the_only_one_that_is_trained(attention, pieces):
    tensors, operator = attention(5, 6)
    expected = torch.autograd.grad(operator(*(trained := leaves(tensors))).square().sum(), trained)
    for i, gradient in enumerate(expected):
        alone = [t.clone().requires_grad_(i == j) for j, t in enumerate(tensors)]
        operator(*alone).square().sum().backward()
        torch.testing.assert_close(alone[i].grad, gradient, **EXACT)
        assert all(t.grad is None for j, t in enumerate(alone) if j != i)


@each
def test_checkpointing_changes_nothing(attention):
    tensors, operator = attention(5, 6)
    plain, saved = leaves(tensors), leaves(tensors)
    operator(*plain).square().sum().backward()
    checkpoint(operator, *saved, use_reentrant=False).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain, saved, strict=True))


@each
def test_inputs_may_lie_in_memory_as_they_like(attention, pieces):
    tensors, operator = attention(5, 6)
    plain = leaves(tensors)
    turned = [t.mT.contiguous().mT.requires_grad_() for t in tensors]
    assert not any(t.is_contiguous() for t in turned[:3])
    operator(*plain).square().sum().backward()
    operator(*turned).square().sum().backward()
    for a, b in zip(plain, turned, strict=True):
        torch.testing.assert_close(b.grad, a.grad, **EXACT)


@each
def test_a_second_run_gives_the_same_bits(attention, pieces):
    def run():
        tensors, operator = attention(9, 7)
        tensors = [t.float().requires_grad_() for t in tensors]
        return torch.autograd.grad(operator(*tensors).square().sum(), tensors)

    assert all(map(torch.equal, run(), run()))


@each
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_returns_its_dtype_and_gradients_of_the_inputs(attention, dtype):
    tensors, operator = attention(5, 6)
    tensors = [t.float().requires_grad_() for t in tensors]
    with torch.autocast('cpu', dtype):
        out = operator(*tensors)
    assert out.dtype == dtype
    gradients = torch.autograd.grad(out.float().sum(), tensors)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


@each
def test_export_keeps_the_values(attention):
    tensors, operator = attention(5, 6)

    class Network(torch.nn.Module):
        def forward(self, *tensors):
            return operator(*tensors)

    exported = torch.export.export(Network(), tuple(leaves(tensors)))
    torch.testing.assert_close(exported.module()(*tensors), operator(*tensors), **EXACT)


@each
def test_meta_tensors_have_shapes(attention):
    tensors, operator = attention(5, 6)
    out = operator(*(t.to('meta').requires_grad_() for t in tensors))
    out.sum().backward()
    assert out.is_meta
    assert out.shape == tensors[2].shape


needs_native = pytest.mark.skipif(
    native.why_not() is not None, reason=f'the C++ operators are {native.status()}'
)


@needs_native
def test_threads_change_nothing(monkeypatch):
    """Even where they are more than heads, and share the rows of one."""
    monkeypatch.setattr(native.build, 'WORK_PER_THREAD', 1)
    tensors, operator = local(7, 19, n=1, heads=2)

    def run(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            trained = leaves(tensors)
            out = operator(*trained)
            return [out, *torch.autograd.grad(out.square().sum(), trained)]
        finally:
            torch.set_num_threads(before)

    torch.testing.assert_close(run(5), run(1), **EXACT)


@needs_native
def test_pytorch_finds_the_operators_of_squares_well_made():
    a, b, v = (torch.randn(2, 6, 4, 5, dtype=torch.float64) for _ in range(3))
    weights = native.neighbour_products(a, b, 2, 3)
    ours = torch.ops.mmvisattn
    arguments = [t.requires_grad_() for t in (a, b, v, weights)]
    torch.library.opcheck(ours.native_neighbour_products, (*arguments[:2], 2, 3))
    for turned in (False, True):
        torch.library.opcheck(ours.native_neighbour_sums, (weights, v, turned))


@needs_native
def test_products_of_squares_are_unfolds():
    """Each head by itself, zero beyond the map, and turned sums are the other's transpose."""
    n, heads, k, size = 2, 3, 5, (6, 7)
    a, b, v = (torch.randn(n, 4 * heads, *size, dtype=torch.float64) for _ in range(3))

    def unfolded(x):
        return F.unfold(x, k, padding=k // 2).view(n, heads, 4, k, k, *size)

    own = a.view(n, heads, 4, 1, 1, *size)
    products = native.neighbour_products(a, b, heads, k)
    torch.testing.assert_close(products, (own * unfolded(b)).sum(2), **EXACT)
    sums = native.neighbour_sums(products, v, False)
    expected = (products[:, :, None] * unfolded(v)).sum((3, 4)).view(v.shape)
    torch.testing.assert_close(sums, expected, **EXACT)
    turned = native.neighbour_sums(products, a, True)
    torch.testing.assert_close((sums * a).sum(), (turned * v).sum(), **EXACT)


def through_torch_func(operator, x):
    return torch.func.jvp(operator, (x,), (x,))


def through_dual_numbers(operator, x):
    with forward_ad.dual_level():
        return operator(forward_ad.make_dual(x, x))


@needs_native
@pytest.mark.parametrize('forward', [through_torch_func, through_dual_numbers])
def test_forward_derivatives_are_never_lost(forward):
    """Local attention has none: a tangent that disappears in silence would be a wrong zero."""
    (query, *others), operator = local(4, 5)
    with pytest.raises((NotImplementedError, RuntimeError)):
        forward(lambda q: operator(q, *others), query)
