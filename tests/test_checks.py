"""The checks of a data set's folder, and what the libraries make of what is legal and what not."""

import json
import re
import shutil

import mmcv
import numpy as np
import pytest
from conftest import real_data, run_tool
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.datasets import CocoDataset as PoseDataset
from mmpretrain.datasets import ImageNet
from PIL import Image
from pycocotools import mask as coco_mask

from mmvisattn.datasets.checks import (
    check_ade20k,
    check_coco,
    check_coco_file,
    check_coco_panoptic,
    check_imagenet,
    check_panoptic_file,
)
from mmvisattn.datasets.checks.jsonfile import WINDOW, read_lists
from mmvisattn.datasets.checks.masks import uncompressed
from mmvisattn.datasets.demo import make_data
from mmvisattn.engine.datasets_check import check_datasets
from mmvisattn.errors import UserError

WIDTH, HEIGHT = 40, 30
CLASSES = ['person', 'dog']
TURNED = 6  # EXIF orientation: a quarter turn clockwise


@pytest.fixture
def ade(ade20k, tmp_path):
    """ADE20K's layout, to break."""
    return shutil.copytree(ade20k, tmp_path / 'broken')


@pytest.fixture
def panoptic(tmp_path):
    return make_data('coco', tmp_path / 'coco', num_train=3, num_val=2)


@pytest.fixture
def classes(tmp_path):
    """Class folders of pictures, the same in train and val."""
    made = tmp_path / 'imagenet'
    for split in ('train', 'val'):
        for name in ('n01', 'n02'):
            (made / split / name).mkdir(parents=True)
            picture(made / split / name / f'{name}_{split}.JPEG')
    return made


@pytest.fixture
def coco(tmp_path):
    """COCO's layout, to break: a polygon, run lengths of both kinds, a crowd, an empty picture."""
    made = tmp_path / 'coco'
    (made / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        (made / split).mkdir()
        for i in (1, 2, 3):
            picture(made / split / f'{i}.jpg')
        write(made, content(), split)
    return made


def picture(path, seed=0, **save):
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path, **save)


def square():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[5:15, 10:30] = 1
    return mask


def polygons():
    return [[10, 5, 30, 5, 30, 15, 10, 15]]


def runs():
    flat = square().ravel('F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    return dict(size=[HEIGHT, WIDTH], counts=np.diff([0, *edges, flat.size]).tolist())


def compressed():
    counts = coco_mask.encode(square())['counts'].decode()
    return dict(size=[HEIGHT, WIDTH], counts=counts)


def annotation(number, mask, **more):
    of = dict(id=number, image_id=1, category_id=1)
    return {**of, **dict(bbox=[10, 5, 20, 10], area=200, iscrowd=0, segmentation=mask), **more}


def content():
    categories = [dict(id=1, name='person'), dict(id=18, name='dog')]
    images = [dict(id=i, file_name=f'{i}.jpg', width=WIDTH, height=HEIGHT) for i in (1, 2, 3)]
    annotations = [
        annotation(7, polygons()),
        annotation(8, compressed(), category_id=18),
        annotation(9, runs(), image_id=2, iscrowd=1),
    ]
    return dict(images=images, categories=categories, annotations=annotations)


def write(root, what, split='train2017', kind='instances'):
    file = root / f'annotations/{kind}_{split}.json'
    file.write_text(what if isinstance(what, str) else json.dumps(what))
    return file


def detection(root, cls=CocoDataset, **kwargs):
    init_default_scope('mmdet')
    loads = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)]
    settings = dict(
        data_root=str(root),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES),
        pipeline=loads,
    )
    return cls(**{**settings, **kwargs})


# Label maps


