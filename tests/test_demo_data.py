"""The embedded people and things: exact in their layouts, and drawn so that they can be learnt."""

import json

import numpy as np
import pycocotools.mask
import pytest
from conftest import ROOT, real_data
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpose.datasets import CocoDataset
from mmpretrain.datasets import ImageNet
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from timm.data import ImageNetInfo

from mmvisattn.datasets.checks import check_coco
from mmvisattn.datasets.demo import make_data
from mmvisattn.datasets.demo.figures import (
    KEYPOINTS,
    LEAST_SEEN,
    SKELETON,
    Figure,
    Stage,
    draw_people,
)
from mmvisattn.datasets.demo.objects import OBJECTS

HEAD = slice(0, 5)
LEFT_SHOULDER, RIGHT_SHOULDER = KEYPOINTS.index('left_shoulder'), KEYPOINTS.index('right_shoulder')


@pytest.fixture(scope='module')
def pose(tmp_path_factory):
    return make_data('pose', tmp_path_factory.mktemp('data') / 'pose', num_train=40, num_val=10)


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'imagenet'
    return make_data('imagenet', folder, num_train=300, num_val=100)


@pytest.fixture(scope='module')
def people():
    """Scenes of people, each with its canvas and the keypoints of each person."""
    return [draw_people(np.random.default_rng([7, i])) for i in range(100)]


def read(root, kind, split='train'):
    return COCO(str(root / f'annotations/{kind}_{split}2017.json'))


def test_keypoints_are_cocos_own(pose):
    meta = CocoDataset(lazy_init=True).metainfo
    assert list(KEYPOINTS) == [meta['keypoint_id2name'][i] for i in range(17)]
    assert {frozenset((a - 1, b - 1)) for a, b in SKELETON} == {
        frozenset(link) for link in meta['skeleton_links']
    }
    (category,) = read(pose, 'person_keypoints').dataset['categories']
    assert category['keypoints'] == list(KEYPOINTS)


def test_files_are_those_of_the_real_coco(pose):
    file = real_data('coco') / 'annotations/person_keypoints_val2017.json'
    real = json.loads(file.read_text())
    ours = read(pose, 'person_keypoints', 'val').dataset
    assert ours['categories'] == real['categories']
    assert set(ours) <= set(real)
    assert set(ours['annotations'][0]) == set(real['annotations'][0])
    assert set(ours['images'][0]) <= set(real['images'][0])


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_are_exact(pose, split):
    """Areas and boxes as pycocotools counts them; the persons of both files are the same."""
    assert check_coco(pose) == []
    persons, instances = read(pose, 'person_keypoints', split), read(pose, 'instances', split)
    assert set(persons.anns) == set(instances.anns)
    for number, person in persons.anns.items():
        thing = instances.anns[number]
        assert {key: person[key] for key in thing} == thing
        encoded = pycocotools.mask.encode(np.asfortranarray(persons.annToMask(person)))
        assert person['area'] == pycocotools.mask.area(encoded)
        assert person['bbox'] == pycocotools.mask.toBbox(encoded).tolist()
        x, y, visibility = np.reshape(person['keypoints'], (17, 3)).T
        assert person['num_keypoints'] == np.count_nonzero(visibility)
        assert set(visibility) <= {0, 1, 2}
        assert not x[visibility == 0].any()
        assert not y[visibility == 0].any()
        image = persons.imgs[person['image_id']]
        assert x.min() >= 0
        assert y.min() >= 0
        assert x.max() < image['width']
        assert y.max() < image['height']
        mask = persons.annToMask(person)
        assert mask[y[visibility == 2], x[visibility == 2]].all()


def test_mmpose_reads_the_persons_whose_pose_is_told(pose):
    init_default_scope('mmpose')
    file = 'annotations/person_keypoints_train2017.json'
    built = CocoDataset(file, data_root=str(pose), data_prefix=dict(img='train2017/'))
    told = {n: a for n, a in read(pose, 'person_keypoints').anns.items() if a['num_keypoints']}
    assert {entry['id'] for entry in built} == set(told)
    for entry in built:
        keypoints = np.reshape(told[entry['id']]['keypoints'], (17, 3))
        assert np.array_equal(entry['keypoints'][0], keypoints[:, :2])
        assert np.array_equal(entry['keypoints_visible'][0], keypoints[:, 2] > 0)
        with Image.open(entry['img_path']) as picture:
            assert picture.size == (160, 128)


