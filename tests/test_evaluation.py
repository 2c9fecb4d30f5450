"""What a test reports and writes: metrics against other implementations, results read again."""

import json
import sys
from collections import Counter, defaultdict
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT, real_data, run, run_tool
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from mmengine.registry import METRICS, MODELS, init_default_scope
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.config import load_config
from mmvisattn.engine.results import complete_or_absent, evaluate_results
from mmvisattn.engine.run import test as run_test
from mmvisattn.errors import UserError

CLASSES = ['person', 'car', 'dog']
IDS = [1, 3, 18]  # COCO's numbers of these
STATS = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@100', 'AR@300', 'AR@1000',
         'AR_s@1000', 'AR_m@1000', 'AR_l@1000']  # fmt: skip
POSE_STATS = ['AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)',
              'AR (L)']  # fmt: skip
# mmdet rounds to three digits, mmseg to two: half of the last one, and what float32 adds.
THREE_DIGITS, TWO_DIGITS = 5.1e-4, 5.1e-3


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# --- metrics against other implementations -------------------------------------------------------


def ellipse(height, width, box):
    """Mask (height, width) of the ellipse in a box x, y, w, h."""
    y, x = np.ogrid[:height, :width]
    left, top, w, h = box
    return (2 * (x - left) / w - 1) ** 2 + (2 * (y - top) / h - 1) ** 2 <= 1


def annotation(number, image, category, mask, **more):
    """A COCO annotation of a mask, as RLE."""
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    area, box = float(rle.area(encoded)), rle.toBbox(encoded).tolist()
    encoded['counts'] = encoded['counts'].decode()
    return dict(
        id=number, image_id=image, category_id=category, segmentation=encoded, area=area,
        bbox=box, iscrowd=0, **more,
    )  # fmt: skip


def coco_json(images, annotations):
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', height=h, width=w) for i, (h, w) in images],
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in zip(IDS, CLASSES, strict=True)],
    )


@pytest.fixture(scope='module')
def made_up(tmp_path_factory):
    """Annotations of small, medium and large ellipses, one of each picture a crowd."""
    rng = np.random.default_rng(0)
    images, annotations = [(7 * i, (240, 320)) for i in range(1, 6)], []
    for image, (height, width) in images:
        for k in range(9):
            size = [12, 60, 150][k % 3] * rng.uniform(0.7, 1.3, 2)
            corner = rng.uniform(0, (width - size[0], height - size[1]))
            mask = ellipse(height, width, (*corner, *size))
            one = annotation(len(annotations) + 1, image, int(rng.choice(IDS)), mask)
            annotations.append({**one, 'iscrowd': int(k == 5)})
    folder = tmp_path_factory.mktemp('made_up')
    return write_json(folder / 'instances.json', coco_json(images, annotations))


@pytest.fixture(scope='module')
def real_coco():
    """50 real COCO pictures' annotations, where they lie beside the project."""
    return real_data('coco') / 'annotations/instances_val2017.json'


@pytest.fixture(params=['made_up', 'real_coco'])
def truth(request):
    return request.getfixturevalue(request.param)


def detections(coco, kind):
    """Samples as a detector returns them: the truth, or boxes and masks near it and elsewhere."""
    rng = np.random.default_rng(1)
    labels = {category: i for i, category in enumerate(sorted(coco.cats))}
    for image in coco.imgs.values():
        found = []
        for ann in coco.imgToAnns[image['id']] if kind != 'empty' else ():
            x, y, w, h = ann['bbox']
            box, mask = np.array([x, y, x + w, y + h]), coco.annToMask(ann)
            label = labels[ann['category_id']]
            if kind == 'perfect':
                found += [(box, mask, label, 0.9)] if not ann['iscrowd'] else []
                continue
            for _ in range(rng.integers(0, 3)):  # missed, found, found twice
                shift = np.round(rng.normal(0, 0.08 * np.sqrt(w * h), 2)).astype(int)
                other = rng.random() < 0.15
                guess = rng.integers(len(labels)) if other else label
                moved = np.roll(mask, shift[::-1], (0, 1))
                # Few different scores: the order of equal ones matters, too.
                found.append((box + np.tile(shift, 2), moved, guess, rng.integers(1, 20) / 20))
        shape = (image['height'], image['width'])
        boxes, masks, classes, scores = zip(*found, strict=True) if found else ((), (), (), ())
        yield dict(
            img_id=image['id'],
            ori_shape=shape,
            pred_instances=dict(
                bboxes=torch.tensor(np.array(boxes)).reshape(-1, 4).float(),
                masks=torch.tensor(np.array(masks)).reshape(-1, *shape).bool(),
                labels=torch.tensor(np.array(classes, np.int64)),
                scores=torch.tensor(np.array(scores)).float(),
            ),
        )


def score(metric, meta, samples, data_batch=None):
    """What a metric says of samples."""
    metric = METRICS.build(metric)
    metric.dataset_meta = meta
    samples = list(samples)
    metric.process(data_batch, samples)
    return metric.evaluate(len(samples))


