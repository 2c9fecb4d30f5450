"""MMEngine's Runner, with its silent failures made loud and its GPU-only steps run on CPU."""

from __future__ import annotations

import re
from contextlib import nullcontext

import torch
from mmengine import runner as mmengine_runner
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Priority
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.guard import guard, skip_bad_samples
from ..datasets.stream import isolate, place_samples
from ..deploy import fuse_for_inference
from ..errors import UserError
from ..processes.agreement import any_process
from ..processes.sharding import Sharding, blocks_of, ready_to_shard
from ..survival.checkpoints import CheckpointHook
from ..survival.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from ..survival.nonfinite import NonFinite, NonFiniteHook
from ..survival.resuming import ExactResumeHook, choose_checkpoint, require_progress
from ..survival.stopping import StopRequest
from ..weights import (
    Load,
    announce,
    guard_libraries,
    loads_weights,
    locate,
    read_checkpoint,
    require_plain_match,
)
from .batch import Batch
from .compiling import CompilationHook, compile_parts
from .loading import put_into, weights_in
from .skipped import SkippedPicturesHook, allowed_share

# Of a checkpoint to fine-tune from, this much must fit: all but heads of another class count.
FINE_TUNE_COVERAGE = 0.5

# What is built in place of MMEngine's.
LOOPS = {loop.__name__: loop for loop in (EpochBasedTrainLoop, IterBasedTrainLoop)}


def _name_of(kind: str | type | None) -> str:
    """A class's name, however a config gives it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]


class Runner(mmengine_runner.Runner):
    """A run. It differs from MMEngine's in what it does with bad input and without a GPU.

    Attributes:
        random_on_purpose: Whether the backbone is meant to start from random weights.
        folds: Whether a test folds the network for inference (`mmvisattn.deploy`).
        stop_request: Whether somebody asked the run to stop.
        sharding: The parts that are cut, once they are, of a training with `fsdp`; else None.
    """

    random_on_purpose = False
    folds = False
    sharding: Sharding | None = None

    def __init__(self, *args, **kwargs) -> None:
        guard_libraries()
        self.stop_request = StopRequest()
        self._exact = ExactResumeHook()
        super().__init__(*args, **kwargs)
        self.register_hook(self._exact)
        self.register_hook(NonFiniteHook(NonFinite.of(self.cfg)))

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """Build a run; one that resumes without saying from what takes the newest checkpoint."""
        notes = [] if cfg.get('load_from') else choose_checkpoint(cfg)
        runner = super().from_cfg(cfg)
        for note in notes:
            runner.logger.info(note)
        return runner

    @property
    def bare_model(self) -> nn.Module:
        """The network itself, without wrappers for several processes or test-time augmentation."""
        return getattr(*self._place_of_model())

    def _place_of_model(self) -> tuple[object, str]:
        """What holds the network, and the attribute that it is there."""
        owner, name = self, 'model'
        if is_model_wrapper(self.model):
            owner, name = self.model, 'module'
        if isinstance(getattr(owner, name), BaseTTAModel):
            owner, name = getattr(owner, name), 'module'
        return owner, name

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """Build a data loader whose errors name the file they are about."""
        loader = mmengine_runner.Runner.build_dataloader(*args, **kwargs)
        guard(loader.dataset)
        isolate(loader)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of training, which goes on without a few samples that fail.

        In place of MMEngine's loops those of `survival` are built, which resume exactly.
        """
        if isinstance(loop, BaseLoop):
            return loop
        default = 'EpochBasedTrainLoop' if loop.get('by_epoch') else 'IterBasedTrainLoop'
        loop = {key: value for key, value in loop.items() if key != 'by_epoch'}
        kind = loop.get('type', default)
        loop = super().build_train_loop({**loop, 'type': LOOPS.get(_name_of(kind), kind)})
        if not isinstance(loop, tuple(LOOPS.values())):
            self.logger.warning(
                f'{type(loop).__name__} is no loop of ours: a signal ends the run without saving, '
                'and it resumes as the loop itself does.'
            )
        place_samples(loop.dataloader, self.seed)
        share = allowed_share(self.cfg)
        self.register_hook(SkippedPicturesHook(skip_bad_samples(loop.dataloader.dataset, share)))
        return loop

    def register_hook(
        self, hook: Hook | dict, priority: str | int | Priority | None = None
    ) -> None:
        """Register a hook; in place of MMEngine's checkpoint hook that of `survival`."""
        if isinstance(hook, dict) and _name_of(hook.get('type')) == 'CheckpointHook':
            hook = {**hook, 'type': CheckpointHook}
        super().register_hook(hook, priority)

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed everything; warn of operators that have no deterministic form, where MMEngine stops.

        Cross entropy and adaptive pooling on a GPU, which UPerNet needs, are among them.
        """
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Fit the learning rate to the batch if `auto_scale_lr` says so; else say if it does not.

        The batch is what a step of the optimizer sees. MMEngine does not count accumulation.
        """
        loader, wrapper = self._train_dataloader, self.cfg.optim_wrapper
        size = getattr(loader, 'batch_size', None) or loader.get('batch_size')
        base = (auto_scale_lr or {}).get('base_batch_size')
        rate = wrapper.get('optimizer', {}).get('lr')
        if size and base and rate:
            batch = Batch(size, self.world_size, wrapper.get('accumulative_counts', 1))
            iterations = self.cfg.train_cfg.get('max_iters')
            shortfall = batch.shortfall(iterations) if iterations else None
            scaled = auto_scale_lr.get('enable')
            for message in (shortfall, None if scaled else batch.misfit(base, rate)):
                if message:
                    self.logger.warning(message)
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': base / batch.accumulated}
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap for several processes, gradients kept once: in the buckets that are exchanged.

        A training with `fsdp` stays unwrapped: `_shard` cuts it once its weights are there.
        """
        if self._shards:
            return ready_to_shard(model.to(get_device()), self.cfg.get('sync_bn'))
        if self.distributed and model_wrapper_cfg is None:
            model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
                gradient_as_bucket_view=True,
            )
            if not torch.cuda.is_available():
                model_wrapper_cfg['device_ids'] = None  # on CPU there is no number to name
        return super().wrap_model(model_wrapper_cfg, model)

    def load_or_resume(self) -> None:
        """Load or resume; a test then folds and compiles what was loaded, if it is to."""
        super().load_or_resume()
        if self._train_loop is None:
            if self.folds:
                setattr(*self._place_of_model(), fuse_for_inference(self.bare_model.eval()))
            self._maybe_compile('test_step')  # MMEngine asks for it in training alone

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | torch.device = 'cpu',
        strict: bool = False,
        revise_keys: list = [(r'^module\.', '')],  # noqa: B006  MMEngine's signature
    ) -> dict:
        """Load weights that fit; never run code from the file.

        To test or to resume, every tensor of the model must be in the file. To fine-tune, half of
        them: heads may have another number of classes.

        Raises:
            UserError: The file is unreadable, would run code, or belongs to another network.
        """
        # Whole tensors, of which a sharded run keeps its share, stay off the GPU.
        checkpoint = read_checkpoint(filename, 'cpu' if self._shards else map_location)
        meta = checkpoint['meta'] if isinstance(checkpoint.get('meta'), dict) else {}
        meta.pop('config', None)  # MMEngine would run it
        missing = {'meta', 'message_hub', 'optimizer'} - set(checkpoint)
        if self._resume and missing:
            raise UserError(
                f'{filename} cannot be resumed: it holds weights only',
                expected='a checkpoint of a training run, such as iter_N.pth',
                got=f'a file without {", ".join(sorted(missing))}',
                do='to start from its weights: --cfg-options load_from=' + str(filename),
            )
        if self._resume:
            require_progress(filename, checkpoint)
        averages = any(isinstance(hook, EMAHook) for hook in self.hooks)
        if self._resume and 'ema_state_dict' in checkpoint and not averages:
            raise UserError(
                f'{filename} was trained with averaged weights, and this run averages none',
                do='resume with --ema and the same momentum',
            )
        state_dict = weights_in(checkpoint, filename)
        for pattern, replacement in revise_keys:
            state_dict = {re.sub(pattern, replacement, k): v for k, v in state_dict.items()}
        checkpoint['state_dict'] = state_dict  # where hooks look; EMAHook exchanges its values
        if not self._resume:
            checkpoint.pop('ema_state_dict', None)  # only resuming goes on with both weights
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        fine_tuning = self._train_loop is not None and not self._resume
        coverage = FINE_TUNE_COVERAGE if fine_tuning else 1.0
        match = put_into(self.bare_model, state_dict, filename, coverage)
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}:\n{match}')
        announce(Load(self._purpose, str(filename), locate(filename), match, meta=meta))
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: It is none that a run of this config saved.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except (UserError, torch.OutOfMemoryError, torch.distributed.DistError):
            raise
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f'{filename} cannot be resumed',
                expected='what a run of this config saved, with its optimizer and schedule',
                got=f'{type(error).__name__}: {error}',
                do='to start from its weights alone: --cfg-options load_from=' + str(filename),
            ) from error

    def save_checkpoint(self, *args, **kwargs) -> None:
        """Save what all processes need to go on exactly; all of them must call it.

        Raises:
            OSError: In every process, if it could not be written.
        """
        self._exact.gather(self)
        error = None
        with_optimizer = kwargs.get('save_optimizer', True)
        whole = self.sharding.whole_states(with_optimizer) if self.sharding else nullcontext()
        try:
            with whole:
                super().save_checkpoint(*args, **kwargs)
        except OSError as raised:
            error = raised
        if any_process(error is not None):
            raise error or OSError('process 0 could not write it')

    @property
    def trains(self) -> bool:
        """Whether this run trains; if not, it tests."""
        return self._train_loop is not None

    @property
    def _purpose(self) -> str:
        """What a checkpoint is loaded for."""
        if self._resume:
            return 'resume'
        return 'load_from' if self.trains else 'test'

    def dump_config(self) -> None:
        """Write the resolved config of a training run; a test beside it leaves that one alone."""
        if self._train_loop is not None:
            super().dump_config()

    def _init_model_weights(self) -> None:
        """Initialise; a pretrained backbone must be pretrained with the very network it is."""
        backbone = getattr(self.bare_model, 'backbone', None)
        if self._resume and backbone is not None:
            backbone.init_cfg = None  # the checkpoint holds every weight: nothing to download
        match = require_plain_match(backbone)
        if match:
            self.logger.info(f'Weights for the backbone:\n{match}')
        elif self._load_from is None and not loads_weights(getattr(backbone, 'init_cfg', None)):
            self._report_random_weights()
        super()._init_model_weights()
        if self._shards:
            self._shard()

    @property
    def _shards(self) -> bool:
        """Whether each process keeps its share of the training; a test needs no sharing."""
        return bool(self.cfg.get('fsdp')) and self._train_loop is not None

    def _shard(self) -> None:
        averages = [hook.ema_model for hook in self.hooks if isinstance(hook, EMAHook)]
        blocks = blocks_of(getattr(self.model, 'backbone', None))
        self.sharding = Sharding(self.model, blocks, self.optim_wrapper, averages)
        for hook in self.sharding.hooks:
            self.register_hook(hook)
        own, whole = self.sharding.num_own_parameters, self.sharding.num_parameters
        parts = f'{len(blocks)} blocks one at a time' if blocks else 'all at once'
        self.logger.info(
            f'FSDP: this process keeps {own:,} of {whole:,} parameters; a step gathers {parts}.'
        )

    def _report_random_weights(self) -> None:
        if self.random_on_purpose:
            self.logger.info('The backbone starts from random weights, as --pretrained none asks.')
        else:
            self.logger.warning(
                'The backbone starts from random weights: no pretrained checkpoint was given '
                '(--pretrained). Scores reported by papers start from ImageNet weights.'
            )

    def _maybe_compile(self, target: str) -> None:
        """Compile backbone and neck alone: MMEngine would compile its whole step, which is slower
        and breaks on the heads' Python."""
        if self.cfg.get('compile'):
            options = self.cfg.compile if isinstance(self.cfg.compile, dict) else {}
            parts = compile_parts(self.bare_model, options)
            self.register_hook(CompilationHook())
            self.logger.info(f'{parts} will be compiled in the first steps, which are slow.')
