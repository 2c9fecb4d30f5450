"""Every task on real pictures with their original annotations."""

import json
import re

import pytest
from conftest import ROOT, real_data, run_tool

pytestmark = pytest.mark.slow

# The configs as they are: only the folder and the length differ (and, of ImageNet, the classes).
TASKS = {
    'retinanet_van_b0_coco': ('coco', 'coco/bbox_mAP'),
    'mask_rcnn_cyclemlp_b1_coco': ('coco', 'coco/segm_mAP'),
    'panoptic_fpn_van_b0_coco': ('coco_panoptic', 'coco_panoptic/PQ'),
    'fpn_sasa_r26_ade20k': ('ade20k', 'mIoU'),
    'simple_baseline_256x192_coatnet_0_coco': ('coco', 'coco/AP'),
    'classifier_van_b0_imagenet': ('imagenette', 'accuracy/top1'),
    'fpn_r50_camvid': ('camvid', 'mIoU'),
    'retinanet_swin_t_pennfudan': ('pennfudan', 'coco/bbox_mAP'),
}
# After a step nothing is found with confidence, and without boxes there is no AP.
FIND_ANYTHING = {
    'coco/bbox_mAP': ['model.test_cfg.score_thr=0.0'],
    'coco/segm_mAP': ['model.test_cfg.rcnn.score_thr=0.0'],
}
IMAGENETTE = (
    'tench,English springer,cassette player,chain saw,church,French horn,garbage truck,gas pump,'
    'golf ball,parachute'
)


@pytest.mark.parametrize(
    ('config', 'data', 'metric'),
    [(config, *rest) for config, rest in TASKS.items()],
    ids=list(TASKS),
)
def test_a_shipped_config_trains_and_tests_on_real_pictures(config, data, metric, tmp_path):
    real = real_data(data)
    work = tmp_path / 'run'
    config = f'configs/{config}.py'
    folder = [f'data_root={real}']
    if data == 'imagenette':
        folder.append(f'classes={IMAGENETTE}')
    trained = run_tool(
        'train.py', config, '--pretrained', 'none', '--no-validate', '--work-dir', work,
        '--cfg-options', *folder, 'max_iters=1', 'train_dataloader.batch_size=2',
        'default_hooks.logger.interval=1', timeout=1200,
    )  # fmt: skip
    assert trained.returncode == 0, trained.tail
    assert re.search(r'Iter\(train\).* loss: [\d.]+', trained.output)
    tested = run_tool(
        'test.py', config, work, '--work-dir', tmp_path / 'test', '--cfg-options', *folder,
        'test_dataloader.dataset.indices=2', *FIND_ANYTHING.get(metric, []), timeout=1200,
    )  # fmt: skip
    assert tested.returncode == 0, tested.tail
    assert re.search(rf'{metric}: +[\d.]+', tested.output), tested.tail


# Pictures by heart: no augmentation, and the demo's head with room for 80 classes.
BY_HEART = """
_base_ = '{root}/configs/retinanet_van_b0_demo.py'
data_root = '{data}'
classes = {classes}
max_iters = 120
scale = (128, 128)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=scale)
del train_pipeline[3]  # no flips
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=scale)
pictures = dict(ann_file='{truth}', data_prefix=dict(img='train2017/'))
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(**pictures, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**pictures, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{truth}')
test_evaluator = val_evaluator
"""


def test_real_boxes_are_learnt_by_heart(tmp_path):
    """The eight COCO pictures whose smallest object is largest: box AP50 above 0.5 on them."""
    real = real_data('coco')
    truth = json.loads((real / 'annotations/instances_train2017.json').read_text())
    smallest = {}
    for annotation in truth['annotations']:
        image, area = annotation['image_id'], annotation['area']
        smallest[image] = min(area, smallest.get(image, area))
    chosen = sorted(smallest, key=smallest.get)[-8:]
    truth['images'] = [image for image in truth['images'] if image['id'] in chosen]
    truth['annotations'] = [a for a in truth['annotations'] if a['image_id'] in chosen]
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    config = tmp_path / 'by_heart.py'
    config.write_text(
        BY_HEART.format(
            root=ROOT,
            data=real,
            truth=tmp_path / 'truth.json',
            classes=[category['name'] for category in truth['categories']],
        )
    )
    done = run_tool('train.py', config, '--seed', 0, '--work-dir', tmp_path / 'run', timeout=2400)
    assert done.returncode == 0, done.tail
    assert float(re.findall(r'coco/bbox_mAP_50: +([\d.]+)', done.output)[-1]) > 0.5
