"""Counting, and the page of published numbers."""

import re
from dataclasses import replace

import pytest
import torch
import torchvision
from conftest import ROOT, run_tool
from torch import nn

from mmvisattn.analysis.complexity import complexity
from mmvisattn.analysis.fidelity import Comparison, compare, markdown
from mmvisattn.analysis.models import model_of
from mmvisattn.analysis.published import TABLES, Row
from mmvisattn.backbones import VAN, CoAtNet, CycleMLP, SASAResNet
from mmvisattn.backbones.coatnet import Attention
from mmvisattn.backbones.cyclemlp import CycleMixer
from mmvisattn.backbones.sasa import LocalAttention
from mmvisattn.backbones.van import LargeKernelAttention


def count(module, shape):
    found = complexity(module, shape)
    assert found.parameters == sum(p.numel() for p in module.parameters())
    return found.multiply_adds


def test_a_network_that_everybody_knows():
    """torchvision gives ResNet-50 as 25,557,032 parameters and 4.09 G."""
    found = complexity(torchvision.models.resnet50(), (3, 224, 224))
    assert found.parameters == 25_557_032
    assert found.multiply_adds / 1e9 == pytest.approx(4.09, abs=0.005)


def test_layers_against_a_count_by_hand():
    pixels, c = 12 * 20, 32
    assert count(LargeKernelAttention(c), (c, 12, 20)) == pixels * (25 + 49 + c) * c

    attention = LocalAttention(c, c, kernel_size=5, num_heads=4)
    # three projections; q.k and the sum over values; q.r by row and by column
    by_hand = pixels * (3 * c * c + 2 * 25 * c + 2 * 5 * c // 2)
    assert count(attention, (c, 12, 20)) == by_hand

    attention = Attention(c, c, (4, 4), {**CoAtNet.DEFAULTS, 'head_dim': 8})
    assert count(attention, (c, 12, 20)) == pixels * 4 * c * c + 2 * pixels**2 * c
    assert complexity(attention, (c, 12, 20)).logits == 4 * pixels**2

    mixer = CycleMixer(c, ((1, 3), (3, 1)), 'released', reweight=True)
    by_hand = pixels * 4 * c * c + (c * c // 4 + c // 4 * 3 * c)
    assert complexity(mixer, (12, 20, c)).multiply_adds == by_hand


@pytest.mark.parametrize('network', [CoAtNet('0'), CycleMLP('b1'), SASAResNet('r26')], ids=type)
def test_counting_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    complexity(network, (3, 64, 64))
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_page_of_published_numbers_is_current():
    page = (ROOT / 'docs' / 'fidelity.md').read_text()
    assert page == markdown(), 'run python tools/analysis_tools/write_pages.py'


def test_the_page_of_configs_names_every_config():
    page = (ROOT / 'docs' / 'configs.md').read_text()
    named = re.findall(r'^\| \[`(\w+)\.py`\]', page, re.M)
    assert sorted(named) == sorted(path.stem for path in ROOT.glob('configs/*.py'))


def test_every_row_fits_or_says_why():
    found = [(table, row) for table in TABLES for row in compare(table)]
    assert len(found) > 90
    assert sum(bool(comparison.verdict) for _, comparison in found) > 0.6 * len(found)
    for table, comparison in found:
        row = comparison.row
        if comparison.verdict or row.note:
            continue
        assert table.why, comparison
        # a table's reason is about what is counted, which no parameter depends on
        assert replace(comparison, row=replace(row, cost=None)).verdict == '=', comparison
        assert comparison.cost == pytest.approx(float(row.cost), rel=0.1), comparison


@pytest.mark.parametrize(
    ('printed', 'ours', 'verdict'),
    [('4.1', 4.149, '='), ('4.1', 4.151, ''), ('100', 101, '='), ('100', 101.1, '')],
)
def test_a_row_fits_within_one_percent_or_its_rounding(printed, ours, verdict):
    row = Row('x', lambda: (nn.Identity(), None), (1, 1), parameters=printed)
    assert Comparison(row, ours, 0.0, 0.0).verdict == verdict


STOCK = {
    'mmdet': (
        'retinanet/retinanet_r50_fpn_1x_coco',
        dict(neck=dict(in_channels=[64, 128, 320, 512])),
        36.3,
    ),
    'mmpose': (
        'body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192',
        dict(head=dict(in_channels=512)),
        30.3,
    ),
}


@pytest.mark.parametrize('toolbox', STOCK)
def test_a_stock_config_is_counted(toolbox, tmp_path):
    """The paper's parameters: Table 9, and Table 15."""
    base, parts, millions = STOCK[toolbox]
    out_indices = (0, 1, 2, 3) if 'neck' in parts else (3,)
    backbone = dict(_delete_=True, type='mmvisattn.VAN', arch='b2', out_indices=out_indices)
    config = tmp_path / 'stock.py'
    config.write_text(
        f"_base_ = '{toolbox}::{base}.py'\nmodel = {dict(backbone=backbone, **parts)}"
    )
    model, forward = model_of(str(config))
    found = complexity(model, (3, 256, 192), forward)
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert found.multiply_adds > complexity(VAN('b2'), (3, 256, 192)).multiply_adds


def test_a_second_stage_is_left_out_and_said_to_be(tmp_path):
    config = tmp_path / 'stock.py'
    config.write_text("_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'")
    done = run_tool('analysis_tools/get_flops.py', config)
    assert done.returncode == 0, done.tail
    assert re.search(r'parameters +44\.\d+ M', done.output)  # 44.2 in VAN's Table 10
    assert 'without the second stage' in done.output


def test_the_tool_counts_configs_and_backbones():
    done = run_tool('analysis_tools/get_flops.py', 'van_b0', '--shape', '224', '448')
    assert done.returncode == 0, done.tail
    assert 'van_b0 at 224 x 448' in done.output
    assert '3.849 M' in done.output
    assert '1.728 G' in done.output
    done = run_tool('analysis_tools/get_flops.py', 'configs/upernet_van_b0_demo.py')
    assert done.returncode == 0, done.tail
    assert '4.532 M' in done.output
    done = run_tool('analysis_tools/get_flops.py', 'van_b9')
    assert done.returncode == 2
    assert "did you mean 'van_b" in done.output