def test_real_ade20k_passes_the_check():
    assert check_ade20k(real_data('ade20k')) == []


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda r: shutil.rmtree(r / 'annotations/validation'), 'no folder'),
        (lambda r: next(r.glob('annotations/training/*.png')).unlink(), 'without a label map'),
        (lambda r: next(r.glob('images/training/*.jpg')).write_bytes(b'x'), 'does not decode'),
        (lambda r: truncate(next(r.glob('images/training/*.jpg'))), 'does not decode'),
        (lambda r: [p.unlink() for p in r.glob('images/training/*.jpg')], 'no *.jpg'),
        (lambda r: relabel(r, 200), 'labels [200] outside 0 to 150'),
        (lambda r: convert(next(r.glob('annotations/training/*.png')), 'RGB'), 'has mode RGB'),
        (lambda r: convert(next(r.glob('annotations/training/*.png')), 'I;16'), 'has mode I;16'),
        (lambda r: shrink(next(r.glob('annotations/training/*.png'))), 'its picture'),
        (lambda r: turn(next(r.glob('images/training/*.jpg'))), 'its picture (128, 160)'),
    ],
)
def test_damage_to_label_maps_is_found_and_named(ade, damage, said):
    damage(ade)
    problems = check_ade20k(ade)
    assert len(problems) == 1
    assert said in problems[0]
    assert str(ade) in problems[0]


def test_a_sample_opens_fewer_files(ade):
    relabel(ade, 200, which=-1)
    assert check_ade20k(ade, sample=1) == []
    assert check_ade20k(ade) != []


# How the libraries load pictures


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_pictures_are_loaded_in_colour_upright_and_in_8_bits(tmp_path, backend):
    picture(tmp_path / 'turned.jpg', exif=orientation(TURNED))
    picture(tmp_path / 'grey.png')
    convert(tmp_path / 'grey.png', 'L')
    Image.fromarray(np.full((HEIGHT, WIDTH), 30000, np.uint16)).save(tmp_path / 'deep.png')

    def load(name, **kwargs):
        return mmcv.imfrombytes((tmp_path / name).read_bytes(), backend=backend, **kwargs)

    assert load('turned.jpg').shape == (WIDTH, HEIGHT, 3)
    assert load('turned.jpg', flag='unchanged').shape == (HEIGHT, WIDTH, 3)  # as label maps are
    assert load('grey.png').shape == (HEIGHT, WIDTH, 3)
    # 30000 / 256 = 117; Pillow clips.
    assert np.unique(load('deep.png')) == {'cv2': 117, 'pillow': 255}[backend]


def test_a_picture_of_16_bits_is_legal_and_mentioned(coco):
    Image.fromarray(np.full((HEIGHT, WIDTH), 30000, np.uint16)).save(coco / 'deep.png')
    (coco / 'deep.png').rename(coco / 'train2017/2.jpg')
    report = check_coco(coco)
    assert report == []
    assert any('16 bits' in note and '2.jpg' in note for note in report.notes)
    assert detection(coco)[1]['img'].dtype == np.uint8


# COCO


def test_sound_coco_passes_with_polygons_run_lengths_crowds_and_empty_pictures(coco):
    report = check_coco(coco)
    assert report == []
    without = [n for n in report.notes if 'without an annotation' in n]
    assert [n.endswith('json without an annotation: 3') for n in without] == [True, True]
    built = detection(coco)
    assert len(built) == 3
    for mask in built[0]['gt_masks'].masks:
        # A polygon's edge runs through pixels: pycocotools fills those whose middle is inside.
        assert (mask == square()).all()
    assert (built[1]['gt_masks'].masks[0] == square()).all()
    assert built[1]['gt_ignore_flags'].tolist() == [True]
    assert len(built[2]['gt_bboxes']) == 0


def test_a_folder_of_poses_alone_passes(coco):
    for file in list(coco.glob('annotations/instances_*.json')):
        file.rename(file.with_name(file.name.replace('instances', 'person_keypoints')))
    assert check_coco(coco) == []
    for file in coco.glob('annotations/*'):
        file.unlink()
    assert [p.split('/')[-1] for p in check_coco(coco)] == [
        'instances_train2017.json',
        'instances_val2017.json',
    ]


def test_real_coco_passes_the_check():
    assert check_coco(real_data('coco')) == []


def of_annotation(number=0, **changes):
    def damage(made):
        made['annotations'][number].update(changes)

    return damage


def without(name, key, number=0):
    def damage(made):
        del made[name][number][key]

    return damage


