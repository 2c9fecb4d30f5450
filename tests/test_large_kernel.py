"""Large kernel attention and depthwise convolution: every backend, and how the C++ one is built."""

import platform
import shlex
import subprocess
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from mmvisattn.errors import UserError
from mmvisattn.layers import PointwiseConv2d, recompute
from mmvisattn.ops import (
    counting,
    depthwise_conv2d,
    explain,
    large_kernel_attention,
    local_attention,
    native,
    pointwise,
)
from mmvisattn.ops.native import build, layout

# In double precision, two orders of the same few hundred sums differ by about 1e-13.
EXACT = dict(rtol=1e-10, atol=1e-10)
# In float32 by about 1e-6 of their largest terms; these are sums of up to 49 * 300 of them.
ROUNDED = dict(rtol=1e-4, atol=1e-3)

needs_native = pytest.mark.skipif(
    native.why_not() is not None, reason=f'the C++ operators are {native.status()}'
)
backends = pytest.mark.parametrize(
    'backend', [pytest.param('native', marks=needs_native), 'phases', 'conv']
)
# (k, dilation): of VAN, of its ablations, even ones, larger than what is specialised.
kernels = pytest.mark.parametrize(
    ('k', 'dilation'), [(7, 3), (5, 1), (3, 1), (1, 1), (3, 2), (4, 3), (2, 3), (6, 2), (9, 2)]
)
# (N, C, H, W): channels below, at, above and between the width of a vector; maps below the kernel.
SIZES = [(3, 6, 9, 14), (1, 33, 20, 11), (1, 16, 1, 1), (2, 24, 2, 5), (1, 8, 40, 3), (0, 8, 4, 4)]


def depthwise_arguments(n, c, h, w, k, dtype=torch.float64, channels_last=False):
    generator = torch.Generator().manual_seed(h * w + k)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((n, c, h, w), (c, 1, k, k), (c,))
    )
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    return [t.requires_grad_() for t in (x, weight, bias)]


def lka_arguments(n, c, h, w, dtype=torch.float64, k0=5, k1=7):
    generator = torch.Generator().manual_seed(h * w)
    shapes = (n, c, h, w), (c, 1, k0, k0), (c,), (c, 1, k1, k1), (c,), (c, c, 1, 1), (c,)
    tensors = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return [t.to(dtype).requires_grad_() for t in tensors]


def results(function, tensors, **options):
    """The output, and the gradients of what needs one for a fixed gradient of the output."""
    out = function(*tensors, **options)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    wanted = [t for t in tensors if t is not None and t.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, grad, materialize_grads=True)]


def chosen(operator, *tensors, **options):
    """The backend that a call takes."""
    verdicts = explain(operator, *tensors, **options)
    return next(name for name, verdict in verdicts.items() if verdict == 'chosen')


def stock(x, weight, bias, dilation):
    return F.conv2d(x, weight, bias, padding='same', dilation=dilation, groups=x.shape[1])


# ---- values and gradients


@backends
@kernels
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_depthwise_conv2d_is_its_definition(backend, k, dilation, size):
    tensors = depthwise_arguments(*size, k)
    expected = results(depthwise_conv2d, tensors, dilation=dilation, backend='naive')
    found = results(depthwise_conv2d, tensors, dilation=dilation, backend=backend)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize('backend', [pytest.param('native', marks=needs_native), 'phases', 'naive'])
@kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('size', [(2, 35, 20, 23), (1, 16, 5, 7)], ids=str)
def test_depthwise_conv2d_is_stock_torchs(backend, k, dilation, channels_last, size):
    tensors = depthwise_arguments(*size, k, torch.float32, channels_last)
    expected = results(stock, tensors, dilation=dilation)
    found = results(depthwise_conv2d, tensors, dilation=dilation, backend=backend)
    torch.testing.assert_close(found, expected, check_stride=False, **ROUNDED)
    kept = torch.channels_last if channels_last else torch.contiguous_format
    assert found[0].is_contiguous(memory_format=kept)


