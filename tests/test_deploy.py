"""Models folded for inference: the same outputs, fewer layers, and no way back by accident."""

import pytest
import torch
from conftest import ROOT
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import ConvWS2d
from mmdet.testing import demo_mm_inputs
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmvisattn.backbones import VAN, CoAtNet, CycleMLP, SASAResNet
from mmvisattn.deploy import fuse_for_inference, is_folded
from mmvisattn.engine.config import load_config
from mmvisattn.engine.runner import Runner
from mmvisattn.errors import UserError

SHORT = dict(depths=[1, 1, 1, 1])
THIN = dict(embed_dims=[16, 24, 32, 48], **SHORT)
COATNET = dict(embed_dims=[32, 32, 64, 64], stem_widths=(16, 16), depths=[2, 1, 2, 1])
SASA = dict(base='r26', widths=[16, 16, 32, 32], **SHORT)
# Network, and how many BatchNorm layers stay: those behind an early excitation, those before an
# activation, a max-pooling or a padded convolution.
NETWORKS = {
    'van': (lambda: VAN(dict(base='b0', **THIN)), 0),
    'van, two stages': (lambda: VAN(dict(base='b0', **THIN), out_indices=(1,), out_norm=False), 0),
    'van, added gate': (lambda: VAN(dict(base='b0', gate='add', **THIN)), 0),
    'coatnet': (lambda: CoAtNet(dict(base='0', **COATNET)), 0),
    'coatnet, early excitation': (lambda: CoAtNet(dict(base='coatnet_0_rw_224', **COATNET)), 6),
    'coatnet, scaled': (lambda: CoAtNet(dict(base='coatnet_3_rw_224', **COATNET)), 3),
    'coatnet, paper-like': (lambda: CoAtNet(dict(base='coatnet_0_224', **COATNET)), 0),
    'coatnet, batchnorm': (
        lambda: CoAtNet(dict(base='0', pool='avg2', attention_norm='batchnorm', **COATNET)), 0,
    ),
    'coatnet, batchnorm before max': (
        lambda: CoAtNet(dict(base='0', pool='max', attention_norm='batchnorm', **COATNET)), 2,
    ),
    'coatnet, layernorm': (lambda: CoAtNet(dict(base='0', conv_norm='layernorm', **COATNET)), 0),
    'cyclemlp': (lambda: CycleMLP(dict(base='b1', **THIN)), 0),
    'sasa': (lambda: SASAResNet(SASA), 0),
    'sasa, absolute': (lambda: SASAResNet(dict(SASA, position='absolute')), 0),
    'sasa, convolutions': (lambda: SASAResNet(dict(SASA, layout=['C', 'C', 'A', 'A'])), 0),
    'sasa, attention stem': (lambda: SASAResNet(dict(SASA, stem='attention')), 1),
}  # fmt: skip


def settled(model):
    """The model in evaluation mode with statistics, factors and shifts of a trained one."""
    chance = torch.Generator().manual_seed(0)

    def uniform(tensor, low, high):
        tensor.data.copy_(torch.rand(tensor.shape, generator=chance) * (high - low) + low)

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            uniform(module.running_mean, -0.5, 0.5)
            uniform(module.running_var, 0.5, 2.0)
            if module.affine:
                uniform(module.weight, -1.5, 1.5)
                uniform(module.bias, -0.5, 0.5)
    for name, parameter in model.named_parameters():
        if 'layer_scale' in name or 'gamma' in name:
            uniform(parameter, -1.0, 1.0)
    return model.eval()


def picture(height, width, dtype=torch.float32):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