def runs_of(**changes):
    return of_annotation(segmentation={**runs(), **changes})


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda c: c.pop('categories'), "it has no list 'categories'"),
        (lambda c: c.update(images={}), "it has no list 'images'"),
        (without('images', 'width'), 'images of FILE without width: 1'),
        (without('annotations', 'area'), 'annotations of FILE without area: 7'),
        (without('annotations', 'id'), 'annotations of FILE without id: number 1'),
        (without('annotations', 'iscrowd'), 'without iscrowd, at which evaluation stops: 7'),
        (of_annotation(id='7'), "with id '7': 7"),
        (of_annotation(bbox='box'), "with bbox 'box': 7"),
        (lambda c: c['annotations'].append('x'), 'a str in place of an object: number 4'),
        (of_annotation(id=8), 'ids that two annotations of FILE have: 8'),
        (lambda c: c['images'].append(c['images'][1]), 'ids that two pictures of FILE have: 2'),
        (lambda c: c['categories'].append(dict(id=1, name='cat')), 'ids that two categories'),
        (lambda c: c['categories'].append(dict(id=3, name='dog')), 'names of two categories'),
        (of_annotation(image_id=4), 'of a picture or category that is not listed: 7'),
        (of_annotation(category_id=2), 'of a picture or category that is not listed: 7'),
        (of_annotation(bbox=[0, 0, float('nan'), 4]), '4 and 1 finite numbers: 7'),
        (of_annotation(bbox=[0, 0, 4]), '4 and 1 finite numbers: 7'),
        (of_annotation(area=float('inf')), '4 and 1 finite numbers: 7'),
        (of_annotation(iscrowd=2), 'iscrowd other than 0 and 1: 7'),
        (of_annotation(segmentation=[]), 'without a mask: 7'),
        (of_annotation(segmentation=[[1, 1, 5, 5]]), 'fewer than 6 numbers, or of an odd count: 7'),
        (of_annotation(segmentation=[[1, 1, 5, 5, 9, 9, 2]]), 'of an odd count: 7'),
        (of_annotation(segmentation=[[1, 1, 5, 5, 9, None]]), 'no finite number: 7'),
        (of_annotation(segmentation='mask'), 'neither polygons nor run lengths: 7'),
        (runs_of(size=[WIDTH, HEIGHT]), 'of another size than the picture: 7'),
        (runs_of(counts=[5, 5]), 'run lengths that do not fill the picture: 7'),
        (runs_of(counts=compressed()['counts'][:-2]), 'that do not fill the picture: 7'),
        (runs_of(counts=[-5, HEIGHT * WIDTH + 5]), 'run lengths that are no counts: 7'),
    ],
)
def test_damage_to_coco_is_found_and_named(coco, damage, said):
    made = content()
    damage(made)
    file = write(coco, made)
    problems = check_coco(coco)
    assert len(problems) == 1
    assert said.replace('FILE', str(file)) in problems[0]
    assert str(file) in problems[0]


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'is not COCO json'),
        ('[1, 2]', 'a list in place of an object'),
        (json.dumps(content())[:-30], 'is not COCO json'),
        ('\ufeff' + json.dumps(content()), 'is not COCO json'),
        ('PK\x03\x04', 'is not COCO json'),
    ],
)
@pytest.mark.parametrize('first', [None, 2])
def test_what_is_no_coco_json_is_named_also_by_a_glance(coco, text, said, first):
    file = write(coco, text)
    (problem,) = check_coco_file(file, coco / 'train2017', first=first)
    assert str(file) in problem
    assert (said if first is None else 'is not COCO json') in problem


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda r: (r / 'train2017/2.jpg').unlink(), 'that are not in'),
        (lambda r: truncate(r / 'train2017/2.jpg'), 'does not decode'),
        (lambda r: (r / 'train2017/2.jpg').write_bytes(b''), 'does not decode'),
        (lambda r: shrink(r / 'train2017/2.jpg'), 'is 20 x 15 pixels, and its annotation says'),
        (lambda r: turn(r / 'train2017/2.jpg'), 'turned by its EXIF orientation'),
        (lambda r: shutil.rmtree(r / 'train2017'), 'no folder'),
        (lambda r: (r / 'annotations/instances_train2017.json').unlink(), 'no file'),
    ],
)
def test_damage_to_cocos_pictures_is_found_and_named(coco, damage, said):
    damage(coco)
    (problem,) = check_coco(coco)
    assert said in problem


