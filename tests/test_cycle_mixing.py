"""CycleMLP's spatial mixing: every backend against the definition and the release's form."""

import importlib
import io

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmvisattn.backbones.cyclemlp import CycleMixer, CycleMLP
from mmvisattn.errors import UserError
from mmvisattn.ops import cycle_fc, cycle_mixing, cycle_offsets, explain
from mmvisattn.ops.backends import Backend

BACKENDS = ['branches', 'folded', 'naive']
fast = pytest.mark.parametrize('backend', ['branches', 'folded'])
# In double precision, two orders of the same few hundred sums differ by about 1e-13.
EXACT = dict(rtol=1e-10, atol=1e-10)


@pytest.fixture(autouse=True)
def at_any_size(monkeypatch):
    """Let 'folded' run where it would not pay, too: the tests' maps are small."""
    module = importlib.import_module('mmvisattn.ops.cycle_mixing')
    free = tuple(Backend(b.name, b.run) for b in module.BACKENDS)
    monkeypatch.setattr(module, 'BACKENDS', free)


def arguments(n, c, h, w, dtype=torch.float64, reweight=True):
    """Tensors that need gradients, of a spread that keeps the softmax from saturating."""
    shapes = dict(
        x=(n, c, h, w), height_weight=(c, c, 1, 1), height_bias=(c,), width_weight=(c, c, 1, 1),
        width_bias=(c,), channel_weight=(c, c), proj_weight=(c, c), proj_bias=(c,),
    )  # fmt: skip
    if reweight:
        hidden = max(1, c // 4)
        shapes |= dict(
            fc1_weight=(hidden, c), fc1_bias=(hidden,), fc2_weight=(3 * c, hidden),
            fc2_bias=(3 * c,),
        )  # fmt: skip
    generator = torch.Generator().manual_seed(c * h + w)
    tensors = {}
    for name, shape in shapes.items():
        spread = shape[1] ** -0.5 if 'weight' in name else 1
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * spread
        tensors[name] = values.to(dtype).requires_grad_()
    return tensors


def results(function, tensors, **options):
    """The output, and the gradient of every tensor for one fixed gradient of the output."""
    out = function(**tensors, **options)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    wanted = {name: t for name, t in tensors.items() if t.requires_grad}
    grads = torch.autograd.grad(out, list(wanted.values()), gradient)
    return {'out': out.detach(), **dict(zip(wanted, grads, strict=True))}


def released(x, step_sizes=((1, 3), (3, 1)), order='released', **t):
    """Three branches, two of them deformable convolutions, as the release computes them."""

    def cycle(name, step_size):
        offset = cycle_offsets(x.shape[1], step_size, order).flatten().to(x)
        offset = offset[None, :, None, None].expand(x.shape[0], -1, *x.shape[2:]).contiguous()
        weight, bias = t[f'{name}_weight'], t[f'{name}_bias']
        return torchvision.ops.deform_conv2d(x, offset, weight, bias).permute(0, 2, 3, 1)

    h, w = cycle('height', step_sizes[0]), cycle('width', step_sizes[1])
    c = F.linear(x.permute(0, 2, 3, 1), t['channel_weight'])
    mixed = h + w + c
    if 'fc1_weight' in t:
        mean = mixed.permute(0, 3, 1, 2).flatten(2).mean(2)
        hidden = F.gelu(F.linear(mean, t['fc1_weight'], t['fc1_bias']))
        weights = F.linear(hidden, t['fc2_weight'], t['fc2_bias'])
        weights = weights.reshape(*mean.shape, 3).permute(2, 0, 1).softmax(0)[:, :, None, None]
        mixed = h * weights[0] + w * weights[1] + c * weights[2]
    return F.linear(mixed, t['proj_weight'], t['proj_bias']).permute(0, 3, 1, 2)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('reweight', [True, False])
@pytest.mark.parametrize(
    ('n', 'c', 'h', 'w'), [(3, 8, 9, 5), (1, 7, 4, 17), (2, 6, 1, 1), (1, 2, 2, 3), (2, 1, 1, 9)]
)
def test_every_backend_is_the_released_block(backend, reweight, n, c, h, w):
    tensors = arguments(n, c, h, w, reweight=reweight)
    found = results(cycle_mixing, tensors, backend=backend)
    torch.testing.assert_close(found, results(released, tensors), check_stride=False, **EXACT)


@fast
@pytest.mark.parametrize(
    ('step_sizes', 'order'),
    [
        (((1, 7), (5, 1)), 'released'),
        (((1, 2), (4, 1)), 'released'),
        (((1, 1), (1, 1)), 'released'),
        (((1, 13), (3, 1)), 'released'),
        (((3, 3), (2, 5)), 'paper'),
    ],
)
def test_every_cycle(backend, step_sizes, order):
    tensors = arguments(2, 11, 6, 4)
    options = dict(step_sizes=step_sizes, order=order)
    expected = results(released, tensors, **options)
    found = results(cycle_mixing, tensors, **options, backend=backend)
    torch.testing.assert_close(found, expected, check_stride=False, **EXACT)


@fast
def test_single_precision(backend):
    exact = arguments(2, 32, 14, 14)
    truth = results(released, exact)
    single = {name: t.detach().float().requires_grad_() for name, t in exact.items()}
    for name, value in results(cycle_mixing, single, backend=backend).items():
        # float32 keeps 24 bits; the longest sums have 392 terms
        torch.testing.assert_close(
            value.double(), truth[name], rtol=1e-4, atol=1e-5 * truth[name].abs().max().item()
        )


@fast
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [True, False])
def test_half_precision_is_as_good_as_plain_products(backend, dtype, autocast):
    """The error in value and every gradient is at most twice that of the release's arithmetic."""
    if autocast and dtype is torch.float16:
        pytest.skip('parameters would be rounded differently from the truth')
    rounded = arguments(2, 32, 16, 12, dtype)
    exact = {name: t.detach().double().requires_grad_() for name, t in rounded.items()}
    truth = results(released, exact)
    tensors = rounded
    if autocast:
        tensors = {name: t.detach().float().requires_grad_() for name, t in rounded.items()}

    def plain(x, **t):
        """The release's formula with slices, since its deformable convolution is float32 here."""
        weights = {k: v for k, v in t.items() if not k.startswith(('height', 'width'))}
        h = cycle_fc(x, t['height_weight'], t['height_bias'], (1, 3)).permute(0, 2, 3, 1)
        w = cycle_fc(x, t['width_weight'], t['width_bias'], (3, 1)).permute(0, 2, 3, 1)
        c = F.linear(x.permute(0, 2, 3, 1), weights['channel_weight'])
        hidden = F.gelu(F.linear((h + w + c).mean((1, 2)), t['fc1_weight'], t['fc1_bias']))
        a = F.linear(hidden, t['fc2_weight'], t['fc2_bias']).unflatten(1, (-1, 3)).softmax(-1)
        a = a[:, None, None]
        mixed = h * a[..., 0] + w * a[..., 1] + c * a[..., 2]
        return F.linear(mixed, t['proj_weight'], t['proj_bias']).permute(0, 3, 1, 2)

    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        ours = results(cycle_mixing, tensors, backend=backend)
        stock = results(plain, tensors)
    assert ours['out'].dtype == stock['out'].dtype
    for name, value in truth.items():
        error, allowed = ((r[name].double() - value).square().mean().sqrt() for r in (ours, stock))
        assert 0 < error <= 2 * allowed, (name, error / allowed)


