"""The demo's scenes, the check of a data set's folder, and errors that name the file."""

import json
import shutil

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import ADE20KDataset, MultiImageMixDataset
from PIL import Image

from mmvisattn.datasets.checks import check_ade20k, check_coco
from mmvisattn.datasets.guard import guard
from mmvisattn.datasets.scenes import LABELS, make_ade20k
from mmvisattn.errors import UserError

PREFIX = dict(img_path='images/training', seg_map_path='annotations/training')
PIPELINE = [dict(type=t) for t in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')]


def dataset(root, **kwargs):
    init_default_scope('mmseg')
    built = ADE20KDataset(data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE, **kwargs)
    guard(built)
    return built


@pytest.fixture
def copy(ade20k, tmp_path):
    """A data set of one's own to break."""
    return shutil.copytree(ade20k, tmp_path / 'broken')


def test_scenes_are_the_same_every_time_and_on_no_two_splits(ade20k, tmp_path):
    again = make_ade20k(tmp_path / 'again', num_train=8, num_val=4)
    other = make_ade20k(tmp_path / 'other', num_train=8, num_val=4, seed=1)
    files = sorted(p.relative_to(ade20k) for p in ade20k.rglob('*.*'))
    assert len(files) == 24
    for file in files:
        assert (ade20k / file).read_bytes() == (again / file).read_bytes()
        assert (ade20k / file).read_bytes() != (other / file).read_bytes()
    assert len({(ade20k / f).read_bytes() for f in files}) == 24  # disjoint


def test_scenes_use_ade20ks_own_numbers(ade20k):
    names = ADE20KDataset.METAINFO['classes']
    assert all(names[number - 1] == name for name, number in LABELS.items())
    labels = [np.asarray(Image.open(p)) for p in ade20k.rglob('*.png')]
    present = set(np.unique(np.concatenate([x.ravel() for x in labels])))
    assert present == {0, *LABELS.values()}
    assert check_ade20k(ade20k) == []


def test_an_unfinished_folder_is_not_taken_for_whole(tmp_path):
    (tmp_path / 'data').mkdir()
    with pytest.raises(UserError, match='holds something else'):
        make_ade20k(tmp_path / 'data', num_train=2, num_val=1)
    (tmp_path / 'killed.unfinished/annotations/training').mkdir(parents=True)
    (tmp_path / 'killed.unfinished/annotations/training/stale.png').touch()
    made = make_ade20k(tmp_path / 'killed', num_train=2, num_val=1)
    assert len(list(made.rglob('*.png'))) == 3
    assert make_ade20k(made, num_train=2, num_val=1) == made
    with pytest.raises(UserError, match='other scenes'):
        make_ade20k(made, num_train=2, num_val=1, seed=1)


def test_real_ade20k_passes_the_check(real_ade20k):
    assert check_ade20k(real_ade20k) == []


def test_real_coco_passes_the_check(real_ade20k):
    assert check_coco(real_ade20k.parent / 'coco') == []


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda r: shutil.rmtree(r / 'annotations/validation'), 'no folder'),
        (lambda r: next(r.glob('annotations/training/*.png')).unlink(), 'without a label map'),
        (lambda r: next(r.glob('images/training/*.jpg')).write_bytes(b'x'), 'does not decode'),
        (lambda r: truncate(next(r.glob('images/training/*.jpg'))), 'does not decode'),
        (lambda r: [p.unlink() for p in r.glob('images/training/*.jpg')], 'no *.jpg'),
        (lambda r: relabel(r, 200), 'labels [200] outside 0 to 150'),
        (lambda r: colour(next(r.glob('annotations/training/*.png'))), 'has mode RGB'),
        (lambda r: shrink(next(r.glob('annotations/training/*.png'))), 'its picture'),
    ],
)
def test_damage_is_found_and_named(copy, damage, said):
    damage(copy)
    problems = check_ade20k(copy)
    assert len(problems) == 1
    assert said in problems[0]
    assert str(copy) in problems[0]


def test_a_sample_opens_fewer_files(copy):
    relabel(copy, 200, which=-1)
    assert check_ade20k(copy, sample=1) == []
    assert check_ade20k(copy) != []


def test_coco_damage_is_found(tmp_path):
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        image.save(tmp_path / split / '1.jpg')
        content = dict(
            images=[dict(id=1, file_name='1.jpg')],
            categories=[dict(id=1, name='person')],
            annotations=[dict(id=7, image_id=1, category_id=1, bbox=[0, 0, 4, 4])],
        )
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    assert check_coco(tmp_path) == []
    content['annotations'][0]['category_id'] = 2
    content['images'].append(dict(id=2, file_name='2.jpg'))
    (tmp_path / 'annotations/instances_val2017.json').write_text(json.dumps(content))
    (tmp_path / 'annotations/instances_train2017.json').write_text('{"images": []}')
    problems = ' '.join(check_coco(tmp_path))
    assert 'is not COCO json' in problems
    assert '2.jpg' in problems
    assert 'not listed: 7' in problems


def test_a_picture_that_does_not_decode_is_named(copy):
    victim = sorted(copy.glob('images/training/*.jpg'))[3]
    victim.write_bytes(b'no picture')
    whole = dataset(copy)
    assert whole[2]['inputs'].shape == (3, 128, 160)
    with pytest.raises(UserError, match=victim.name):
        whole[3]


@pytest.mark.parametrize('classes', [None, ['sky', 'tree']])
def test_a_label_that_no_class_has_is_named(copy, classes):
    relabel(copy, 200, which=0)
    metainfo = dict(classes=classes) if classes else None
    built = ConcatDataset([dataset(copy, metainfo=metainfo)])
    with pytest.raises(UserError, match=r'\[199\] in .*ADE_train_00000001.png'):
        built[0]
    assert built[1]['inputs'].shape == (3, 128, 160)


def test_data_sets_that_mix_pictures_are_guarded_inside(ade20k):
    mixed = MultiImageMixDataset(ConcatDataset([dataset(ade20k)]), pipeline=[])
    guard(mixed)
    assert mixed[0]['inputs'].shape == (3, 128, 160)


def truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


def relabel(root, value, which=0):
    path = sorted(root.glob('annotations/training/*.png'))[which]
    labels = np.asarray(Image.open(path)).copy()
    labels[:4] = value
    Image.fromarray(labels).save(path)


def colour(path):
    Image.open(path).convert('RGB').save(path)


def shrink(path):
    Image.open(path).resize((40, 30)).save(path)