def test_a_photograph_turned_by_exif_passes_if_its_boxes_are_of_the_turned_one(coco):
    turn(coco / 'train2017/2.jpg')
    made = content()
    made['images'][1].update(width=HEIGHT, height=WIDTH)
    made['annotations'][2].update(bbox=[5, 10, 10, 20], segmentation=[[5, 10, 15, 10, 15, 30]])
    write(coco, made)
    assert check_coco(coco) == []
    loaded = detection(coco)[1]
    assert loaded['img_shape'] == (WIDTH, HEIGHT)
    assert loaded['gt_masks'].masks.shape[1:] == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(bbox=[10, 5, 0, 10]), 'no area'),
        (dict(bbox=[10, 5, -4, 10]), 'no area'),
        (dict(area=0), 'no area'),
        (dict(bbox=[WIDTH + 5, 5, 4, 4]), 'outside of its picture'),
    ],
)
def test_boxes_that_mmdet_leaves_out_are_legal_and_mentioned(coco, changes, said):
    made = content()
    of_annotation(**changes)(made)
    write(coco, made)
    report = check_coco(coco)
    assert report == []
    assert any(said in note and note.endswith(': 7') for note in report.notes)
    assert len(detection(coco)[0]['gt_bboxes']) == 1  # of two


def test_what_the_check_refuses_ends_or_spoils_a_run_of_mmdet(coco):
    """Each of these is why it is no note."""

    def loaded(damage):
        made = content()
        damage(made)
        write(coco, made)
        return detection(coco)

    with pytest.raises(AssertionError, match='not unique'):
        loaded(of_annotation(id=8))
    with pytest.raises(KeyError, match='area'):
        loaded(without('annotations', 'area'))
    with pytest.raises(KeyError, match='mask'):
        loaded(of_annotation(segmentation=[]))[0]
    with pytest.raises(ValueError, match='same shape'):
        loaded(runs_of(size=[WIDTH, HEIGHT]))[0]
    endless = loaded(of_annotation(bbox=[0, 0, float('inf'), 4]))[0]
    assert not endless['gt_bboxes'].tensor.isfinite().all()
    assert len(loaded(of_annotation(category_id=2))[0]['gt_bboxes']) == 1  # lost without a word
    loaded_polygons = loaded(of_annotation(segmentation=[[1, 1, 5, 5]]))[0]
    assert loaded_polygons['gt_ignore_flags'].tolist() == [True, False]
    write(coco, dict(content(), categories=[dict(id=18, name='dog')]))
    assert detection(coco).cat2label == {18: 0}  # a dog is labelled person


def test_evaluation_stops_without_iscrowd(coco):
    made = content()
    del made['annotations'][0]['iscrowd']
    file = write(coco, made)
    metric = CocoMetric(ann_file=str(file), metric='bbox')
    metric.dataset_meta = dict(classes=CLASSES)
    found = dict(bboxes=np.array([[10, 5, 30, 15]]), scores=np.array([0.9]), labels=np.array([0]))
    metric.results = [(dict(img_id=1, width=WIDTH, height=HEIGHT), dict(img_id=1, **found))]
    with pytest.raises(KeyError, match='iscrowd'):
        metric.compute_metrics(metric.results)
    assert len(detection(coco)[0]['gt_bboxes']) == 2  # training does not mind
    assert check_coco_file(file, coco / 'train2017', evaluated=False) == []


def test_masks_are_asked_for_where_they_are_needed(coco):
    made = content()
    for one in made['annotations']:
        one['segmentation'] = []
    file = write(coco, made)
    assert check_coco_file(file, coco / 'train2017') == []
    (problem,) = check_coco_file(file, coco / 'train2017', need_masks=True)
    assert problem == f'3 annotations in {file} without a mask: 7, 8, 9'


@pytest.mark.parametrize('seed', range(4))
def test_compressed_runs_are_read_as_pycocotools_does(seed):
    mask = np.random.default_rng(seed).integers(0, 2, (60, 47), np.uint8)
    mask[seed * 9 : 40] = seed % 2  # long runs, whose differences are negative, too
    runs = uncompressed(coco_mask.encode(np.asfortranarray(mask))['counts'].decode())
    assert (np.repeat(np.arange(len(runs)) % 2, runs) == mask.ravel('F')).all()


