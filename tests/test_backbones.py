"""The contract of every backbone, and each one's own paper."""

import copy
import doctest
import re
import sys
from pathlib import Path

import mmseg
import pytest
import timm
import torch
import torchvision
from conftest import run
from mmcv.ops import RoIAlign
from mmengine.registry import MODELS as ROOT_MODELS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmpretrain.models import VAN as OtherVAN
from mmpretrain.models import ImageClassifier
from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg
from torch import nn

from mmvisattn import ops
from mmvisattn.backbones import NAMES, VAN, CoAtNet, CycleMLP, SASAResNet
from mmvisattn.backbones.coatnet import KEPT_SIZES, TIMM
from mmvisattn.backbones.van import LargeKernelAttention
from mmvisattn.errors import UserError
from mmvisattn.timm import SASAClassifier

# Small networks of every kind, by the name of what is special about them.
VAN_SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1])
COATNET_SMALL = dict(
    embed_dims=[16, 24, 32, 48], depths=[1, 2, 1, 1], stem_widths=(8, 16), head_dim=8, img_size=64
)
CYCLEMLP_SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1], mlp_ratios=[2, 2, 2, 2])
SASA_SMALL = dict(widths=[8, 8, 16, 16], depths=[1, 2, 1, 1], num_heads=2, kernel_size=5)
NETWORKS = {
    'van': (VAN, VAN_SMALL),
    'van-add': (VAN, {**VAN_SMALL, 'gate': 'add', 'convs': ('dilated', 'pointwise')}),
    'van-even-kernel': (VAN, {**VAN_SMALL, 'kernel_size': 8, 'dilation': 2}),
    'coatnet': (CoAtNet, COATNET_SMALL),
    'coatnet-rmlp': (
        CoAtNet,
        {**COATNET_SMALL, **{k: v for k, v in TIMM['coatnet_rmlp_1_rw_224'].items()
                             if k not in ('embed_dims', 'depths', 'stem_widths')}},
    ),
    'coatnet-post': (CoAtNet, {**COATNET_SMALL, 'relative_position': 'post_softmax'}),
    'coatnet-CCCC': (CoAtNet, {**COATNET_SMALL, 'layout': ['C', 'C', 'C', 'C']}),
    'coatnet-CTTT': (CoAtNet, {**COATNET_SMALL, 'layout': ['C', 'T', 'T', 'T']}),
    'coatnet-two-kinds': (
        CoAtNet,
        {**COATNET_SMALL, 'layout': ['C', 'C', 'CT', 'T'],
         'embed_dims': [16, 24, (32, 48), 64], 'depths': [1, 1, (1, 2), 1]},
    ),
    'cyclemlp': (CycleMLP, CYCLEMLP_SMALL),
    'cyclemlp-swin': (CycleMLP, {**CYCLEMLP_SMALL, 'reweight': False, 'overlapping': False}),
    'cyclemlp-step': (
        CycleMLP, {**CYCLEMLP_SMALL, 'order': 'paper', 'step_sizes': ((3, 3), (2, 5))}
    ),
    'sasa': (SASAResNet, SASA_SMALL),
    'sasa-stem': (SASAResNet, {**SASA_SMALL, 'stem': 'attention'}),
    'sasa-absolute': (SASAResNet, {**SASA_SMALL, 'position': 'absolute', 'stem': 'attention',
                                   'stem_values': 'convolution'}),
    'sasa-position-only': (SASAResNet, {**SASA_SMALL, 'content': False, 'layout': [*'CCAA']}),
}  # fmt: skip
MAIN = ['van', 'coatnet', 'cyclemlp', 'sasa-stem']
assert {NETWORKS[name][0] for name in MAIN} == {network for network, _ in NAMES.values()}
every_network = pytest.mark.parametrize('name', NETWORKS)
main_networks = pytest.mark.parametrize('name', MAIN)


def build(name, **kwargs):
    network, arch = NETWORKS[name]
    torch.manual_seed(0)
    return network(arch, **kwargs)


