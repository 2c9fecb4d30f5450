"""Refuse misspelt keys: MMEngine merges any key into a config and reads only those it knows."""

from __future__ import annotations

import inspect
import re
from difflib import get_close_matches

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from ..errors import UserError, did_you_mean

# The registry in which each section of a config looks up its types ...
SECTIONS: dict[str, Registry] = {
    'model': registry.MODELS,
    'tta_model': registry.MODELS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'param_scheduler': registry.PARAM_SCHEDULERS,
    'default_hooks': registry.HOOKS,
    'custom_hooks': registry.HOOKS,
    'val_evaluator': registry.METRICS,
    'test_evaluator': registry.METRICS,
    'visualizer': registry.VISUALIZERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
}
# ... and what lies deeper in a section, or in a data loader.
NESTED: dict[str, Registry] = {
    'dataset': registry.DATASETS,
    'datasets': registry.DATASETS,
    'pipeline': registry.TRANSFORMS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
    'optimizer': registry.OPTIMIZERS,
    'vis_backends': registry.VISBACKENDS,
}
# From this ratio on (difflib's, 1 is equal) two names are taken for one, misspelt.
ALIKE = 0.84
# Keys that builders read before the class sees the rest.
BUILDER_KEYS = {'type', '_scope_', 'constructor', 'paramwise_cfg', 'convert_to_iter_based'}
BUILDER_KEYS |= {'by_epoch', 'priority', 'init_cfg', 'clip_grad', 'accumulative_counts'}
# Dicts that other builders (mmcv's layers, MMEngine's initialisers, augmentation policies) read.
LEFT_ALONE = {'norm_cfg', 'act_cfg', 'conv_cfg', 'init_cfg', 'upsample_cfg', 'backend_args'}
LEFT_ALONE |= {'dcn', 'plugins', 'policies'}
# Settings that may stand alone; config.py carries each to every place that needs it.
SHORT_SETTINGS = (
    'data_root', 'classes', 'thing_classes', 'stuff_classes', 'bbox_file', 'max_epochs',
    'max_iters', 'layer_decay_rate',
)  # fmt: skip
# What is read at the top of a config; anything that does not resemble it is a helper's name.
TOP_LEVEL = {*inspect.signature(Runner).parameters, *SHORT_SETTINGS} | {
    'auto_scale_lr', 'bad_pictures', 'compile', 'custom_imports', 'default_scope', 'nonfinite',
    'find_unused_parameters', 'fsdp', 'log_processor', 'model_wrapper_cfg', 'sync_bn',
    'tta_model',
}  # fmt: skip
# What our tools read besides.
READ_BY_TOOLS = {'tta_pipeline'}
LOOPS_WITHOUT_TYPE = {
    'train_cfg': (EpochBasedTrainLoop, IterBasedTrainLoop),
    'val_cfg': (ValLoop,),
    'test_cfg': (TestLoop,),
}


def check_spelling(cfg: Config) -> None:
    """Stop at the first key that looks meant but that nothing reads.

    A top-level name that resembles no known one is left alone: configs keep helpers there. So is
    one that the setting it resembles was made of, as in `train_cfg = dict(max_iters=max_iter)`.

    Raises:
        UserError: With the place of the key and the likely spelling.
    """
    for name in cfg:
        known = name in TOP_LEVEL or name.startswith('_')
        close = [] if known else get_close_matches(name, TOP_LEVEL, n=1, cutoff=ALIKE)
        # One word more is another name: num_stuff_classes.
        if close and f'_{close[0]}' not in name and not _stands_at(cfg, close[0], cfg[name]):
            raise UserError(
                f"misspelt key '{name}' at the top of the config",
                got=name,
                do=did_you_mean(name, TOP_LEVEL),
            )
    for name, hook in cfg.get('default_hooks', {}).items():
        if hook is not None and 'type' not in hook:
            raise UserError(
                f'default_hooks.{name} has no type, so it is no hook',
                do=did_you_mean(name, set(cfg.default_hooks) - {name}),
            )
    scope = cfg.get('default_scope', 'mmengine')
    for name in cfg:
        if name in SECTIONS and cfg[name]:
            _check(cfg[name], name, SECTIONS[name], scope)
        elif name.endswith('_dataloader') and cfg[name]:
            known = set(inspect.signature(DataLoader).parameters) | {'num_batch_per_epoch'}
            _check_keys(cfg[name], name, 'DataLoader', known, closed=True)
            for key in ('dataset', 'sampler', 'batch_sampler'):
                if cfg[name].get(key):
                    _check(cfg[name][key], f'{name}.{key}', NESTED[key], scope)