# Keypoints


def persons(keypoints, **more):
    made = content()
    made['categories'] = [dict(id=1, name='person', keypoints=['nose', 'tail'])]
    visible = dict(keypoints=keypoints, num_keypoints=2, **more)
    made['annotations'] = [annotation(7, polygons(), **visible)]
    return made


@pytest.mark.parametrize(
    ('keypoints', 'said'),
    [
        ([12, 7, 2, 20, 9, 1], None),
        ([12, 7, 2, 0, 0, 0], None),
        ([12, 7, 2], 'another count of keypoints than 2: 7'),
        ([12, 7, 2, 20, 9], 'another count of keypoints than 2: 7'),
        ([12, 7, 3, 20, 9, 1], 'visibility is not 0, 1 or 2: 7'),
        ([12, float('nan'), 2, 20, 9, 1], 'not finite numbers: 7'),
    ],
)
def test_keypoints_are_checked(coco, keypoints, said):
    file = write(coco, persons(keypoints), kind='person_keypoints')
    problems = check_coco(coco)
    assert len(problems) == (said is not None)
    assert all(said in problem and str(file) in problem for problem in problems)


def test_a_person_without_keypoints_is_legal_and_left_out_by_mmpose(coco):
    made = persons([12, 7, 2, 20, 9, 1])
    made['annotations'].append(annotation(8, polygons()))
    write(coco, made, kind='person_keypoints')
    assert check_coco(coco) == []
    init_default_scope('mmpose')
    built = PoseDataset(
        data_root=str(coco),
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=[dict(type='LoadImage')],
    )
    assert [built.get_data_info(i)['id'] for i in range(len(built))] == [7]


# A glance at a large file


@pytest.mark.parametrize('indent', [None, 1])
def test_a_glance_reads_what_stands_first(tmp_path, indent):
    categories = [dict(id=i, name=f'Möbelstück {i} ' + 'x' * 90) for i in range(2000)]
    entries = [dict(id=i, file_name=f'{i} ] ä.jpg', keypoints=[]) for i in range(50)]
    made = dict(info=dict(images=5), images=entries, annotations=[], categories=categories)
    file = tmp_path / 'made.json'
    file.write_text(json.dumps(made, indent=indent, ensure_ascii=False))
    assert file.stat().st_size > 2 * WINDOW
    names = ('categories', 'images', 'annotations', 'licenses')
    whole, glance = read_lists(file, names), read_lists(file, names, first=3)
    assert whole == {name: made[name] for name in names[:3]}
    assert glance == {**whole, 'images': entries[:3]}


def test_a_glance_does_not_read_the_whole_file(tmp_path):
    file = tmp_path / 'made.json'
    file.write_text('{"images": [{"id": 1}, {"id": 2}, nonsense ], "categories": []}')
    assert read_lists(file, ['images', 'categories'], first=2)['images'] == [dict(id=1), dict(id=2)]
    with pytest.raises(ValueError, match='Expecting value'):
        read_lists(file, ['images'])


def test_a_glance_at_real_coco_equals_the_file():
    file = real_data('coco') / 'annotations/instances_train2017.json'
    whole, names = json.loads(file.read_text()), ('images', 'annotations', 'categories')
    glance = read_lists(file, names, first=5)
    assert glance == {n: whole[n][: None if n == 'categories' else 5] for n in names}


# Panoptic


def test_sound_panoptic_passes(panoptic):
    assert check_coco_panoptic(panoptic) == []


def test_real_panoptic_passes_the_check():
    assert check_coco_panoptic(real_data('coco_panoptic')) == []


