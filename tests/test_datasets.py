"""The embedded data, as the libraries read it."""

import json

import numpy as np
import pycocotools.mask
import pytest
from conftest import real_data
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import ADE20KDataset
from PIL import Image
from pycocotools.coco import COCO

from mmvisattn.datasets.checks import check_ade20k, check_coco
from mmvisattn.datasets.demo import LAYOUTS, make_data
from mmvisattn.datasets.demo.coco import (
    SMALLEST,
    outline,
    panoptic_categories,
    region,
    run_lengths,
    thing_categories,
)
from mmvisattn.datasets.demo.layouts import ADE20K
from mmvisattn.errors import UserError


@pytest.mark.parametrize('layout', LAYOUTS)
def test_pictures_are_the_same_every_time_and_on_no_two_splits(layout, tmp_path):
    counts = dict(num_train=4, num_val=2)
    made, again = (make_data(layout, tmp_path / name, **counts) for name in ('made', 'again'))
    other = make_data(layout, tmp_path / 'other', seed=1, **counts)
    files = sorted(p.relative_to(made) for p in made.rglob('*.*'))
    assert files == sorted(p.relative_to(again) for p in again.rglob('*.*'))
    for file in files:
        assert (made / file).read_bytes() == (again / file).read_bytes()
        assert (made / file).read_bytes() != (other / file).read_bytes()
    pictures = [p for pattern in LAYOUTS[layout].pictures.values() for p in made.glob(pattern)]
    assert len({p.read_bytes() for p in pictures}) == 6  # disjoint


@pytest.mark.parametrize('layout', LAYOUTS)
def test_an_unfinished_folder_is_not_taken_for_whole(layout, tmp_path):
    (tmp_path / 'data').mkdir()
    with pytest.raises(UserError, match='holds something else'):
        make_data(layout, tmp_path / 'data', num_train=2, num_val=1)
    (tmp_path / 'killed.unfinished/train2017').mkdir(parents=True)
    (tmp_path / 'killed.unfinished/train2017/stale.jpg').touch()
    made = make_data(layout, tmp_path / 'killed', num_train=2, num_val=1)
    pictures = [p for pattern in LAYOUTS[layout].pictures.values() for p in made.glob(pattern)]
    assert len(pictures) == 3
    assert not list(made.rglob('stale.jpg'))
    assert make_data(layout, made, num_train=2, num_val=1) == made
    with pytest.raises(UserError, match='other pictures'):
        make_data(layout, made, num_train=2, num_val=1, seed=1)
    with pytest.raises(UserError, match="'val': 1"):
        make_data(layout, made, num_train=2, num_val=2)


def test_scenes_use_ade20ks_own_numbers(ade20k):
    names = ADE20KDataset.METAINFO['classes']
    assert all(names[number - 1] == name for name, number in ADE20K.items())
    labels = [np.asarray(Image.open(p)) for p in ade20k.rglob('*.png')]
    present = set(np.unique(np.concatenate([x.ravel() for x in labels])))
    assert present == {0, *ADE20K.values()}
    assert check_ade20k(ade20k) == []


def test_categories_are_cocos_own():
    names = [category['name'] for category in panoptic_categories()]
    assert (
        names[:80] == [c['name'] for c in thing_categories()] == [*CocoDataset.METAINFO['classes']]
    )
    assert names == [*CocoPanopticDataset.METAINFO['classes']]


def test_categories_are_those_of_the_real_files():
    def real(data, file):
        return json.loads((real_data(data) / 'annotations' / file).read_text())['categories']

    assert thing_categories() == real('coco', 'instances_val2017.json')
    assert panoptic_categories() == real('coco_panoptic', 'panoptic_val2017.json')