@backends
@pytest.mark.parametrize(('k0', 'k1', 'dilation'), [(5, 7, 3), (3, 11, 2), (7, 6, 4), (1, 21, 1)])
def test_large_kernel_attention_of_any_kernel(backend, k0, k1, dilation):
    tensors = lka_arguments(2, 20, 13, 8, k0=k0, k1=k1)
    expected = results(large_kernel_attention, tensors, dilation=dilation, backend='naive')
    found = results(large_kernel_attention, tensors, dilation=dilation, backend=backend)
    torch.testing.assert_close(found, expected, **EXACT)


@backends
def test_without_biases(backend):
    x, w0, _, w1, _, w2, _ = lka_arguments(1, 8, 6, 7)
    tensors = [x, w0, None, w1, None, w2, None]
    expected = results(large_kernel_attention, tensors, backend='naive')
    found = results(large_kernel_attention, tensors, backend=backend)
    torch.testing.assert_close(found, expected, **EXACT)


@backends
@pytest.mark.parametrize('trained', [[0], [1], [2], [0, 2], [1, 2]], ids=str)
def test_gradients_of_some_arguments_alone(backend, trained):
    tensors = depthwise_arguments(2, 20, 7, 6, 7)
    everything = results(depthwise_conv2d, tensors, dilation=3, backend='naive')
    some = [t.detach().requires_grad_(i in trained) for i, t in enumerate(tensors)]
    found = results(depthwise_conv2d, some, dilation=3, backend=backend)
    expected = [everything[0], *(everything[1 + i] for i in trained)]
    torch.testing.assert_close(found, expected, **EXACT)


@backends
def test_maps_that_are_pieces_of_others(backend):
    whole, weight, bias = depthwise_arguments(2, 24, 12, 20, 7)
    piece = whole.detach()[:, 3:20, 1::2, 5:].requires_grad_()
    tensors = [piece, weight[3:20], bias[3:20]]
    expected = results(depthwise_conv2d, tensors, dilation=3, backend='naive')
    found = results(depthwise_conv2d, tensors, dilation=3, backend=backend)
    torch.testing.assert_close(found, expected, check_stride=False, **EXACT)


@needs_native
def test_derivatives_of_derivatives():
    tensors = depthwise_arguments(1, 3, 4, 5, 3)

    def convolved(*tensors):
        return depthwise_conv2d(*tensors, dilation=2, backend='native')

    assert torch.autograd.gradcheck(convolved, tensors)
    assert torch.autograd.gradgradcheck(convolved, tensors)


@needs_native
@pytest.mark.parametrize('channels_last', [False, True])
def test_derivatives_of_derivatives_of_attention(channels_last):
    tensors = lka_arguments(1, 2, 3, 4, k0=3, k1=3)
    if channels_last:
        tensors[0] = tensors[0].detach().to(memory_format=torch.channels_last).requires_grad_()
    tensors[4] = tensors[4].detach()  # not all need a gradient

    def attention(*tensors):
        return large_kernel_attention(*tensors, dilation=2, backend='native')

    assert torch.autograd.gradcheck(attention, tensors)
    assert torch.autograd.gradgradcheck(attention, tensors)


@backends
@pytest.mark.parametrize('trained', [[0], [1], [4], [5], [0, 3], [1, 6]], ids=str)
def test_gradients_of_some_arguments_of_attention(backend, trained):
    tensors = lka_arguments(2, 20, 7, 6)
    everything = results(large_kernel_attention, tensors, backend='naive')
    some = [t.detach().requires_grad_(i in trained) for i, t in enumerate(tensors)]
    found = results(large_kernel_attention, some, backend=backend)
    torch.testing.assert_close(
        found, [everything[i] for i in (0, *(1 + t for t in trained))], **EXACT
    )


@backends
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_attention_keeps_memory_formats_and_arguments(backend, channels_last, size):
    """Whatever the layout of map and gradient; and what it was given is left as it was."""
    tensors = lka_arguments(*size)
    expected = results(large_kernel_attention, tensors, backend='naive')
    kept = torch.channels_last if channels_last else torch.contiguous_format
    tensors[0] = tensors[0].detach().to(memory_format=kept).requires_grad_()
    before = [t.detach().clone() for t in tensors]
    found = results(large_kernel_attention, tensors, backend=backend)
    torch.testing.assert_close(found, expected, check_stride=False, **EXACT)
    assert found[0].is_contiguous(memory_format=kept) or not found[0].numel()
    assert all(map(torch.equal, tensors, before))


