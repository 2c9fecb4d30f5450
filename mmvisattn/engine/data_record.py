"""Checksums of the data that a run reads: of annotation files whole, of folders by names and sizes.

To read 118,000 pictures takes minutes, to list them a second; what is exchanged, cut off, added or
lost shows in a name or a size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from mmengine.config import Config

from ..weights import sha256_of
from .config import dataset_configs
from .datasets_check import resolved


def places_of(cfg: Config, loaders: Iterable[str]) -> dict[str, Path]:
    """What the data sets and metrics of these loaders read from this machine, by its part in them.

    Returns:
        For instance {'train_dataloader.ann_file': Path('data/coco/annotations/...json')}.
    """
    places = {}
    for loader in loaders:
        datasets = list(dataset_configs(cfg, [loader]))
        for number, dataset in enumerate(datasets):
            name = f'{loader}.{number}' if len(datasets) > 1 else loader
            settings = resolved(dataset, cfg.get('default_scope'))[1]
            if not settings.get('backend_args'):  # else the files may lie elsewhere
                places |= {f'{name}.{key}': path for key, path in _places_in(settings)}
        evaluator = loader.replace('dataloader', 'evaluator')
        metrics = cfg.get(evaluator) or []
        for metric in [metrics] if isinstance(metrics, dict) else metrics:
            if metric.get('ann_file'):
                places[f'{evaluator}.{metric.get("type")}.ann_file'] = Path(metric['ann_file'])
    return places


def describe_data(places: dict[str, Path]) -> dict[str, dict]:
    """The checksums of these files and folders.

    Returns:
        For each place its `path`, `bytes` and `sha256`, and of a folder the number of `files`; or
        an `error`.
    """
    described = cache(describe_file)  # several data sets share a folder
    return {place: described(path) for place, path in places.items()}


def describe_file(path: Path) -> dict:
    """The path, bytes and sha256 of a file, and of a folder the number of files; or an error."""
    described = {'path': str(path)}
    try:
        if path.is_dir():
            return described | describe_folder(path)
        return described | {'bytes': path.stat().st_size, 'sha256': sha256_of(path)}
    except OSError as error:
        return described | {'error': str(error)}


def describe_folder(folder: Path) -> dict:
    """The number of files below a folder, their bytes, and a sha256 over their names and sizes."""
    sizes = sorted(_sizes(folder))
    lines = b''.join(b'%s\t%d\n' % (os.fsencode(name), size) for name, size in sizes)
    return {
        'files': len(sizes),
        'bytes': sum(size for _, size in sizes),
        'sha256': hashlib.sha256(lines).hexdigest(),
    }


def _places_in(settings: dict) -> Iterator[tuple[str, Path]]:
    root = Path(settings.get('data_root') or '')
    for key in ('ann_file', 'bbox_file'):
        if isinstance(settings.get(key), str) and settings[key]:
            # A detector's boxes are named from the working folder on, as mmpose reads them.
            yield key, (root if key == 'ann_file' else Path()) / settings[key]
    split = settings.get('split') or ''
    prefix = settings.get('data_prefix') or ''
    folders = prefix if isinstance(prefix, dict) else {'img_path': prefix}
    for key, folder in folders.items():
        if isinstance(folder, str) and root / (folder or split) != Path():
            yield key, root / (folder or split)
    if split and not settings.get('ann_file') and (root / f'meta/{split}.txt').is_file():
        yield 'ann_file', root / f'meta/{split}.txt'


def _sizes(folder: Path, start: str = '', above: tuple = ()) -> Iterator[tuple[str, int]]:
    """The files below a folder, links followed, with their sizes in bytes."""
    real = os.path.realpath(folder / start)
    if real in above:  # a link to a folder that it lies in has no end
        return
    with os.scandir(folder / start) as entries:
        for entry in entries:
            name = start + entry.name
            if entry.is_dir():
                yield from _sizes(folder, f'{name}/', (*above, real))
            else:
                yield name, _size(entry)


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a link that leads nowhere, or a file that has just gone
        return -1