def coco_eval(evaluator, truth, results, kind, max_dets=None):
    """The numbers of an implementation of COCO's evaluation over a json of results."""
    predictions = json.loads(results.read_text())
    for row in predictions if kind == 'segm' else ():
        del row['bbox']  # or the area of the box would be taken for that of the mask
    evaluation = evaluator(truth, truth.loadRes(predictions), kind)
    evaluation.params.maxDets = max_dets or evaluation.params.maxDets
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return np.array(evaluation.stats)


@pytest.mark.parametrize('kind', ['noisy', 'perfect'])
def test_box_and_mask_ap_equal_those_of_pycocotools(truth, kind, tmp_path):
    coco = COCO(truth)
    metric = dict(
        type='mmdet.FasterCocoMetric', ann_file=str(truth), metric=['bbox', 'segm'],
        metric_items=STATS, outfile_prefix=str(tmp_path / 'results'),
    )  # fmt: skip
    names = [coco.cats[i]['name'] for i in sorted(coco.cats)]
    ours = score(metric, {'classes': names}, detections(coco, kind))
    for what in ('bbox', 'segm'):
        file = tmp_path / f'results.{what}.json'
        theirs = coco_eval(COCOeval, coco, file, what, [100, 300, 1000])
        mine = [ours[f'coco/{what}_{name}'] for name in STATS]
        np.testing.assert_allclose(mine, theirs, atol=THREE_DIGITS, rtol=0)
        assert 0 < theirs[0] < 0.9 if kind == 'noisy' else theirs[0] > 0.99
        # With all their digits, and with COCO's own limits; the same sums in another order.
        theirs = coco_eval(COCOeval, coco, file, what)
        faster = coco_eval(COCOeval_faster, FasterCOCO(str(truth)), file, what)[:12]
        np.testing.assert_allclose(faster, theirs, atol=1e-12, rtol=0)


def test_a_detector_that_finds_nothing_has_no_ap(made_up, tmp_path):
    prefix = str(tmp_path / 'results')
    metric = dict(type='mmdet.FasterCocoMetric', ann_file=str(made_up), outfile_prefix=prefix)
    assert score(metric, {'classes': CLASSES}, detections(COCO(made_up), 'empty')) == {}
    assert json.loads((tmp_path / 'results.bbox.json').read_text()) == []


def person_annotations(rng):
    """Persons of several sizes with 17 keypoints, some hidden, one with none, one a crowd."""
    annotations = []
    for image in (1, 2, 3):
        for k in range(5):
            height = rng.uniform(50, 200)
            corner = rng.uniform(0, (320 - height / 2, 240 - height))
            points = np.round(corner + rng.uniform(0, 1, (17, 2)) * (height / 2, height))
            visible = rng.choice([0, 1, 2], 17, p=[0.2, 0.2, 0.6]) * (k != 3)
            mask = ellipse(240, 320, (*corner, height / 2, height))
            keypoints = np.c_[points * (visible > 0)[:, None], visible].astype(int)
            one = annotation(
                len(annotations) + 1, image, 1, mask, keypoints=keypoints.ravel().tolist(),
                num_keypoints=int((visible > 0).sum()),
            )  # fmt: skip
            annotations.append({**one, 'iscrowd': int(k == 4)})
    return annotations


@pytest.fixture(params=['made_up', 'real_coco'])
def pose_truth(request, tmp_path):
    if request.param == 'real_coco':
        return real_data('coco') / 'annotations/person_keypoints_val2017.json'
    annotations = person_annotations(np.random.default_rng(2))
    return write_json(tmp_path / 'pose.json', coco_json([(i, (240, 320)) for i in (1, 2, 3)],
                                                        annotations))  # fmt: skip


def poses(coco):
    """Samples as a top-down network returns them, at some distance from the truth."""
    rng = np.random.default_rng(3)
    for ann in coco.anns.values():
        if not ann['num_keypoints'] or ann['iscrowd']:
            continue
        x, y, w, h = ann['bbox']
        truth = np.reshape(ann['keypoints'], (1, 17, 3)).astype(float)
        found = truth[..., :2] + rng.normal(0, 0.06 * np.sqrt(w * h) * rng.random(), (1, 17, 2))
        yield dict(
            id=ann['id'],
            img_id=ann['image_id'],
            pred_instances=dict(
                keypoints=np.where(truth[..., 2:] > 0, found, (x + w / 2, y + h / 2)),
                keypoint_scores=rng.uniform(0.1, 1, (1, 17)),
                bboxes=np.array([[x, y, x + w, y + h]]),
            ),
            gt_instances=dict(bbox_scores=np.ones(1), bbox_scales=np.array([[1.25 * w, 1.25 * h]])),
        )


def pose_meta():
    from mmpose.datasets import CocoDataset
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    return parse_pose_metainfo(CocoDataset.METAINFO)