def small(**kwargs):
    return build('van', **kwargs)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def sizes(size, strides):
    return [tuple(-(-n // s) for n in size) for s in strides]  # rounded up


@every_network
@pytest.mark.parametrize('size', [(32, 32), (33, 65), (7, 100), (1, 1), (64, 31)])
def test_any_size_goes_through(name, size):
    network = build(name).eval()
    maps = network(torch.randn(2, 3, *size))
    assert network.out_strides == [4, 8, 16, 32]
    assert [m.shape[1] for m in maps] == network.out_channels
    assert [tuple(m.shape[-2:]) for m in maps] == sizes(size, network.out_strides)
    assert all(m.isfinite().all() for m in maps)


@pytest.mark.parametrize('name', NAMES)
def test_every_architecture_declares_what_it_returns(name):
    network, arch = NAMES[name]
    with torch.device('meta'), ops.counting():
        network = network(arch).eval()
        maps = network(torch.empty(1, 3, 97, 130))
    assert [m.shape[1] for m in maps] == network.out_channels
    assert [tuple(m.shape[-2:]) for m in maps] == sizes((97, 130), network.out_strides)


@main_networks
def test_mmcvs_roi_align_reads_what_is_returned(name):
    """It takes a map whose channels lie last for a contiguous one; torchvision's does not."""
    maps = build(name).eval()(torch.rand(1, 3, 64, 64))
    boxes = torch.tensor([[0.0, 3, 5, 40, 50], [0.0, 10, 0, 60, 33]])
    for x, stride in zip(maps, (4, 8, 16, 32), strict=True):
        assert x.is_contiguous()
        neck = torch.nn.Conv2d(x.shape[1], 8, 1)(x)
        theirs = torchvision.ops.roi_align(neck, boxes, 7, 1 / stride, aligned=True)
        # the same sums in another order
        torch.testing.assert_close(
            RoIAlign(7, 1 / stride)(neck, boxes), theirs, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('network', dict.fromkeys(network for network, _ in NAMES.values()))
def test_examples_are_true(network):
    module = sys.modules[network.__module__]
    results = doctest.testmod(module, extraglobs=dict(torch=torch))
    assert results.attempted >= 2
    assert results.failed == 0


@main_networks
def test_other_inputs(name):
    assert build(name, in_channels=5).eval()(torch.randn(1, 5, 32, 32))[0].shape[-2:] == (8, 8)


@every_network
@pytest.mark.parametrize('out_indices', [(0,), (3,), (0, 1), (1, 2, 3), (-2,), 2])
@pytest.mark.parametrize('out_norm', [True, False])
def test_every_parameter_serves_an_output(name, out_indices, out_norm):
    network = build(name, out_indices=out_indices, out_norm=out_norm)
    maps = network(torch.randn(2, 3, 64, 64))
    assert [m.shape[1] for m in maps] == network.out_channels
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    assert unused == []


@every_network
def test_outputs_are_the_same_whichever_are_asked_for(name):
    whole, part = build(name).eval(), build(name, out_indices=(0, 2)).eval()
    part.load_state_dict(whole.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip((whole(x)[0], whole(x)[2]), part(x), strict=True):
        assert torch.equal(a, b)


@every_network
def test_out_norm_normalises_the_raw_maps(name):
    raw, normal = build(name, out_norm=False).eval(), build(name, out_norm=True).eval()
    normal.load_state_dict(raw.state_dict(), strict=False)
    for a, b in zip(raw(x := torch.randn(1, 3, 64, 64)), normal(x), strict=True):
        expected = nn.functional.layer_norm(a.permute(0, 2, 3, 1), a.shape[1:2], eps=1e-6)
        # 1e-5 or 1e-6 as epsilon
        torch.testing.assert_close(expected.permute(0, 3, 1, 2), b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ('network', 'on'), [(VAN, 1), (CycleMLP, 1), (CoAtNet, 0), (SASAResNet, 0)]
)
def test_outputs_are_normalised_where_the_authors_do(network, on):
    with torch.device('meta'):
        built = network()
    norms = [m for m in (built.stage_parts(i)[2] for i in range(4)) if m is not None]
    assert len(norms) == 4 * on


@main_networks
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages_stay_frozen(name, frozen_stages):
    network = build(name, frozen_stages=frozen_stages, drop_path_rate=0.5, out_norm=True).train()
    stage_of = {}
    for stage in range(4):
        frozen = stage <= frozen_stages
        for module in network.stage_modules(stage):
            assert all(p.requires_grad is not frozen for p in module.parameters())
            assert all(m.training is not frozen for m in module.modules())
            stage_of |= {p.data_ptr(): stage for p in (*module.parameters(), *module.buffers())}
    tensors = [*network.named_parameters(), *network.named_buffers()]
    assert {p.data_ptr() for _, p in tensors} == set(stage_of), 'every parameter is in a stage'
    if frozen_stages < 3:
        before = {k: v.clone() for k, v in tensors}
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
        sum((m * torch.randn_like(m)).sum() for m in network(torch.randn(2, 3, 64, 64))).backward()
        optimizer.step()
        changed = {stage_of[v.data_ptr()] for k, v in tensors if not torch.equal(v, before[k])}
        assert changed == set(range(frozen_stages + 1, 4))


@pytest.mark.parametrize('name', ['van', 'coatnet', 'sasa'])
def test_norm_eval_keeps_statistics(name):
    network = build(name, norm_eval=True).train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert network.stage_parts(0)[1][0].training


@main_networks
@pytest.mark.filterwarnings('ignore:.*CPU autocast.*')
def test_checkpointing_changes_neither_values_nor_gradients_nor_statistics(name):
    plain = build(name, drop_path_rate=0.3)
    thrifty = build(name, drop_path_rate=0.3, with_cp=True)
    x = torch.randn(4, 3, 64, 64)  # needs no gradient, as pictures do not
    for network in (plain, thrifty):
        torch.manual_seed(1)  # the same blocks are dropped
        network.out = network(x)
        sum(m.square().sum() for m in network.out).backward()
    assert all(torch.equal(a, b) for a, b in zip(plain.out, thrifty.out, strict=True))
    for (name, a), b in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert a.grad is not None, name
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize('name', ['van', 'coatnet', 'cyclemlp'])
def test_checkpointing_saves_memory(name):
    def kept(network):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(t.numel()) or t, lambda t: t
        ):
            network(torch.randn(2, 3, 64, 64))
        return sum(saved)

    assert kept(build(name, with_cp=True)) < 0.4 * kept(build(name))


@every_network
def test_bfloat16(name):
    network = build(name, out_norm=True).eval()
    x = torch.randn(1, 3, 64, 64)
    exact = network(x)
    for a, b in zip(exact, network.bfloat16()(x.bfloat16()), strict=True):
        assert b.dtype == torch.bfloat16
        # LayerNorm ends each stage, so values are of order 1; bf16 keeps 8 bits, over 5 blocks.
        assert (a - b.float()).abs().mean() < 0.03


@every_network
def test_autocast(name):
    network = build(name)
    with torch.autocast('cpu', torch.bfloat16):
        maps = network(torch.randn(2, 3, 64, 64))
        loss = sum(m.float().square().mean() for m in maps)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_network
def test_channels_last_gives_the_same(name):
    network = build(name).eval()
    x = torch.randn(1, 3, 48, 80)
    other = network(x), network(x.to(memory_format=torch.channels_last))
    for a, b in zip(*other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # another order of summation


@pytest.mark.gpu
@main_networks
def test_a_gpu_gives_the_same(name):
    network = build(name, out_norm=True).eval()
    x = torch.randn(1, 3, 97, 130)
    maps = network(x)
    for a, b in zip(maps, network.cuda()(x.cuda()), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3)  # TF32 in cuDNN


@every_network
def test_stochastic_depth_rises_linearly(name):
    network = build(name, drop_path_rate=0.4)
    blocks = [block for i in range(4) for block in network.stage_parts(i)[1]]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    assert rates == pytest.approx([0.4 * i / (len(blocks) - 1) for i in range(len(blocks))])


@every_network
@pytest.mark.parametrize('out_indices', [(0,), (1, 2)])
def test_what_is_not_built_is_known_by_name(name, out_indices):
    """So that weights can tell a network's own unused parameters from another network's."""
    whole, part = build(name, out_norm=True), build(name, out_indices=out_indices)
    beyond = set(whole.state_dict()) - set(part.state_dict())
    assert beyond
    assert all(key.startswith((*part.unbuilt, *part.unbuilt_out_norms)) for key in beyond)
    stages = ''.join(part.stage_prefixes(0)), ''.join(part.stage_prefixes(out_indices[-1]))
    assert not any(prefix in part.unbuilt for prefix in stages)


@every_network
def test_layers_have_depths(name):
    """The stem is 0, each block one more, a head last: what layer-wise learning rates need."""
    network = build(name, out_norm=True)
    depths = {n: network.get_layer_depth(f'backbone.{n}', 'backbone.') for n, _ in
              network.named_parameters()}  # fmt: skip
    numbers = [depth for depth, _ in depths.values()]
    num_blocks = sum(len(network.stage_parts(i)[1]) for i in range(4))
    assert {total for _, total in depths.values()} == {num_blocks + 2}
    assert set(numbers) == set(range(num_blocks + 1))
    blocks = [block for i in range(4) for block in network.stage_parts(i)[1]]
    names = {id(p): n for n, p in network.named_parameters()}
    for number, block in enumerate(blocks, 1):
        assert {depths[names[id(p)]][0] for p in block.parameters()} == {number}
    last_norm = network.stage_parts(3)[2]
    assert {depths[names[id(p)]][0] for p in last_norm.parameters()} == {num_blocks}
    assert network.get_layer_depth('decode_head.conv.weight', 'backbone.')[0] == num_blocks + 1


@main_networks
def test_mmpretrain_decays_learning_rates_by_layer(name):
    with ROOT_MODELS.switch_scope_and_registry('mmpretrain'):
        model = ImageClassifier(backbone=build(name))
        constructor = LearningRateDecayOptimWrapperConstructor(
            dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1)),
            dict(layer_decay_rate=0.5),
        )
        groups = constructor(model).param_groups
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    stem = [p for module in model.backbone.stage_parts(0)[0] for p in module.parameters()]
    assert {rates[id(p)] for p in stem} == {min(rates.values())} == {0.5**6}  # 5 blocks, one head
    assert max(rates[id(p)] for p in model.backbone.parameters()) == 0.5


@pytest.mark.parametrize(
    ('network', 'kwargs', 'said'),
    [
        (VAN, dict(arch='b7'), "no architecture 'b7'"),
        (VAN, dict(arch=dict(embed_dims=[8, 16, 24, 32])), 'not complete'),
        (VAN, dict(arch={**VAN_SMALL, 'dephts': [1]}), "no 'dephts'"),
        (VAN, dict(arch=dict(embed_dims=[8, 16, 24], depths=[1, 1, 1])), 'not complete'),
        (VAN, dict(arch=dict(base='b0', gate='times')), 'no such gate'),
        (VAN, dict(arch=dict(base='b0', stem_stride=3)), 'no such stem_stride'),
        (VAN, dict(arch=dict(base='b0', convs=('5x5',))), 'no such convolution'),
        (VAN, dict(arch=dict(base='b0', convs=())), 'convs is a list'),
        (VAN, dict(arch=dict(base='b0', convs='full')), 'convs is a list'),
        (CycleMLP, dict(arch=dict(base='b1', step_sizes=(1, 3))), 'step_sizes'),
        (SASAResNet, dict(arch=dict(base='r26', num_heads=0)), 'num_heads'),
        (SASAResNet, dict(arch=dict(base='r26', stem='attention', stem_heads=5)), 'stem'),
        (CoAtNet, dict(arch=9), 'no architecture'),
        (VAN, dict(out_indices=(0, 4)), 'out_indices'),
        (VAN, dict(out_indices=(2, 1)), 'out_indices'),
        (VAN, dict(out_indices=()), 'out_indices'),
        (VAN, dict(frozen_stages=4), 'frozen_stages'),
        (CoAtNet, dict(arch='coatnet_0_rx_224'), 'no architecture'),
        (CoAtNet, dict(arch=dict(base='0', pool='mean')), 'no such pool'),
        (CoAtNet, dict(arch=dict(base='0', head_dim=31)), 'cut into heads'),
        (CoAtNet, dict(arch=dict(base='0', layout=['C', 'C', 'CT', 'T'])), 'not described'),
        (CycleMLP, dict(arch=dict(base='b1', order='random')), 'no such order'),
        (SASAResNet, dict(arch=dict(base='r26', kernel_size=4)), 'odd kernel_size'),
        (SASAResNet, dict(arch=dict(base='r26', position='sine')), 'no such position'),
        (SASAResNet, dict(arch=dict(base='r26', layout=[*'CCXA'])), 'no such layout'),
    ],
)
def test_bad_arguments_are_explained(network, kwargs, said):
    with pytest.raises(UserError, match=said) as error:
        network(**kwargs)
    assert 'expected:' in str(error.value)


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet', 'mmpose', 'mmpretrain'])
def test_found_by_name_from_every_toolbox(scope):
    with ROOT_MODELS.switch_scope_and_registry(scope) as models:
        backbone = models.build(dict(type='mmvisattn.VAN', arch=VAN_SMALL, out_indices=(3,)))
    assert isinstance(backbone, VAN)


STOCK = {
    'mmdet': """
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
model = dict(
    backbone=dict(_delete_=True, type='mmvisattn.VAN', arch='b0'),
    neck=dict(in_channels=[32, 64, 160, 256]))
""",
    'mmpose': """
_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py'
model = dict(
    backbone=dict(_delete_=True, type='mmvisattn.VAN', arch='b0', out_indices=(3,)),
    head=dict(in_channels=256))
""",
    'mmpretrain': """
_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'
model = dict(
    backbone=dict(_delete_=True, type='mmvisattn.VAN', arch='b0', out_indices=(3,)),
    head=dict(in_channels=256))
""",
    'mmseg': """
_base_ = '{mmseg}/.mim/configs/sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'
model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, type='mmvisattn.VAN', arch='b0'),
    neck=dict(in_channels=[32, 64, 160, 256]))
""",
}
BUILD = """
import sys, torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
cfg = Config.fromfile(sys.argv[1])
init_default_scope(cfg.default_scope)
cfg.model.get('backbone').init_cfg = None
model = MODELS.build(cfg.model).eval()
maps = model.backbone(torch.zeros(1, 3, 64, 64))
maps = model.neck(maps) if getattr(model, 'neck', None) else maps
print('built', type(model).__name__, type(model.backbone).__name__, len(maps))
"""


@pytest.mark.parametrize('toolbox', STOCK)
def test_a_stock_config_takes_it_with_nothing_imported(toolbox, tmp_path):
    """The library's own config, only its backbone replaced, built by MMEngine alone."""
    config = tmp_path / 'stock.py'
    config.write_text(STOCK[toolbox].replace('{mmseg}', str(Path(mmseg.__file__).parent)))
    done = run(sys.executable, '-c', BUILD, config, cwd=tmp_path)
    assert done.returncode == 0, done.tail
    assert re.search(r'^built \w+ VAN \d$', done.output, re.M)


def fill(network):
    """Weights by a formula, whatever the order of parameters or the state of a generator."""
    for name, value in network.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        places = torch.arange(value.numel(), dtype=torch.float64)
        wave = torch.sin(0.7 * places + len(name)).view(value.shape)
        if value.ndim > 1:
            value.copy_(wave * (2 / value[0].numel()) ** 0.5)
        elif name.endswith('running_var'):
            value.copy_(1 + 0.5 * wave)
        elif 'norm' in name and name.endswith('weight'):
            value.copy_(1 + 0.2 * wave)
        else:
            value.copy_((0.5 + 0.2 * wave) if 'layer_scale' in name else 0.1 * wave)


# Six values of each map that the authors' code returned for `fill`'s weights (VAN-Classification
# 72e17fd, VAN-B0; CycleMLP f28b56b, B1, `fork_feat`) and the cosine picture of 96 x 128 below.
ORIGINAL = {
    VAN: ('b0', [
        [-1.24981, -1.070125, 0.558047, 0.141045, -1.423097, 0.065726],
        [-0.095147, 0.182476, -1.342856, 0.659307, -1.528652, 1.137148],
        [0.03884, -1.055691, 0.021351, 0.020473, -0.582806, 1.219462],
        [0.060006, 0.886945, -0.402, -0.398927, 0.277964, 0.232724],
    ]),
    CycleMLP: ('b1', [
        [0.164268, 0.534162, -1.775253, 1.61743, -0.460379, 0.150978],
        [0.282588, -0.225764, 1.60178, 1.420779, 0.883086, -0.777089],
        [-0.129875, -0.398906, 0.627676, 0.035769, -0.323016, -0.632353],
        [-0.018794, -0.88264, 0.206333, -1.445464, -0.619873, -1.36251],
    ]),
}  # fmt: skip


@pytest.mark.parametrize('network', ORIGINAL)
def test_features_are_the_original_codes(network):
    arch, expected = ORIGINAL[network]
    backbone = network(arch).eval()
    fill(backbone)
    x = torch.cos(torch.arange(3 * 96 * 128, dtype=torch.float64) * 0.3).view(1, 3, 96, 128)
    with torch.no_grad():
        maps = backbone(x.float())
    for m, values in zip(maps, expected, strict=True):
        found = m.flatten()[:: m.numel() // 6 + 1]
        # float32, another order of operations; values are printed to six digits
        torch.testing.assert_close(found, torch.tensor(values), rtol=1e-4, atol=1e-5)


def official_state_dict(other: OtherVAN) -> dict:
    """The weights of mmpretrain's VAN under the names of the authors' release."""
    renames = {
        r'\.projection\.': '.proj.', r'blocks(\d)\.': r'block\1.', r'\.DW_conv\.': '.conv0.',
        r'\.DW_D_conv\.': '.conv_spatial.', r'\.mlp\.dwconv\.': '.mlp.dwconv.dwconv.',
        r'spatial_gating_unit\.conv1\.': 'spatial_gating_unit.conv1.',
    }  # fmt: skip
    out = {}
    for key, value in other.state_dict().items():
        for pattern, name in renames.items():
            key = re.sub(pattern, name, key)
        out[key] = value
    return out


def test_original_checkpoint_loads_and_gives_the_original_features(tmp_path):
    """A VAN-B2 file in the authors' layout, against mmpretrain's independent port of VAN."""
    torch.manual_seed(0)
    other = OtherVAN('base', out_indices=(0, 1, 2, 3), norm_cfg=dict(type='LN', eps=1e-6))
    other.init_weights()
    for name, value in other.state_dict().items():  # nothing may stay at an initial 0 or 1
        if value.is_floating_point():
            value.add_(
                0.1 * torch.rand_like(value) if 'var' in name else 0.02 * torch.randn_like(value)
            )
    head = {'head.weight': torch.zeros(1000, 512), 'head.bias': torch.zeros(1000)}
    file = tmp_path / 'van_b2.pth'
    torch.save({'state_dict': {**official_state_dict(other), **head}}, file)

    network = VAN('b2', init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    network.init_weights()
    assert set(official_state_dict(other)) == set(network.state_dict())
    network.eval(), other.eval()
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        for ours, theirs in zip(network(x), other(x), strict=True):
            # float32 and another order of operations; values are of order 1 after LayerNorm
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


VAN_PARAMETERS = {  # millions with head: paper, Table 5 and 8; ablations of B0: Table 3 and 6
    'b0': 4.11, 'b1': 13.86, 'b2': 26.58, 'b3': 44.77, 'b4': 60.28, 'b5': 89.97, 'b6': 199.83,
}  # fmt: skip


@pytest.mark.parametrize('arch', VAN.ARCHS)
def test_van_parameters_are_the_papers(arch):
    with torch.device('meta'):
        network = VAN(arch)
        head = nn.Linear(network.out_channels[-1], 1000)
        found = (parameters(network) + parameters(head)) / 1e6
    assert found == pytest.approx(VAN_PARAMETERS[arch], abs=0.006)


def test_van_stage_norm_epsilon_is_an_argument():
    assert {small().norm1.eps, small(out_norm_eps=1e-5).norm4.eps} == {1e-6, 1e-5}


def test_van_initialisation_is_the_releases():
    """Depthwise 7 x 7: fan-out counted per group, so the variance is 2 / 49."""
    convolution = VAN('b1', out_indices=(2,)).block3[0].attn.spatial_gating_unit.conv_spatial
    assert convolution.weight.std().item() == pytest.approx((2 / 49) ** 0.5, rel=0.03)
    assert convolution.bias.abs().max() == 0


@pytest.mark.parametrize('gate', ['multiply', 'add', 'sigmoid', 'none'])
def test_van_gates(gate):
    unit = build('van').block1[0].attn.spatial_gating_unit.__class__(4, gate=gate)
    x = torch.randn(1, 4, 9, 8)
    attention = unit.conv1(unit.conv_spatial(unit.conv0(x)))
    expected = dict(
        multiply=x * attention, add=x + attention, sigmoid=x * attention.sigmoid(), none=attention
    )
    torch.testing.assert_close(unit(x), expected[gate], rtol=1e-5, atol=1e-6)


def test_van_for_small_pictures():
    """A finer stem: the same weights, and maps of more pixels."""
    fine, coarse = VAN(dict(base='b0', stem_stride=2)).eval(), VAN('b0').eval()
    fine.load_state_dict(coarse.state_dict())
    x = torch.randn(1, 3, 50, 37)
    with torch.inference_mode():
        maps, stem = fine(x), fine.patch_embed1.proj(x)
    assert fine.out_strides == [2, 4, 8, 16]
    assert [tuple(m.shape[-2:]) for m in maps] == sizes((50, 37), fine.out_strides)
    torch.testing.assert_close(stem[..., ::2, ::2], coarse.patch_embed1.proj(x))


def randomise(network):
    """Move every number from its initial 0 or 1."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            positive = 'var' in name
            value.add_(0.1 * torch.rand_like(value) if positive else 0.02 * torch.randn_like(value))
    return network.eval()


def assert_features_equal_timms(ours, theirs, size):
    """timm's features may begin with a stem; its head and last norm are not a backbone's."""
    state_dict = {k: v for k, v in theirs.state_dict().items() if not re.match('head|norm', k)}
    ours.load_state_dict(state_dict)
    ours.eval()
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        features = theirs.forward_intermediates(x, intermediates_only=True)[-4:]
        for a, b in zip(ours(x), features, strict=True):
            # float32 over up to 24 blocks, relative to the map's largest value
            assert (a - b).abs().max() < 1e-4 * b.abs().max()


@pytest.mark.parametrize(
    'name',
    ['coatnet_nano_rw_224', 'coatnet_rmlp_nano_rw_224', 'coatnet_0_rw_224', 'coatnet_bn_0_rw_224',
     'coatnet_rmlp_1_rw_224', 'coatnet_rmlp_1_rw2_224', 'coatnet_0_224'],
)  # fmt: skip
def test_coatnet_gives_timms_features(name):
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name))
    assert_features_equal_timms(CoAtNet(name), theirs, (224, 224))


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(TIMM) - {'coatnet_4_224', 'coatnet_5_224'}))
def test_every_coatnet_gives_timms_features(name):
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name))
    size = 384 if '384' in name else 224
    assert_features_equal_timms(CoAtNet(name), theirs, (size, size))


@pytest.mark.parametrize('name', TIMM)
def test_coatnet_has_timms_parameters(name):
    with torch.device('meta'):
        ours, theirs = CoAtNet(name), timm.create_model(name)
    expected = {k: v.shape for k, v in theirs.state_dict().items() if not re.match('head|norm', k)}
    if name != 'coatnet_5_224':
        assert {k: v.shape for k, v in ours.state_dict().items()} == expected
    assert parameters(ours) == sum(
        p.numel() for k, p in theirs.named_parameters() if not re.match('head|norm', k)
    )


def test_coatnet_of_the_paper_is_timms_blocks_in_the_papers_settings():
    """timm's own class, set to stride in the first 1 x 1 and to max pooling as the paper says."""
    theirs = MaxxVit(
        MaxxVitCfg(
            embed_dim=(16, 24, 32, 64), depths=(2, 2, 2, 2), stem_width=16,
            conv_cfg=MaxxVitConvCfg(stride_mode='1x1', pool_type='max2'),
            transformer_cfg=MaxxVitTransformerCfg(dim_head=8, pool_type='max2'),
        ), img_size=64,
    )  # fmt: skip
    arch = dict(embed_dims=[16, 24, 32, 64], depths=[2, 2, 2, 2], stem_widths=(16, 16), head_dim=8)
    assert_features_equal_timms(CoAtNet({**arch, 'img_size': 64}), randomise(theirs), (64, 64))


def test_coatnet_resizes_relative_positions_bilinearly():
    attention = build('coatnet').stages[2]['blocks'][0].attn
    table = attention.rel_pos.table((4, 4))  # as learnt: 64 pixels at stride 16
    assert table.shape == (4, 7, 7)
    larger = attention.rel_pos.table((6, 9))
    expected = nn.functional.interpolate(table[None], (11, 17), mode='bilinear')[0]
    assert torch.equal(larger, expected)
    torch.testing.assert_close(larger[:, 5, 8], table[:, 3, 3])  # no offset stays no offset


@pytest.mark.parametrize('name', ['coatnet', 'coatnet-rmlp'])
def test_coatnet_keeps_resized_tables_until_weights_change(name):
    network = build(name).eval()
    position = network.stages[2]['blocks'][0].attn.rel_pos
    with torch.no_grad():
        first = position.table((5, 6))
        assert position.table((5, 6)) is first
        for parameter in position.parameters():
            parameter.add_(1.0)
        second = position.table((5, 6))
        assert not torch.equal(second, first)
        network.train().eval()  # an EMA of weights is swapped in unseen between these two
        assert position.table((5, 6)) is not second
    assert position.table((5, 6)).requires_grad
    with torch.inference_mode():  # whose tensors have no version
        assert build(name).eval()(torch.randn(1, 3, 80, 64))[0].isfinite().all()


def test_coatnet_keeps_few_tables_and_copies_none():
    network = build('coatnet').eval()
    position = network.stages[2]['blocks'][0].attn.rel_pos
    with torch.no_grad():
        for width in range(3, 40):
            position.table((4, width))
        assert len(position._kept) <= KEPT_SIZES + 1
        assert copy.deepcopy(network).stages[2]['blocks'][0].attn.rel_pos._kept == {}


def test_coatnet_tables_of_autocast_serve_float32():
    network = build('coatnet-rmlp').eval()
    x = torch.randn(1, 3, 80, 96)
    with torch.no_grad():
        expected = network(x)
        network.train().eval()
        with torch.autocast('cpu', torch.bfloat16):
            network(x)
        assert all(torch.equal(a, b) for a, b in zip(network(x), expected, strict=True))


@pytest.mark.parametrize('side', [28, 44, 45, 64])
def test_coatnet_keeps_little_for_the_backward_pass(side):
    """With the chunks that are shipped: 45 x 45 tokens of 4 heads are the first not in one."""
    layer = build('coatnet').stages[2]['blocks'][0].attn
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(torch.randn(1, 24, side, side, requires_grad=True))
    assert sum(saved.values()) < 150 * 2**20


def test_coatnet_attention_stays_small_at_any_size(monkeypatch):
    """What one layer keeps for the backward pass grows with the tokens, not with their square."""
    chunks = sys.modules['mmvisattn.ops.relative_attention.chunks']
    monkeypatch.setattr(chunks, 'CHUNK_ELEMENTS', 2**16)
    layer = build('coatnet').stages[2]['blocks'][0].attn

    def kept(side):
        saved = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            layer(torch.randn(1, 24, side, side, requires_grad=True))
        return sum(saved.values())

    assert kept(64) < 5 * kept(32)  # 4 times the tokens, 16 times their pairs


@main_networks
@pytest.mark.parametrize('training', [True, False])
def test_one_graph_is_compiled_and_follows_the_weights(name, training):
    network = build(name).train(training)
    compiled = torch.compile(network, backend='eager', fullgraph=True)
    x = torch.randn(2, 3, 64, 96)
    for _ in range(2):
        with torch.set_grad_enabled(training):
            for a, b in zip(network(x), compiled(x), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # the same operations
        with torch.no_grad():
            for value in network.parameters():
                value.mul_(1.1)


@pytest.mark.parametrize('channels', [32, 64, 128, 256, 512])
def test_large_kernel_attention_has_the_papers_parameters(channels):
    """VAN, Table 2, which leaves biases out: the 21 x 21 convolution and what replaces it."""
    table = {32: (451_584, 3_392), 64: (1_806_336, 8_832), 128: (7_225_344, 25_856),
             256: (28_901_376, 84_480), 512: (115_605_504, 300_032)}  # fmt: skip
    for convs, expected in zip(
        [('full',), ('depthwise', 'dilated', 'pointwise')], table[channels], strict=True
    ):
        with torch.device('meta'):
            unit = LargeKernelAttention(channels, convs=convs)
        assert sum(p.numel() for p in unit.parameters() if p.ndim > 1) == expected


@pytest.mark.parametrize(
    ('arch', 'strides'),
    [
        (dict(base='0', layout=['C', 'C', 'C', 'T']), [4, 8, 16, 32]),
        (dict(base='0', relative='none'), [4, 8, 16, 32]),
        (dict(base='0', conv_norm='layernorm'), [4, 8, 16, 32]),
        (dict(embed_dims=[768], depths=[12], layout=['T'], stem='patch'), [16]),
    ],
)
def test_coatnet_layouts(arch, strides):
    with torch.device('meta'), ops.counting():
        network = CoAtNet(arch, out_indices=range(len(strides)))
        maps = network(torch.empty(1, 3, 100, 90))
    assert [tuple(m.shape[-2:]) for m in maps] == sizes((100, 90), strides)


def test_numbers_name_architectures_too():
    """--cfg-options model.backbone.arch=1 gives a number."""
    with torch.device('meta'):
        assert (
            parameters(CoAtNet(1)) == parameters(CoAtNet(dict(base=1))) == parameters(CoAtNet('1'))
        )
        assert (
            VAN(dict(embed_dims=[8] * 5, depths=[1] * 5, mlp_ratios=[4] * 5)).out_strides[4] == 64
        )


@pytest.mark.slow
def test_coatnet_at_the_size_of_detection():
    """Forward and backward at 800 x 1333 in under 16 GiB: peak memory of a process of its own."""
    code = (
        'import resource, torch\n'
        'from mmvisattn.backbones import CoAtNet\n'
        'maps = CoAtNet("0").train()(torch.randn(1, 3, 800, 1333))\n'
        'sum(m.mean() for m in maps).backward()\n'
        'print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)'
    )
    done = run(sys.executable, '-c', code)
    assert done.returncode == 0, done.tail
    assert float(re.search(r'^peak ([\d.]+)', done.output, re.M)[1]) < 16


def test_cyclemlp_keeps_the_releases_names():
    names = set(build('cyclemlp').state_dict())
    assert {
        'patch_embed.proj.weight', 'network.0.0.norm1.weight', 'network.0.0.attn.mlp_c.weight',
        'network.0.0.attn.sfc_h.weight', 'network.0.0.attn.sfc_w.bias', 'network.1.proj.weight',
        'network.0.0.attn.reweight.fc1.weight', 'network.6.0.mlp.fc2.bias', 'norm6.weight',
    } <= names  # fmt: skip


def test_sasa_without_attention_is_torchvisions_resnet():
    theirs = randomise(torchvision.models.resnet50())
    ours = SASAResNet(dict(base='r50', layout=['C', 'C', 'C', 'C'])).eval()
    state_dict = {k: v for k, v in theirs.state_dict().items() if not k.startswith('fc.')}
    ours.load_state_dict(state_dict)
    x = torch.randn(1, 3, 64, 97)
    with torch.no_grad():
        maps = ours(x)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for i, m in enumerate(maps, 1):
            x = getattr(theirs, f'layer{i}')(x)
            torch.testing.assert_close(m, x, rtol=1e-5, atol=1e-5)  # the same operations


SASA_PARAMETERS = {  # millions with head, Table 1, 3 and 6
    (('base', 'r26'),): 10.3, (('base', 'r38'),): 14.1, (('base', 'r50'),): 18.0,
    (('base', 'r26'), ('stem', 'attention')): 10.3,
    (('base', 'r50'), ('stem', 'attention')): 18.0,
    (('base', 'r50'), ('layout', 'CAAA')): 18.1, (('base', 'r50'), ('layout', 'CCAA')): 18.5,
    (('base', 'r50'), ('layout', 'CCCA')): 20.8, (('base', 'r50'), ('layout', 'CCCC')): 25.6,
    (('base', 'r50'), ('layout', 'ACCC')): 25.5, (('base', 'r50'), ('layout', 'AACC')): 25.0,
    (('base', 'r50'), ('layout', 'AAAC')): 22.7, (('base', 'r50'), ('content', False)): 16.7,
    (('base', 'r50'), ('position', 'none')): 18.0,
}  # fmt: skip


@pytest.mark.parametrize('arch', SASA_PARAMETERS, ids=str)
def test_sasa_parameters_are_the_papers(arch):
    settings = dict(arch)
    if 'layout' in settings:
        settings['layout'] = [*settings['layout']]
    with torch.device('meta'):
        found = parameters(SASAResNet(settings)) + parameters(nn.Linear(2048, 1000))
    # printed to one digit, some of them cut off rather than rounded
    assert found / 1e6 == pytest.approx(SASA_PARAMETERS[arch], rel=0.01)


def first_gradient(classifier):
    """The norm of the first gradient of a classifier of ten classes."""
    torch.manual_seed(0)
    logits = classifier(torch.randn(8, 3, 64, 64))
    nn.functional.cross_entropy(logits, torch.arange(8)).backward()
    return torch.cat([p.grad.flatten() for p in classifier.parameters()]).norm().item()


def last_norms(network):
    return torch.cat([v for k, v in network.state_dict().items() if k.endswith('bn3.weight')])


def test_sasas_first_gradient_is_that_of_a_resnet():
    """Blocks that begin at full strength have one more than a thousand times that."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50(num_classes=10, zero_init_residual=True)
    classifier = SASAClassifier('r26', num_classes=10)
    assert first_gradient(classifier) < 5 * first_gradient(resnet)
    network = SASAResNet('r26')
    assert last_norms(network).all()
    network.init_weights()
    assert torch.equal(last_norms(network), last_norms(classifier))
    randomise(network).init_weights()  # a second time, which changes nothing
    assert last_norms(network).all()


def test_sasa_layer_is_the_definition():
    """The layer against the naive local attention, of its own projections."""
    layer = build('sasa').layer1[0].conv2
    x = torch.randn(1, 8, 9, 6)
    expected = ops.local_attention(
        layer.query(x), layer.key(x), layer.value(x), layer.row_embedding, layer.column_embedding,
        kernel_size=5, num_heads=2, backend='naive',
    )  # fmt: skip
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.parametrize('values', ['spatially_aware', 'standalone', 'convolution'])
def test_sasa_stem_is_the_definition(values):
    """Attention within blocks of 4 x 4, by loops over pixels; the last blocks are not full."""
    stem = build('sasa-stem').conv1.__class__(3, 16, num_heads=2, values=values)
    x = torch.randn(1, 3, 6, 9)
    padded = nn.functional.pad(x, (0, 3, 0, 2))
    query, key = stem.query(x), stem.key(x)
    if values == 'spatially_aware':
        place = stem.row_mixture[:, None] + stem.column_mixture
        share = (place @ stem.mixture.t()).softmax(-1)
        value = torch.stack([
            torch.stack([
                torch.einsum('m,moc,c->o', share[i % 4, j % 4], stem.value, x[0, :, i, j])
                for j in range(9)
            ], -1) for i in range(6)
        ], -2)[None]  # fmt: skip
    else:
        value = stem.value(padded)[..., :6, :9]
    expected = torch.empty(1, 16, 6, 9)
    for i in range(6):
        for j in range(9):
            block = [
                (a, b)
                for a in range(i // 4 * 4, min(6, i // 4 * 4 + 4))
                for b in range(j // 4 * 4, min(9, j // 4 * 4 + 4))
            ]
            for head in range(2):
                part = slice(8 * head, 8 * head + 8)
                q = query[0, part, i, j]
                logits = torch.stack([
                    q @ key[0, part, a, b]
                    + q[:4] @ stem.row_embedding[head, a - i + 3]
                    + q[4:] @ stem.column_embedding[head, b - j + 3]
                    for a, b in block
                ])  # fmt: skip
                values_here = torch.stack([value[0, part, a, b] for a, b in block])
                expected[0, part, i, j] = logits.softmax(0) @ values_here
    torch.testing.assert_close(stem(x), expected, rtol=1e-4, atol=1e-5)  # float32
