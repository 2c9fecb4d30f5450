"""The operators: every fast path against its definition, and all against what is not ours."""

import doctest
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

import pytest
import torch
import torchvision
from timm.layers import RelPosBias
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from mmvisattn.errors import UserError
from mmvisattn.ops import (
    channel_fc,
    counting,
    cycle_fc,
    cycle_mixing,
    cycle_offsets,
    depthwise_conv2d,
    explain,
    large_kernel_attention,
    local_attention,
    relative_attention,
    spatial_fc,
)
from mmvisattn.ops.backends import Backend, Call, dispatch
from mmvisattn.ops.local_attention import squares, strips
from mmvisattn.ops.relative_attention import chunks

# In double precision, two orders of the same few hundred sums differ by about 1e-13.
EXACT = dict(rtol=1e-10, atol=1e-10)


# ---- what the tests run over: operators, their arguments, and how stock PyTorch would do it


@dataclass
class Case:
    """One way to call an operator: shapes for a batch and a size, and options."""

    operator: Callable
    shapes: Callable
    options: dict = field(default_factory=dict)
    takes_size: bool = False

    def at(self, n, h, w, dtype=torch.float64):
        """Tensors that need gradients, and options."""
        generator = torch.Generator().manual_seed(h * w)
        tensors = {
            name: torch.randn(shape, generator=generator).to(dtype).requires_grad_()
            for name, shape in self.shapes(n, h, w).items()
        }
        return tensors, self.options | (dict(size=(h, w)) if self.takes_size else {})


def cycle_case(**options):
    return Case(
        cycle_fc, lambda n, h, w: dict(x=(n, 11, h, w), weight=(6, 11, 1, 1), bias=(6,)), options
    )


def depthwise_case(k, **options):
    def shapes(n, h, w):
        return dict(x=(n, 6, h, w), weight=(6, 1, k, k), bias=(6,))

    return Case(depthwise_conv2d, shapes, options)


def mixing_case(reweight=True):
    def shapes(n, h, w):
        named = dict(x=(n, 8, h, w), channel_weight=(8, 8), proj_weight=(8, 8), proj_bias=(8,))
        for axis in ('height', 'width'):
            named |= {f'{axis}_weight': (8, 8, 1, 1), f'{axis}_bias': (8,)}
        fcs = dict(fc1_weight=(4, 8), fc1_bias=(4,), fc2_weight=(24, 4), fc2_bias=(24,))
        return named | (fcs if reweight else {})

    return Case(cycle_mixing, shapes)


def large_kernel_case(k0, k1, **options):
    def shapes(n, h, w):
        return dict(
            x=(n, 6, h, w),
            depthwise_weight=(6, 1, k0, k0),
            depthwise_bias=(6,),
            dilated_weight=(6, 1, k1, k1),
            dilated_bias=(6,),
            pointwise_weight=(6, 6, 1, 1),
            pointwise_bias=(6,),
        )

    return Case(large_kernel_attention, shapes, options)


def local_case(kernel_size, key=True, embedding_heads=0, num_heads=2, **options):
    def shapes(n, h, w):
        embedding = (embedding_heads, kernel_size, 2)
        named = dict(query=(n, 4 * num_heads, h, w), value=(n, 3 * num_heads, h, w))
        if key:
            named |= dict(key=(n, 4 * num_heads, h, w))
        if embedding_heads:
            named |= dict(row_embedding=embedding, column_embedding=embedding)
        return named

    options |= dict(kernel_size=kernel_size, num_heads=num_heads) | ({} if key else dict(key=None))
    return Case(local_attention, shapes, options)


def relative_case(table=True, **options):
    def shapes(n, h, w):
        tokens = (n, 3, h * w)
        named = dict(query=(*tokens, 4), key=(*tokens, 4), value=(*tokens, 5))
        return named | (dict(bias_table=(3, 2 * h - 1, 2 * w - 1)) if table else {})

    return Case(relative_attention, shapes, options, takes_size=True)


