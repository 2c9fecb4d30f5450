"""The networks as timm's models."""

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2

import mmvisattn.timm
from mmvisattn.backbones import NAMES, VAN, CoAtNet
from mmvisattn.weights import export

NAMES_IN_TIMM = [n for n, (network, _) in NAMES.items() if network is not CoAtNet]  # timm's own
SMALLEST = ['van_b0', 'cyclemlp_b1', 'cyclemlp_t', 'sasa_r26']


def test_all_are_registered():
    assert set(NAMES_IN_TIMM) == set(mmvisattn.timm.MODELS)
    for name in NAMES_IN_TIMM:
        assert timm.is_model(name)
        assert timm.get_pretrained_cfg(name).input_size == (3, 224, 224)


@pytest.mark.parametrize('name', SMALLEST)
def test_a_classifier(name):
    model = timm.create_model(name, num_classes=10, in_chans=4, drop_rate=0.1, drop_path_rate=0.1)
    model.eval()
    x = torch.randn(2, 4, 64, 96)
    logits = model(x)
    assert logits.shape == (2, 10)
    assert torch.equal(model.forward_head(model.forward_features(x)), logits)
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    assert torch.equal(model.get_classifier()(pooled), logits)
    model.reset_classifier(0)
    assert torch.equal(model(x), pooled)
    assert pooled.shape == (2, model.num_features)


@pytest.mark.parametrize('name', SMALLEST)
def test_features_only(name):
    whole = timm.create_model(name).eval()
    model = timm.create_model(name, features_only=True, out_indices=(0, 2)).eval()
    missing, unexpected = model.model.load_state_dict(whole.state_dict(), strict=False)
    assert missing == []
    assert unexpected, 'the last stage and the head are gone'
    x = torch.randn(2, 3, 64, 96)
    maps = model(x)
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [96 // m.shape[3] for m in maps] == model.feature_info.reduction() == [4, 16]
    final, chosen = whole.forward_intermediates(x, indices=[0, 2])
    assert all(torch.equal(a, b) for a, b in zip(maps, chosen, strict=True))
    assert torch.equal(final, whole.forward_features(x))
    sum((m * torch.randn_like(m)).sum() for m in model.train()(x)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_classification_checkpoint_loads_into_the_backbone(tmp_path):
    """What timm's training script writes, read by the initialiser of our configs."""
    torch.manual_seed(0)
    model = timm.create_model('van_b0', num_classes=10).eval()
    file = tmp_path / 'model_best.pth.tar'
    torch.save(dict(epoch=3, arch='van_b0', state_dict=model.state_dict()), file)
    backbone = VAN('b0', init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint=str(file)))
    backbone.init_weights()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone.eval()(x)[-1], model.forward_features(x))


@pytest.mark.parametrize('features_only', [False, True])
def test_pretrained_takes_the_layout_of_the_published_file(tmp_path, features_only):
    """mmpretrain's, which the first mirror of VAN has, for another number of classes."""
    torch.manual_seed(0)
    whole = timm.create_model('van_b0').eval()
    file = tmp_path / 'van.pth'
    torch.save(dict(state_dict=export(whole.state_dict(), 'mmpretrain')), file)
    settings = dict(file=str(file))
    kind = dict(features_only=True) if features_only else dict(num_classes=7)
    model = timm.create_model('van_b0', pretrained=True, pretrained_cfg_overlay=settings, **kind)
    x = torch.randn(1, 3, 64, 64)
    last = model.eval()(x)[-1] if features_only else model.eval().forward_features(x)
    assert torch.equal(last, whole.forward_features(x))
    assert 'van-base' in timm.get_pretrained_cfg('van_b2').url
    assert timm.get_pretrained_cfg('sasa_r50').url == ''


def test_a_training_step_by_timm():
    """Its optimizer with layer-wise rates and its gradient checkpointing."""
    model = timm.create_model('van_b0', num_classes=3)
    model.set_grad_checkpointing()
    optimizer = create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=0.05, layer_decay=0.7)
    assert len({group['lr_scale'] for group in optimizer.param_groups}) == 3 + 3 + 5 + 2 + 2
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.arange(4) % 3)
    loss.backward()
    optimizer.step()
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())