@backends
def test_a_graph_may_be_walked_twice(backend):
    """The backward pass writes over its own memory alone; a gradient may be one number expanded."""
    tensors = lka_arguments(2, 20, 7, 6)
    out = large_kernel_attention(*tensors, backend=backend).sum()
    first = torch.autograd.grad(out, tensors, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(out, tensors)))


def test_torch_func_maps_and_differentiates():
    tensors = lka_arguments(3, 6, 7, 5)
    x, parameters = tensors[0].detach(), [t.detach() for t in tensors[1:]]

    def energy(x, *parameters):
        return large_kernel_attention(x[None], *parameters).square().sum()

    found = torch.func.vmap(torch.func.grad(energy), (0, *[None] * 6))(x, *parameters)
    each = [torch.func.grad(energy)(picture, *parameters) for picture in x]
    torch.testing.assert_close(found, torch.stack(each), **EXACT)


@pytest.mark.parametrize('dilation', [1, 3])
def test_forward_derivatives_are_stock_pytorchs(dilation):
    x, weight, bias = (t.detach() for t in depthwise_arguments(2, 20, 6, 5, 7))

    def stock(x):
        return F.conv2d(x, weight, bias, padding='same', dilation=dilation, groups=20)

    def ours(x):
        return depthwise_conv2d(x, weight, bias, dilation=dilation)

    expected = torch.func.jvp(stock, (x,), (x,))
    torch.testing.assert_close(torch.func.jvp(ours, (x,), (x,)), expected, **EXACT)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(ours(forward_ad.make_dual(x, x))).tangent
    torch.testing.assert_close(tangent, expected[1], **EXACT)


# ---- memory formats


@needs_native
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('size', [*SIZES, (2, 40, 33, 7), (1, 3, 1, 50)], ids=str)
def test_maps_are_laid_out_anew(size, dtype):
    x = torch.randn(size).to(dtype)
    last, first = torch.channels_last, torch.contiguous_format
    turned = layout.laid_out(x, last)
    assert turned.is_contiguous(memory_format=last)
    assert torch.equal(turned, x)
    back = layout.laid_out(turned, first)
    assert back.is_contiguous()
    assert torch.equal(back, x)
    assert layout.laid_out(x, first) is x
    piece = x[:, :, ::2]
    assert torch.equal(layout.laid_out(piece, last), piece)


# ---- which backend is taken


@needs_native
@pytest.mark.parametrize('channels_last', [False, True])
def test_pytorchs_convolution_is_taken_where_it_is_the_fastest(channels_last):
    def taken(k, trained, **options):
        tensors = depthwise_arguments(1, 8, 6, 5, k, torch.float32, channels_last)
        return chosen(
            depthwise_conv2d,
            *(t.requires_grad_(trained) for t in map(Tensor.detach, tensors)),
            **options,
        )

    assert taken(3, trained=True) == taken(7, trained=False) == 'conv'
    assert taken(5, trained=True) == taken(3, trained=False, dilation=2) == 'native'


@backends
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_as_good_as_stock_torch(backend, dtype, autocast):
    """The error against float64, in value and gradients, is at most twice stock PyTorch's."""
    exact = [t.to(dtype).double().detach().requires_grad_() for t in lka_arguments(2, 20, 9, 12)]
    truth = results(large_kernel_attention, exact, backend='naive')
    tensors = [t.detach().to(torch.float32 if autocast else dtype).requires_grad_() for t in exact]
    with torch.autocast('cpu', dtype, enabled=autocast):
        ours = results(large_kernel_attention, tensors, backend=backend)
        theirs = results(large_kernel_attention, tensors, backend='conv')
    for mine, other, true in zip(ours, theirs, truth, strict=True):
        assert mine.dtype == other.dtype
        error, allowed = ((t.double() - true).square().mean().sqrt() for t in (mine, other))
        assert error <= 2 * allowed


@needs_native
@pytest.mark.parametrize('threads', [1, 2, 5])
def test_threads_share_the_work(threads, monkeypatch):
    monkeypatch.setattr(build, 'WORK_PER_THREAD', 1)
    tensors = depthwise_arguments(2, 24, 17, 9, 7)
    expected = results(depthwise_conv2d, tensors, dilation=3, backend='naive')
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, again = (
            results(depthwise_conv2d, tensors, dilation=3, backend='native') for _ in range(2)
        )
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, **EXACT)
    assert all(map(torch.equal, found, again)), 'the same sums in the same order'