CASES = {
    'cycle-1x3': cycle_case(step_size=(1, 3)),
    'cycle-7x1': cycle_case(step_size=(7, 1)),
    'cycle-1x2': cycle_case(step_size=(1, 2)),
    'cycle-longer-than-channels': cycle_case(step_size=(1, 13)),
    'cycle-paper-3x3': cycle_case(step_size=(3, 3), order='paper'),
    'cycle-paper-2x5': cycle_case(step_size=(2, 5), order='paper'),
    'depthwise': depthwise_case(7, dilation=3),
    'depthwise-even': depthwise_case(4, dilation=3),
    'mixing': mixing_case(),
    'mixing-plain': mixing_case(reweight=False),
    'large-kernel-van': large_kernel_case(5, 7),
    'large-kernel-even': large_kernel_case(4, 2, dilation=3),
    'local-sasa': local_case(7, embedding_heads=2),
    'local-shared': local_case(5, embedding_heads=1, scale=0.5),
    'local-positions': local_case(3, key=False, embedding_heads=2, scale=0.5),
    'local-contents': local_case(7, scale=0.3),
    'strips-sasa': local_case(7, embedding_heads=2, backend='strips'),
    'strips-shared': local_case(5, embedding_heads=1, scale=0.5, backend='strips'),
    'strips-positions': local_case(3, key=False, embedding_heads=2, scale=0.5, backend='strips'),
    'strips-contents': local_case(7, scale=0.3, backend='strips'),
    'blocks-sasa': local_case(7, embedding_heads=2, backend='blocks'),
    'blocks-positions': local_case(3, key=False, embedding_heads=2, scale=0.5, backend='blocks'),
    'relative': relative_case(),
    'relative-post': relative_case(position='post_softmax', scale=0.7),
    'relative-none': relative_case(table=False),
    'whole': relative_case(backend='whole'),
    'whole-post': relative_case(position='post_softmax', backend='whole'),
}
cases = pytest.mark.parametrize('case', CASES.values(), ids=CASES)
one_of_each = pytest.mark.parametrize(
    'case',
    [
        CASES[name]
        for name in (
            'cycle-1x3',
            'mixing',
            'depthwise',
            'large-kernel-van',
            'local-sasa',
            'strips-sasa',
            'relative',
        )
    ],
    ids=lambda case: '-'.join([case.operator.__name__, *case.options.get('backend', '').split()]),
)


def results(function, tensors, options):
    """The output, and the gradient of every tensor for one fixed gradient of the output."""
    out = function(**tensors, **options)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    # What an empty batch leaves out of the graph is zero.
    grads = torch.autograd.grad(out, list(tensors.values()), gradient, materialize_grads=True)
    return {'out': out.detach(), **dict(zip(tensors, grads, strict=True))}


def stock_cycle(x, weight, bias, step_size):
    offsets = cycle_offsets(x.shape[1], step_size, 'released')
    reach = max(step_size) // 2
    padded = F.pad(x, [reach] * 4)
    shifted = [
        padded[:, c, reach + dy :, reach + dx :][:, : x.shape[2], : x.shape[3]]
        for c, (dy, dx) in enumerate(offsets.tolist())
    ]
    return F.conv2d(torch.stack(shifted, 1), weight, bias)


def stock_depthwise(x, weight, bias, dilation):
    return F.conv2d(x, weight, bias, padding='same', dilation=dilation, groups=x.shape[1])


def stock_large_kernel(x, dilation=3, **w):
    c = x.shape[1]
    gate = F.conv2d(x, w['depthwise_weight'], w['depthwise_bias'], padding='same', groups=c)
    gate = F.conv2d(
        gate, w['dilated_weight'], w['dilated_bias'], padding='same', dilation=dilation, groups=c
    )
    return x * F.conv2d(gate, w['pointwise_weight'], w['pointwise_bias'])


