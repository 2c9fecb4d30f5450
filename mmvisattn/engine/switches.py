"""What the switches of tools/train.py change in a config, for every task alike."""

from __future__ import annotations

import argparse

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ..errors import UserError
from .compiling import prepare_compilation
from .spelling import arguments_of
from .tracking import use_trackers


def apply_switches(cfg: Config, args: argparse.Namespace) -> None:
    """Write the switches into a config.

    Raises:
        UserError: One that this config or this machine does not allow.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        _use_amp(cfg, args.amp)
    if args.accumulate:
        cfg.optim_wrapper.accumulative_counts = args.accumulate
    if args.ema:
        _use_ema(cfg, args.ema)
    _pace_ema(cfg)
    if args.grad_checkpoint:
        _use_grad_checkpoint(cfg)
    if args.auto_scale_lr:
        _use_auto_scale_lr(cfg)
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.track:
        use_trackers(cfg, args.track)
    _use_fused_optimizer(cfg)
    cfg.compile = cfg.get('compile') or args.compile
    prepare_compilation(cfg)
    cfg.fsdp = cfg.get('fsdp') or args.fsdp
    if cfg.fsdp:
        _check_fsdp(cfg, args.launcher)
    cfg.randomness = {'seed': None, **cfg.get('randomness', {})}
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True


def is_ema(hook: dict) -> bool:
    """Whether a hook of a config averages the weights: MMEngine's or mmpretrain's."""
    return str(hook.get('type')).rpartition('.')[2] == 'EMAHook'


def _use_amp(cfg: Config, dtype: str) -> None:
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise UserError(
            '--amp fp16 needs a GPU, and PyTorch sees none',
            do='leave --amp out, run where a GPU is, or try --amp bf16, which CPUs have too',
        )
    optim_wrapper = cfg.optim_wrapper
    for key in ('dtype', 'loss_scale'):  # of a config that is in mixed precision already
        optim_wrapper.pop(key, None)
    if dtype == 'fp16':
        optim_wrapper.update(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    else:
        optim_wrapper.type = 'mmvisattn.Bf16OptimWrapper'
        if cfg.get('default_scope') == 'mmpose':  # its training accuracy is numpy's, without bf16
            cfg.model.train_cfg = {**(cfg.model.get('train_cfg') or {}), 'compute_acc': False}


def _use_ema(cfg: Config, momentum: float | bool) -> None:
    """Average the weights, by the config's own hook if it has one."""
    hooks = cfg.get('custom_hooks') or []
    hook = next(filter(is_ema, hooks), dict(type='EMAHook'))
    if momentum is not True:
        hook['momentum'] = momentum
    cfg.custom_hooks = [*(h for h in hooks if not is_ema(h)), hook]


def _pace_ema(cfg: Config) -> None:
    """Average once for each step: between two, while gradients accumulate, no weight changes."""
    every = cfg.optim_wrapper.get('accumulative_counts', 1)
    for hook in filter(is_ema, cfg.get('custom_hooks') or [] if every > 1 else []):
        hook['interval'] = every


def _use_fused_optimizer(cfg: Config) -> None:
    """Let Adam and AdamW update a tensor in one pass, unless the config says how they do it.

    The others have too little arithmetic, or no such kernel.
    """
    optimizer = cfg.optim_wrapper.get('optimizer') or {}
    chosen = {'fused', 'foreach', 'capturable', 'differentiable'} & set(optimizer)
    if optimizer.get('type') in ('Adam', 'AdamW') and not chosen:
        optimizer.fused = True


def _use_grad_checkpoint(cfg: Config) -> None:
    backbone = cfg.model.get('backbone', {})
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as models:
        network = models.get(backbone.get('type', ''))
    if network is None or 'with_cp' not in arguments_of(network)[0]:
        raise UserError(
            '--grad-checkpoint: this backbone cannot compute its activations again',
            expected='a backbone with with_cp: ours, ResNet, Swin, ConvNeXt, ...',
            got=backbone.get('type', 'a model without a backbone'),
        )
    backbone.with_cp = True


def _check_fsdp(cfg: Config, launcher: str) -> None:
    if launcher == 'none':
        raise UserError(
            '--fsdp gives each of several processes a share of the network, and this is one',
            do='bash tools/dist_train.sh CONFIG PROCESSES --fsdp, or leave --fsdp out',
        )
    others = {
        '--compile': cfg.compile,  # a graph would end at each block that is gathered
        'model_wrapper_cfg': cfg.get('model_wrapper_cfg'),
        # gradients that only some processes have would wait for the others' for ever
        'find_unused_parameters': cfg.get('find_unused_parameters'),
    }
    for name in filter(others.get, others):
        raise UserError(f'--fsdp does not go together with {name}', do='leave one of them out')


def _use_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr: the config does not say for which batch size its rate is meant',
            expected='auto_scale_lr=dict(base_batch_size=...)',
        )
    cfg.auto_scale_lr.enable = True
