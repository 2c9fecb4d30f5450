"""Train and test: from parsed arguments to MMEngine's Runner."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from .. import doctor
from ..datasets.checks import check_segmentation
from ..errors import UserError
from ..weights import read_checkpoint, require_pretrained_match
from .checkpoint import latest_checkpoint
from .config import dataset_configs, load_config
from .launch import init_distributed, leave_distributed
from .runner import Runner

OPENED_BEFORE_START = 4  # pictures of each split; tools/check_data.py opens all


def train(args: argparse.Namespace) -> None:
    """Run tools/train.py.

    Raises:
        UserError: Bad input, before anything is written.
    """
    cfg = _config(args)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.pretrained:
        _use_pretrained(cfg.model, args.pretrained)
    if args.amp:
        _use_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                '--auto-scale-lr: the config does not say for which batch size its rate is meant',
                expected='auto_scale_lr=dict(base_batch_size=...)',
            )
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    cfg.compile = args.compile or cfg.get('compile', False)
    cfg.randomness = {'seed': None, **cfg.get('randomness', {})}
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    _check_datasets(cfg, ('train_dataloader', 'val_dataloader'))
    _check_backbone(cfg)
    if cfg.get('load_from'):
        read_checkpoint(cfg.load_from)
    runner = _runner(cfg)
    runner.random_on_purpose = args.pretrained == 'none'
    runner.train()
    leave_distributed()


def test(args: argparse.Namespace) -> None:
    """Run tools/test.py.

    Raises:
        UserError: Bad input.
    """
    cfg = _config(args)
    cfg.load_from, cfg.resume = _newest_in(args.checkpoint), False
    for part in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'val_cfg',
                 'val_dataloader', 'val_evaluator'):  # fmt: skip
        cfg[part] = None
    if args.show or args.show_dir:
        if 'visualization' not in cfg.default_hooks or 'visualizer' not in cfg:
            raise UserError('--show: the config has no visualization hook and visualizer')
        cfg.default_hooks.visualization.update(draw=True, show=args.show, wait_time=args.wait_time)
        cfg.visualizer.save_dir = args.show_dir
    if args.out:
        _write_predictions(cfg, args.out)
    if args.tta:
        if 'tta_pipeline' not in cfg or 'tta_model' not in cfg:
            raise UserError('--tta: the config has no tta_model and tta_pipeline')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
    _check_datasets(cfg, ('test_dataloader',))
    read_checkpoint(cfg.load_from)
    _runner(cfg).test()
    leave_distributed()


def _config(args: argparse.Namespace) -> Config:
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    return cfg


def _runner(cfg: Config) -> Runner:
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    known = {k: v for k, v in dist_cfg.items() if k in ('backend', 'timeout', 'port')}
    init_distributed(cfg.launcher, **known)
    runner = Runner.from_cfg(cfg)
    if runner.rank == 0:
        (Path(runner.log_dir) / 'environment.txt').write_text(doctor.describe() + '\n')
    return runner


def _newest_in(checkpoint: str) -> str:
    """The path itself, or the newest checkpoint in it if it is the folder of a run."""
    if not Path(checkpoint).is_dir():
        return checkpoint
    newest, broken = latest_checkpoint(checkpoint)
    if newest is None:
        raise UserError(
            f'no readable checkpoint in {checkpoint}',
            expected='iter_N.pth or epoch_N.pth',
            got=', '.join(path.name for path in broken) or None,
        )
    return str(newest)


def _use_amp(cfg: Config, dtype: str) -> None:
    if not torch.cuda.is_available():
        raise UserError(
            '--amp needs a GPU, and PyTorch sees none', do='leave --amp out, or run where one is'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.dtype = {'fp16': 'float16', 'bf16': 'bfloat16'}[dtype]
    cfg.optim_wrapper.loss_scale = 'dynamic' if dtype == 'fp16' else 1.0


def _write_predictions(cfg: Config, folder: str) -> None:
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    metrics = [e for e in evaluators if e.type == 'IoUMetric']
    if not metrics:
        raise UserError('--out writes label maps, and this config does not evaluate them')
    metrics[0].output_dir = folder


def _use_pretrained(model: dict, source: str) -> None:
    """Start the backbone from these weights, whatever the config says; 'none': from random ones."""
    if 'backbone' not in model:
        raise UserError('--pretrained is for a backbone, and this model has none')
    for place in (model, model.backbone):
        place.pop('pretrained', None)  # MMSegmentation's older way to say it
    kind = 'mmvisattn.CheckedPretrained' if _is_ours(model.backbone) else 'Pretrained'
    model.backbone.init_cfg = None if source == 'none' else dict(type=kind, checkpoint=source)


def _check_backbone(cfg: Config) -> None:
    """Build the backbone: its arguments and weights, before a start.

    Ours takes no memory; those of the libraries, built only if their weights are to be checked,
    need their numbers while they are built.
    """
    backbone = cfg.model.get('backbone', {})
    init_cfg = backbone.get('init_cfg')
    if not _is_ours(backbone) and 'CheckedPretrained' not in str(init_cfg):
        return
    if cfg.get('resume') and (cfg.get('load_from') or latest_checkpoint(cfg.work_dir)[0]):
        backbone = {**backbone, 'init_cfg': None}  # the checkpoint holds every weight
    scope = MODELS.switch_scope_and_registry(cfg.get('default_scope'))
    with torch.device('meta' if _is_ours(backbone) else 'cpu'), scope as models:
        network = models.build(backbone)
    require_pretrained_match(network)


def _is_ours(backbone: dict) -> bool:
    return str(backbone.get('type')).startswith('mmvisattn.')


def _check_datasets(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Look at the folders of label maps, and into a few of their files, before a run starts."""
    problems = []
    for dataset in dataset_configs(cfg, loaders):
        prefix = dataset.get('data_prefix', {})
        if not {'img_path', 'seg_map_path'} <= set(prefix) or dataset.get('ann_file'):
            continue
        cls, settings = _resolved_dataset(dataset, cfg.get('default_scope'))
        root = Path(dataset.get('data_root') or '')
        found = check_segmentation(
            root / prefix['img_path'],
            root / prefix['seg_map_path'],
            labels=_raw_labels(cls, settings),
            image_suffix=settings['img_suffix'],
            label_suffix=settings['seg_map_suffix'],
            sample=OPENED_BEFORE_START,
        )
        problems += [problem for problem in found if problem not in problems]
    if problems:
        raise UserError(
            'the data set is not complete',
            expected='the layout described in docs/data.md',
            got='\n'.join(problems),
            do='mend it, or name its folder: --cfg-options data_root=DIR\n'
            'python tools/check_data.py ade20k DIR looks at every file',
        )


def _resolved_dataset(dataset: dict, scope: str | None) -> tuple[type, dict]:
    """The class of a data set, and its arguments over the defaults of the class and its bases."""
    with DATASETS.switch_scope_and_registry(scope) as scoped:
        cls = scoped.get(dataset['type'])
    settings = {}
    for base in reversed(cls.__mro__):
        parameters = inspect.signature(base.__init__).parameters.values()
        settings |= {p.name: p.default for p in parameters if p.default is not p.empty}
    return cls, {**settings, **dataset}


def _raw_labels(cls: type, settings: dict) -> range:
    """The labels that the data set's files may hold, before any mapping."""
    classes = cls.METAINFO.get('classes') or (settings['metainfo'] or {}).get('classes')
    if not classes:
        raise UserError(
            f'{cls.__name__} does not know its classes',
            expected='classes = [...] in the config: their names, in the order of the labels',
        )
    return range(len(classes) + 1) if settings['reduce_zero_label'] else range(len(classes))