def stock_local(query, key, value, row_embedding, column_embedding, kernel_size, num_heads):
    n, _, h, w = query.shape
    k = kernel_size

    def neighbours(x):
        return F.unfold(x, k, padding=k // 2).view(n, num_heads, -1, k * k, h * w)

    q = query.reshape(n, num_heads, -1, h * w)
    rows, columns = (
        torch.einsum('nhdp,had->nhap', half, embedding)
        for half, embedding in zip(q.chunk(2, 2), (row_embedding, column_embedding), strict=True)
    )
    logits = torch.einsum('nhdp,nhdap->nhap', q, neighbours(key))
    logits = logits + (rows[:, :, :, None] + columns[:, :, None]).flatten(2, 3)
    outside = neighbours(torch.ones_like(query))[:, :, 0] == 0
    weights = logits.masked_fill(outside, -torch.inf).softmax(2)
    return torch.einsum('nhap,nhdap->nhdp', weights, neighbours(value)).reshape(value.shape)


def stock_relative(query, key, value, bias_table, size):
    y, x = (index.flatten() for index in torch.meshgrid(*map(torch.arange, size), indexing='ij'))
    rows, columns = (i[:, None] - i + length - 1 for i, length in zip((y, x), size, strict=True))
    logits = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    return (logits + bias_table[:, rows, columns].to(query.dtype)).softmax(3) @ value


def stock_mixing(
    x, channel_weight, proj_weight, proj_bias, height_weight, height_bias, width_weight,
    width_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias,
):  # fmt: skip
    height = stock_cycle(x, height_weight, height_bias, (1, 3))
    width = stock_cycle(x, width_weight, width_bias, (3, 1))
    branches = torch.stack([height, width, F.conv2d(x, channel_weight[..., None, None])], dim=2)
    means = branches.sum(2).mean((2, 3))
    weights = F.linear(F.gelu(F.linear(means, fc1_weight, fc1_bias)), fc2_weight, fc2_bias)
    weights = weights.unflatten(1, (-1, 3)).softmax(2)[..., None, None]
    return F.conv2d((branches * weights).sum(2), proj_weight[..., None, None], proj_bias)


STOCK = {
    cycle_fc: stock_cycle,
    cycle_mixing: stock_mixing,
    depthwise_conv2d: stock_depthwise,
    large_kernel_attention: stock_large_kernel,
    local_attention: stock_local,
    relative_attention: stock_relative,
}


def stock_of(case):
    """The operator of a case in stock PyTorch, which has no backends."""

    def run(backend=None, **arguments):
        return STOCK[case.operator](**arguments)

    return run


def in_pieces(monkeypatch):
    """Let the attentions take the smallest pieces there are."""
    monkeypatch.setattr(squares, 'PIECE_ELEMENTS', 1)
    monkeypatch.setattr(strips, 'STRIP_ELEMENTS', 1)
    monkeypatch.setattr(chunks, 'CHUNK_ELEMENTS', 1)


# ---- values and gradients


@cases
@pytest.mark.parametrize(
    ('n', 'h', 'w'),
    [(2, 9, 5), (1, 4, 17), (2, 1, 1), (1, 2, 3), (1, 1, 9), (1, 9, 1), (1, 9, 2), (0, 3, 4)],
)
def test_default_is_the_definition(case, n, h, w):
    tensors, options = case.at(n, h, w)
    expected = results(case.operator, tensors, options | dict(backend='naive'))
    torch.testing.assert_close(results(case.operator, tensors, options), expected, **EXACT)


@one_of_each
def test_definition_is_what_stock_torch_computes(case):
    tensors, options = case.at(2, 6, 9)
    expected = results(stock_of(case), tensors, options)
    naive = results(case.operator, tensors, options | dict(backend='naive'))
    torch.testing.assert_close(naive, expected, **EXACT)


@cases
def test_pieces_change_nothing(case, monkeypatch):
    tensors, options = case.at(2, 19, 10)  # three rows of blocks, the last one not full
    expected = results(case.operator, tensors, options)
    in_pieces(monkeypatch)
    torch.testing.assert_close(results(case.operator, tensors, options), expected, **EXACT)
    with torch.no_grad():
        out = case.operator(**tensors, **options)
    torch.testing.assert_close(out, expected['out'], **EXACT)


@pytest.mark.parametrize(('rows', 'strips_expected'), [(1, 10), (3, 4), (5, 2), (10, 1)])
def test_strips_of_any_height(monkeypatch, rows, strips_expected):
    case = local_case(3, embedding_heads=2, backend='strips')
    tensors, options = case.at(1, 40, 8)  # ten rows of two blocks, each 16 queries x 36 keys
    expected = results(case.operator, tensors, options)
    monkeypatch.setattr(strips, 'STRIP_ELEMENTS', rows * 2 * 2 * 16 * 36)
    bias, taken = strips._Strip.bias, []

    def counted(strip, *biases):
        taken.append(strip)
        return bias(strip, *biases)

    monkeypatch.setattr(strips._Strip, 'bias', counted)
    torch.testing.assert_close(results(case.operator, tensors, options), expected, **EXACT)
    assert len(taken) == 2 * strips_expected  # forward and backward


@pytest.mark.parametrize(
    'name', [name for name, case in CASES.items() if case.operator is not relative_attention]
)
def test_memory_format_is_kept_and_changes_nothing(name):
    tensors, options = CASES[name].at(2, 9, 5)
    expected = results(CASES[name].operator, tensors, options)
    turned = {
        key: x.detach().to(memory_format=torch.channels_last).requires_grad_()
        if key in ('x', 'query', 'key', 'value')
        else x
        for key, x in tensors.items()
    }
    found = results(CASES[name].operator, turned, options)
    torch.testing.assert_close(found, expected, check_stride=False, **EXACT)
    assert found['out'].is_contiguous(memory_format=torch.channels_last)
    assert expected['out'].is_contiguous()


@one_of_each
@pytest.mark.parametrize('autocast', [False, True])
def test_bfloat16_is_as_good_as_stock_torch(case, autocast, monkeypatch):
    """The error against float32, in value and every gradient, is at most twice stock PyTorch's."""
    in_pieces(monkeypatch)
    rounded, options = case.at(2, 12, 9, torch.bfloat16)
    exact = {k: x.detach().float().requires_grad_() for k, x in rounded.items()}
    truth = results(stock_of(case), exact, options)
    tensors = exact if autocast else rounded
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        ours, stock = (
            results(function, tensors, options) for function in (case.operator, stock_of(case))
        )
    assert ours['out'].dtype == stock['out'].dtype
    for name, value in truth.items():
        error, allowed = ((r[name].float() - value).square().mean().sqrt() for r in (ours, stock))
        assert 0 < error <= 2 * allowed, name


@cases
def test_definition_is_precise_in_any_dtype(case):
    tensors, options = case.at(1, 4, 3, torch.bfloat16)
    options |= dict(backend='naive')
    exact = case.operator(**{k: x.float() for k, x in tensors.items()}, **options)
    out = case.operator(**tensors, **options)
    assert torch.equal(out, exact.bfloat16())  # rounded once, at the end
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(case.operator(**tensors, **options), out)


@pytest.mark.parametrize('name', ['relative', 'relative-post'])
def test_bias_table_follows_the_query(name):
    """Under autocast, a projection gives bfloat16 tokens; the table is a float32 parameter."""
    tensors, options = CASES[name].at(2, 5, 4, torch.bfloat16)
    table = tensors.pop('bias_table').detach().float().requires_grad_()
    out = relative_attention(**tensors, bias_table=table, **options)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert table.grad.dtype == torch.float32


# ---- against code that is not ours


@pytest.mark.parametrize('step_size', [(1, 3), (3, 1), (1, 5), (7, 1)])
def test_cycle_fc_is_the_deformable_convolution_of_the_release(step_size):
    tensors, options = cycle_case(step_size=step_size).at(2, 8, 5)

    def released(x, weight, bias, step_size):
        offset = cycle_offsets(x.shape[1], step_size, 'released').flatten().to(x)
        offset = offset[None, :, None, None].expand(x.shape[0], -1, *x.shape[2:])
        return torchvision.ops.deform_conv2d(x, offset.contiguous(), weight, bias)

    expected = results(released, tensors, options)
    torch.testing.assert_close(results(cycle_fc, tensors, options), expected, **EXACT)


@pytest.mark.parametrize('backend', ['chunks', 'whole', 'naive'])
def test_bias_table_is_laid_out_as_in_timm(backend):
    size, heads = (3, 4), 2
    bias = RelPosBias(size, heads).double()
    q, k, v = torch.randn(3, 1, heads, 12, 6, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.get_bias())
    table = bias.relative_position_bias_table.T.reshape(heads, 5, 7)
    out = relative_attention(q, k, v, table, size=size, backend=backend)
    torch.testing.assert_close(out, expected, **EXACT)


# ---- what thought alone says


def test_offsets_are_those_of_the_paper_and_the_release():
    """The cycles that the paper's formula and `gen_offset` of the authors' code give."""
    assert cycle_offsets(7, (1, 7), 'released')[:, 1].tolist() == [0, 1, 2, 3, -3, -2, -1]
    assert cycle_offsets(5, (5, 1), 'released')[:, 0].tolist() == [0, 1, 2, -2, -1]
    square = [[y, x] for x in (-1, 0, 1) for y in (-1, 0, 1)]
    assert cycle_offsets(10, (3, 3), 'paper').tolist() == [*square, [-1, -1]]


@pytest.mark.parametrize('order', ['released', 'paper'])
def test_cycle_of_one_pixel_mixes_channels_alone(order):
    tensors, _ = cycle_case().at(2, 5, 4)
    found = cycle_fc(**tensors, step_size=(1, 1), order=order)
    torch.testing.assert_close(found, channel_fc(**tensors), **EXACT)


@pytest.mark.parametrize(
    ('case', 'reach'),
    [
        (cycle_case(step_size=(3, 3), order='paper'), 1),
        (large_kernel_case(3, 3, dilation=2), 3),
        (local_case(5, embedding_heads=2), 2),
    ],
    ids=lambda value: getattr(getattr(value, 'operator', None), '__name__', None),
)
def test_a_shifted_map_shifts_the_result(case, reach):
    tensors, options = case.at(1, 23, 21)
    names = [name for name, x in tensors.items() if x.shape[2:] == (23, 21)]
    moved = tensors | {name: tensors[name][:, :, 2:, 5:] for name in names}
    out, shifted = (case.operator(**t, **options) for t in (tensors, moved))
    inner = (..., slice(reach, -reach), slice(reach, -reach))
    torch.testing.assert_close(shifted[inner], out[:, :, 2:, 5:][inner], **EXACT)


def test_window_over_the_whole_map_is_global_attention():
    tensors, options = local_case(13, scale=0.6).at(2, 5, 7)
    q, k, v = (
        tensors[name].unflatten(1, (2, -1)).flatten(3).mT for name in ('query', 'key', 'value')
    )
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.6).mT.reshape(2, 6, 5, 7)
    torch.testing.assert_close(local_attention(**tensors, **options), expected, **EXACT)


