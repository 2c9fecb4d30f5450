"""Read a config: find it, carry its short settings, refuse what nothing would read.

Three settings may stand alone in `--cfg-options`, and at the top of a config that lists them in its
`short_settings`, as ours do (elsewhere they may be a helper's name). `configs/_base_` leaves them
unset, and each is carried to every place that needs it:

- `data_root`: the folder of every data set;
- `classes`: the class list of every data set and the number of outputs of every head;
- `max_iters`: the length of training; the learning-rate schedule stretches with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from ..errors import UserError, did_you_mean
from .spelling import check_options, check_spelling

SHORT_SETTINGS = ('data_root', 'classes', 'max_iters')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """The config in a file, with `options` ({'dotted.key': value}) merged in and checked.

    Raises:
        UserError: No such file, a file that is no config, or a key that nothing would read.
    """
    cfg = _read(Path(path))
    if 'model' not in cfg:
        raise UserError(f'{path} has no model', do='give a config of configs/, not of _base_')
    options = dict(options or {})
    _carry(cfg, {name: cfg.get(name) for name in cfg.get('short_settings', ())})
    _carry(cfg, {name: options.pop(name) for name in SHORT_SETTINGS if name in options})
    check_options(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise UserError(
            '--cfg-options names a place that the config does not have',
            got=f'{", ".join(options)}: {error}',
        ) from error
    if not torch.cuda.is_available():
        _without_sync_bn(cfg)
    check_spelling(cfg)
    return cfg


def dataset_configs(cfg: Config, loaders: Iterable[str] = LOADERS) -> Iterator[dict]:
    """Every data set of these loaders, those inside wrappers (repeat, concatenate) too."""
    for loader in loaders:
        if cfg.get(loader):
            yield from _unwrapped(cfg[loader].dataset)


def _read(path: Path) -> Config:
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob('*.py')] if path.parent.is_dir() else []
        raise UserError(
            f'no such config: {path}',
            expected='a Python file, such as configs/upernet_van_b2_ade20k.py',
            do=did_you_mean(path.name, siblings) or 'look at the table of configs in the README',
        )
    # The fork of mmseg has another name on the package index than MMEngine looks for, so that
    # `_base_ = 'mmseg::...'` would not be found.
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        raise UserError(f'{error.filename or path}, line {error.lineno}: {error.msg}') from error
    except FileNotFoundError as error:
        raise UserError(f'{path} builds on a file that is not there', got=error) from error
    except Exception as error:  # a config is Python and may raise anything
        raise UserError(f'{path} is no config', got=f'{type(error).__name__}: {error}') from error


def _unwrapped(dataset: dict) -> Iterator[dict]:
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
    for one in inner or ():
        yield from _unwrapped(one)


def _carry(cfg: Config, settings: dict) -> None:
    settings = {name: value for name, value in settings.items() if value is not None}
    if 'data_root' in settings:
        cfg.data_root = settings['data_root']
        for dataset in dataset_configs(cfg):
            dataset.data_root = str(settings['data_root'])
    if 'classes' in settings:
        classes = settings['classes']
        cfg.classes = [classes] if isinstance(classes, str) else list(classes)
        for dataset in dataset_configs(cfg):
            dataset.metainfo = {**dataset.get('metainfo', {}), 'classes': cfg.classes}
        for part in _dicts(cfg.model):
            if 'num_classes' in part:
                part.num_classes = len(cfg.classes)
    if 'max_iters' in settings:
        cfg.max_iters = settings['max_iters']
        _stretch_schedule(cfg, cfg.max_iters)


def _stretch_schedule(cfg: Config, max_iters: int) -> None:
    """Scale the learning-rate schedule to this length; validate and save at the end at least."""
    if not isinstance(max_iters, int) or max_iters < 1:
        raise UserError('max_iters counts iterations', expected='1 or more', got=max_iters)
    if 'max_iters' not in cfg.train_cfg:
        raise UserError('max_iters: this config counts its training in epochs')
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    ends = [s.end for s in schedulers if s.get('end') and not s.get('by_epoch', True)]
    stretch = max_iters / max(ends, default=cfg.train_cfg.max_iters)
    for scheduler in schedulers:
        for edge in ('begin', 'end', 'T_max'):
            if scheduler.get(edge):
                # MMEngine's LinearLR never leaves its first value if it has one iteration only.
                scheduler[edge] = max(2, round(scheduler[edge] * stretch))
        if 'milestones' in scheduler:
            scheduler.milestones = [round(m * stretch) for m in scheduler.milestones]
    cfg.param_scheduler = [s for s in schedulers if s.get('begin', 0) < s.get('end', max_iters + 2)]
    cfg.train_cfg.max_iters = max_iters
    saving = cfg.get('default_hooks', {}).get('checkpoint', {})
    for part, interval in ((cfg.train_cfg, 'val_interval'), (saving, 'interval')):
        if interval in part:
            part[interval] = min(part[interval], max_iters)


def _without_sync_bn(cfg: Config) -> None:
    """PyTorch's SyncBN runs on GPUs only; between CPU processes BatchNorm takes its place."""
    for part in _dicts(cfg.model):
        if part.get('type') == 'SyncBN':
            part['type'] = 'BN'


def _dicts(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list, tuple)):
            yield from _dicts(child)
