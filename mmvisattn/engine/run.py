"""Train and test: from parsed arguments to MMEngine's Runner."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from .. import doctor
from ..errors import UserError
from ..processes.launch import ending_together, init_distributed, restarted
from ..survival.nonfinite import NonFinite
from ..survival.resuming import choose_checkpoint, has_saved_since
from ..survival.stopping import StopRequest, stop_requests
from ..weights import forget_weights, library_init, read_checkpoint, require_pretrained_match
from .compiling import prepare_compilation
from .config import dataset_configs, load_config
from .datasets_check import check_datasets
from .loading import newest_in
from .record import recording
from .results import complete_or_absent, write_predictions
from .runner import Runner
from .skipped import allowed_share
from .spelling import is_ours
from .switches import apply_switches, is_ema
from .tracking import TrackTestHook, use_trackers
from .tta import use_tta

TRAINING_DATA = ('train_dataloader', 'val_dataloader')
TEST_DATA = ('test_dataloader',)


@ending_together
def train(args: argparse.Namespace) -> None:
    """Run tools/train.py.

    Raises:
        UserError: Bad input, before anything is written.
    """
    with stop_requests() as request:
        _train(args, request)


def _train(args: argparse.Namespace, request: StopRequest) -> None:
    again = restarted()
    cfg = _config(args)
    if again and (args.resume is None or has_saved_since(cfg.work_dir, args.resume)):
        args.resume = 'auto'
    start = cfg.get('load_from')  # what a run that finds no checkpoint to resume is to start from
    apply_switches(cfg, args)
    if args.pretrained:
        _use_pretrained(cfg.model, args.pretrained)
    cfg.bad_pictures = allowed_share(cfg)
    NonFinite.of(cfg)
    check_datasets(cfg, TRAINING_DATA)
    _join(cfg)
    notes = choose_checkpoint(cfg, own=again)
    if args.resume == 'auto' and not cfg.resume:
        cfg.load_from = start
    if again:
        notes.insert(0, 'The launcher started this run again: it goes on, as with --resume.')
    _check_backbone(cfg)
    if cfg.get('load_from') and not cfg.get('resume'):  # else it has been read already
        read_checkpoint(cfg.load_from)
    runner = _runner(cfg, notes)
    runner.random_on_purpose = args.pretrained == 'none'
    runner.stop_request = request
    with recording(runner, TRAINING_DATA):
        runner.train()


@ending_together
def test(args: argparse.Namespace) -> None:
    """Run tools/test.py.

    Raises:
        UserError: Bad input.
    """
    cfg = _config(args)
    cfg.load_from, cfg.resume = newest_in(args.checkpoint), False
    # The weights of a checkpoint are the averaged ones; the hook would load them a second time,
    # without the Runner's strictness.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if not is_ema(hook)]
    for part in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'val_cfg',
                 'val_dataloader', 'val_evaluator'):  # fmt: skip
        cfg[part] = None
    if args.show or args.show_dir:
        if 'visualization' not in cfg.default_hooks or 'visualizer' not in cfg:
            raise UserError('--show: the config has no visualization hook and visualizer')
        cfg.default_hooks.visualization.update(draw=True, show=args.show, wait_time=args.wait_time)
        cfg.visualizer.save_dir = args.show_dir
    if args.out:
        write_predictions(cfg, args.out)
    if args.track:
        use_trackers(cfg, args.track)
    cfg.compile = args.compile and (cfg.get('compile') or True)
    prepare_compilation(cfg)
    notes = [use_tta(cfg)] if args.tta else []
    notes += _boxes_of_poses(cfg)
    check_datasets(cfg, TEST_DATA)
    read_checkpoint(cfg.load_from)
    _join(cfg)
    runner = _runner(cfg, notes)
    runner.folds = args.deploy
    if args.track:
        runner.register_hook(TrackTestHook(args.track))
    with complete_or_absent(args.out), recording(runner, TEST_DATA):
        runner.test()


def _boxes_of_poses(cfg: Config) -> list[str]:
    """Whose boxes poses are looked for in: papers report a detector's."""
    datasets = dataset_configs(cfg, ('test_dataloader',))
    used = [
        dataset.bbox_file or 'the annotations' for dataset in datasets if 'bbox_file' in dataset
    ]
    return [f'Poses are looked for in the boxes of {boxes}.' for boxes in used]


def _config(args: argparse.Namespace) -> Config:
    cfg = load_config(args.config, args.cfg_options, args.launcher)
    cfg.launcher = args.launcher
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    return cfg


def _join(cfg: Config) -> None:
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    known = {k: v for k, v in dist_cfg.items() if k in ('backend', 'timeout', 'port')}
    init_distributed(cfg.launcher, **known)


def _runner(cfg: Config, notes: list[str]) -> Runner:
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
        writable = os.access(cfg.work_dir, os.W_OK)
    except OSError as error:
        raise UserError(f'the work dir {cfg.work_dir} cannot be made', got=error) from error
    if not writable:
        raise UserError(f'the work dir {cfg.work_dir} cannot be written to')
    runner = Runner.from_cfg(cfg)
    for note in notes:
        runner.logger.info(note)
    if runner.rank == 0:
        (Path(runner.log_dir) / 'environment.txt').write_text(doctor.describe() + '\n')
    return runner


def _use_pretrained(model: dict, source: str) -> None:
    """Start the backbone from these weights, whatever the config says; 'none': from random ones.

    Of the folder of a run the newest checkpoint is taken.
    """
    if 'backbone' not in model:
        raise UserError('--pretrained is for a backbone, and this model has none')
    for place in (model, model.backbone):
        place.pop('pretrained', None)  # MMSegmentation's older way to say it
    if source == 'none':
        forget_weights(model.backbone)
        return
    source = newest_in(source)
    ours = dict(type='mmvisattn.CheckedPretrained', checkpoint=source)
    model.backbone.init_cfg = ours if is_ours(model.backbone) else library_init(source)
    if 'prefix' in model.backbone.init_cfg and 'convert_weights' in model.backbone:
        model.backbone.convert_weights = False  # mmdet's Swin: the file has its names already


def _check_backbone(cfg: Config) -> None:
    """Build the backbone: its arguments and weights, before a start.

    Ours takes no memory; those of the libraries, built only if their weights are to be checked,
    need their numbers while they are built.
    """
    backbone = cfg.model.get('backbone', {})
    init_cfg = backbone.get('init_cfg')
    judged = any(word in str(init_cfg) for word in ('CheckedPretrained', "'prefix'"))
    if not is_ours(backbone) and not judged:
        return
    if cfg.get('resume'):
        backbone = {**backbone, 'init_cfg': None}  # the checkpoint holds every weight
    scope = MODELS.switch_scope_and_registry(cfg.get('default_scope'))
    with torch.device('meta' if is_ours(backbone) else 'cpu'), scope as models:
        network = models.build(backbone)
    require_pretrained_match(network)