def test_window_of_one_pixel_is_the_value():
    tensors, options = local_case(1, embedding_heads=1).at(2, 11, 3)
    torch.testing.assert_close(local_attention(**tensors, **options), tensors['value'], **EXACT)


@pytest.mark.parametrize('name', ['local-sasa', 'local-positions', 'relative'])
def test_constant_value_stays_constant(name):
    """Softmax weights add up to one, at the border as well."""
    tensors, options = CASES[name].at(2, 9, 10)
    tensors['value'] = torch.full_like(tensors['value'], 3.0)
    out = CASES[name].operator(**tensors, **options)
    torch.testing.assert_close(out, tensors['value'], **EXACT)


def test_keys_outside_the_map_have_no_weight_however_low_the_others():
    query, key = torch.full((1, 2, 3, 3), 200.0), torch.full((1, 2, 3, 3), -200.0)
    value = torch.ones(1, 2, 3, 3)  # a zero outside would win with its logit of 0 over -80000
    out = local_attention(query, key, value, kernel_size=3, num_heads=1)
    torch.testing.assert_close(out, value)


def test_relative_attention_without_a_table_is_attention():
    tensors, options = CASES['relative-none'].at(2, 4, 3)
    expected = F.scaled_dot_product_attention(*tensors.values())
    torch.testing.assert_close(relative_attention(**tensors, **options), expected, **EXACT)