def tensors(value):
    """All tensors of nested outputs, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if hasattr(value, 'all_items'):  # instances of MMEngine
        return [v for _, v in sorted(value.all_items()) if isinstance(v, torch.Tensor)]
    return [t for part in value for t in tensors(part)]


def assert_same(found, expected, tolerance):
    found, expected = tensors(found), tensors(expected)
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-6)
        assert error < tolerance, float(error)


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_give_the_same_with_fewer_layers(name):
    build, left = NETWORKS[name]
    torch.manual_seed(0)
    network = settled(build())
    folded = fuse_for_inference(network)
    assert len(norms(folded)) == left, norms(folded)
    with torch.no_grad():
        x = picture(75, 61)
        assert_same(folded(x), network(x), 1e-4)  # the promise; float32 rounds both
        network.double()
        folded = fuse_for_inference(network)
        for size in ((75, 61), (5, 9)):
            x = picture(*size, dtype=torch.float64)
            assert_same(folded(x), network(x), 1e-10)  # float64: nothing but rounding is left


@pytest.mark.parametrize('norm', ['GN', 'BN'])
def test_a_norm_that_depends_on_the_picture_stays(norm):
    cfg = dict(type='GN', num_groups=4) if norm == 'GN' else dict(type='BN', affine=False)
    network = settled(VAN(dict(base='b0', **THIN), norm_cfg=cfg))
    folded = fuse_for_inference(network)
    assert any(isinstance(m, nn.GroupNorm) for m in folded.modules()) == (norm == 'GN')
    x = picture(64, 64)
    with torch.no_grad():
        assert_same(folded(x), network(x), 1e-4)  # float32


@pytest.fixture
def whole():
    """A function that builds the model of a config with a thin VAN."""

    def build(config):
        cfg = load_config(ROOT / f'configs/{config}.py', {})
        cfg.model.backbone.update(arch=dict(base='b0', **THIN), init_cfg=None)
        channels = THIN['embed_dims']
        neck = 'in_channels' in (cfg.model.get('neck') or {})
        for part in ('neck',) if neck else ('decode_head', 'auxiliary_head', 'head'):
            layer = cfg.model.get(part) or {}
            if isinstance(layer.get('in_channels'), list):
                layer.in_channels = channels[-len(layer.in_channels) :]
            elif 'in_channels' in layer:
                layer.in_channels = channels[layer.get('in_index', -1)]
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        return settled(MODELS.build(cfg.model))

    return build


@pytest.mark.parametrize(
    ('config', 'num_norms'),
    [
        ('upernet_van_b0_ade20k', 0),
        ('fpn_van_b0_ade20k', 0),
        ('retinanet_van_b0_coco', 0),
        ('simple_baseline_256x192_van_b0_coco', 0),
        ('classifier_van_b0_imagenet', 0),
    ],
)
def test_whole_models_give_the_same(config, num_norms, whole):
    model = whole(config)
    folded = fuse_for_inference(model)
    assert len(norms(folded)) == num_norms < len(norms(model))
    with torch.no_grad():
        x = picture(96, 64)
        assert_same(folded(x, None, mode='tensor'), model(x, None, mode='tensor'), 1e-4)  # float32


def test_mask_rcnn_finds_the_same(whole):
    model = whole('mask_rcnn_van_b0_coco')
    model.test_cfg.rcnn.score_thr = 0.0
    folded = fuse_for_inference(model)
    assert not norms(folded)
    assert norms(model)
    batch = demo_mm_inputs(2, (3, 96, 128), with_mask=True)
    batch = model.data_preprocessor(batch, False)
    with torch.no_grad():
        assert_same(folded.extract_feat(batch['inputs']), model.extract_feat(batch['inputs']), 1e-4)
        found, expected = (
            [sample.pred_instances for sample in m(**batch, mode='predict')]
            for m in (folded, model)
        )
    for a, b in zip(found, expected, strict=True):
        assert len(a.scores) == len(b.scores) > 0
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-5)  # float32


def test_libraries_modules_fold_as_pytorch_folds_them():
    torch.manual_seed(0)
    modules = dict(
        conv=ConvModule(4, 6, 3, padding=1, norm_cfg=dict(type='BN')),
        reflected=ConvModule(4, 6, 3, padding=1, norm_cfg=dict(type='BN'), padding_mode='reflect'),
        grouped=ConvModule(4, 6, 3, groups=2, bias=True, norm_cfg=dict(type='SyncBN')),
        first=ConvModule(4, 6, 1, norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')),
        transposed=nn.Sequential(
            nn.ConvTranspose2d(4, 6, 4, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
        ),
    )
    x = torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        for name, module in modules.items():
            module = settled(module)
            folded = fuse_for_inference(module)
            assert not norms(folded), name
            assert_same(folded(x), module(x), 1e-5)  # float32, one layer
        conv, norm = modules['conv'].conv, modules['conv'].norm
        torchs = fuse_conv_bn_eval(conv, norm)
        ours = fuse_for_inference(modules['conv']).conv
        torch.testing.assert_close(ours.weight, torchs.weight)
        torch.testing.assert_close(ours.bias, torchs.bias)


def test_what_would_change_the_function_is_left_alone():
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 3, padding=1)
    modules = dict(
        padded=ConvModule(
            4, 4, 3, padding=1, norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')
        ),
        bent=ConvModule(4, 4, 1, norm_cfg=dict(type='BN'), order=('norm', 'act', 'conv')),
        standardised=nn.Sequential(ConvWS2d(4, 4, 3), nn.BatchNorm2d(4)),
        spectral=ConvModule(4, 4, 3, norm_cfg=dict(type='BN'), with_spectral_norm=True),
        shared=nn.Sequential(shared, nn.BatchNorm2d(4), shared, nn.BatchNorm2d(4)),
        of_the_batch=nn.Sequential(
            nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        ),
        transposed_groups=nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)),
    )
    modules['of_the_batch'].eval()
    x = torch.randn(2, 4, 9, 7)
    for name, module in modules.items():
        module = module.eval() if name == 'of_the_batch' else settled(module)
        folded = fuse_for_inference(module)
        assert len(norms(folded)) == len(norms(module)), name
        torch.testing.assert_close(folded(x), module(x), rtol=0, atol=0)


def test_the_given_model_stays_and_the_new_one_never_trains(tmp_path):
    network = settled(VAN(dict(base='b0', **THIN)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fuse_for_inference(network)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())
    assert not {id(p) for p in network.parameters()} & {id(p) for p in folded.parameters()}
    assert not any(p.requires_grad for p in folded.parameters())

    with pytest.raises(UserError, match='cannot be trained'):
        folded.train()
    assert not any(part.training for part in folded.children())
    assert not folded.eval().training
    network.block2[0].train()
    with pytest.raises(UserError, match='block2.0 in training mode'):
        fuse_for_inference(network)


def test_folded_weights_fit_a_folded_model_alone():
    network, other = (settled(VAN(dict(base='b0', **THIN))) for _ in range(2))
    state = fuse_for_inference(network).state_dict()
    assert is_folded(state)
    assert is_folded({f'backbone.{name}': value for name, value in state.items()})
    assert not is_folded(network.state_dict())
    with torch.no_grad():
        x = picture(64, 64)
        expected = network(x)
        with pytest.raises(RuntimeError, match='Missing key'):
            network.load_state_dict(state)
        twin = fuse_for_inference(other)
        twin.load_state_dict(state)
        assert_same(twin(x), expected, 1e-4)  # float32
        assert_same(fuse_for_inference(twin)(x), twin(x), 1e-7)  # nothing is left to fold


def test_folded_networks_compile_and_export():
    folded = fuse_for_inference(settled(VAN(dict(base='b0', **THIN))))
    x = picture(64, 64)
    with torch.no_grad():
        expected = folded(x)
        compiled = torch.compile(folded, backend='eager', fullgraph=True)
        assert_same(compiled(x), expected, 1e-6)  # the same operators
        exported = torch.export.export(folded, (x,)).module()
        assert_same(exported(x), expected, 1e-6)


@pytest.mark.parametrize('augmented', [False, True])
def test_a_run_folds_after_loading(augmented, whole, tmp_path):
    model = whole('fpn_van_b0_ade20k')
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)

    def loaded(path, name):
        network = whole('fpn_van_b0_ade20k')
        if augmented:
            network = MODELS.build(dict(type='SegTTAModel', module=network))
        runner = Runner(
            model=network, work_dir=str(tmp_path / name), load_from=str(path),
            default_scope='mmseg', experiment_name=f'{tmp_path.name}_{name}',
        )  # fmt: skip
        runner.folds = True
        runner.load_or_resume()
        return runner

    runner = loaded(path, 'run')
    assert not norms(runner.model)
    x = picture(64, 64)
    with torch.no_grad():
        assert_same(runner.bare_model(x), model(x), 1e-4)  # float32
    torch.save(dict(state_dict=runner.bare_model.state_dict()), tmp_path / 'folded.pth')
    with pytest.raises(UserError, match='folded for inference'):
        loaded(tmp_path / 'folded.pth', 'again')