def of_segment(**changes):
    def damage(made):
        made['annotations'][0]['segments_info'][0].update(changes)

    return damage


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda c: c['annotations'][0]['segments_info'].pop(), 'does not list: '),
        (lambda c: c['categories'][0].pop('isthing'), 'without isthing: 1'),
        (lambda c: c['categories'][0].update(isthing=2), 'with isthing not 0 or 1: 1'),
        (lambda c: c['annotations'].pop(), 'without an annotation: '),
        (lambda c: c['images'].pop(), 'of a picture that is not listed: '),
        (lambda c: c['annotations'].append(c['annotations'][0]), 'two annotations of FILE are of'),
        (lambda c: c['annotations'][0].update(file_name='x.png'), 'whose file_name is not that'),
        (lambda c: c['images'][0].update(width=7), 'and its annotation says 7 x'),
        (of_segment(category_id=12), 'of a category that is not listed: '),
        (of_segment(bbox=[0, 0, float('nan'), 4]), 'without a box of 4 finite numbers'),
        (of_segment(iscrowd=None), 'with iscrowd None: picture'),
    ],
)
def test_damage_to_panoptic_json_is_found_and_named(panoptic, damage, said):
    file = panoptic / 'annotations/panoptic_train2017.json'
    made = json.loads(file.read_text())
    damage(made)
    file.write_text(json.dumps(made))
    problems = check_coco_panoptic(panoptic)
    assert any(said.replace('FILE', str(file)) in problem for problem in problems), problems
    assert all(str(panoptic) in problem for problem in problems)


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda p: p.unlink(), 'without a file in'),
        (lambda p: truncate(p, 60), 'does not decode'),
        (lambda p: shrink(p), 'and its annotation says'),
        (lambda p: convert(p, 'L'), 'has mode L'),
        (lambda p: Image.new('RGB', Image.open(p).size).save(p), 'that are not drawn in'),
        (lambda p: shutil.rmtree(p.parent), 'no folder'),
    ],
)
def test_damage_to_panoptic_png_is_found_and_named(panoptic, damage, said):
    damage(min(panoptic.glob('annotations/panoptic_train2017/*.png')))
    problems = check_coco_panoptic(panoptic)
    assert any(said in problem for problem in problems), problems
    assert all(str(panoptic) in problem for problem in problems)


def test_segments_of_no_class_are_refused_before_mmdet_stops_at_them(panoptic):
    file = panoptic / 'annotations/panoptic_train2017.json'
    folders = panoptic / 'train2017', file.with_suffix('')
    made = json.loads(file.read_text())
    names = {category['id']: category['name'] for category in made['categories']}
    segment = made['annotations'][-1]['segments_info'][0]
    used = {s['category_id'] for a in made['annotations'] for s in a['segments_info']}
    unused = min(set(names) - used)
    most = {i: name for i, name in names.items() if i != unused}
    assert check_panoptic_file(file, *folders, classes=most.values()) == []
    del most[segment['category_id']]
    (problem,) = check_panoptic_file(file, *folders, classes=most.values())
    assert 'no class of the config: ' in problem
    assert f'(category {segment["category_id"]})' in problem


def test_mmdet_reads_the_png_of_the_pictures_name(panoptic):
    """Hence the check of file_name."""
    file = panoptic / 'annotations/panoptic_train2017.json'
    made = json.loads(file.read_text())
    for one in made['annotations']:
        one['file_name'] = 'other.png'
    file.write_text(json.dumps(made))
    built = detection(
        panoptic,
        CocoPanopticDataset,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        metainfo=None,
        pipeline=[],
    )
    info = built.get_data_info(0)
    assert info['seg_map_path'].endswith(info['img_path'][-16:].replace('.jpg', '.png'))


# ImageNet


def test_real_class_folders_pass_the_check():
    assert check_imagenet(real_data('imagenette'), sample=20) == []


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda r: shutil.rmtree(r / 'val'), 'no folder'),
        (lambda r: shutil.rmtree(r / 'val/n02'), 'train that ROOT/val lacks: n02'),
        (lambda r: shutil.rmtree(r / 'train/n01'), 'val that ROOT/train lacks: n01'),
        (lambda r: (r / 'val/n02/n02_val.JPEG').unlink(), 'without a picture: n02'),
        (lambda r: truncate(r / 'val/n02/n02_val.JPEG'), 'does not decode'),
        (lambda r: shutil.rmtree(r / 'val') or (r / 'val').mkdir(), 'no pictures in folders of'),
    ],
)
def test_damage_to_class_folders_is_found_and_named(classes, damage, said):
    assert check_imagenet(classes) == []
    damage(classes)
    (problem,) = check_imagenet(classes)
    assert said.replace('ROOT', str(classes)) in problem