@fast
def test_layout_and_gaps_in_memory_change_nothing(backend):
    tensors = arguments(2, 8, 6, 5)
    expected = results(cycle_mixing, tensors, backend=backend)
    x = tensors['x'].detach()
    layouts = {
        'channels last': x.to(memory_format=torch.channels_last),
        'every second': torch.stack([x, -x], 4)[..., 0],
        'transposed': x.mT.contiguous().mT,
    }
    for name, turned in layouts.items():
        found = results(
            cycle_mixing, tensors | dict(x=turned.detach().requires_grad_()), backend=backend
        )
        torch.testing.assert_close(found, expected, check_stride=False, **EXACT, msg=name)


@fast
@pytest.mark.parametrize('trained', ['x', 'height_weight', 'proj_bias', 'fc1_weight'])
def test_gradients_of_some_inputs_alone(backend, trained):
    tensors = arguments(2, 8, 6, 5)
    whole = results(cycle_mixing, tensors, backend=backend)
    part = {name: t.detach().requires_grad_(name == trained) for name, t in tensors.items()}
    found = results(cycle_mixing, part, backend=backend)
    assert set(found) == {'out', trained}
    torch.testing.assert_close(found[trained], whole[trained], **EXACT)


@fast
def test_gradients_have_gradients(backend):
    tensors = arguments(2, 4, 3, 4)

    def function(*values):
        return cycle_mixing(**dict(zip(tensors, values, strict=True)), backend=backend)

    assert torch.autograd.gradcheck(function, tuple(tensors.values()))
    assert torch.autograd.gradgradcheck(function, tuple(tensors.values()))


def test_gradients_of_cycle_fc_have_gradients():
    x, weight = torch.randn(2, 5, 3, 4).double(), torch.randn(2, 5, 1, 1).double()
    assert torch.autograd.gradgradcheck(
        lambda x, weight: cycle_fc(x, weight, None, (1, 3)),
        (x.requires_grad_(), weight.requires_grad_()),
    )


@fast
def test_compiles_without_breaks(backend):
    torch._dynamo.reset()
    tensors = arguments(2, 8, 6, 5)
    compiled = torch.compile(cycle_mixing, backend='aot_eager', fullgraph=True)
    expected = results(cycle_mixing, tensors, backend=backend)
    found = results(compiled, tensors, backend=backend)
    torch.testing.assert_close(found, expected, check_stride=False, **EXACT)