def test_dilation_of_one_row_of_pixels_shifts_it():
    """What thought alone says: a kernel with a single tap moves the map."""
    x = torch.arange(12.0).view(1, 1, 3, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 2] = 1
    expected = F.pad(x, (0, 2))[..., 2:]
    verdicts = explain(depthwise_conv2d, x, weight).items()
    can_run = [
        name for name, why_not in verdicts if why_not in ('chosen', 'can run, not preferred')
    ]
    assert {'phases', 'conv', 'naive'} <= set(can_run)
    for backend in can_run:
        assert torch.equal(depthwise_conv2d(x, weight, dilation=2, backend=backend), expected)


# ---- compilation, export, memory


@backends
def test_compiles_without_breaks(backend):
    torch._dynamo.reset()
    tensors = lka_arguments(1, 20, 10, 9)

    def attention(*tensors):
        return large_kernel_attention(*tensors, backend=backend)

    compiled = torch.compile(attention, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(results(compiled, tensors), results(attention, tensors), **EXACT)


@needs_native
def test_the_best_backend_is_taken_in_a_compiled_network_too():
    torch._dynamo.reset()
    graphs = []

    def keep(graph, _):
        graphs.append(graph.print_readable(print_output=False))
        return graph

    torch.compile(depthwise_conv2d, backend=keep, fullgraph=True)(
        *depthwise_arguments(1, 3, 4, 4, 3), dilation=2
    )
    assert 'native_depthwise_conv2d' in graphs[0]


@needs_native
def test_pytorch_finds_the_operators_well_made():
    x, weight, bias = depthwise_arguments(2, 20, 6, 5, 3, channels_last=True)
    torch.library.opcheck(torch.ops.mmvisattn.native_depthwise_conv2d, (x, weight, bias, 2, 2))
    torch.library.opcheck(torch.ops.mmvisattn.native_depthwise_conv2d, (x, weight, None, 2, 2))
    grad = torch.randn_like(x).requires_grad_()
    torch.library.opcheck(
        torch.ops.mmvisattn.native_depthwise_conv2d_weight_gradient, (x, grad, 3, 2, 2)
    )
    torch.library.opcheck(torch.ops.mmvisattn.native_layout, (x, False))
    tensors = lka_arguments(1, 6, 5, 4)
    torch.library.opcheck(
        torch.ops.mmvisattn.native_large_kernel_attention, (*tensors, 3), atol=1e-9, rtol=1e-9
    )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        tensors = lka_arguments(1, 6, 1, 1, torch.float32)[1:]
        self.parameters_of_it = nn.ParameterList(nn.Parameter(t.detach()) for t in tensors)

    def forward(self, x):
        return large_kernel_attention(x, *self.parameters_of_it)


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')  # checks of shapes are traced, too
def test_exported_graphs_hold_stock_operators():
    network, x = Attention(), torch.randn(1, 6, 9, 8)
    exported = torch.export.export(network, (x,))
    names = {str(node.target) for node in exported.graph.nodes}
    assert any('conv2d' in name for name in names)
    assert not any('mmvisattn' in name for name in names)
    torch.testing.assert_close(exported.module()(x), network(x), **ROUNDED)
    traced = torch.jit.trace(network, x, check_trace=False)
    assert 'aten::_convolution' in {node.kind() for node in traced.inlined_graph.nodes()}
    assert not any('mmvisattn' in node.kind() for node in traced.inlined_graph.nodes())
    torch.testing.assert_close(traced(x), network(x), **ROUNDED)
    larger = torch.randn(2, 6, 13, 5)
    torch.testing.assert_close(traced(larger), network(larger), **ROUNDED)


def test_meta_tensors_have_a_shape_alone():
    x, weight, bias = (t.detach().to('meta') for t in depthwise_arguments(2, 6, 5, 4, 3))
    assert explain(depthwise_conv2d, x, weight, bias)['conv'] == 'chosen'
    assert depthwise_conv2d(x, weight, bias).shape == x.shape
    with pytest.raises(UserError, match='x is on meta'):
        depthwise_conv2d(x, weight, bias, backend='native')


def test_counts_are_those_of_the_formula():
    tensors = depthwise_arguments(2, 6, 5, 4, 3)
    with counting() as multiply_adds:
        depthwise_conv2d(*tensors, dilation=2)
    assert multiply_adds == dict(depthwise_conv2d=2 * 6 * 5 * 4 * 9)


@backends
def test_checkpointing_changes_nothing(backend):
    tensors = lka_arguments(1, 16, 7, 6, torch.float32)

    class Network(nn.Module):
        def forward(self, x):
            return large_kernel_attention(x, *tensors[1:], backend=backend)

    network = Network()
    expected = results(lambda x, *_: network(x), tensors)
    found = results(lambda x, *_: recompute(network, x), tensors)
    assert all(map(torch.equal, found, expected))
    with torch.no_grad():
        assert torch.equal(network(tensors[0]), expected[0])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((torch.zeros(8, 4, 4), torch.zeros(8, 1, 3, 3)), r'\(N, C, H, W\)'),
        ((torch.zeros(1, 8, 4, 4), torch.zeros(8, 1, 3, 5)), 'weight has the wrong shape'),
        ((torch.zeros(1, 8, 4, 4), torch.zeros(8, 1, 3, 3), torch.zeros(4)), 'bias has the wrong'),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        depthwise_conv2d(*arguments)


# ---- the 1 x 1 convolution


@pytest.fixture
def asked_of_onednn(monkeypatch):
    """Let small maps be computed as large ones are."""
    monkeypatch.setattr(pointwise, 'LEAST_PIXELS', 0)
    monkeypatch.setattr(pointwise, 'LEAST_MULTIPLY_ADDS', 0)
    monkeypatch.setattr(pointwise, '_is_one_thread', lambda: True)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('channels_last', [False, True])
def test_pointwise_convolution_is_stock_torchs(asked_of_onednn, dtype, channels_last):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((2, 20, 9, 7), (24, 20, 1, 1), (24,))
    )
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    tensors = [t.requires_grad_() for t in (x, weight, bias)]
    found, expected = (results(f, tensors) for f in (pointwise.pointwise_conv2d, F.conv2d))
    # The same products, summed in another order: 20 to 126 terms of float32.
    torch.testing.assert_close(found, expected, check_stride=False, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_linear_layers_of_pixels_are_stock_torchs(asked_of_onednn, dtype):
    x, weight, bias, weights, biases = tensors = [
        torch.randn(shape, dtype=dtype, requires_grad=True)
        for shape in ((2, 9, 7, 20), (24, 20), (24,), (2, 24, 20), (2, 24))
    ]
    each = torch.einsum('nhwc,noc->nhwo', x, weights) + biases[:, None, None]
    expected = F.linear(x, weight, bias), F.linear(x, weight), each
    found = (
        pointwise.pixel_linear(x, weight, bias),
        pointwise.pixel_linear(x, weight),
        pointwise.pixel_linear_each(x, weights, biases),
    )
    gradients = (
        torch.autograd.grad(sum(y.sin().sum() for y in outputs), tensors)
        for outputs in (found, expected)
    )
    for pairs in (zip(found, expected, strict=True), zip(*gradients, strict=True)):
        for ours, stock in pairs:
            # The same products, summed in another order: 20 to 126 terms.
            torch.testing.assert_close(ours, stock, check_stride=False, rtol=1e-4, atol=1e-4)


def test_pointwise_module_is_stock_torchs(asked_of_onednn):
    ours, stock = PointwiseConv2d(6, 9), nn.Conv2d(6, 9, 1)
    ours.load_state_dict(stock.state_dict())
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(ours(x), stock(x))
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), stock(x))
    exported = torch.export.export(ours, (x,)).graph.nodes
    (conv,) = (node for node in exported if 'conv2d' in str(node.target))
    assert [2, 2] not in conv.args, 'an exported graph is as the network was written'