def test_lists_of_labels_are_checked(classes):
    (classes / 'meta').mkdir()
    for split in ('train', 'val'):
        lines = [f'{name}/{name}_{split}.JPEG {label}' for label, name in enumerate(['n01', 'n02'])]
        (classes / f'meta/{split}.txt').write_text('\n'.join(lines))
    assert check_imagenet(classes) == []
    (classes / 'meta/train.txt').unlink()
    assert check_imagenet(classes) == []
    shutil.copytree(classes / 'train/n01', classes / 'train/n03')
    (problem,) = check_imagenet(classes)
    assert problem.endswith('val lacks: 2')
    (classes / 'meta/val.txt').write_text('n01/n01_val.JPEG 0\nn02/lost.JPEG 1\nn02/x.JPEG dog\n')
    problems = ' '.join(check_imagenet(classes))
    assert 'that are not in' in problems
    assert 'lost.JPEG' in problems
    assert 'line 3' in problems


# Before a run


def looked_at(framework, dataset, *, loader='train_dataloader', model=None):
    cfg = {loader: dict(dataset=dataset), 'default_scope': framework, 'model': model}
    check_datasets(Config(cfg), ('train_dataloader',))


def coco_settings(root, **more):
    prefix = dict(img='train2017/')
    file = 'annotations/instances_train2017.json'
    settings = dict(type='CocoDataset', data_root=str(root), ann_file=file, data_prefix=prefix)
    return dict(settings, metainfo=dict(classes=CLASSES), pipeline=[], **more)


def test_what_is_sound_passes_before_a_run(coco, classes, ade20k):
    looked_at('mmdet', coco_settings(coco))
    looked_at('mmdet', dict(type='RepeatDataset', times=2, dataset=coco_settings(coco)))
    looked_at('mmpretrain', imagenet_settings(classes))
    looked_at('mmdet', dict(coco_settings('elsewhere'), backend_args=dict(backend='petrel')))
    # LVIS, a subclass that reads other keys, is not looked at.
    looked_at('mmdet', dict(coco_settings('nowhere'), type='LVISV1Dataset'))


def imagenet_settings(root, **more):
    names = dict(metainfo=dict(classes=['cat', 'dog']))
    return dict(type='ImageNet', data_root=str(root), split='train', pipeline=[], **names, **more)


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda r: write(r, json.dumps(content())[:-30]), 'it is cut off'),
        (lambda r: write(r, dict(content(), categories=content()['categories'][:1])), ': dog'),
        (lambda r: (r / 'train2017/1.jpg').unlink(), '1.jpg'),
        (lambda r: truncate(r / 'train2017/1.jpg'), 'does not decode'),
        (lambda r: shutil.rmtree(r / 'annotations'), 'no file'),
    ],
)
def test_coco_is_looked_at_before_a_run(coco, damage, said):
    damage(coco)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        looked_at('mmdet', coco_settings(coco))
    assert 'check_data.py coco DIR' in str(raised.value)


def test_masks_are_asked_for_before_a_run_that_loads_them(coco):
    made = content()
    for one in made['annotations']:
        one['segmentation'] = []
    write(coco, made)
    looked_at('mmdet', coco_settings(coco))
    loading = dict(coco_settings(coco), pipeline=[dict(type='LoadAnnotations', with_mask=True)])
    with pytest.raises(UserError, match='without a mask'):
        looked_at('mmdet', loading)


def test_pictures_to_predict_need_no_annotations(coco):
    made = content()
    del made['annotations']
    write(coco, made)
    with pytest.raises(UserError, match="no list 'annotations'"):
        looked_at('mmdet', coco_settings(coco))
    looked_at('mmdet', coco_settings(coco, test_mode=True))


def test_panoptic_is_looked_at_before_a_run(panoptic):
    settings = dict(
        coco_settings(panoptic),
        type='CocoPanopticDataset',
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        metainfo=None,
    )
    looked_at('mmdet', settings)
    truncate(min(panoptic.glob('annotations/panoptic_train2017/*.png')), 60)
    with pytest.raises(UserError, match='does not decode'):
        looked_at('mmdet', settings)


