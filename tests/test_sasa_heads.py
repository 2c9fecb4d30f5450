"""Local attention in the place of the convolutions of necks and heads."""

import pytest
import torch
from conftest import ROOT
from mmcv.cnn import ConvModule
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn import functional as F

from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError
from mmvisattn.ops.local_attention.naive import local_attention

ATTENTION = dict(type='mmvisattn.LocalAttention2d')
CONFIG = ROOT / 'configs/retinanet_sasa_r50_attention_coco.py'


def layer(*args, **kwargs):
    return ConvModule(*args, conv_cfg=ATTENTION, act_cfg=None, **kwargs)


@pytest.mark.parametrize('size', [(7, 5), (8, 8), (1, 1), (2, 9)])
@pytest.mark.parametrize('stride', [1, 2])
def test_size_is_the_convolutions(stride, size):
    x = torch.rand(2, 16, *size)
    mine = layer(16, 32, 3, stride=stride, padding=1)
    stock = ConvModule(16, 32, 3, stride=stride, padding=1)
    assert mine(x).shape == stock(x).shape
    for name in ('in_channels', 'out_channels', 'transposed', 'groups'):
        assert getattr(mine, name) == getattr(stock, name)


def test_value_is_the_operators_pooled():
    torch.manual_seed(0)
    x = torch.rand(2, 16, 9, 7)
    conv = layer(16, 32, 3, stride=2, padding=1).conv
    nn.init.normal_(conv.bias)
    expected = local_attention(
        conv.query(x), conv.key(x), conv.value(x), conv.row_embedding, conv.column_embedding,
        kernel_size=7, num_heads=8, scale=1.0,
    )  # fmt: skip
    expected = F.avg_pool2d(expected, 2, ceil_mode=True, count_include_pad=False)
    expected += conv.bias[:, None, None]
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)  # float32, another order


def test_a_pointwise_convolution_stays_one():
    found = layer(16, 32, 1, norm_cfg=dict(type='BN')).conv
    assert type(found) is nn.Conv2d
    assert (found.kernel_size, found.bias) == ((1, 1), None)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(kernel_size=5, padding=2), dict(padding=0), dict(stride=4), dict(dilation=2),
        dict(groups=4), dict(out_channels=20),
    ],
    ids=str,
)  # fmt: skip
def test_other_convolutions_are_refused(arguments):
    arguments = dict(in_channels=16, out_channels=32, kernel_size=3, padding=1) | arguments
    with pytest.raises(UserError, match='SASA'):
        layer(**arguments)


def test_retinanet_has_attention_everywhere_but_in_its_last_layers():
    cfg = load_config(CONFIG)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    spatial = [
        name for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1) and 'backbone' not in name
    ]  # fmt: skip
    assert spatial == ['bbox_head.retina_cls', 'bbox_head.retina_reg']
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count('LocalAttention2d') == 3 + 2 + 2 * 4  # levels, coarser levels, two heads
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(millions, 1) == 22.6  # 22.0 in the paper, Table 2


def test_retinanet_with_attention_starts_as_published_and_trains_a_step():
    cfg = load_config(CONFIG)
    register_all_modules()
    cfg.model.backbone.arch = dict(base='r26', depths=[1, 1, 1, 1])
    model = MODELS.build(cfg.model)
    model.init_weights()
    attention = model.bbox_head.cls_convs[0].conv
    # 65536 draws: their deviation is known to 0.3 %
    assert attention.value.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert attention.query.weight.std().item() > 0.02, 'only the values start small'
    assert model.bbox_head.retina_cls.weight.std().item() == pytest.approx(0.01, rel=0.02)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}

    data = demo_mm_inputs(2, (3, 64, 64), num_items=[2, 2], use_box_type=True)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
    build_optim_wrapper(model, cfg.optim_wrapper).step()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start[name])]
    assert 'bbox_head.cls_convs.0.conv.row_embedding' in moved