def test_keypoint_ap_equals_that_of_pycocotools(pose_truth, tmp_path):
    """mmpose takes xtcocotools; three implementations agree."""
    coco = COCO(pose_truth)
    metric = dict(
        type='mmpose.CocoMetric', ann_file=str(pose_truth), outfile_prefix=str(tmp_path / 'results')
    )
    ours = score(metric, pose_meta(), poses(coco))
    ours = [ours[f'coco/{name}'] for name in POSE_STATS]
    file = tmp_path / 'results.keypoints.json'
    theirs = coco_eval(COCOeval, coco, file, 'keypoints')
    faster = coco_eval(COCOeval_faster, FasterCOCO(str(pose_truth)), file, 'keypoints')[:10]
    np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=0)  # the same sums in another order
    np.testing.assert_allclose(faster, theirs, atol=1e-12, rtol=0)
    assert 0.2 < theirs[0] < 0.95


CATEGORIES = [
    dict(id=1, name='person', isthing=1), dict(id=3, name='car', isthing=1),
    dict(id=149, name='road', isthing=0), dict(id=187, name='sky-other-merged', isthing=0),
]  # fmt: skip
PANOPTIC = dict(
    classes=[c['name'] for c in CATEGORIES], thing_classes=['person', 'car'],
    stuff_classes=['road', 'sky-other-merged'],
)  # fmt: skip


def colours(ids):
    return np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1).astype(np.uint8)


def panoptic_case(rng):
    """Truth and prediction of a picture: maps of ids (64, 96), and the category of each id.

    Pixels 0 of the truth are void; id 9 is a crowd of persons.
    """
    truth = np.zeros((64, 96), int)
    truth[:30], truth[36:] = 300_000, 70_001
    kinds = {300_000: 187, 70_001: 149, 9: 1}
    for number, category in zip((5, 6, 7, 8), rng.choice([1, 3], 4), strict=True):
        box = (*rng.uniform(0, (70, 40)), *rng.uniform(12, 26, 2))
        truth[ellipse(64, 96, box)] = number
        kinds[number] = int(category)
    truth[ellipse(64, 96, (60, 30, 34, 30))] = 9
    prediction = np.roll(truth, rng.integers(-3, 4, 2), (0, 1))
    prediction[prediction == 0] = 70_001
    guess = dict(kinds)
    guess[6] = 4 - guess[6]  # the other thing
    prediction[ellipse(64, 96, (65, 35, 20, 20))] = 11  # most of it in the crowd: not counted
    prediction[28:38, 5:30] = 12  # most of it void: not counted either
    prediction[2:9, 2:9] = 13
    guess |= {11: 1, 12: 3, 13: 1}
    prediction[50:60, 20:40] = 0  # says nothing
    return (
        truth, {i: kinds[i] for i in np.unique(truth) if i},
        prediction, {i: guess[i] for i in np.unique(prediction) if i},
    )  # fmt: skip


def panoptic_quality(cases, categories):
    """PQ, SQ and RQ as Kirillov et al. define them, by comparing every pair of masks."""
    matches, alone = defaultdict(list), Counter()
    for truth, kinds, prediction, guess in cases:
        matched = set()
        for t, category in kinds.items():
            for p in guess if t != 9 else ():
                mask, other = truth == t, prediction == p
                union = (mask | other) & ~(other & (truth == 0))
                iou = (mask & other).sum() / union.sum()
                if guess[p] == category and iou > 0.5:
                    matches[category].append(iou)
                    matched |= {('truth', t), ('guess', p)}
        for t, category in kinds.items():
            alone[category] += ('truth', t) not in matched and t != 9
        for p, category in guess.items():
            ignored = (truth == 0) | ((truth == 9) & (category == 1))
            excused = ignored[prediction == p].mean() > 0.5
            alone[category] += ('guess', p) not in matched and not excused
    size = {c: len(matches[c]) + alone[c] / 2 for c in categories}
    seen = [c for c in categories if size[c]]
    pq = np.mean([sum(matches[c]) / size[c] for c in seen])
    sq = np.mean([np.mean(matches[c]) if matches[c] else 0 for c in seen])
    rq = np.mean([len(matches[c]) / size[c] for c in seen])
    return 100 * np.array([pq, sq, rq])


def write_panoptic(folder, maps):
    """COCO panoptic json beside its folder of PNGs; `maps` is {id: (ids, category of each id)}."""
    annotations = []
    for image, (ids, kinds) in maps.items():
        (folder / 'panoptic_val2017').mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours(ids)).save(folder / 'panoptic_val2017' / f'{image}.png')
        segments = [
            dict(id=int(i), category_id=c, iscrowd=int(i == 9), area=int((ids == i).sum()),
                 bbox=[0, 0, *ids.shape[::-1]])
            for i, c in kinds.items()
        ]  # fmt: skip
        annotations.append(dict(image_id=image, file_name=f'{image}.png', segments_info=segments))
    images = [dict(id=i, file_name=f'{i}.jpg', height=m.shape[0], width=m.shape[1])
              for i, (m, _) in maps.items()]  # fmt: skip
    content = dict(images=images, annotations=annotations, categories=CATEGORIES)
    return write_json(folder / 'panoptic_val2017.json', content)


