"""Before a run starts: look at the layout of each data set, and into a few of its files."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from ..datasets import checks
from ..datasets.checks.predictions import check_predictions
from ..errors import UserError
from .config import dataset_configs

OPENED = 4  # pictures and annotations of each split; tools/check_data.py opens all


def check_datasets(cfg: Config, loaders: Iterable[str]) -> None:
    """Look at the data sets of these loaders.

    Raises:
        UserError: A file or folder is missing, or one of the few that were opened is bad.
    """
    problems: dict[str, str] = {}  # and the layout that tools/check_data.py knows them by
    for dataset in dataset_configs(cfg, loaders):
        cls, settings = resolved(dataset, cfg.get('default_scope'))
        check, layout = _CHECKS.get(_reader(cls), (None, None))
        settings['heads_ignore'] = _heads_ignore(cfg.get('model') or {})
        if check and not settings.get('backend_args'):  # else the files may lie elsewhere
            problems |= dict.fromkeys(check(cls, settings), layout)
    if problems:
        raise UserError(
            'the data set is not complete',
            expected='the layout described in docs/data.md',
            got='\n'.join(problems),
            do='mend it, or name its folder: --cfg-options data_root=DIR\n'
            f'python tools/check_data.py {next(iter(problems.values()))} DIR looks at every file',
        )


def resolved(dataset: dict, scope: str | None) -> tuple[type, dict]:
    """The class of a data set, and its arguments over the defaults of the class and its bases."""
    with DATASETS.switch_scope_and_registry(scope) as scoped:
        cls = scoped.get(dataset['type'])
    settings = {}
    for base in reversed(cls.__mro__):
        parameters = inspect.signature(base.__init__).parameters.values()
        settings |= {p.name: p.default for p in parameters if p.default is not p.empty}
    return cls, {**settings, **dataset}


def _reader(cls: type) -> tuple[str, ...]:
    """The methods that read a data set's files: what derives from a class may read others."""
    methods = (getattr(cls, name, None) for name in ('load_data_list', 'parse_data_info'))
    return tuple(method.__qualname__ for method in methods if method)


def _check_label_maps(cls: type, settings: dict) -> checks.Report | list:
    prefix = settings['data_prefix']
    if settings['ann_file'] or not {'img_path', 'seg_map_path'} <= set(prefix):
        return []
    return checks.check_segmentation(
        _path(settings, prefix['img_path']),
        _path(settings, prefix['seg_map_path']),
        labels=_raw_labels(cls, settings),
        image_suffix=settings['img_suffix'],
        label_suffix=settings['seg_map_suffix'],
        sample=OPENED,
    )


def _raw_labels(cls: type, settings: dict) -> list[int]:
    """The labels that the data set's files may hold, before any mapping."""
    classes = cls.METAINFO.get('classes') or (settings['metainfo'] or {}).get('classes')
    if not classes:
        raise UserError(
            f'{cls.__name__} does not know its classes',
            expected='classes = [...] in the config: their names, in the order of the labels',
        )
    labels = range(len(classes) + 1) if settings['reduce_zero_label'] else range(len(classes))
    # The label that the data set ignores may be there if every head leaves it out, too.
    ignored = {settings['ignore_index']}
    return [*labels, *ignored] if settings['heads_ignore'] == ignored else [*labels]


def _check_boxes(cls: type, settings: dict) -> checks.Report:
    loads = [step for step in settings['pipeline'] if isinstance(step, dict)]
    return checks.check_coco_file(
        _path(settings, settings['ann_file']),
        _path(settings, settings['data_prefix'].get('img')),
        classes=_classes(cls, settings),
        need_masks=any(step.get('with_mask') for step in loads) and not settings['test_mode'],
        need_annotations=not settings['test_mode'],
        evaluated=settings['test_mode'],
        sample=OPENED,
        first=OPENED,
    )


def _check_segments(cls: type, settings: dict) -> checks.Report:
    prefix = settings['data_prefix']
    # With classes of its own a run may stop at any segment.
    first = None if 'classes' in (settings['metainfo'] or {}) else OPENED
    return checks.check_panoptic_file(
        _path(settings, settings['ann_file']),
        _path(settings, prefix.get('img')),
        _path(settings, prefix.get('seg')),
        classes=_classes(cls, settings),
        sample=OPENED,
        first=first,
    )


def _check_poses(cls: type, settings: dict) -> checks.Report | list[str]:
    boxes = settings.get('bbox_file')
    if boxes and not Path(boxes).is_file():
        return [
            f"no file {boxes} (bbox_file: a detector's boxes, such as those that the READMEs of "
            "mmpose and Simple Baseline link; without bbox_file the annotations' boxes are used)"
        ]
    if boxes and Path(boxes).suffix == '.json':
        wrong = checks.Report(check_predictions(Path(boxes), 'bbox'))
        if wrong:
            return wrong
    return checks.check_coco_file(
        _path(settings, settings['ann_file']),
        _path(settings, settings['data_prefix'].get('img')),
        num_keypoints=cls._load_metainfo(settings['metainfo']).get('num_keypoints'),
        need_annotations=not settings['test_mode'],
        evaluated=settings['test_mode'],
        sample=OPENED,
        first=OPENED,
    )


def _check_class_folders(cls: type, settings: dict) -> checks.Report | list:
    if not settings['with_label']:
        return []
    split, prefix = settings.get('split') or '', settings['data_prefix']
    prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
    listed = settings['ann_file']
    if split and not listed and _path(settings, f'meta/{split}.txt').is_file():
        listed = f'meta/{split}.txt'
    return checks.check_class_folder(
        _path(settings, prefix or split),
        listed=_path(settings, listed) if listed else None,
        classes=_classes(cls, settings) or None,
        sample=OPENED,
    )


def _heads_ignore(model: dict) -> set[int]:
    """The labels that the heads of a segmentor leave out of their losses."""
    heads = (model.get(name) or {} for name in ('decode_head', 'auxiliary_head'))
    heads = [h for head in heads for h in (head if isinstance(head, (list, tuple)) else [head])]
    return {head.get('ignore_index', 255) for head in heads if head}


def _classes(cls: type, settings: dict) -> list[str]:
    classes = (settings['metainfo'] or {}).get('classes') or cls.METAINFO.get('classes') or []
    return [classes] if isinstance(classes, str) else list(classes)


def _path(settings: dict, path: str | None) -> Path:
    return Path(settings['data_root'] or '') / (path or '')


# By the methods that read a data set's files: what looks at them, and its name for the user.
_CHECKS = {
    ('BaseSegDataset.load_data_list', 'BaseDataset.parse_data_info'): (
        _check_label_maps,
        'ade20k',
    ),
    ('CocoDataset.load_data_list', 'CocoDataset.parse_data_info'): (_check_boxes, 'coco'),
    ('CocoDataset.load_data_list', 'CocoPanopticDataset.parse_data_info'): (
        _check_segments,
        'coco_panoptic',
    ),
    ('BaseCocoStyleDataset.load_data_list', 'BaseCocoStyleDataset.parse_data_info'): (
        _check_poses,
        'coco',
    ),
    ('CustomDataset.load_data_list', 'BaseDataset.parse_data_info'): (
        _check_class_folders,
        'imagenet',
    ),
}