# ---- how it is built


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process, with an empty folder for what is built."""
    monkeypatch.delenv('MMVISATTN_NATIVE', raising=False)
    monkeypatch.setenv('MMVISATTN_CACHE', str(tmp_path / 'cache'))
    build._built.cache_clear()
    yield tmp_path / 'cache'
    build._built.cache_clear()


def same_as_always():
    """Whether the operator, by whatever backend it takes, still equals its definition."""
    tensors = depthwise_arguments(1, 20, 6, 5, 3)
    expected = results(depthwise_conv2d, tensors, dilation=2, backend='naive')
    torch.testing.assert_close(results(depthwise_conv2d, tensors, dilation=2), expected, **EXACT)
    return chosen(depthwise_conv2d, *tensors, dilation=2)


@needs_native
def test_it_is_built_once_and_then_found(fresh, monkeypatch):
    assert same_as_always() == 'native'
    (file,) = fresh.glob('*.so')
    assert str(file) in native.status()
    build._built.cache_clear()
    monkeypatch.setattr(build, '_compile', lambda *_: pytest.fail('it was there'))
    assert same_as_always() == 'native'


@pytest.mark.parametrize(
    ('variables', 'reason'),
    [
        (dict(MMVISATTN_NATIVE='0'), 'MMVISATTN_NATIVE=0'),
        (dict(CXX='no-such-compiler'), r'no C\+\+ compiler \(no-such-compiler\)'),
        (dict(CXX='false'), 'false .* failed'),
    ],
)
def test_without_it_another_backend_computes(fresh, monkeypatch, variables, reason):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert same_as_always() == 'phases'
    x, weight, _ = depthwise_arguments(1, 8, 4, 4, 3)
    with pytest.raises(UserError, match=reason):
        depthwise_conv2d(x, weight, backend='native')
    assert native.status().startswith('not in use')
    assert not list(fresh.glob('*.so')), 'nothing half-made stays'


def test_a_failed_build_is_not_tried_again(fresh, monkeypatch):
    monkeypatch.setenv('CXX', 'false')
    assert native.why_not() is not None
    monkeypatch.setenv('CXX', sys.executable)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('it tried again'))
    assert 'false' in native.why_not()


@needs_native
@pytest.mark.skipif(platform.machine() != 'x86_64', reason='these are flags for x86-64')
@pytest.mark.parametrize('flag', ['-mno-avx512f', '-mno-avx'])
def test_vectors_of_other_processors(fresh, monkeypatch, flag):
    """What is compiled for a processor without AVX-512, or without AVX, computes the same."""
    monkeypatch.setenv('CXX', shlex.join([*build._compiler(), flag]))
    for channels in (3, 4, 6, 9, 20):
        tensors = depthwise_arguments(1, channels, 9, 7, 7)
        expected = results(depthwise_conv2d, tensors, dilation=3, backend='naive')
        found = results(depthwise_conv2d, tensors, dilation=3, backend='native')
        torch.testing.assert_close(found, expected, **EXACT)
    for width in (1, 9, 20):
        maps = torch.randn(3, 1, 6, 5, width, dtype=torch.float64).unbind()
        expected, found = (
            local_attention(*maps, kernel_size=5, num_heads=2, backend=name)
            for name in ('naive', 'native')
        )
        torch.testing.assert_close(found, expected, **EXACT)


@needs_native
def test_a_folder_that_cannot_be_written_does_no_harm(fresh):
    fresh.write_text('a file where the folder should be')
    assert same_as_always() == 'native'


@needs_native
def test_a_file_that_cannot_be_loaded_does_no_harm(fresh):
    assert native.why_not() is None
    (file,) = fresh.glob('*.so')
    build._built.cache_clear()
    damaged = fresh / 'damaged'
    damaged.write_bytes(b'no library')
    damaged.replace(file)  # a new file: the old one is in use
    assert same_as_always() == 'native'


@needs_native
def test_several_at_once_build_one(fresh, monkeypatch):
    compiled = []
    compile_once = build._compile
    monkeypatch.setattr(build, '_compile', lambda *a: (compiled.append(a), compile_once(*a)))
    command = (*build._compiler(), *build.FLAGS)
    with ThreadPool(3) as pool:
        pool.map(build._loaded, [command] * 3)
    assert len(compiled) == 1


def test_the_source_is_packaged():
    settings = (Path(build.__file__).parents[3] / 'setup.cfg').read_text()
    assert 'mmvisattn.ops.native = *.cpp, *.h' in settings