@pytest.mark.parametrize('written', [True, False])
def test_panoptic_quality_is_what_its_paper_defines(tmp_path, written):
    rng = np.random.default_rng(4)
    cases = {image: panoptic_case(rng) for image in (1, 2, 3)}
    file = write_panoptic(tmp_path, {i: case[:2] for i, case in cases.items()})
    order = [c['id'] for c in CATEGORIES]

    def sample(image, ids, guess):
        # mmdet's: class + 1000 x instance; the number of classes stands for nothing.
        labels = np.full(ids.shape, len(CATEGORIES))
        for i, category in guess.items():
            thing = category < 100
            labels[ids == i] = order.index(category) + 1000 * (int(i) if thing else 0)
        return dict(
            img_id=image, img_path=f'{image}.jpg', ori_shape=ids.shape,
            pred_panoptic_seg=dict(sem_seg=torch.tensor(labels[None])),
        )  # fmt: skip

    metric = dict(
        type='mmdet.CocoPanopticMetric', ann_file=str(file),
        seg_prefix=str(tmp_path / 'panoptic_val2017'),
        outfile_prefix=str(tmp_path / 'out' / 'results') if written else None,
    )  # fmt: skip
    ours = score(metric, PANOPTIC, (sample(i, *case[2:]) for i, case in cases.items()))
    for suffix, chosen in (('', order), ('_th', order[:2]), ('_st', order[2:])):
        expected = panoptic_quality(cases.values(), chosen)
        mine = [ours[f'coco_panoptic/{name}{suffix}'] for name in ('PQ', 'SQ', 'RQ')]
        np.testing.assert_allclose(mine, expected, rtol=1e-9)
        assert 10 < expected[0] < 95
    for image, case in cases.items() if written else ():
        predicted = np.asarray(Image.open(tmp_path / f'out/results.panoptic/{image}.png'), int)
        things = predicted @ (1, 256, 256**2) // 1000
        expected = np.where(np.isin(case[2], [0, 300_000, 70_001]), 0, case[2])
        np.testing.assert_array_equal(things, expected)


def test_miou_is_that_of_a_confusion_matrix():
    rng = np.random.default_rng(5)
    confusion, samples = np.zeros((3, 3)), []
    for _ in range(4):
        truth = rng.choice([0, 1, 2, 255], (16, 24))
        guess = rng.integers(0, 3, truth.shape)
        predicted = np.where(rng.random(truth.shape) < 0.6, truth % 255, guess)
        for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
            if t != 255:
                confusion[t, p] += 1
        samples.append(
            dict(pred_sem_seg=dict(data=torch.tensor(predicted)[None]),
                 gt_sem_seg=dict(data=torch.tensor(truth)[None]))
        )  # fmt: skip
    right = np.diag(confusion)
    expected = {
        'mIoU': (right / (confusion.sum(0) + confusion.sum(1) - right)).mean(),
        'mAcc': (right / confusion.sum(1)).mean(),
        'aAcc': right.sum() / confusion.sum(),
    }
    ours = score(dict(type='mmseg.IoUMetric'), {'classes': CLASSES}, samples)
    assert ours == pytest.approx({k: 100 * v for k, v in expected.items()}, abs=TWO_DIGITS)


def test_accuracy_counts_the_best_one_and_five():
    rng = np.random.default_rng(6)
    scores, truth = rng.random((50, 20)).astype(np.float32), rng.integers(0, 20, 50)
    samples = (
        dict(pred_score=torch.tensor(s), gt_label=torch.tensor([t]))
        for s, t in zip(scores, truth, strict=True)
    )
    ours = score(dict(type='mmpretrain.Accuracy', topk=(1, 5)), {}, samples)
    rank = (scores > scores[np.arange(50), truth][:, None]).sum(1)  # how many are above the truth
    assert ours['accuracy/top1'] == pytest.approx(100 * (rank < 1).mean())
    assert ours['accuracy/top5'] == pytest.approx(100 * (rank < 5).mean())


# --- what a test writes, and how it is evaluated again --------------------------------------------