def test_constant_table_changes_nothing_before_the_softmax():
    tensors, options = CASES['relative'].at(2, 4, 3)
    tensors['bias_table'] = torch.full_like(tensors['bias_table'], 7.0)
    expected = F.scaled_dot_product_attention(tensors['query'], tensors['key'], tensors['value'])
    torch.testing.assert_close(relative_attention(**tensors, **options), expected, **EXACT)
    after = relative_attention(**tensors, **options, position='post_softmax')
    expected = expected + 7.0 * tensors['value'].sum(2, keepdim=True)
    torch.testing.assert_close(after, expected, **EXACT)


def test_spatial_fc_mixes_pixels():
    x, weight, bias = torch.randn(2, 3, 2, 5), torch.randn(10, 10), torch.randn(10)
    expected = torch.einsum('ncj,ij->nci', x.flatten(2), weight) + bias
    # float32, sums of 10 terms
    torch.testing.assert_close(spatial_fc(x, weight, bias), expected.view(2, 3, 2, 5))
    torch.testing.assert_close(
        spatial_fc(x, weight[:4], bias[:4]), expected[:, :, :4, None], check_stride=False
    )


# ---- memory


def peak_bytes(function):
    """The most memory that was held at once of what `function` allocates."""
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as recorded:
        function()
    events = recorded.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    return max(accumulate(nbytes for _, nbytes in changes))