def test_the_truth_scores_one_and_mirrored_it_does_not(pose):
    truth = read(pose, 'person_keypoints')

    def score(order):
        results = [
            dict(
                image_id=person['image_id'],
                category_id=1,
                keypoints=np.reshape(person['keypoints'], (17, 3))[order].ravel().tolist(),
                score=1.0,
            )
            for person in truth.anns.values()
            if person['num_keypoints']
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats[0]

    assert score(range(17)) == pytest.approx(1, abs=1e-9)
    swapped = [0, *np.arange(1, 17).reshape(-1, 2)[:, ::-1].ravel()]
    assert score(swapped) < 0.2  # seen from the side, left and right nearly coincide


def test_what_is_visible_lies_on_the_person_and_what_hides_it_does_not(people):
    hidden_by_others = hidden_by_oneself = 0
    for scene, keypoints in people:
        for thing, points in enumerate(keypoints, 1):
            x, y, visibility = points[points[:, 2] > 0].T
            own = scene.things[y, x] == thing
            assert own[visibility == 2].all()
            assert (visibility[~own] == 1).all()
            hidden_by_others += np.count_nonzero(~own)
            hidden_by_oneself += np.count_nonzero(own & (visibility == 1))
    assert hidden_by_others > 50
    assert hidden_by_oneself > 50


def test_left_and_right_are_told_by_the_face(people):
    """Facing us, the left shoulder is on the right in the picture; from behind, on the left."""
    across = {'front': [], 'back': []}
    for scene, keypoints in people:
        for thing, points in enumerate(keypoints, 1):
            x, y, visibility = points.T
            shoulders = [LEFT_SHOULDER, RIGHT_SHOULDER]
            if not visibility[[*range(5), *shoulders]].all():
                continue
            whole_head = (scene.things[y[HEAD], x[HEAD]] == thing).all()
            side = {(2, 2, 2): 'front', (1, 1, 1): 'back'}.get(tuple(visibility[:3]))
            if whole_head and side and (visibility[3:5] == 2).all():
                across[side].append(x[LEFT_SHOULDER] - x[RIGHT_SHOULDER])
    assert len(across['front']) > 20
    assert len(across['back']) > 10
    assert min(across['front']) > 0
    assert max(across['back']) < 0


def test_a_pose_is_told_only_while_enough_of_the_person_is_seen():
    scene = Stage(np.random.default_rng(0))
    person = Figure(scene, middle=80, ground=118, height=100)
    whole = person.keypoints()
    assert np.count_nonzero(whole[:, 2] == 2) >= 10
    rows = np.nonzero(scene.things)[0]
    hidden = scene.y < np.quantile(rows, 0.9 * (1 - LEAST_SEEN))
    scene.paint(hidden, (0, 0, 0))
    partly = person.keypoints()
    assert np.array_equal(partly[:, :2], whole[:, :2])
    behind = hidden[whole[:, 1], whole[:, 0]]
    assert 5 <= behind.sum() < 17
    assert np.array_equal(partly[:, 2], np.where(behind, np.minimum(whole[:, 2], 1), whole[:, 2]))
    scene.paint(scene.y < np.quantile(rows, 1.1 * (1 - LEAST_SEEN)), (0, 0, 0))
    assert not person.keypoints().any()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmpretrain_reads_the_things_by_their_folders(imagenet, split):
    classes = Config.fromfile(ROOT / 'configs/classifier_van_b0_demo.py').classes
    built = ImageNet(str(imagenet), split=split, metainfo=dict(classes=classes))
    count = {'train': 300, 'val': 100}[split]
    assert len(built) == count
    assert np.array_equal(np.bincount(built.get_gt_labels()), [count // 10] * 10)
    assert sorted(built.folder_to_idx) == list(OBJECTS)
    sizes = {Image.open(entry['img_path']).size for entry in built}
    assert len(sizes) > 50
    assert all(80 <= side <= 143 for size in sizes for side in size)


def test_the_classes_are_imagenets_own():
    info = ImageNetInfo()
    names = dict(zip(info.label_names(), info.label_descriptions(), strict=True))
    classes = Config.fromfile(ROOT / 'configs/classifier_van_b0_demo.py').classes
    assert list(OBJECTS) == sorted(OBJECTS)  # as a data set sorts its folders
    assert [names[wnid].split(',')[0] for wnid in OBJECTS] == classes


def test_colour_tells_no_class(imagenet):
    """Mean colours of the picture and of its middle, by the nearest class: hardly above chance."""

    def load(split):
        files = sorted(imagenet.glob(f'{split}/*/*.JPEG'))
        pictures = [Image.open(file).resize((32, 32)) for file in files]
        pixels = np.stack([np.asarray(picture, np.float64) for picture in pictures])
        colours = [pixels.mean((1, 2)), pixels[:, 8:24, 8:24].mean((1, 2))]
        return np.concatenate(colours, 1), np.array([file.parent.name for file in files])

    (seen, names), (held_out, truth) = load('train'), load('val')
    classes = sorted(set(names))
    means = np.stack([seen[names == name].mean(0) for name in classes])
    nearest = np.linalg.norm(held_out[:, None] - means, axis=2).argmin(1)
    assert np.mean(np.array(classes)[nearest] == truth) < 0.25  # chance: 0.1, sd 0.03