WNIDS = ['n01440764', 'n02102040', 'n02979186', 'n03000684', 'n03028079', 'n03394916', 'n03417042']
SIZE = 96, 64  # of the pictures: width, height; whole multiples of every network's strides
TINY = {
    'model.backbone.init_cfg': None,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'test_dataloader.dataset.serialize_data': False,  # it collects garbage for half a second
    'default_hooks.logger.interval': 100,
}
RESIZE = {'test_dataloader.dataset.pipeline.1.scale': SIZE}
FEW = {'score_thr': 0.0, 'max_per_img': 6}
BOXES = {**RESIZE, 'classes': CLASSES}
TWO_STAGES = {**BOXES, **{f'model.test_cfg.rcnn.{k}': v for k, v in FEW.items()}}
SEGMENTS = {
    **RESIZE, 'thing_classes': PANOPTIC['thing_classes'], 'stuff_classes': PANOPTIC['stuff_classes']
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """Four pictures of noise in the layouts of every task; what is in them, `TRUTHS` tell."""
    rng = np.random.default_rng(7)
    root, names = tmp_path / 'data', [f'val2017/{i}.jpg' for i in range(1, 5)]
    names += [f'images/validation/{i}.jpg' for i in range(1, 5)]
    names += [f'val/{wnid}/{i}.JPEG' for wnid in WNIDS for i in range(2)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
        coarse.resize(SIZE).save(root / name)
    (root / 'annotations' / 'validation').mkdir(parents=True)
    width, height = SIZE
    whole, maps, persons = np.ones((height, width), bool), {}, []
    for image in range(1, 5):
        labels = Image.fromarray(rng.integers(1, 8, (height, width), dtype=np.uint8))
        labels.save(root / 'annotations' / 'validation' / f'{image}.png')
        maps[image] = np.ones((height, width), int), {1: 149}
        for left in (0, width // 2):
            mask = whole & (np.arange(width) >= left)
            persons.append(annotation(len(persons) + 1, image, 1, mask, num_keypoints=17,
                                      keypoints=[left + 1, 1, 2] * 17))  # fmt: skip
    write_panoptic(root / 'annotations', maps)
    write_truth(root, 'person_keypoints', persons)
    write_truth(root, 'instances', persons)
    return root


def write_truth(root, name, annotations):
    content = coco_json([(i, SIZE[::-1]) for i in range(1, 5)], annotations)
    person = content['categories'][0]
    person.update(keypoints=[f'k{i}' for i in range(17)], skeleton=[])
    write_json(root / 'annotations' / f'{name}_val2017.json', content)


def truth_of_objects(root, out, kind):
    """The best three predictions of each picture, every second of them moved."""
    rows = json.loads((out / f'results.{kind}.json').read_text())
    annotations = []
    for image in range(1, 5):
        mine = sorted((r for r in rows if r['image_id'] == image), key=lambda r: -r['score'])
        for k, row in enumerate(mine[:3]):
            if kind == 'segm':
                mask = rle.decode(row['segmentation']).astype(bool)
            else:
                mask = ellipse(*SIZE[::-1], row['bbox'])
            mask = np.roll(mask, 3 * (k % 2), 1)
            one = annotation(len(annotations) + 1, image, row['category_id'], mask)
            annotations += [one] if one['area'] else []
    write_truth(root, 'instances', annotations)


def truth_of_poses(root, out):
    """The poses found, every second of them moved; a person's box stays."""
    annotations = []
    for row in json.loads((out / 'results.keypoints.json').read_text()):
        x, y, w, h = row['bbox']
        points = np.reshape(row['keypoints'], (17, 3))
        points[:, 2] = 2
        points[:, 0] += 8 * (len(annotations) % 2)
        annotations.append(
            dict(id=len(annotations) + 1, image_id=row['image_id'], category_id=1, iscrowd=0,
                 bbox=[x, y, w, h], area=w * h, num_keypoints=17,
                 segmentation=[[x, y, x + w, y, x + w, y + h]],
                 keypoints=points.clip(1).ravel().tolist())
        )  # fmt: skip
    write_truth(root, 'person_keypoints', annotations)


def truth_of_segments(root, out):
    """The segments found, those of two pictures moved."""
    maps = {}
    for row in json.loads((out / 'results.panoptic.json').read_text())['annotations']:
        ids = np.asarray(Image.open(out / 'results.panoptic' / row['file_name']), int)
        ids = np.roll(ids @ (1, 256, 256**2), 5 * (row['image_id'] % 2), 1)
        maps[row['image_id']] = ids, {s['id']: s['category_id'] for s in row['segments_info']}
    write_panoptic(root / 'annotations', maps)


def truth_of_labels(root, out):
    """The labels found, but for a quarter of each picture."""
    for file in out.glob('*.png'):
        labels = np.array(Image.open(file))
        labels[:, : SIZE[0] // 4] = 1
        Image.fromarray(labels).save(root / 'annotations' / 'validation' / file.name)


# Config, options, what it writes, and how the truth is made from what it predicts: close to it, as
# the numbers of an untrained network would be 0 otherwise.
TASKS = {
    'detection': (
        'retinanet_van_b0_coco', {**BOXES, **{f'model.test_cfg.{k}': v for k, v in FEW.items()}},
        ['results.bbox.json'], partial(truth_of_objects, kind='bbox'),
    ),
    'instance': (
        'mask_rcnn_van_b0_coco', TWO_STAGES, ['results.bbox.json', 'results.segm.json'],
        partial(truth_of_objects, kind='segm'),
    ),
    'panoptic': (
        'panoptic_fpn_van_b0_coco', {**SEGMENTS, 'model.test_cfg.panoptic.stuff_area_limit': 64},
        ['results.panoptic', 'results.panoptic.json'], truth_of_segments,
    ),
    'pose': (
        'simple_baseline_256x192_van_b0_coco', {}, ['results.keypoints.json'], truth_of_poses
    ),
    'segmentation': (
        'upernet_van_b0_ade20k', RESIZE, [f'{i}.png' for i in range(1, 5)], truth_of_labels
    ),
    'classification': (
        'classifier_van_b0_imagenet', {'classes': WNIDS}, ['results.json'], lambda *_: None
    ),
    'several': ('mask2former_van_b0_coco', SEGMENTS, [], None),
}  # fmt: skip


def options_of(task, root, **more):
    """The config of a task and its options, cut to `data`."""
    name, options, *_ = TASKS[task]
    return ROOT / 'configs' / f'{name}.py', {**TINY, **options, 'data_root': str(root), **more}


class Test:
    """A task's tiny, untrained network over `data`, tested as tools/test.py does it."""

    __test__ = False

    def __init__(self, task, root, work, **more):
        self.config, self.options = options_of(task, root, **more)
        self.work, self.count = work, 0
        self.checkpoint = work / 'untrained.pth'
        cfg = load_config(self.config, dict(self.options))
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, self.checkpoint)

    def run(self, out, *flags):
        """Test; return the metrics."""
        self.count += 1
        folder = self.work / f'run{self.count}'
        line = [self.config, self.checkpoint, '--work-dir', folder, '--out', out, *flags]
        args = parser_of_test().parse_args(list(map(str, line)))
        args.cfg_options = dict(self.options)
        run_test(args)
        (log,) = folder.glob('*/[0-9]*.json')
        metrics = json.loads(log.read_text())
        return {k: v for k, v in metrics.items() if k not in ('time', 'data_time')}

    def evaluate(self, out):
        return evaluate_results(load_config(self.config, dict(self.options)), out)


def check_coco(data, out, name, kind):
    """The json is what COCO's own reader takes."""
    coco = COCO(data / 'annotations' / f'{name}_val2017.json')
    file = out / f'results.{kind}.json'
    assert len(coco.loadRes(str(file)).anns) == len(json.loads(file.read_text())) > 0


def check_panoptic(data, out):
    rows = json.loads((out / 'results.panoptic.json').read_text())['annotations']
    assert [row['image_id'] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        picture = np.asarray(Image.open(out / 'results.panoptic' / row['file_name']), int)
        ids = picture @ (1, 256, 256**2)
        assert set(np.unique(ids)) - {0} == {s['id'] for s in row['segments_info']}
        assert {s['category_id'] for s in row['segments_info']} <= {1, 3, 149, 187}


def check_labels(data, out):
    """ADE20K's own numbers: 1 to 150, 0 being "not labelled"."""
    for file in out.iterdir():
        labels = np.asarray(Image.open(file))
        assert labels.shape == SIZE[::-1]
        assert labels.min() >= 1
        assert labels.max() <= 150


def check_classes(data, out):
    rows = json.loads((out / 'results.json').read_text())
    assert sorted(r['file'] for r in rows) == [f'{w}/{i}.JPEG' for w in WNIDS for i in range(2)]
    for row in rows:
        assert row['label'] == np.argmax(row['scores'])
        assert sum(row['scores']) == pytest.approx(1, abs=1e-5)  # float32


CHECKS = {
    'detection': partial(check_coco, name='instances', kind='bbox'),
    'instance': partial(check_coco, name='instances', kind='segm'),
    'panoptic': check_panoptic,
    'pose': partial(check_coco, name='person_keypoints', kind='keypoints'),
    'segmentation': check_labels,
    'classification': check_classes,
}


@pytest.mark.parametrize('task', CHECKS)
def test_results_are_written_and_give_the_same_numbers_again(task, data, tmp_path):
    test, out = Test(task, data, tmp_path), tmp_path / 'out'
    *_, written, tell_truth = TASKS[task]
    test.run(out)
    tell_truth(data, out)
    reported = test.run(out)
    assert sorted(p.name for p in out.iterdir()) == written
    assert not (tmp_path / 'out.partial').exists()
    assert any(0 < value < 100 and value != 1 for value in reported.values()), reported
    np.testing.assert_equal(dict(test.evaluate(out)), reported)
    CHECKS[task](data, out)


def evaluate(task, root, out):
    config, options = options_of(task, root)
    return evaluate_results(load_config(config, options), out)


def refusal(function, *args):
    with pytest.raises(UserError) as error:
        function(*args)
    return str(error.value)


def test_incomplete_results_are_refused(data, tmp_path):
    out = tmp_path / 'out'
    said = partial(refusal, evaluate)
    assert 'no folder' in said('detection', data, out)
    out.mkdir()
    assert 'no results.bbox.json' in said('detection', data, out)
    assert 'no results.keypoints.json' in said('pose', data, out)
    (out / 'results.bbox.json').write_text('[{"image_id": 1,')
    assert 'no complete json' in said('detection', data, out)
    row = dict(image_id=99, bbox=[0, 0, 9, 9], score=1, category_id=1)
    write_json(out / 'results.bbox.json', [row])
    assert '99' in said('detection', data, out)
    write_json(out / 'results.bbox.json', [{**row, 'image_id': 1}])
    assert evaluate('detection', data, out)['coco/bbox_mAP'] == 0
    assert 'no results.segm.json' in said('instance', data, out)

    assert '4 missing: 1.png, 2.png' in said('segmentation', data, out)
    for i in range(1, 5):
        Image.fromarray(np.full(SIZE[::-1], i, np.uint8)).save(out / f'{i}.png')
    assert evaluate('segmentation', data, out)['aAcc'] > 0
    Image.fromarray(np.ones((5, 5), np.uint8)).save(out / '3.png')
    assert '3.png does not fit' in said('segmentation', data, out)
    (out / '3.png').write_bytes((out / '2.png').read_bytes()[:60])
    assert '3.png cannot be read' in said('segmentation', data, out)

    write_json(out / 'results.panoptic.json', {'annotations': []})
    assert '4 missing: 1, 2, 3, 4' in said('panoptic', data, out)
    segment = dict(id=1, category_id=149)
    rows = [dict(image_id=i, file_name=f'{i}.png', segments_info=[segment]) for i in range(1, 5)]
    write_json(out / 'results.panoptic.json', {'annotations': rows})
    assert '4 missing: 1.png' in said('panoptic', data, out)

    write_json(out / 'results.json', [dict(file=f'{WNIDS[0]}/0.JPEG', label=0, scores=[1] * 7)])
    assert f'13 missing: {WNIDS[0]}/1.JPEG' in said('classification', data, out)


def test_the_tool_prints_the_numbers(data, tmp_path):
    scores = {
        f'{w}/{i}.JPEG': np.eye(7)[k if i else 0] for k, w in enumerate(WNIDS) for i in (0, 1)
    }
    rows = [dict(file=f, label=int(s.argmax()), scores=s.tolist()) for f, s in scores.items()]
    write_json(tmp_path / 'results.json', rows)
    config, _ = options_of('classification', data)
    words = [f'data_root={data}', f'classes={",".join(WNIDS)}']
    done = run_tool('analysis_tools/eval_results.py', config, tmp_path, '--cfg-options', *words)
    assert done.returncode == 0, done.tail
    assert 'accuracy/top1: 57.1429' in done.output  # 7 of the second pictures, and one more


def test_out_is_complete_or_absent(tmp_path):
    out, partial_out = tmp_path / 'a' / 'out', tmp_path / 'a' / 'out.partial'
    partial_out.mkdir(parents=True)
    (partial_out / 'of_a_killed_test.json').write_text('{')

    def interrupted():
        with complete_or_absent(out):
            (partial_out / 'half.json').write_text('{')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not out.exists()
    assert not partial_out.exists()
    for text in ('first', 'second'):
        with complete_or_absent(out):
            (partial_out / 'results.panoptic').mkdir()
            (partial_out / 'results.panoptic' / f'{text}.png').write_text(text)
            (partial_out / 'results.json').write_text(text)
            assert text == 'second' or not out.exists()
    assert (out / 'results.json').read_text() == 'second'
    assert [p.name for p in (out / 'results.panoptic').iterdir()] == ['second.png']
    with complete_or_absent(None):  # without --out
        assert [p.name for p in out.parent.iterdir()] == ['out']


def test_out_is_refused_where_nothing_can_be_written(data, tmp_path):
    test = Test('detection', data, tmp_path)
    assert 'is a file' in refusal(test.run, test.checkpoint)
    test.options['test_evaluator'] = dict(type='VOCMetric', _delete_=True)
    assert 'no metric of this config can write' in refusal(test.run, tmp_path / 'out')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['data', 'untrained.pth']


def mirror(data, names):
    """Make the second picture exactly (hence lossless) the mirror image of the first."""
    first, second = (data / name for name in names)
    picture = Image.open(first).copy()
    picture.save(first, format='PNG')
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(second, format='PNG')


@pytest.mark.parametrize('flags', [[], ['--tta']])
def test_flipped_detection_does_not_know_left_from_right(data, tmp_path, flags):
    mirror(data, ['val2017/1.jpg', 'val2017/2.jpg'])
    out = tmp_path / 'out'
    Test('detection', data, tmp_path).run(out, *flags)
    rows = json.loads((out / 'results.bbox.json').read_text())
    found = [
        np.array([[r['category_id'], r['score'], *r['bbox']] for r in rows if r['image_id'] == i])
        for i in (1, 2)
    ]
    found[1][:, 2] = SIZE[0] - found[1][:, 2] - found[1][:, 4]
    equal = [f[np.argsort(-f[:, 1])] for f in found]
    # Pixels, after sums in another order; the boxes of the flat start differ by much more.
    assert np.allclose(*equal, atol=1e-3) == bool(flags)


@pytest.mark.parametrize('flags', [[], ['--tta']])
def test_flipped_classification_does_not_know_left_from_right(data, tmp_path, flags):
    names = [f'{WNIDS[0]}/{i}.JPEG' for i in (0, 1)]
    mirror(data, [f'val/{name}' for name in names])
    out = tmp_path / 'out'
    test = Test('classification', data, tmp_path)
    test.run(out, *flags)
    scores = {r['file']: r['scores'] for r in json.loads((out / 'results.json').read_text())}
    # float32, sums in another order
    assert np.allclose(*(scores[name] for name in names), rtol=1e-5, atol=0) == bool(flags)


def test_tta_of_poses_is_the_flip_test(data, tmp_path):
    found = {}
    for flip, flags in ((True, ()), (False, ()), (False, ['--tta'])):
        work = tmp_path / f'{flip}{len(flags)}'
        work.mkdir()
        Test('pose', data, work, **{'model.test_cfg.flip_test': flip}).run(work / 'out', *flags)
        found[flip, bool(flags)] = (work / 'out' / 'results.keypoints.json').read_text()
    assert found[False, True] == found[True, False]
    assert found[False, False] != found[True, False]


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_tta_is_refused_where_nothing_merges(task, data, tmp_path):
    test = Test(task, data, tmp_path)
    assert 'nothing merges' in refusal(test.run, tmp_path / 'out', '--tta')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['data', 'untrained.pth']


def test_poses_in_the_boxes_of_a_detector(data, tmp_path):
    boxes = [dict(image_id=i, category_id=1, bbox=[5 * i, 4, 40, 50], score=i / 8) for i in (1, 2)]
    boxes.append(dict(image_id=1, category_id=3, bbox=[0, 0, 9, 9], score=1))  # nobody
    file, out = write_json(tmp_path / 'boxes.json', boxes), tmp_path / 'out'
    test = Test('pose', data, tmp_path, bbox_file=str(file))
    reported = test.run(out)
    rows = json.loads((out / 'results.keypoints.json').read_text())
    assert [row['image_id'] for row in rows] == [1, 2]
    np.testing.assert_allclose([row['bbox'] for row in rows], [box['bbox'] for box in boxes[:2]])
    np.testing.assert_equal(dict(test.evaluate(out)), reported)


@pytest.mark.slow
def test_several_metrics_write_beside_each_other(data, tmp_path):
    """Mask2Former: PQ, and box and mask AP of the same test."""
    annotations, out = data / 'annotations', tmp_path / 'out'
    metrics = [
        dict(type='CocoPanopticMetric', ann_file=str(annotations / 'panoptic_val2017.json'),
             seg_prefix=str(annotations / 'panoptic_val2017')),
        dict(type='FasterCocoMetric', ann_file=str(annotations / 'instances_val2017.json'),
             metric=['bbox', 'segm']),
    ]  # fmt: skip
    more = {'test_evaluator': metrics, 'model.test_cfg.instance_on': True}
    more |= {'model.test_cfg.object_mask_thr': 0.0, 'model.test_cfg.iou_thr': 0.0}
    test = Test('several', data, tmp_path, **more)
    test.run(out)
    truth_of_segments(data, out)
    truth_of_objects(data, out, 'segm')
    reported = test.run(out)
    assert reported['coco_panoptic/PQ'] > 0
    assert reported['coco/segm_mAP'] > 0
    np.testing.assert_equal(dict(test.evaluate(out)), reported)


@pytest.mark.slow
def test_two_processes_fill_one_folder(data, tmp_path):
    test, out = Test('panoptic', data, tmp_path), tmp_path / 'out'
    test.run(out)
    truth_of_segments(data, out)
    words = [
        f'data_root={data}',
        'thing_classes=person,car',
        f'{next(iter(RESIZE))}={SIZE}',
        'stuff_classes=road,sky-other-merged',
        'model.test_cfg.panoptic.stuff_area_limit=64',
    ]
    done = run(
        'bash', ROOT / 'tools/dist_test.sh', test.config, test.checkpoint, '2', '--out',
        tmp_path / 'both', '--work-dir', tmp_path / 'work', '--cfg-options', *words,
        env={'PYTHON': sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert 'GPU number: 2' in done.output
    names = [sorted(p.name for p in folder.rglob('*')) for folder in (out, tmp_path / 'both')]
    assert names[0] == names[1]
    both, one = (dict(test.evaluate(folder)) for folder in (tmp_path / 'both', out))
    np.testing.assert_equal(both, one)
