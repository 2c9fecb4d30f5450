"""Public data sets as they are downloaded, laid out as the configs read them: `DOWNLOADS`."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ..errors import UserError

SIDE = 128  # of a picture of Imagenette
CAMVID_SPLITS = ('train', 'val', 'test')
CAMVID_VOID = 11  # after its eleven classes
PENNFUDAN_HELD_OUT = 50
# What archives raise that are none, or came to harm.
DAMAGED = (
    shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError,
)  # fmt: skip


@dataclass(frozen=True)
class Download:
    """A data set that is given away.

    Attributes:
        begins: A folder in it, by which its own is found in what was unpacked.
        convert: Called with that folder and the one to fill.
        pictures: How many there are in each split, and where.
    """

    begins: str
    convert: Callable[[Path, Path], None]
    pictures: dict[str, int]


def convert(name: str, source: str | Path, root: str | Path) -> str:
    """Lay a download out as the configs read it.

    The folder appears whole or not at all.

    Args:
        name: A key of `DOWNLOADS`.
        source: The archive, or what was unpacked of it.
        root: The folder to make.

    Returns:
        What to tell the user: how many pictures there are, and whether some are missing.

    Raises:
        UserError: The source is none of this data set, or the folder is there already.
    """
    download, source, root = DOWNLOADS[name], Path(source), Path(root)
    if root.exists() or root.is_symlink():
        raise UserError(f'{root} is already there', do='name another folder, or remove this one')
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{root} cannot be made', got=error) from error
    with TemporaryDirectory(dir=root.parent, prefix=f'{root.name}.unfinished-') as folder:
        unpacked, made = Path(folder, 'source'), Path(folder, 'made')
        made.mkdir()
        if source.is_dir():
            unpacked = source
        else:
            _unpack(source, unpacked)
        download.convert(_place_of(download.begins, unpacked, name), made)
        made.rename(root)
    found = {split: len(list(root.glob(f'{split}/**/*.jpg'))) for split in download.pictures}
    counts = ', '.join(f'{count:,} in {split}' for split, count in found.items())
    if found == download.pictures:
        return f'{root}: {counts}'
    whole = ', '.join(f'{count:,}' for count in download.pictures.values())
    return f'{root}: {counts}. note: the whole of {name} has {whole}'


def _unpack(archive: Path, folder: Path) -> None:
    """Write what an archive holds; nothing of it lands outside the folder."""
    if not archive.is_file():
        raise UserError(f'no file or folder {archive}')
    try:
        if tarfile.is_tarfile(archive):
            if not hasattr(tarfile, 'data_filter'):
                raise UserError(
                    'this Python unpacks no archive safely',
                    expected='3.10.12, 3.11.4 or newer',
                    do=f'unpack {archive} yourself, and give the folder',
                )
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter='data')
        else:
            shutil.unpack_archive(archive, folder, 'zip')  # leaves out what would lie elsewhere
    except DAMAGED as error:
        raise UserError(
            f'{archive} cannot be unpacked',
            expected='a tar or zip archive, or the folder that was unpacked',
            got=error,
        ) from error


def _place_of(begins: str, unpacked: Path, name: str) -> Path:
    if (unpacked / begins).is_dir():
        return unpacked
    found = [place.parent for place in unpacked.rglob(begins) if place.is_dir()]
    found = [place for place in found if '__MACOSX' not in place.parts]  # attributes of files
    if len(found) == 1:
        return found[0]
    raise UserError(
        f'{unpacked} does not hold {name} as it is distributed',
        expected=f'one folder {begins}',
        got=', '.join(str(place / begins) for place in sorted(found)) or 'none',
    )


def _convert_imagenette(source: Path, root: Path) -> None:
    """Each picture whole, squeezed to 128 x 128: class folders in train and val."""
    for split in ('train', 'val'):
        for path in sorted(_files(source / split, '*/*.JPEG', '*/*.jpg')):
            target = root / split / path.parent.name / f'{path.stem}.jpg'
            target.parent.mkdir(parents=True, exist_ok=True)
            picture = _opened(path).convert('RGB')
            squeezed = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            squeezed.save(target, quality=80)


def _hold_out_tenth(source: Path, root: Path) -> None:
    """Every tenth training picture of each class into val, for choices; the rest into train."""
    for folder, paths in groupby(
        sorted(_files(source / 'train', '*/*.jpg')), lambda path: path.parent.name
    ):
        for number, path in enumerate(paths):
            target = root / ('train' if number % 10 else 'val') / folder / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _convert_camvid(source: Path, root: Path) -> None:
    """Pictures and label maps by split: 0 to 10 are the classes, 11 is what none of them is."""
    for split in CAMVID_SPLITS:
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for path in sorted(_files(source / split, '*.png')):
            label = source / f'{split}annot' / path.name
            picture, labels = _opened(path), _opened(label)
            if labels.size != picture.size or np.asarray(labels).max() > CAMVID_VOID:
                raise UserError(
                    f'{label} is no label map of {path}',
                    expected=f'{picture.size} pixels of 0 to {CAMVID_VOID}',
                    got=f'{labels.size} pixels of up to {np.asarray(labels).max()}',
                )
            picture.convert('RGB').save(root / 'images' / split / f'{path.stem}.jpg', quality=90)
            shutil.copyfile(label, root / 'annotations' / split / path.name)


def _convert_pennfudan(source: Path, root: Path) -> None:
    """COCO's layout, persons alone; 50 of the 170 pictures are held out, by seed 0."""
    pictures = sorted(_files(source / 'PNGImages', '*.png'))
    held_out = np.random.RandomState(0).permutation(len(pictures))[:PENNFUDAN_HELD_OUT]
    splits = {'train': _CocoSplit(root, 'train'), 'val': _CocoSplit(root, 'val')}
    held_out, number = set(held_out.tolist()), 0
    for place, path in enumerate(pictures):
        picture, place_of_masks = _opened(path), source / 'PedMasks' / f'{path.stem}_mask.png'
        masks = np.asarray(_opened(place_of_masks))
        if masks.shape != picture.size[::-1]:
            raise UserError(
                f'{place_of_masks} holds no masks of {path}',
                expected=f'{picture.size[::-1]} numbers',
                got=f'{masks.shape}',
            )
        persons = [masks == value for value in np.unique(masks) if value]
        split = splits['val' if place in held_out else 'train']
        numbered = enumerate(persons, number + 1)
        split.add(place + 1, picture.convert('RGB'), path.stem, numbered)
        number += len(persons)
    for split in splits.values():
        split.write()


