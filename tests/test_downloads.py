"""Public data sets as they are downloaded become what the configs read."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run_tool
from PIL import Image
from pycocotools import mask as coco_mask

from mmvisattn.datasets.downloads import convert
from mmvisattn.errors import UserError

SHARED = ROOT.parent / 'shared' / 'data'


def picture(path, size=(60, 40), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def label_map(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(labels, np.uint8)).save(path)


@pytest.fixture
def imagenette(tmp_path):
    """A picture whose middle is green, in each split and class, archived as it is distributed."""
    for split in ('train', 'val'):
        for name in ('n01440764', 'n02102040'):
            wide = Image.new('RGB', (300, 200), 'red')
            wide.paste('green', (50, 0, 250, 200))
            path = tmp_path / 'imagenette2' / split / name / f'{name}_1.JPEG'
            path.parent.mkdir(parents=True)
            wide.save(path, quality=95)
    with tarfile.open(tmp_path / 'imagenette2.tgz', 'w:gz') as archive:
        archive.add(tmp_path / 'imagenette2', 'imagenette2')
    return tmp_path / 'imagenette2.tgz'


def test_imagenette_is_squeezed(imagenette, tmp_path):
    done = run_tool('convert_data.py', 'imagenette', imagenette, tmp_path / 'out')
    assert done.returncode == 0, done.tail
    assert '2 in train, 2 in val. note: the whole of imagenette has 9,469, 3,925' in done.output
    paths = sorted(p.relative_to(tmp_path / 'out') for p in (tmp_path / 'out').rglob('*.jpg'))
    assert [str(p) for p in paths] == [
        f'{split}/{name}/{name}_1.jpg'
        for split in ('train', 'val')
        for name in ('n01440764', 'n02102040')
    ]
    found = np.asarray(Image.open(tmp_path / 'out' / paths[0]))
    assert found.shape == (128, 128, 3)
    # 50 of 300 columns become 21; JPEG and the filter carry colours over an edge
    assert np.abs(found[:, 32:-32].astype(int) - (0, 128, 0)).max() < 8
    assert np.abs(found[:, [*range(12), *range(-12, 0)]].astype(int) - (255, 0, 0)).max() < 8
    again = run_tool('convert_data.py', 'imagenette', imagenette, tmp_path / 'out')
    assert again.returncode == 2
    assert 'already there' in again.output
    assert {p.name for p in tmp_path.iterdir()} == {'imagenette2', 'imagenette2.tgz', 'out'}


def test_every_tenth_training_picture_is_held_out(tmp_path):
    names = [f'{number:02}.jpg' for number in range(21)]
    for folder in ('train/a', 'train/b', 'val/a'):
        for name in names:
            picture(tmp_path / 'whole' / folder / name, (8, 8))
    said = convert('imagenette_tenth', tmp_path / 'whole', tmp_path / 'out')
    assert '36 in train, 6 in val' in said
    for name in ('a', 'b'):
        held_out = {path.name for path in (tmp_path / 'out/val' / name).iterdir()}
        assert held_out == {'00.jpg', '10.jpg', '20.jpg'}
        kept = {path.name for path in (tmp_path / 'out/train' / name).iterdir()}
        assert kept == set(names) - held_out
    picture(tmp_path / 'other/train/0.jpg')
    with pytest.raises(UserError, match='no pictures in .*train'):
        convert('imagenette_tenth', tmp_path / 'other', tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_camvid_keeps_its_splits_and_labels(tmp_path):
    source, labels = tmp_path / 'SegNet' / 'CamVid', np.arange(40 * 60).reshape(40, 60) % 12
    for number, split in enumerate(('train', 'val', 'test')):
        picture(source / split / f'{number}.png', seed=number)
        label_map(source / f'{split}annot' / f'{number}.png', labels)
    convert('camvid', tmp_path / 'SegNet', tmp_path / 'out')
    for number, split in enumerate(('train', 'val', 'test')):
        kept = Image.open(tmp_path / 'out' / 'annotations' / split / f'{number}.png')
        assert np.array_equal(np.asarray(kept), labels)
        assert Image.open(tmp_path / f'out/images/{split}/{number}.jpg').size == (60, 40)

    label_map(source / 'testannot' / '2.png', labels + 1)
    with pytest.raises(UserError, match='no label map of .*test/2.png'):
        convert('camvid', source, tmp_path / 'other')
    assert not (tmp_path / 'other').exists()
    assert not list(tmp_path.glob('*unfinished*'))


def masks_of(content, image):
    height, width = image['height'], image['width']
    found = np.zeros((height, width), np.uint8)
    own = [a for a in content['annotations'] if a['image_id'] == image['id']]
    for value, annotation in enumerate(own, 1):
        found[coco_mask.decode(annotation['segmentation']).astype(bool)] = value
    return found


def test_pennfudan_becomes_the_split_that_the_records_are_of(tmp_path):
    """From what the shared copy holds, its masks drawn again: ids, split, boxes and run lengths."""
    shared = SHARED / 'pennfudan'
    if not shared.is_dir():
        pytest.skip('no PennFudanPed beside the project')
    expected = {}
    for split in ('train', 'val'):
        content = json.loads((shared / f'annotations/instances_{split}.json').read_text())
        expected[split] = content
        for image in content['images']:
            name = image['file_name'].removesuffix('.jpg')
            size = image['width'], image['height']
            picture(tmp_path / 'PennFudanPed/PNGImages' / f'{name}.png', size)
            masks = tmp_path / 'PennFudanPed/PedMasks' / f'{name}_mask.png'
            label_map(masks, masks_of(content, image))
    archive = shutil.make_archive(tmp_path / 'PennFudanPed', 'zip', tmp_path, 'PennFudanPed')
    said = convert('pennfudan', archive, tmp_path / 'out')
    assert said.endswith('120 in train, 50 in val')
    for split, content in expected.items():
        found = json.loads((tmp_path / f'out/annotations/instances_{split}.json').read_text())
        assert found['images'] == content['images']
        assert found['categories'] == content['categories']
        assert {p.name for p in (tmp_path / 'out' / split).iterdir()} == {
            image['file_name'] for image in content['images']
        }
        assert found['annotations'] == content['annotations']


def test_what_macos_adds_to_an_archive_is_left_out(imagenette, tmp_path):
    for path in sorted((tmp_path / 'imagenette2').rglob('*.JPEG')):
        other = tmp_path / '__MACOSX' / path.relative_to(tmp_path).with_name(f'._{path.name}')
        other.parent.mkdir(parents=True)
        other.write_bytes(b'no picture')
        path.with_name(f'._{path.name}').write_bytes(b'no picture')
    with zipfile.ZipFile(tmp_path / 'all.zip', 'w') as archive:
        for path in sorted(tmp_path.rglob('*.JPEG')):
            archive.write(path, path.relative_to(tmp_path))
    assert '2 in train, 2 in val' in convert('imagenette', tmp_path / 'all.zip', tmp_path / 'out')


def test_two_editions_in_one_folder_are_named(imagenette, tmp_path):
    shutil.copytree(tmp_path / 'imagenette2', tmp_path / 'imagenette2-320')
    with pytest.raises(UserError, match='imagenette2/val, .*imagenette2-320/val'):
        convert('imagenette', tmp_path, tmp_path / 'out')


def test_masks_of_another_size_are_refused(tmp_path):
    picture(tmp_path / 'PNGImages' / 'a.png', (60, 40))
    label_map(tmp_path / 'PedMasks' / 'a_mask.png', np.ones((60, 40), np.uint8))
    with pytest.raises(UserError, match='no masks of .*a.png'):
        convert('pennfudan', tmp_path, tmp_path / 'out')


def test_archives_stay_within_their_folder(tmp_path):
    outside = io.BytesIO(b'0')
    with tarfile.open(tmp_path / 'bad.tgz', 'w:gz') as archive:
        archive.addfile(tarfile.TarInfo('../outside.txt'), outside)
    with pytest.raises(UserError, match='cannot be unpacked'):
        convert('imagenette', tmp_path / 'bad.tgz', tmp_path / 'a' / 'out')
    with zipfile.ZipFile(tmp_path / 'bad.zip', 'w') as archive:
        archive.writestr('../outside.txt', '0')
    with pytest.raises(UserError, match='does not hold pennfudan'):
        convert('pennfudan', tmp_path / 'bad.zip', tmp_path / 'a' / 'out')
    assert not list(tmp_path.rglob('outside.txt'))
    assert not (tmp_path / 'a' / 'out').exists()


def test_an_archive_that_came_to_harm_is_refused(imagenette, tmp_path):
    zipped = Path(shutil.make_archive(tmp_path / 'whole', 'zip', tmp_path, 'imagenette2'))
    for archive in (imagenette, zipped):
        content = bytearray(archive.read_bytes())
        middle = len(content) // 2
        for harmed in (content[:middle], content[:middle] + b'harm' * 20 + content[middle + 80 :]):
            path = tmp_path / f'harmed{archive.suffix}'
            path.write_bytes(harmed)
            with pytest.raises(UserError, match='cannot be unpacked|does not hold'):
                convert('imagenette', path, tmp_path / 'out')
            assert not (tmp_path / 'out').exists()
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be made'):
        convert('imagenette', imagenette, tmp_path / 'file' / 'out')


@pytest.mark.parametrize('content', [b'', b'no archive'])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / 'x.tgz').write_bytes(content)
    with pytest.raises(UserError, match='cannot be unpacked'):
        convert('camvid', tmp_path / 'x.tgz', tmp_path / 'out')
    with pytest.raises(UserError, match='no file or folder'):
        convert('camvid', tmp_path / 'y.tgz', tmp_path / 'out')