def passes(operator, tensors, options):
    """The ways to run an operator: inference and training."""

    def inference():
        with torch.no_grad():
            operator(**tensors, **options)

    return {'inference': inference, 'training': lambda: results(operator, tensors, options)}


@pytest.mark.parametrize('mode', ['inference', 'training'])
def test_memory_of_relative_attention_does_not_grow_with_the_square(mode, monkeypatch):
    def growth():
        small, large = (
            peak_bytes(passes(relative_attention, *CASES['relative'].at(1, s, s))[mode])
            for s in (24, 48)
        )
        return large / small

    monkeypatch.setattr(chunks, 'CHUNK_ELEMENTS', 2**30)
    assert growth() > 12  # four times the tokens: nearly 16 in one piece
    monkeypatch.setattr(chunks, 'CHUNK_ELEMENTS', 1)
    assert growth() < 10  # 4 for what is as large as a map, 8 for one row of queries


@pytest.mark.parametrize('mode', ['inference', 'training'])
@pytest.mark.parametrize('name', ['local-sasa', 'strips-sasa'])
def test_memory_of_local_attention_is_far_below_unfolding(name, mode, monkeypatch):
    tensors, options = CASES[name].at(1, 128, 32, torch.float32)
    unfolded = 49 * sum(tensors[name].nbytes for name in ('key', 'value'))
    in_pieces(monkeypatch)
    # With 3 or 4 channels per head, half of it are the 20 biases of each query for its window.
    assert peak_bytes(passes(local_attention, tensors, options)[mode]) < unfolded / 2.5


