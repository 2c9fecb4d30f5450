"""Training to a result: the demos as `make demo` runs them, and real ADE20K pictures."""

import json
import re
import runpy
import shutil

import numpy as np
import pytest
from conftest import ROOT, real_data, run, run_tool, short_run
from PIL import Image

from mmvisattn.analysis.pictures import read_pictures
from mmvisattn.datasets.demo import make_data
from mmvisattn.datasets.demo.layouts import ADE20K
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError

# No augmentation and no regularisation, to fit 12 pictures by heart.
FIT_CONFIG = """
_base_ = '{root}/configs/upernet_van_b0_ade20k.py'
data_root = '{data}'
max_iters = 560
norm_cfg = dict(type='BN')
resize = dict(type='Resize', scale=(112, 112), keep_ratio=False)
load, labels = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
pack = dict(type='PackSegInputs')
training = dict(img_path='images/training', seg_map_path='annotations/training')
train_dataloader = dict(
    batch_size=3, num_workers=1,
    dataset=dict(indices=12, pipeline=[load, labels, resize, pack]))
val_dataloader = dict(num_workers=1, dataset=dict(
    indices=12, pipeline=[load, resize, labels, pack], data_prefix=training))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=(112, 112)),
    backbone=dict(drop_path_rate=0.0, init_cfg=None),
    decode_head=dict(channels=64, dropout_ratio=0.0),
    auxiliary_head=dict(channels=32))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
"""


def per_class(output):
    """{class: (IoU, accuracy)} of the last table in a log; None where nothing is labelled so."""
    table = output[output.rindex('per class results') :]
    rows = re.findall(r'^\| +(.+?) +\| +([\d.]+|nan) +\| +([\d.]+|nan) +\|$', table, re.M)
    return {name: tuple(None if v == 'nan' else float(v) for v in row) for name, *row in rows}


# Framework, layout of the data, what the log calls the metric, and the least it must be.
DEMOS = {
    'segmentation': ('upernet', 'ade20k', 'mIoU', 70),
    'detection': ('retinanet', 'coco', 'coco/bbox_mAP_50', 0.40),
    'instance': ('mask_rcnn', 'coco', 'coco/segm_mAP_50', 0.35),
    'panoptic': ('panoptic_fpn', 'coco', 'coco_panoptic/PQ', 30),
    'pose': ('simple_baseline', 'pose', 'coco/AP', 0.40),
    'classification': ('classifier', 'imagenet', 'accuracy/top1', 90),
}


@pytest.mark.slow
@pytest.mark.parametrize('task', DEMOS)
def test_demo_reaches_its_figure(task, tmp_path, record_property):
    """On pictures it has not seen, from scratch; `make demo` also validates while it trains."""
    framework, layout, metric, least = DEMOS[task]
    config = f'configs/{framework}_van_b0_demo.py'
    data, work, png = tmp_path / 'data', tmp_path / 'work', tmp_path / 'demo.png'
    moved = ['--cfg-options', f'data_root={data}']
    options = ['--work-dir', work, *moved]
    made = run_tool('make_demo_data.py', data, '--layout', layout)
    trained = run_tool('train.py', config, '--seed', 0, '--no-validate', *options, timeout=2400)
    tested = run_tool('test.py', config, work, '--out', tmp_path / 'out', *options)
    drawn = run_tool('analysis_tools/draw_results.py', config, tmp_path / 'out', png, *moved)
    for done in (made, trained, tested, drawn):
        assert done.returncode == 0, done.tail
    score = re.search(rf'Iter\(test\).* {metric}: +([\d.]+)', tested.output)
    record_property(metric, score[1])  # for --junitxml: the figures of the README
    assert float(score[1]) >= least
    assert png.stat().st_size > 100_000


@pytest.mark.parametrize('task', DEMOS)
def test_make_demo_runs_these_commands(task):
    framework, layout, *_ = DEMOS[task]
    done = run('make', '--dry-run', 'demo', f'TASK={task}')
    config = f'configs/{framework}_van_b0_demo.py'
    assert f'make_demo_data.py data/demo_{layout} --layout {layout}\n' in done.output
    assert f'train.py {config} --seed 0\n' in done.output
    assert load_config(ROOT / config).data_root == f'data/demo_{layout}'


def test_make_demo_refuses_another_task():
    done = run('make', 'demo', 'TASK=segmentaton')
    assert done.returncode == 2
    assert 'segmentaton is none of: segmentation detection instance' in done.output


