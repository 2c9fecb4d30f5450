"""Every config trains a step, is validated, saved and resumed, on embedded pictures.

Sizes, depths and lengths are cut; everything else is the config's: pipelines, heads, losses,
optimizer, schedule, hooks, metrics.
"""

import json
import math
from pathlib import Path

import pytest
from conftest import ROOT

from mmvisattn.datasets.demo.layouts import make_data
from mmvisattn.datasets.demo.objects import OBJECTS
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.config import load_config
from mmvisattn.engine.run import train
from mmvisattn.weights import read_checkpoint

CONFIGS = sorted(ROOT.glob('configs/*.py'))
# The longest first: coatnet_0_rw before coatnet_0.
NETWORKS = sorted((p.stem for p in ROOT.glob('configs/_base_/backbones/*.py')), key=len)[::-1]
LAYOUTS = {'ade20k': 'ade20k', 'imagenet': 'imagenet', 'simple_baseline': 'pose', 'coco': 'coco'}
# One number of the metric that each kind of evaluation must have written.
METRICS = {'ade20k': 'mIoU', 'imagenet': 'accuracy/top1', 'pose': 'coco/AP', 'coco': 'coco'}


def layout_of(name):
    """The embedded data set that a config is cut down to."""
    name = name.replace('upernet', 'ade20k') if name.endswith('_demo') else name
    name = name.replace('classifier', 'imagenet')
    return next((layout for part, layout in LAYOUTS.items() if part in name), 'coco')


def framework_and_network(name):
    """('mask_rcnn_3x', 'van_b2') of 'mask_rcnn_3x_van_b2_coco'."""
    network = next(n for n in NETWORKS if f'_{n}_' in name)
    return name.partition(f'_{network}_')[0], network


def covering():
    """Configs that hold every framework and every network; networks in what is quickest to run."""
    seen, chosen = set(), set()
    quick = 'simple_baseline_256x192'
    for path in sorted(CONFIGS, key=lambda p: (not p.stem.startswith(quick), p.stem)):
        parts = set(framework_and_network(path.stem)) | {path.stem.rpartition('_')[2]}
        if not parts <= seen:
            seen |= parts
            chosen.add(path.stem)
    return chosen


COVERING = covering()


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A folder for each layout: a few pictures to train on, two or more to validate on."""
    root = tmp_path_factory.mktemp('every')
    counts = dict.fromkeys(LAYOUTS.values(), dict(num_train=4, num_val=2))
    counts['imagenet'] = dict(num_train=10, num_val=10)  # one of each class
    return {layout: make_data(layout, root / layout, **count) for layout, count in counts.items()}


def cut(cfg):
    """Make pictures, networks and batches small, in place."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg[name].dataset.serialize_data = False  # it collects garbage for half a second
        replace(cfg[name], SMALL)
    replace(cfg.model.get('data_preprocessor', {}), SMALL)
    replace(cfg.model.get('head', {}).get('decoder', {}), SMALL)
    replace(cfg.model, FEW)
    if (cfg.model.get('neck') or {}).get('type', '').endswith('FPN'):
        thin(cfg.model)
    for head in ('decode_head', 'auxiliary_head'):
        replace(cfg.model.get(head) or {}, THIN)
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if backbone.type.startswith('mmvisattn.'):
        backbone.update(arch=dict(base=backbone.arch, depths=[1, 1, 1, 1]), drop_path_rate=0.0)
    elif backbone.type == 'mmdet.SwinTransformer':
        backbone.depths = [1, 1, 1, 1]
    elif backbone.type == 'mmpretrain.ConvNeXt':
        backbone.arch = dict(depths=[1, 1, 1, 1], channels=[96, 192, 384, 768])


def replace(part, values):
    """Put these values wherever their keys stand; of a pair, its second where a number stood."""
    if isinstance(part, (list, tuple)):
        for child in part:
            replace(child, values)
    elif isinstance(part, dict):
        if values is SMALL and 'heatmap_size' in part:
            stride = part['input_size'][0] // part['heatmap_size'][0]
            part['heatmap_size'] = tuple(side // stride for side in SMALL['input_size'])
        for key, value in part.items():
            if key in values and value is not None:
                pair = isinstance(values[key], tuple)
                part[key] = values[key][1] if pair and isinstance(value, int) else values[key]
            else:
                replace(value, values)


WIDTHS = ('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'inner_channels')


def thin(part):
    """Give a pyramid of 256 channels, and the heads that read it, a quarter."""
    if isinstance(part, (list, tuple)):
        for child in part:
            thin(child)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in WIDTHS and value in (256, [256] * 4):
                part[key] = 64 if value == 256 else [64] * 4
            elif key != 'backbone':
                thin(value)


# Nothing is found with much confidence after a step, so take a little of anything.
FEW = {
    'score_thr': 0.0, 'nms_pre': 20, 'max_per_img': 10, 'fc_out_channels': 64,
    'num_layers': 2, 'num_queries': 20, 'num_points': 256,
}  # fmt: skip
THIN = {'channels': 64}  # of segmentation
SMALL = {
    'scale': (96, 64),
    'scales': [(96, 64), (64, 64)],
    'crop_size': (64, 64),
    'size': (64, 64),
    'input_size': (32, 64),
}


INTERVALS = ['default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=1']
# To write a large network takes longer than to train it a step.
UNSAVED = [
    'default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=9',
    'default_hooks.checkpoint.save_last=False',
]  # fmt: skip


def scalars(work_dir):
    """What the runs in a folder wrote, a dict for each time."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in COVERING else pytest.mark.slow)
        for path in CONFIGS
    ],
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
    options = dict(data_root=str(data[layout]))
    if layout == 'imagenet':
        options['classes'] = list(OBJECTS)  # mmpretrain wants a folder for each class
    cfg = load_config(path, options)
    cut(cfg)
    # MMEngine names a run by its config and the second; two of one name share a scope.
    config = tmp_path / f'{path.stem}_{layout}.py'
    cfg.dump(config)
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
