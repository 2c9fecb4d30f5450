"""The contract of every backbone, and each one's own paper."""

import re
import sys
from pathlib import Path

import mmseg
import pytest
import torch
from conftest import run
from mmengine.registry import MODELS as ROOT_MODELS
from mmpretrain.models import VAN as OtherVAN
from torch import nn

from mmvisattn.backbones import VAN
from mmvisattn.errors import UserError

# Millions of parameters without head (VAN, Table 5 and 8, less the 1000-class head).
VAN_PARAMETERS = {
    'b0': 3.85, 'b1': 13.35, 'b2': 26.07, 'b3': 44.25, 'b4': 59.77, 'b5': 89.20, 'b6': 199.06,
}  # fmt: skip
SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1])


def small(**kwargs):
    torch.manual_seed(0)
    return VAN(SMALL, **kwargs)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize('arch', VAN.ARCHS)
def test_van_parameters_are_the_papers(arch):
    with torch.device('meta'):
        assert parameters(VAN(arch)) / 1e6 == pytest.approx(VAN_PARAMETERS[arch], abs=0.005)


@pytest.mark.parametrize('arch', VAN.ARCHS)
def test_van_declares_what_it_returns(arch):
    with torch.device('meta'):
        network = VAN(arch).eval()
        maps = network(torch.empty(1, 3, 97, 130))
    assert network.out_strides == [4, 8, 16, 32]
    sizes = [(-(-97 // s), -(-130 // s)) for s in network.out_strides]  # rounded up
    assert [m.shape[1:] for m in maps] == [
        (c, *size) for c, size in zip(network.out_channels, sizes, strict=True)
    ]


@pytest.mark.parametrize('size', [(32, 32), (33, 65), (7, 100), (64, 31)])
def test_any_size_goes_through(size):
    maps = small().eval()(torch.randn(2, 3, *size))
    assert [m.shape[-2:] for m in maps] == [tuple(-(-n // s) for n in size) for s in (4, 8, 16, 32)]
    assert all(m.isfinite().all() for m in maps)


def test_other_inputs():
    assert small(in_channels=5).eval()(torch.randn(1, 5, 32, 32))[0].shape == (1, 8, 8, 8)


@pytest.mark.parametrize('out_indices', [(0,), (3,), (0, 1), (1, 2, 3), (-2,), 2])
def test_every_parameter_serves_an_output(out_indices):
    network = small(out_indices=out_indices)
    maps = network(torch.randn(2, 3, 64, 64))
    assert [m.shape[1] for m in maps] == network.out_channels
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    assert unused == []


def test_outputs_are_the_same_whichever_are_asked_for():
    whole, part = small().eval(), small(out_indices=(0, 2)).eval()
    part.load_state_dict(whole.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip((whole(x)[0], whole(x)[2]), part(x), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages_stay_frozen(frozen_stages):
    network = small(frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    for stage in range(4):
        frozen = stage <= frozen_stages
        for module in network.stage_modules(stage):
            assert all(p.requires_grad is not frozen for p in module.parameters())
            assert all(m.training is not frozen for m in module.modules())
    if frozen_stages < 3:
        before = {k: v.clone() for k, v in network.state_dict().items()}
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
        network(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
        optimizer.step()
        changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
        stages = {int(re.search(r'(?:embed|block|norm)(\d)', key)[1]) - 1 for key in changed}
        assert stages == set(range(frozen_stages + 1, 4))


def test_norm_eval_keeps_statistics():
    network = small(norm_eval=True).train()
    assert not any(m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert network.block1[0].attn.training


def test_checkpointing_changes_neither_values_nor_gradients_nor_statistics():
    plain, thrifty = small(drop_path_rate=0.3), small(drop_path_rate=0.3, with_cp=True)
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


def test_checkpointing_saves_memory():
    def kept(network):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(t.numel()) or t, lambda t: t
        ):
            network(torch.randn(2, 3, 64, 64))
        return sum(saved)

    assert kept(small(with_cp=True)) < 0.3 * kept(small())


def test_bfloat16():
    network = small().eval()
    x = torch.randn(1, 3, 64, 64)
    exact = network(x)
    for a, b in zip(exact, network.bfloat16()(x.bfloat16()), strict=True):
        assert b.dtype == torch.bfloat16
        # LayerNorm ends each stage, so values are of order 1; bf16 keeps 8 bits, over 5 blocks.
        assert (a - b.float()).abs().mean() < 0.02


def test_autocast():
    network = small()
    with torch.autocast('cpu', torch.bfloat16):
        maps = network(torch.randn(2, 3, 64, 64))
        loss = sum(m.float().square().mean() for m in maps)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_channels_last_gives_the_same():
    network = small().eval()
    x = torch.randn(1, 3, 48, 80)
    other = network(x), network(x.to(memory_format=torch.channels_last))
    for a, b in zip(*other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # another order of summation


@pytest.mark.gpu
def test_a_gpu_gives_the_same():
    network = small().eval()
    x = torch.randn(1, 3, 97, 130)
    maps = network(x)
    for a, b in zip(maps, network.cuda()(x.cuda()), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3)  # TF32 in cuDNN


def test_stage_norm_epsilon_is_an_argument():
    assert {small().norm1.eps, small(out_norm_eps=1e-5).norm4.eps} == {1e-6, 1e-5}


def test_stochastic_depth_rises_linearly():
    network = small(drop_path_rate=0.4)
    rates = [
        getattr(b.drop_path, 'drop_prob', 0.0)
        for i in range(4)
        for b in network.stage_modules(i)[1]
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_initialisation_is_the_releases():
    """Depthwise 7 x 7: fan-out counted per group, so the variance is 2 / 49."""
    convolution = VAN('b1', out_indices=(2,)).block3[0].attn.spatial_gating_unit.conv_spatial
    assert convolution.weight.std().item() == pytest.approx((2 / 49) ** 0.5, rel=0.03)
    assert convolution.bias.abs().max() == 0


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(arch='b7'), "no architecture 'b7'"),
        (dict(arch=dict(embed_dims=[8, 16, 24, 32])), 'not complete'),
        (dict(arch={**SMALL, 'dephts': [1]}), 'not complete'),
        (dict(arch=dict(embed_dims=[8, 16, 24], depths=[1, 1, 1])), '4 numbers each'),
        (dict(out_indices=(0, 4)), 'out_indices'),
        (dict(out_indices=(2, 1)), 'out_indices'),
        (dict(out_indices=()), 'out_indices'),
        (dict(frozen_stages=4), 'frozen_stages'),
    ],
)
def test_bad_arguments_are_explained(kwargs, said):
    with pytest.raises(UserError, match=said) as error:
        VAN(**{'arch': SMALL, **kwargs})
    assert 'expected:' in str(error.value)


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet', 'mmpose', 'mmpretrain'])
def test_found_by_name_from_every_toolbox(scope):
    with ROOT_MODELS.switch_scope_and_registry(scope) as models:
        backbone = models.build(dict(type='mmvisattn.VAN', arch=SMALL, out_indices=(3,)))
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