# ---- costs


@one_of_each
def test_counts_are_those_that_torch_counts(case):
    tensors, options = case.at(2, 6, 9)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        stock_of(case)(**tensors, **options)
    with counting() as multiply_adds:
        out = case.operator(**tensors, **options)
    assert multiply_adds == {case.operator.__name__: flops.get_total_flops() // 2}
    assert out.shape == case.operator(**tensors, **options).shape


N, H, W = 2, 6, 9


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('local-positions', N * H * W * (3 * 8 + 9 * 6)),
        ('local-contents', N * H * W * 49 * (8 + 6)),
        ('relative-post', N * 3 * (H * W) ** 2 * (4 + 5 + 5)),
        ('relative-none', N * 3 * (H * W) ** 2 * (4 + 5)),
    ],
)
def test_count_without_memory(name, expected):
    tensors, options = CASES[name].at(N, H, W)
    tensors = {key: x.to('meta') for key, x in tensors.items()}
    with counting() as multiply_adds:
        out = CASES[name].operator(**tensors, **options)
    assert sum(multiply_adds.values()) == expected
    assert out.is_meta


def test_counts_add_up_and_end_with_the_block():
    x, weight = torch.ones(N, 8, H, W), torch.ones(4, 8, 1, 1)
    with counting() as multiply_adds:
        channel_fc(x, weight), channel_fc(x, weight)
        assert spatial_fc(x, torch.ones(5, H * W)).shape == (N, 8, 5, 1)
    expected = dict(channel_fc=2 * N * H * W * 8 * 4, spatial_fc=N * 8 * H * W * 5)
    assert multiply_adds == expected
    assert torch.equal(channel_fc(x, weight), torch.full((N, 4, H, W), 8.0))
    assert multiply_adds == expected


# ---- backends


def numbered(*backends, forced=None):
    return Call('add', backends, forced, args=(torch.ones(1),), shape=(1,), multiply_adds=1)


FAST = Backend('fast', lambda x: x + 1, lambda x: None if x.is_cuda else 'x is not on a GPU')
PLAIN, SLOW, NAIVE = (
    Backend('plain', lambda x: x + 2),
    Backend('slow', lambda x: x + 3),
    Backend('naive', lambda x: x + 4, by_request=True),
)


def test_the_first_backend_that_can_run_is_taken():
    assert dispatch(numbered(FAST, PLAIN, SLOW, NAIVE)) == 3
    assert dispatch(numbered(SLOW, PLAIN, NAIVE)) == 4
    assert dispatch(numbered(FAST, PLAIN, NAIVE, forced='naive')) == 5


def test_a_forced_backend_that_cannot_run_says_why():
    with pytest.raises(UserError, match='x is not on a GPU'):
        dispatch(numbered(FAST, PLAIN, NAIVE, forced='fast'))


def test_explain_tells_of_every_backend():
    def add(forced=None):
        return dispatch(numbered(FAST, PLAIN, SLOW, NAIVE, forced=forced))

    assert explain(add) == {
        'fast': 'x is not on a GPU',
        'plain': 'chosen',
        'slow': 'can run, not preferred',
        'naive': 'can run, not preferred',
    }
    assert explain(add, forced='naive')['naive'] == 'chosen'
    assert add() == 3, 'afterwards it computes again'


@cases
def test_unknown_backend_is_refused(case):
    tensors, options = case.at(1, 2, 2)
    with pytest.raises(UserError, match="did you mean 'naive'"):
        case.operator(**tensors, **options | dict(backend='naiv'))
    verdicts = explain(case.operator, **tensors, **options)
    assert list(verdicts.values()).count('chosen') == 1
    assert verdicts['naive'] == 'can run, not preferred'


