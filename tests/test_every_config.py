"""Every config trains a step, is validated, saved and resumed, on embedded pictures.

Sizes, depths and lengths are cut; everything else is the config's: pipelines, heads, losses,
optimizer, schedule, hooks, metrics.
"""

import math
import re

import pytest
from conftest import ROOT
from small_configs import layout_of, scalars, small_config, small_data

from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.run import train
from mmvisattn.weights import read_checkpoint

CONFIGS = sorted(ROOT.glob('configs/*.py'))
# The longest first: coatnet_0_rw before coatnet_0.
NETWORKS = sorted((p.stem for p in ROOT.glob('configs/_base_/backbones/*.py')), key=len)[::-1]
# One number of the metric that each kind of evaluation must have written.
METRICS = {
    'ade20k': 'mIoU', 'camvid': 'mIoU', 'imagenet': 'accuracy/top1', 'pose': 'coco/AP',
    'coco': 'coco', 'pennfudan': 'coco',
}  # fmt: skip


def framework_and_network(name):
    """('mask_rcnn_3x', 'van_b2') of 'mask_rcnn_3x_van_b2_coco'."""
    network = next(n for n in NETWORKS if f'_{n}_' in name)
    return name.partition(f'_{network}_')[0], network


def covering(parts_of):
    """Configs that hold all parts that any has; networks in what is quickest to run."""
    seen, chosen = set(), set()
    quick = 'simple_baseline_256x192'
    for path in sorted(CONFIGS, key=lambda p: (not p.stem.startswith(quick), p.stem)):
        parts = parts_of(path.stem)
        if not parts <= seen:
            seen |= parts
            chosen.add(path.stem)
    return chosen


def parts_of(name):
    """Framework, network and data set."""
    return {*framework_and_network(name), name.rpartition('_')[2]}


def pair_of(name):
    """Framework and data set with the kind of network, whatever its size."""
    framework, network = framework_and_network(name)
    return {(framework, re.sub(r'_[a-z]?\d+', '', network), name.rpartition('_')[2])}


# Each part once by default, each pair in the slow tests, each size of each network by request.
COVERING = covering(parts_of)
PAIRS = covering(pair_of)


def marks_of(name):
    """When a config is tested."""
    if name in COVERING:
        return []
    return [pytest.mark.slow if name in PAIRS else pytest.mark.every_size]


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp('every'), num_train=4)


INTERVALS = ['default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=1']
# To write a large network takes longer than to train it a step.
UNSAVED = [
    'default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=9',
    'default_hooks.checkpoint.save_last=False',
]  # fmt: skip


@pytest.mark.parametrize(
    'path',
    [pytest.param(path, id=path.stem, marks=marks_of(path.stem)) for path in CONFIGS],
)
def test_config_trains_validates_saves_and_resumes(path, data, tmp_path, monkeypatch):
    go_through(path, layout_of(path.stem), data, tmp_path, monkeypatch)


BACKBONE = "_delete_=True, type='mmvisattn.VAN', arch='b0'"
STOCK = {
    'coco': f"""
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
model = dict(backbone=dict({BACKBONE}), neck=dict(in_channels=[32, 64, 160, 256]))""",
    'ade20k': f"""
_base_ = 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'
model = dict(pretrained=None, backbone=dict({BACKBONE}), decode_head=dict(
    in_channels=[32, 64, 160, 256]), auxiliary_head=dict(in_channels=160))""",
    'pose': f"""
_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py'
model = dict(backbone=dict({BACKBONE}, out_indices=(3,)), head=dict(in_channels=256))
val_dataloader = dict(dataset=dict(bbox_file=''))""",
    'imagenet': f"""
_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'
model = dict(backbone=dict({BACKBONE}, out_indices=(3,)), head=dict(in_channels=256))""",
}


@pytest.mark.parametrize('layout', STOCK)
def test_a_stock_config_with_our_backbone_does_too(layout, data, tmp_path, monkeypatch):
    """The libraries' own configs: what the README changes, and nothing else."""
    config = tmp_path / 'stock.py'
    config.write_text(STOCK[layout])
    go_through(config, layout, data, tmp_path, monkeypatch)


def go_through(path, layout, data, tmp_path, monkeypatch):
    """Train a step of a config, validate, save, resume, train another."""
    # Configs are written several times, and making them pretty takes longer than training.
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
    config = small_config(path, layout, data[layout], tmp_path)
    work = tmp_path / 'work'

    def run(*options):
        arguments = [config, '--work-dir', work, '--pretrained', 'none', *options]
        train(train_parser().parse_args([str(a) for a in arguments]))
        return scalars(work)

    first = run('--seed', 0, '--cfg-options', 'max_iters=1', *INTERVALS)
    logged = {name: value for written in first for name, value in written.items()}
    assert math.isfinite(logged['loss'])
    assert any(name.startswith(METRICS[layout]) for name in logged)
    state = read_checkpoint(work / 'iter_1.pth')['optimizer']['state'].values()
    gradients = [moment.get('exp_avg', moment.get('momentum_buffer')) for moment in state]
    # ResNet's residual branches begin with a zero, behind which nothing moves in the first step.
    assert sum(bool(g.any()) for g in gradients) > len(gradients) / 4

    both = run('--resume', '--no-validate', '--cfg-options', 'max_iters=2', *UNSAVED)
    assert [written['step'] for written in both[len(first) :]] == [2]
