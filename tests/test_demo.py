"""Training to a result: the demo as `make demo` runs it, and real ADE20K pictures."""

import re

import pytest
from conftest import DEMO_CONFIG, ROOT, run_tool, short_run

from mmvisattn.datasets.scenes import LABELS

pytestmark = pytest.mark.slow

# No augmentation and no regularisation, to fit 25 pictures by heart.
FIT_CONFIG = """
_base_ = '{root}/configs/upernet_van_b0_ade20k.py'
data_root = '{data}'
max_iters = 700
norm_cfg = dict(type='BN')
resize = dict(type='Resize', scale=(160, 160), keep_ratio=False)
load, labels = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
pack = dict(type='PackSegInputs')
training = dict(img_path='images/training', seg_map_path='annotations/training')
train_dataloader = dict(
    batch_size=5, num_workers=1, dataset=dict(pipeline=[load, labels, resize, pack]))
val_dataloader = dict(
    num_workers=1, dataset=dict(pipeline=[load, resize, labels, pack], data_prefix=training))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=dict(drop_path_rate=0.0, init_cfg=None),
    decode_head=dict(channels=64, dropout_ratio=0.0),
    auxiliary_head=dict(channels=32))
optim_wrapper = dict(optimizer=dict(lr=2e-3))
"""


def per_class(output):
    """{class: (IoU, accuracy)} of the last table in a log; None where nothing is labelled so."""
    table = output[output.rindex('per class results') :]
    rows = re.findall(r'^\| +(.+?) +\| +([\d.]+|nan) +\| +([\d.]+|nan) +\|$', table, re.M)
    return {name: tuple(None if v == 'nan' else float(v) for v in row) for name, *row in rows}


def test_demo_reaches_its_figure(tmp_path):
    """On pictures it has not seen, from scratch; `make demo` is these commands."""
    data, work = tmp_path / 'data', tmp_path / 'work'
    options = ['--work-dir', work, '--cfg-options', f'data_root={data}']
    made = run_tool('make_demo_data.py', data)
    trained = run_tool('train.py', DEMO_CONFIG, *options, timeout=1800)
    tested = run_tool('test.py', DEMO_CONFIG, work, '--out', tmp_path / 'out', *options)
    drawn = run_tool(
        'analysis_tools/draw_results.py', DEMO_CONFIG, tmp_path / 'out', tmp_path / 'demo.png',
        '--cfg-options', f'data_root={data}',
    )  # fmt: skip
    for done in (made, trained, tested, drawn):
        assert done.returncode == 0, done.tail
    assert len(per_class(tested.output)) == 7
    assert float(re.search(r'Iter\(test\).*mIoU: +([\d.]+)', tested.output)[1]) >= 70
    assert (tmp_path / 'demo.png').stat().st_size > 100_000


def test_the_shipped_config_takes_the_scenes_by_three_settings(ade20k, tmp_path):
    done = run_tool(
        'train.py', 'configs/upernet_van_b0_ade20k.py', '--work-dir', tmp_path / 'run',
        '--pretrained', 'none', '--cfg-options', f'data_root={ade20k}',
        f'classes={",".join(LABELS)}', 'max_iters=2', timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert set(per_class(done.output)) == set(LABELS)


@pytest.mark.parametrize('config', sorted(ROOT.glob('configs/*_demo.py')), ids=lambda p: p.stem)
def test_every_network_learns_the_scenes(config, ade20k, tmp_path):
    options = short_run(ade20k, tmp_path / 'run', iterations=20)
    done = run_tool(
        'train.py', config, '--no-validate', *options, 'default_hooks.logger.interval=1'
    )
    assert done.returncode == 0, done.tail
    losses = [float(x) for x in re.findall(r'Iter\(train\).* loss: ([\d.]+)', done.output)]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])  # by 6 to 10 % with this seed


SMALL_CONFIG = """
_base_ = '{root}/configs/upernet_{network}_ade20k.py'
data_root = '{data}'
max_iters = 3
norm_cfg = dict(type='BN')
load, labels = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
resize, pack = dict(type='Resize', scale=(96, 64), keep_ratio=False), dict(type='PackSegInputs')
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=[load, labels, resize, pack]))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=[load, resize, labels, pack]))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=(64, 96)))
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.mark.parametrize('network', ['van_b0', 'coatnet_0', 'cyclemlp_b2', 'sasa_r50'])
def test_every_network_trains_on_real_pictures(network, real_ade20k, tmp_path):
    """Its shipped ADE20K config, at a size for CPUs: steps of training, and an evaluation."""
    config = tmp_path / 'small.py'
    config.write_text(SMALL_CONFIG.format(root=ROOT, network=network, data=real_ade20k))
    done = run_tool('train.py', config, '--pretrained', 'none', '--work-dir', tmp_path / 'run')
    assert done.returncode == 0, done.tail
    losses = [float(x) for x in re.findall(r'Iter\(train\).* loss: ([\d.]+)', done.output)]
    assert len(losses) == 3
    assert len(per_class(done.output)) == 150


def test_real_pictures_are_fitted(real_ade20k, tmp_path):
    """25 ADE20K pictures, the shipped config at a size for CPUs: the labels can be learnt."""
    config = tmp_path / 'fit.py'
    config.write_text(FIT_CONFIG.format(root=ROOT, data=real_ade20k))
    done = run_tool('train.py', config, '--seed', '0', '--work-dir', tmp_path / 'run', timeout=2400)
    assert done.returncode == 0, done.tail
    losses = [float(x) for x in re.findall(r'Iter\(train\).* loss: ([\d.]+)', done.output)]
    assert losses[-1] < 0.25 * losses[0]
    present = [iou for iou, accuracy in per_class(done.output).values() if accuracy is not None]
    assert len(present) > 50
    assert sum(present) / len(present) > 50