class Mixing(nn.Module):
    """A mixing of constant weights, to export."""

    def __init__(self, backend):
        super().__init__()
        tensors = arguments(2, 8, 6, 5, torch.float32)
        self.x = tensors.pop('x').detach()
        self.weights = nn.ParameterDict(tensors)
        self.backend = backend

    def forward(self, x):
        return cycle_mixing(x, **self.weights, backend=self.backend)


@fast
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')  # shapes are checked as tensors
def test_exports(backend):
    module = Mixing(backend)
    expected = module(module.x)
    program = torch.export.export(module, (module.x,))
    torch.testing.assert_close(program.module()(module.x), expected)
    traced = torch.jit.trace(module, module.x)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(module.x), expected)


@fast
def test_checkpointing_and_inference(backend):
    tensors = arguments(2, 8, 6, 5)
    expected = results(cycle_mixing, tensors, backend=backend)

    def kept_short(**tensors):
        return checkpoint(
            lambda t: cycle_mixing(**t, backend=backend), tensors, use_reentrant=False
        )

    torch.testing.assert_close(results(kept_short, tensors), expected, rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(cycle_mixing(**tensors, backend=backend), expected['out'])


def test_a_constant_map_shows_the_border():
    """The mean of a shifted map is not the mean of the map: pixels from outside are zero."""
    c = 3
    eye, none = torch.eye(c), torch.zeros(c)
    tensors = dict(
        x=torch.ones(1, c, 4, 4), height_weight=eye[..., None, None], height_bias=none,
        width_weight=eye[..., None, None], width_bias=none, channel_weight=0 * eye,
        proj_weight=eye, proj_bias=none,
    )  # fmt: skip
    for backend in BACKENDS:
        out = cycle_mixing(**tensors, backend=backend)[0]
        # channels 0, 1, 2 look at offsets 0, 1, -1, along the width and along the height
        expected = torch.full((c, 4, 4), 2.0)
        expected[1, :, 3] -= 1
        expected[1, 3, :] -= 1
        expected[2, :, 0] -= 1
        expected[2, 0, :] -= 1
        assert torch.equal(out, expected), backend


def test_folding_is_chosen_where_it_pays(monkeypatch):
    monkeypatch.undo()

    def chosen(c, size, reweight=True, n=1):
        tensors = {
            name: t.to('meta') for name, t in arguments(n, c, *size, reweight=reweight).items()
        }
        return next(k for k, v in explain(cycle_mixing, **tensors).items() if v == 'chosen')

    columns = 64 + 2 * (21 + 21)
    assert chosen(64, (1, columns)) == 'folded'
    assert chosen(64, (1, columns - 1)) == 'branches'
    assert chosen(64, (1, columns // 2), reweight=False, n=2) == 'folded', 'one weight for all'
    assert chosen(320, (14, 14)) == 'branches'


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(x=torch.zeros(8, 6, 5)), r'x has the wrong shape\n.*\(N, C, H, W\)'),
        (dict(width_weight=torch.zeros(8, 8)), r'width_weight has the wrong shape'),
        (dict(channel_weight=torch.zeros(8, 7)), r'channel_weight has the wrong shape'),
        (dict(fc1_bias=None), 'a part of two layers'),
        (dict(fc2_weight=torch.zeros(16, 2)), r'fc2_weight has the wrong shape\n.*\(24, 2\)'),
        (dict(step_sizes=((1, 3),)), 'the two CycleFC'),
        (dict(step_sizes=((1, 3), (3, 3))), "use order='paper'"),
        (dict(order='papr'), "did you mean 'paper'"),
        (dict(backend='fold'), "did you mean 'folded'"),
    ],
)
def test_bad_input_is_named(changed, message):
    tensors = arguments(1, 8, 6, 5)
    with pytest.raises(UserError, match=message):
        cycle_mixing(**tensors | changed)


@pytest.mark.parametrize('reweight', [True, False])
def test_the_layer_is_the_operator(reweight):
    mixer = CycleMixer(8, ((1, 3), (3, 1)), 'released', reweight)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 6, 5, 8)
    names = dict(height='sfc_h', width='sfc_w', channel='mlp_c', proj='proj')
    state = mixer.state_dict()
    tensors = {
        f'{ours}_{kind}': state[f'{theirs}.{kind}']
        for ours, theirs in names.items()
        for kind in ('weight', 'bias')
        if f'{theirs}.{kind}' in state
    }
    if reweight:
        tensors |= {
            f'{fc}_{kind}': state[f'reweight.{fc}.{kind}']
            for fc in ('fc1', 'fc2')
            for kind in ('weight', 'bias')
        }
    expected = released(x.permute(0, 3, 1, 2), **tensors).permute(0, 2, 3, 1)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)  # float32, other order


def test_a_stage_keeps_its_channels_last():
    """Copies between layouts, one for each normalisation, would cost as much as a product."""
    network = CycleMLP(dict(embed_dims=[8, 16, 24, 32], depths=[2, 1, 1, 1]))
    layouts = []
    for stage in range(4):
        for block in network.stage_parts(stage)[1]:
            block.register_forward_pre_hook(
                lambda _, args: layouts.append(
                    args[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
    network(torch.randn(1, 3, 96, 64))
    assert layouts == [True] * 5