def test_pose_is_looked_at_before_a_run(coco, tmp_path):
    settings = dict(
        coco_settings(coco), ann_file='annotations/person_keypoints_train2017.json', metainfo=None
    )
    write(coco, persons([5, 5, 2] * 17), kind='person_keypoints')
    looked_at('mmpose', settings)
    with pytest.raises(UserError, match='without bbox_file the'):
        looked_at('mmpose', dict(settings, test_mode=True, bbox_file=str(tmp_path / 'boxes.json')))
    write(coco, persons([5, 5, 2] * 16), kind='person_keypoints')
    with pytest.raises(UserError, match='another count of keypoints than 17'):
        looked_at('mmpose', settings)


def test_class_folders_are_looked_at_before_a_run(classes):
    looked_at('mmpretrain', imagenet_settings(classes))
    shutil.copytree(classes / 'train/n01', classes / 'train/n03')
    with pytest.raises(UserError, match='has 3 folders of classes, and the config 2'):
        looked_at('mmpretrain', imagenet_settings(classes))
    with pytest.raises(AssertionError, match='number of subfolders'):
        ImageNet(data_root=str(classes), split='train', metainfo=dict(classes=['cat', 'dog']))


def test_label_maps_are_looked_at_before_a_run(ade):
    prefix = dict(img_path='images/training', seg_map_path='annotations/training')
    settings = dict(type='ADE20KDataset', data_root=str(ade), data_prefix=prefix)
    looked_at('mmseg', settings)
    shutil.rmtree(ade / 'annotations/training')
    with pytest.raises(UserError, match='no folder'):
        looked_at('mmseg', settings)


def test_a_label_that_is_ignored_is_ignored_by_all(ade):
    """By the data set alone is not enough: the loss would meet a class that the head has not."""
    prefix = dict(img_path='images/training', seg_map_path='annotations/training')
    settings = dict(type='BaseSegDataset', data_root=str(ade), data_prefix=prefix)
    settings.update(metainfo=dict(classes=['a', 'b']), ignore_index=11)
    for path in (ade / 'annotations/training').iterdir():
        labels = np.asarray(Image.open(path)) % 2
        labels[0, 0] = 11
        Image.fromarray(labels).save(path)
    heads = dict(decode_head=dict(ignore_index=11), auxiliary_head=[dict(ignore_index=11)])
    looked_at('mmseg', settings, model=heads)
    heads['auxiliary_head'] = [dict(type='FCNHead')]
    with pytest.raises(UserError, match='has labels .11. outside 0 to 1'):
        looked_at('mmseg', settings, model=heads)


# The tool


def test_the_tool_ends_with_status_1_and_names_all_if_asked(coco):
    made = content()
    made['annotations'] = [annotation(i, polygons(), image_id=9) for i in range(1, 7)]
    write(coco, made)
    done = run_tool('check_data.py', 'coco', coco)
    assert done.returncode == 1
    assert 'note: ' in done.output
    assert 'that is not listed: 1, 2, 3, ...\n' in done.output
    assert ': 1, 2, 3, 4, 5, 6\n' in run_tool('check_data.py', 'coco', coco, '--all').output
    for split in ('train', 'val'):
        (coco / f'{split}2017').rename(coco / split)
        write(coco, content(), split)
    done = run_tool('check_data.py', 'coco', coco, '--splits', 'train', 'val')
    assert (done.returncode, 'all is well' in done.output) == (0, True)


def truncate(path, size=400):
    path.write_bytes(path.read_bytes()[:size])


def relabel(root, value, which=0):
    path = sorted(root.glob('annotations/training/*.png'))[which]
    labels = np.asarray(Image.open(path)).copy()
    labels[:4] = value
    Image.fromarray(labels).save(path)


def convert(path, mode):
    with Image.open(path) as opened:
        changed = opened.convert('I').convert(mode) if mode == 'I;16' else opened.convert(mode)
    changed.save(path)


def shrink(path):
    with Image.open(path) as opened:
        small = opened.resize((opened.width // 2, opened.height // 2), Image.Resampling.NEAREST)
    small.save(path)


def turn(path):
    with Image.open(path) as opened:
        opened.load()
    opened.save(path, exif=orientation(TURNED))


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif
