"""Read a config: find it, carry its short settings, refuse what nothing would read.

Some settings may stand alone in `--cfg-options`, and at the top of a config that says
`short_settings = True`, as ours do (elsewhere they may be a helper's name). Each is carried to
every place that needs it:

- `data_root`: the folder of every data set, and of the files that metrics read;
- `classes`: the class list of every data set and the number of outputs of every head;
- `thing_classes`, `stuff_classes`: the same for panoptic segmentation;
- `bbox_file`: the boxes of a detector, for poses to be looked for in;
- `max_epochs`, `max_iters`: the length of training; the learning-rate schedule stretches with it;
- `layer_decay_rate`: what multiplies the learning rate of each layer below the next.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DATASETS
from mmengine.utils import get_installed_path

from ..errors import UserError, did_you_mean
from ..places import CONFIGS, find_config
from ..weights import guard_libraries
from .optim import checked_rate
from .spelling import SHORT_SETTINGS, check_options, check_spelling, is_ours

LENGTHS = ('max_epochs', 'max_iters')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
LAYER_DECAY = 'mmvisattn.LayerDecayOptimWrapperConstructor'
# What layer_decay_rate may come in addition to.
CONSTRUCTORS = (
    'DefaultOptimWrapperConstructor',
    'mmvisattn.BackboneLrOptimWrapperConstructor',
    LAYER_DECAY,
)
EVALUATORS = ('val_evaluator', 'test_evaluator')
# A warm-up is cut to this part of the training, where that is given in iterations.
WARM_UP_SHARE = 10
# What a config's name ends with. MMEngine reads the last three, whose `type` may name any code too.
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
# A URL, of which pathlib leaves one slash.
_ELSEWHERE = re.compile(r'[a-zA-Z][a-zA-Z0-9+.-]+:/')


def load_config(path: str | Path, options: dict | None = None, launcher: str = 'none') -> Config:
    """The config in a file, with `options` ({'dotted.key': value}) merged in and checked.

    Where there is no such file, one of ours of that name is taken, and said to be.

    Without a launcher, which starts several processes, or without a GPU, SyncBN becomes BN, and
    `sync_bn`, which asks for it, is dropped.

    Raises:
        UserError: No such file, a file that is no config, or a key that nothing would read.
    """
    guard_libraries()
    cfg = _read(str(path))
    if 'model' not in cfg:
        raise UserError(f'{path} has no model', do='give a config of configs/, not of _base_')
    try:
        _complete(cfg, dict(options or {}), launcher)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f'a part of {path} is not of the type that it should be',
            got=f'{type(error).__name__}: {error}',
            do='MMVISATTN_TRACEBACK=1 shows what was done with it',
        ) from error
    return cfg


def _complete(cfg: Config, options: dict, launcher: str) -> None:
    settings = {name: cfg.get(name) for name in SHORT_SETTINGS if cfg.get('short_settings')}
    given = {name: options.pop(name) for name in SHORT_SETTINGS if name in options}
    if any(unit in given for unit in LENGTHS):  # in place of the config's own, in either unit
        settings = {name: value for name, value in settings.items() if name not in LENGTHS}
    _carry(cfg, settings | given)
    check_options(cfg, options)
    for option in options:
        _make_room(cfg, option)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise UserError(
            '--cfg-options names a place that the config does not have',
            got=f'{", ".join(options)}: {error}',
        ) from error
    if launcher == 'none' or not torch.cuda.is_available():
        _without_sync_bn(cfg)
    check_spelling(cfg)


def _make_room(cfg: Config, option: str) -> None:
    """Put a dict where a dotted option leads through None (init_cfg of a demo), or through an arch.

    `model.backbone.arch.kernel_size=7` changes the architecture that the config names.
    """
    place = cfg
    for key in option.split('.')[:-1]:
        if not isinstance(place, dict | Config) or key not in place:
            return
        if place[key] is None:
            place[key] = {}
        elif key == 'arch' and isinstance(place[key], str) and is_ours(place):
            place[key] = dict(base=place[key])
        place = place[key]


def dataset_configs(cfg: Config, loaders: Iterable[str] = LOADERS) -> Iterator[dict]:
    """Every data set of these loaders, those inside wrappers (repeat, concatenate) too."""
    for loader in loaders:
        if cfg.get(loader):
            yield from _unwrapped(cfg[loader].dataset)


def _read(name: str) -> Config:
    path = Path(name)
    if _ELSEWHERE.match(name):
        raise _is_code(f'{name} is no file of this machine')
    if not path.is_file():
        path = _ours(path)
    if path.suffix not in SUFFIXES:
        raise _is_code(f'{name} is no config: its name ends with none of {" ".join(SUFFIXES)}')
    # The fork of mmseg has another name on the package index than MMEngine looks for, so that
    # `_base_ = 'mmseg::...'` would not be found.
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        line = f', line {error.lineno}' if error.lineno else ''
        raise UserError(f'{error.filename or path}{line}: {error.msg}') from error
    except (FileNotFoundError, NotADirectoryError) as error:
        base = Path(error.filename or path)
        if _ELSEWHERE.search(str(base)) or any(parent.is_file() for parent in base.parents):
            raise _is_code(f'{path} builds on {base}') from error
        raise UserError(f'{path} builds on a file that is not there', got=error) from error
    except Exception as error:  # a config is Python and may raise anything
        raise UserError(f'{path} is no config', got=f'{type(error).__name__}: {error}') from error


def _ours(path: Path) -> Path:
    """The config of ours that the path of no file names."""
    within = next((parent for parent in path.parents if parent.is_file()), None)
    if within:
        raise _is_code(f'{path} would lie in {within}, which is no folder')
    found = find_config(path)
    if found:
        print(f'note: {path} is {found}', file=sys.stderr)
        return found
    near = [*(path.parent.glob('*.py') if path.parent.is_dir() else ()), *CONFIGS.glob('*.py')]
    raise UserError(
        f'no such config: {path}',
        expected='a Python file, or a name such as upernet_van_b2_ade20k',
        do=did_you_mean(f'{path.stem}.py', [p.name for p in near])
        or 'python -m mmvisattn --configs lists ours',
    )


_find_base_of_mmengine = Config._get_cfg_path


def _find_base(base: str, config: str) -> tuple[str, str | None]:
    """Where `_base_ = 'package::path'` leads, as (path, scope): MMEngine's rule, and ours.

    Ours are found by name (`mmvisattn::mask_rcnn_van_b2_coco.py`). For the others MMEngine first
    searches all metafiles of the package for a name that none has, for seconds, then does this.
    """
    package, separator, name = base.partition('::')
    if package == 'mmvisattn' and separator:
        # A scope of ours would hide the toolbox's classes that the base names.
        return str(find_config(name) or CONFIGS / name), None
    if separator:
        try:
            root = Path(get_installed_path(MODULE2PACKAGE.get(package, package)))
        except ImportError:  # MMEngine says what is missing
            return _find_base_of_mmengine(base, config)
        file = root / '.mim' / 'configs' / name
        if file.is_file():
            return str(file), package
    return _find_base_of_mmengine(base, config)


Config._get_cfg_path = staticmethod(_find_base)


def _is_code(problem: str) -> UserError:
    return UserError(
        f'{problem}, and configs are code',
        expected='a Python file in a folder of this machine, from somebody you trust',
        do='get or unpack it, read it, then give its path',
    )


def _unwrapped(dataset: dict) -> Iterator[dict]:
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
    for one in inner or ():
        yield from _unwrapped(one)


def _carry(cfg: Config, settings: dict) -> None:
    settings = {name: value for name, value in settings.items() if value is not None}
    lengths = [unit for unit in LENGTHS if unit in settings]
    if len(lengths) > 1:
        raise UserError(
            'training has one length',
            expected='max_epochs or max_iters',
            got=', '.join(f'{unit} = {settings[unit]}' for unit in lengths),
            do='set the one that a base brings to None',
        )
    for name, value in settings.items():
        cfg[name] = value
    if 'data_root' in settings:
        _move_data(cfg, str(settings['data_root']))
    if 'classes' in settings:
        _set_classes(cfg, _names(settings['classes']))
    panoptic = {'thing_classes', 'stuff_classes'} & set(settings)
    if panoptic:
        _set_panoptic_classes(cfg, {name: _names(settings[name]) for name in panoptic})
    if 'bbox_file' in settings:
        for dataset in dataset_configs(cfg, ('val_dataloader', 'test_dataloader')):
            dataset.bbox_file = settings['bbox_file']
    for unit in lengths:
        set_length(cfg, unit, settings[unit])
    if 'layer_decay_rate' in settings:
        _decay_by_layer(cfg, settings['layer_decay_rate'])


def _decay_by_layer(cfg: Config, rate: float) -> None:
    """Let learning rates decay with depth, beside what the config says of its parameters."""
    constructor = cfg.optim_wrapper.get('constructor', CONSTRUCTORS[0])
    if constructor not in CONSTRUCTORS:
        raise UserError(
            'layer_decay_rate: this config builds its optimizer in another way',
            expected='no optim_wrapper.constructor',
            got=constructor,
        )
    paramwise_cfg = cfg.optim_wrapper.get('paramwise_cfg') or {}
    cfg.optim_wrapper.constructor = LAYER_DECAY
    cfg.optim_wrapper.paramwise_cfg = {**paramwise_cfg, 'layer_decay_rate': checked_rate(rate)}


def _names(classes: str | Sequence[str]) -> list[str]:
    return [classes] if isinstance(classes, str) else list(classes)


def _move_data(cfg: Config, root: str) -> None:
    """Name another folder for every data set, and for the files of metrics that lay in the old."""
    datasets = list(dataset_configs(cfg))
    metrics = [cfg[name] for name in EVALUATORS if cfg.get(name)]
    old_roots = {dataset.data_root for dataset in datasets if dataset.get('data_root')}
    moved = {  # by place, since two names may stand for one dict
        (id(place), key): (place, key, f'{root.rstrip("/")}/{Path(value).relative_to(old)}')
        for place in _dicts([datasets, metrics])
        for key, value in place.items()
        for old in old_roots
        if key != 'data_root' and isinstance(value, str) and Path(value).is_relative_to(old)
    }
    for place, key, path in moved.values():
        place[key] = path + '/' * place[key].endswith('/')
    for dataset in datasets:
        dataset.data_root = root


def _set_classes(cfg: Config, classes: list[str]) -> None:
    """Give data sets, heads and metrics these classes."""
    if any('num_things_classes' in part for part in _dicts(cfg.model)):
        raise UserError(
            'classes: the classes of panoptic segmentation are things and stuff',
            do='give thing_classes and stuff_classes',
        )
    cfg.classes = classes
    for dataset in dataset_configs(cfg):
        dataset.metainfo = {**dataset.get('metainfo', {}), 'classes': classes}
        _let_other_names_in(dataset, classes, cfg.get('default_scope'))
    for part in _dicts(cfg.model):
        if 'num_classes' in part:
            part.num_classes = len(classes)
    for metric in _dicts([cfg[name] for name in EVALUATORS if cfg.get(name)]):
        if 'topk' in metric:  # there is no top 5 of 3 classes
            ranks = metric.topk if isinstance(metric.topk, (list, tuple)) else [metric.topk]
            metric.topk = tuple(k for k in ranks if k <= len(classes))


def _let_other_names_in(dataset: dict, classes: list[str], scope: str | None) -> None:
    """Label n is the n-th class, where ADE20K's own names, which have numbers, do not hold all."""
    name = 'ADE20KDataset'
    if dataset.type.rpartition('.')[2] != name:
        return
    with DATASETS.switch_scope_and_registry(scope) as scoped:
        known = scoped.get(dataset.type).METAINFO['classes']
    if not set(classes) <= set(known):
        dataset.type = dataset.type.replace(name, 'BaseSegDataset')
        dataset.setdefault('reduce_zero_label', True)


def _set_panoptic_classes(cfg: Config, given: dict[str, list[str]]) -> None:
    """Give data sets and heads these things and stuff; what is not countable has no box head."""
    if set(given) != {'thing_classes', 'stuff_classes'}:
        raise UserError(
            'panoptic classes are things and stuff',
            expected='thing_classes and stuff_classes (one of them may be [])',
            got=', '.join(given),
        )
    things, stuff = given['thing_classes'], given['stuff_classes']
    for dataset in dataset_configs(cfg):
        dataset.metainfo = {**dataset.get('metainfo', {}), **given, 'classes': things + stuff}
    for part in _dicts(cfg.model):
        counts = dict(
            num_classes=len(things), num_things_classes=len(things), num_stuff_classes=len(stuff)
        )
        part.update({key: count for key, count in counts.items() if key in part})
        if 'class_weight' in part:  # Mask2Former's: one for each class, the last for "nothing"
            part.class_weight = [1.0] * (len(things) + len(stuff)) + part.class_weight[-1:]


def set_length(cfg: Config, unit: str, length: int) -> None:
    """Train for so many epochs or iterations; the learning-rate schedule stretches with it.

    A config that counts in epochs may be given a number of iterations: it counts in iterations
    then, its warm-up as long a part of the whole as it may be.

    Args:
        cfg: The config, changed in place. It validates and saves at the end at least.
        unit: 'max_epochs' or 'max_iters'.
        length: How many.

    Raises:
        UserError: Not a positive number, or epochs for a config that counts in iterations.
    """
    if not isinstance(length, int) or length < 1:
        raise UserError(f'{unit} counts {unit[4:]}', expected='1 or more', got=length)
    if unit not in cfg.train_cfg:
        if unit == 'max_epochs':
            raise UserError(
                'max_epochs: this config counts its training in iterations', do='give max_iters'
            )
        _count_iterations(cfg, length)
    schedulers = _schedulers(cfg)
    in_epochs = unit == 'max_epochs'
    ends = [s.end for s in schedulers if s.get('end') and s.get('by_epoch', True) == in_epochs]
    stretch = length / max(ends, default=cfg.train_cfg[unit])
    for scheduler in schedulers:
        # MMEngine's LinearLR never leaves its first value if it has one iteration only.
        _scale_scheduler(scheduler, stretch, 1 if scheduler.get('by_epoch', True) else 2)
    cfg.param_scheduler = [s for s in schedulers if s.get('begin', 0) < s.get('end', length + 2)]
    cfg.train_cfg[unit] = length
    for part, interval in ((cfg.train_cfg, 'val_interval'), (_saving(cfg), 'interval')):
        if interval in part:
            part[interval] = min(part[interval], length)


def _count_iterations(cfg: Config, max_iters: int) -> None:
    """Turn a config that counts in epochs into one of as many iterations."""
    epochs = cfg.train_cfg.max_epochs
    stretch = max_iters / epochs
    longest = max_iters // WARM_UP_SHARE
    for scheduler in _schedulers(cfg):
        scheduler.pop('convert_to_iter_based', None)
        if scheduler.get('by_epoch', True):
            scheduler.setdefault('end', epochs)
            _scale_scheduler(scheduler, stretch, 1)
            scheduler.by_epoch = False
        elif scheduler.get('end', 0) > longest:
            scheduler.end = max(2, longest)
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop',
        max_iters=max_iters,
        val_interval=max(1, round(cfg.train_cfg.get('val_interval', 1) * stretch)),
    )
    saving = _saving(cfg)
    saving.update(by_epoch=False, interval=max(1, round(saving.get('interval', 1) * stretch)))
    cfg.log_processor = {**cfg.get('log_processor', {}), 'by_epoch': False}
    if 'logger' in cfg.get('default_hooks', {}):
        cfg.default_hooks.logger.log_metric_by_epoch = False
    sampler = cfg.train_dataloader.get('sampler') or {}
    if sampler.get('type') == 'DefaultSampler':
        sampler.pop('round_up', None)
        sampler.type = 'InfiniteSampler'


def _scale_scheduler(scheduler: dict, stretch: float, shortest: int) -> None:
    for edge in ('begin', 'end', 'T_max'):
        if scheduler.get(edge):
            scheduler[edge] = max(shortest, round(scheduler[edge] * stretch))
    if 'milestones' in scheduler:
        scheduler.milestones = [round(m * stretch) for m in scheduler.milestones]


def _schedulers(cfg: Config) -> list:
    schedulers = cfg.get('param_scheduler') or []
    return schedulers if isinstance(schedulers, list) else [schedulers]


def _saving(cfg: Config) -> dict:
    """The checkpoint hook's settings."""
    return cfg.get('default_hooks', {}).get('checkpoint', {})


def _without_sync_bn(cfg: Config) -> None:
    """One process has nothing to synchronise, and PyTorch's SyncBN runs on GPUs only."""
    cfg.pop('sync_bn', None)
    for part in _dicts(cfg.model):
        if part.get('type') in ('SyncBN', 'MMSyncBN'):
            part['type'] = 'BN'


def _dicts(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list, tuple)):
            yield from _dicts(child)