@pytest.mark.parametrize('bump', [1, 3])
@pytest.mark.parametrize('filled', [0.1, 0.5, 0.9])
def test_a_mask_is_written_to_the_pixel(filled, bump):
    """As pycocotools reads it back: single pixels, corners that touch, holes, edges."""
    rng = np.random.default_rng(0)
    reader = COCO()
    for mask in rng.random((50, 9, 7)) < filled:
        mask = mask.repeat(bump, 0).repeat(bump, 1)
        encoded = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
        assert pycocotools.mask.frPyObjects(run_lengths(mask), *mask.shape) == encoded
        reader.imgs = {1: dict(height=mask.shape[0], width=mask.shape[1])}
        read = reader.annToMask(dict(image_id=1, segmentation=outline(mask)))
        assert np.array_equal(read, mask)
        box = pycocotools.mask.toBbox(encoded).tolist()
        assert region(mask) == dict(area=pycocotools.mask.area(encoded), bbox=box)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_instances_and_panoptic_maps_say_the_same(coco, split):
    """Read by pycocotools and decoded by the definition: R + 256 G + 256^2 B."""
    instances = COCO(coco / f'annotations/instances_{split}2017.json')
    panoptic = json.loads((coco / f'annotations/panoptic_{split}2017.json').read_text())
    is_thing = {category['id']: category['isthing'] for category in panoptic['categories']}
    assert panoptic['images'] == list(instances.imgs.values())
    assert check_coco(coco) == []
    for entry in panoptic['annotations']:
        image, annotations = (
            instances.imgs[entry['image_id']],
            instances.imgToAnns[entry['image_id']],
        )
        picture = Image.open(coco / f'{split}2017' / image['file_name'])
        assert picture.size == (image['width'], image['height'])
        colours = np.asarray(
            Image.open(coco / f'annotations/panoptic_{split}2017' / entry['file_name']), np.int64
        )
        ids = colours[..., 0] + 256 * colours[..., 1] + 256**2 * colours[..., 2]
        assert {segment['id'] for segment in entry['segments_info']} == {*np.unique(ids)} - {0}
        for segment in entry['segments_info']:
            mask = np.asfortranarray(ids == segment['id'], np.uint8)
            encoded = pycocotools.mask.encode(mask)
            assert segment['area'] == mask.sum()
            assert segment['bbox'] == pycocotools.mask.toBbox(encoded).tolist()
        things = [s for s in entry['segments_info'] if is_thing[s['category_id']]]
        for segment, annotation in zip(things, annotations, strict=True):
            assert np.array_equal(instances.annToMask(annotation), ids == segment['id'])
            assert all(annotation[key] == segment[key]
                       for key in ('area', 'bbox', 'category_id', 'iscrowd'))  # fmt: skip


def test_some_things_are_hidden_in_part(coco):
    """Split or pierced ones are run lengths, the others polygons; what shows little is left out."""
    annotations = json.loads((coco / 'annotations/instances_train2017.json').read_text())
    shapes = [a['segmentation'] for a in annotations['annotations']]
    assert {type(shape) for shape in shapes} == {list, dict}
    assert min(a['area'] for a in annotations['annotations']) >= SMALLEST


def test_mmdet_reads_what_was_drawn(coco):
    init_default_scope('mmdet')
    loads = [dict(type='LoadImageFromFile'),
             dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]  # fmt: skip
    boxes = CocoDataset(
        data_root=str(coco), ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'), pipeline=loads,
    )  # fmt: skip
    segments = CocoPanopticDataset(
        data_root=str(coco), ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=[loads[0], dict(type='LoadPanopticAnnotations')],
    )  # fmt: skip
    truth = COCO(coco / 'annotations/instances_train2017.json')
    assert len(boxes) == len(segments) == 16
    for sample, panoptic in zip(boxes, segments, strict=True):
        drawn = truth.imgToAnns[sample['img_id']]
        masks = np.array([truth.annToMask(a) for a in drawn]).reshape(-1, 128, 160)
        for read in (sample, panoptic):
            assert np.array_equal(read['gt_masks'].masks, masks)
            names = [boxes.metainfo['classes'][label] for label in read['gt_bboxes_labels']]
            assert names == [truth.cats[a['category_id']]['name'] for a in drawn]
            assert not read['gt_ignore_flags'].any()
        labels = set(np.unique(panoptic['gt_seg_map'])) - {255}
        assert {segments.metainfo['classes'][i] for i in labels} >= {'road', 'sky-other-merged'}