@one_of_each
@pytest.mark.parametrize('pieces', [False, True])
def test_default_compiles_without_breaks(case, pieces, monkeypatch):
    if pieces:
        in_pieces(monkeypatch)
    torch._dynamo.reset()
    tensors, options = case.at(1, 10, 9)
    compiled = torch.compile(case.operator, backend='eager', fullgraph=True)
    expected = results(case.operator, tensors, options)
    torch.testing.assert_close(results(compiled, tensors, options), expected, **EXACT)


# ---- errors and examples


def zeros(*shape):
    return torch.zeros(shape)


MAP, TOKENS = zeros(1, 8, 4, 4), zeros(1, 2, 16, 4)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: cycle_fc(MAP[0], zeros(4, 8, 1, 1)), r'x has the wrong shape\n.*\(N, C, H, W\)'),
        (lambda: cycle_fc(MAP, zeros(4, 7, 1, 1)), r'\(O, 8, 1, 1\)\n.*\(4, 7, 1, 1\)'),
        (lambda: cycle_fc(MAP, zeros(4, 8, 1, 1), zeros(3)), 'bias has the wrong shape'),
        (lambda: cycle_fc(MAP, zeros(4, 8, 1, 1), None, (3, 3)), "use order='paper'"),
        (lambda: cycle_fc(MAP, zeros(4, 8, 1, 1), None, (0, 3)), 'step_size is not a size'),
        (lambda: cycle_fc(MAP, zeros(4, 8, 1, 1), order='papr'), "did you mean 'paper'"),
        (
            lambda: large_kernel_attention(
                MAP, zeros(8, 1, 5, 3), None, zeros(8, 1, 7, 7), None, zeros(8, 8, 1, 1), None
            ),
            'depthwise_weight has the wrong shape',
        ),
        (lambda: depthwise_conv2d(MAP, zeros(8, 1, 3, 3), dilation=0), 'dilation >= 1'),
        (lambda: local_attention(MAP, MAP, MAP, kernel_size=4, num_heads=2), 'odd kernel_size'),
        (lambda: local_attention(MAP, MAP, MAP, kernel_size=3, num_heads=3), 'num_heads 3'),
        (lambda: local_attention(MAP, None, MAP, kernel_size=3, num_heads=2), 'nothing to compare'),
        (
            lambda: local_attention(MAP, MAP, MAP, zeros(2, 3, 2), kernel_size=3, num_heads=2),
            'both embeddings or neither',
        ),
        (
            lambda: local_attention(
                MAP, MAP, MAP, zeros(2, 3, 2), zeros(2, 5, 2), kernel_size=3, num_heads=2
            ),
            'column_embedding has the wrong shape',
        ),
        (
            lambda: local_attention(
                MAP, MAP, MAP, *[zeros(8, 3, 0)] * 2, kernel_size=3, num_heads=8
            ),
            'an even number of channels per head',
        ),
        (lambda: relative_attention(TOKENS, TOKENS, TOKENS, size=(4, 5)), 'H \\* W of 16'),
        (
            lambda: relative_attention(TOKENS, TOKENS, TOKENS, zeros(2, 7, 8), size=(4, 4)),
            r'bias_table has the wrong shape\n.*\(2, 7, 7\)',
        ),
        (
            lambda: relative_attention(
                TOKENS, TOKENS, TOKENS, size=(4, 4), position='post-softmax'
            ),
            "did you mean 'post_softmax'",
        ),
        (lambda: spatial_fc(MAP, zeros(25, 25)), 'a map of 25 pixels\n.*4 x 4 = 16(.|\n)*cycle_fc'),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize('module', ['backends', 'cycle_fc', 'cycle_fc.offsets'])
def test_examples_hold(module):
    module = importlib.import_module(f'mmvisattn.ops.{module}')
    failed, attempted = doctest.testmod(module, extraglobs=dict(torch=torch))
    assert attempted
    assert not failed