def check_options(cfg: Config, options: dict) -> None:
    """Refuse an option that nothing reads, or that adds a key beside one of almost its name.

    Args:
        cfg: The config before the options are merged in.
        options: {'dotted.key': value}.

    Raises:
        UserError: With the key that was meant.
    """
    for option in options:
        section = option.partition('.')[0]
        if section not in TOP_LEVEL and section not in READ_BY_TOOLS:
            raise UserError(
                f"--cfg-options {option}: nothing reads '{section}'",
                expected='a section, such as model.…, optim_wrapper.… or train_dataloader.…'
                '; names that a config only uses to build those cannot be changed afterwards',
                do=did_you_mean(section, TOP_LEVEL | READ_BY_TOOLS),
            )
        place, walked = cfg, []
        for key in option.split('.'):
            if not isinstance(place, (dict, Config)):
                break
            if key not in place:
                close = get_close_matches(key, list(place), n=1, cutoff=ALIKE)
                if close:
                    where = '.'.join(walked) or 'the config'
                    raise UserError(
                        f"misspelt key '{key}' in --cfg-options {option}",
                        expected=f'a key of {where}: {", ".join(place)}',
                        do=did_you_mean(key, close),
                    )
                break
            place = place[key]
            walked.append(key)


def is_ours(part: dict) -> bool:
    """Whether a part of a config is a class of this package."""
    return str(part.get('type')).startswith('mmvisattn.')


def _stands_at(part: object, key: str, value: object) -> bool:
    """Whether `key` has this value somewhere in a part of a config."""
    if isinstance(part, (list, tuple)):
        return any(_stands_at(child, key, value) for child in part)
    if not isinstance(part, (dict, Config)):
        return False
    return any(
        (name == key and child == value) or _stands_at(child, key, value)
        for name, child in part.items()
    )


def _check(value: object, path: str, types: Registry, scope: str) -> None:
    if isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            _check(child, f'{path}.{index}', types, scope)
    if not isinstance(value, dict) or path.rpartition('.')[2] in LEFT_ALONE:
        return
    classes = LOOPS_WITHOUT_TYPE.get(path, ())
    if isinstance(value.get('type'), str):
        classes = (_resolve(value['type'], path, types, value.get('_scope_', scope)),)
    signatures = [arguments_of(cls) for cls in classes if inspect.isclass(cls)]
    if signatures:
        known = set().union(*(names for names, _ in signatures))
        label = ' or '.join(cls.__name__ for cls in classes)
        # A model of the libraries may take keys out of a part's dict before it builds the part.
        closed = all(closed for _, closed in signatures)
        certain = is_ours(value) or types is not registry.MODELS
        _check_keys(value, path, label, known, closed and certain)
    for key, child in value.items():
        inner = types if types is registry.MODELS else NESTED.get(key, types)
        _check(child, f'{path}.{key}', inner, scope)


def _resolve(name: str, path: str, types: Registry, scope: str) -> type | None:
    """The registered class, or None where the type may live in a registry unknown here."""
    with types.switch_scope_and_registry(scope) as scoped:
        found = scoped.get(name)
        if found is None and types is registry.METRICS:  # one metric, or an evaluator of several
            return _resolve(name, path, registry.EVALUATOR, scope)
        if found is None and _is_certain(path, types):
            raise UserError(
                f"{path}: there is no type '{name}'",
                expected=f'a class registered in {scope}, or another package as package.Class',
                do=did_you_mean(name, _names(scoped)),
            )
    return found


def _is_certain(path: str, types: Registry) -> bool:
    """Whether a dict at this place looks up its type in `types` and nowhere else."""
    place = re.sub(r'\.\d+$', '', path)  # an entry of a list stands where the list does
    section, _, tail = place.rpartition('.')
    if types is registry.MODELS:
        return place in SECTIONS or tail in ('backbone', 'neck') or tail.endswith('head')
    return place in SECTIONS or tail in NESTED or section == 'default_hooks'


def _names(types: Registry | None) -> list[str]:
    """What a registry and those above it hold."""
    return [] if types is None else [*types.module_dict, *_names(types.parent)]


def arguments_of(cls: type) -> tuple[set[str], bool]:
    """The names `cls(...)` accepts, and whether any other one is an error for certain.

    A class that takes `**kwargs` may hand them anywhere: then the names of its bases are known
    ones, and another name is not certain to be wrong. Ours hand them to their bases alone.
    """
    makers = [base.__init__ for base in cls.__mro__ if '__init__' in base.__dict__]
    signatures = [inspect.signature(maker).parameters.values() for maker in makers]
    if all(p.kind is not p.VAR_KEYWORD for p in signatures[0]):
        return {p.name for p in signatures[0]}, True
    ours = cls.__module__.startswith('mmvisattn.')
    return {p.name for parameters in signatures for p in parameters}, ours


def _check_keys(value: dict, path: str, label: str, known: set[str], closed: bool) -> None:
    for key in value:
        if key in known or key in BUILDER_KEYS:
            continue
        if closed or get_close_matches(key, known, n=1, cutoff=ALIKE):
            raise UserError(
                f"misspelt or unknown key '{key}' in {path}",
                expected=f'an argument of {label}: {", ".join(sorted(known - {"self"}))}',
                got=f'{key}={value[key]!r}',
                do=did_you_mean(key, known),
            )