def as_results(task, data, out, classes):
    """The truth of the validation pictures, written as a test writes its predictions."""
    out.mkdir()
    notes = data / 'annotations'
    if task == 'segmentation':
        numbers = np.zeros(256, np.uint8)  # from 1 on, in the order of the config
        numbers[[ADE20K[name] for name in classes]] = range(1, len(classes) + 1)
        for label_map in notes.glob('validation/*.png'):
            Image.fromarray(numbers[Image.open(label_map)]).save(out / label_map.name)
    elif task == 'panoptic':
        shutil.copy(notes / 'panoptic_val2017.json', out / 'results.panoptic.json')
        shutil.copytree(notes / 'panoptic_val2017', out / 'results.panoptic')
    elif task == 'classification':
        names = sorted(folder.name for folder in (data / 'val').iterdir())
        results = [
            dict(
                file=picture.relative_to(data / 'val').as_posix(),
                label=names.index(picture.parent.name),
                scores=[float(name == picture.parent.name) for name in names],
            )
            for picture in (data / 'val').rglob('*.JPEG')
        ]
        (out / 'results.json').write_text(json.dumps(results))
    else:
        kind, name = {
            'detection': ('instances', 'bbox'),
            'instance': ('instances', 'segm'),
            'pose': ('person_keypoints', 'keypoints'),
        }[task]
        found = json.loads((notes / f'{kind}_val2017.json').read_text())['annotations']
        results = [dict(**annotation, score=0.9) for annotation in found]
        (out / f'results.{name}.json').write_text(json.dumps(results))


@pytest.mark.parametrize('task', DEMOS)
def test_results_are_drawn_beside_the_truth(task, tmp_path):
    """The truth, taken for a prediction, looks like the truth but for the scores written on it."""
    draw_results = runpy.run_path(str(ROOT / 'tools/analysis_tools/draw_results.py'))
    framework, layout, *_ = DEMOS[task]
    config, options = f'configs/{framework}_van_b0_demo.py', dict(data_root=str(tmp_path / 'data'))
    make_data(layout, tmp_path / 'data', num_train=1, num_val=10)
    classes = load_config(ROOT / config).get('classes')
    as_results(task, tmp_path / 'data', tmp_path / 'out', classes)
    pictures = read_pictures(load_config(ROOT / config, options), tmp_path / 'out')
    assert len(pictures.paths) == 10
    for path in pictures.paths[::3]:
        picture, truth, predicted = np.array(pictures.row(path), int)
        if task in ('segmentation', 'panoptic', 'pose'):
            assert np.array_equal(truth, predicted)
        else:
            assert 0 < np.abs(truth - predicted).mean() < 10
        assert (truth != picture).any()
    shutil.rmtree(tmp_path / 'out')
    with pytest.raises(UserError, match='no prediction'):
        draw_results['draw'](ROOT / config, tmp_path / 'out', tmp_path / 'drawn.png', 2, options)


@pytest.mark.slow
def test_the_shipped_config_takes_the_scenes_by_three_settings(ade20k, tmp_path):
    done = run_tool(
        'train.py', 'configs/upernet_van_b0_ade20k.py', '--work-dir', tmp_path / 'run',
        '--pretrained', 'none', '--cfg-options', f'data_root={ade20k}',
        f'classes={",".join(ADE20K)}', 'max_iters=2', timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert set(per_class(done.output)) == set(ADE20K)


@pytest.mark.slow
@pytest.mark.parametrize('network', ['van_b0', 'coatnet_0', 'cyclemlp_b1', 'sasa_r26'])
def test_every_network_learns_the_scenes(network, ade20k, tmp_path):
    config = f'configs/upernet_{network}_demo.py'
    options = short_run(ade20k, tmp_path / 'run', iterations=20)
    done = run_tool(
        'train.py', config, '--no-validate', *options, 'default_hooks.logger.interval=1'
    )
    assert done.returncode == 0, done.tail
    losses = [float(x) for x in re.findall(r'Iter\(train\).* loss: ([\d.]+)', done.output)]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])  # by 6 to 10 % with this seed


@pytest.mark.slow
def test_real_pictures_are_fitted(tmp_path):
    """12 ADE20K pictures, the shipped config at a size for CPUs: the labels can be learnt."""
    config = tmp_path / 'fit.py'
    config.write_text(FIT_CONFIG.format(root=ROOT, data=real_data('ade20k')))
    done = run_tool('train.py', config, '--seed', '0', '--work-dir', tmp_path / 'run', timeout=2400)
    assert done.returncode == 0, done.tail
    losses = [float(x) for x in re.findall(r'Iter\(train\).* loss: ([\d.]+)', done.output)]
    assert losses[-1] < 0.25 * losses[0]
    present = [iou for iou, accuracy in per_class(done.output).values() if accuracy is not None]
    assert len(present) > 50
    assert sum(present) / len(present) > 50