class _CocoSplit:
    """The pictures of a split, and its file of instances."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder, self.file = root / name, root / 'annotations' / f'instances_{name}.json'
        self.content = {
            'images': [],
            'annotations': [],
            'categories': [{'id': 1, 'name': 'person', 'supercategory': 'person'}],
        }
        self.folder.mkdir()
        self.file.parent.mkdir(exist_ok=True)

    def add(
        self,
        number: int,
        picture: Image.Image,
        name: str,
        persons: Iterable[tuple[int, np.ndarray]],
    ) -> None:
        """A picture, and the masks of those on it by their numbers."""
        from pycocotools import mask as coco_mask

        picture.save(self.folder / f'{name}.jpg', quality=90)
        width, height = picture.size
        self.content['images'].append(
            {'id': number, 'file_name': f'{name}.jpg', 'height': height, 'width': width}
        )
        for person, mask in persons:
            encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            self.content['annotations'].append({
                'id': person,
                'image_id': number,
                'category_id': 1,
                'iscrowd': 0,
                'area': float(coco_mask.area(encoded)),
                'bbox': coco_mask.toBbox(encoded).tolist(),
                'segmentation': {
                    'size': [height, width], 'counts': encoded['counts'].decode()
                },
            })  # fmt: skip

    def write(self) -> None:
        """Write the file."""
        self.file.write_text(json.dumps(self.content))


def _files(folder: Path, *patterns: str) -> Iterator[Path]:
    """The pictures of a folder.

    Raises:
        UserError: It has none.
    """
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    found = [path for path in found if not path.name.startswith('._')]  # of macOS
    if not found:
        raise UserError(f'no pictures in {folder}', expected=' or '.join(patterns))
    yield from found


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except OSError as error:
        raise UserError(f'{path} cannot be read', got=error) from error


DOWNLOADS = {
    'imagenette': Download('val', _convert_imagenette, {'train': 9469, 'val': 3925}),
    'imagenette_tenth': Download('train', _hold_out_tenth, {'train': 8516, 'val': 953}),
    'camvid': Download(
        'trainannot',
        _convert_camvid,
        {'images/train': 367, 'images/val': 101, 'images/test': 233},
    ),
    'pennfudan': Download('PNGImages', _convert_pennfudan, {'train': 120, 'val': 50}),
}
