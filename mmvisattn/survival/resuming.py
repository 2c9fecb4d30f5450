"""Go on exactly where a run stopped: what a checkpoint holds for that, and who puts it back."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import UserError
from ..processes.agreement import from_main
from ..weights import read_checkpoint
from .checkpoints import latest_checkpoint
from .state import gathered_state, restore_state, saved_buffers

# The key of a checkpoint that holds it.
EXACT = 'exact_state'


class ExactResumeHook(Hook):
    """Saves what MMEngine's checkpoints lack, and puts it back before the first step."""

    priority = 'LOWEST'  # nothing draws a random number between it and the loop

    def __init__(self) -> None:
        self._saved: dict | None = None
        self._loaded: dict | None = None
        self._began: list[int] | None = None

    def gather(self, runner: Runner) -> None:
        """Collect the state of all processes for the checkpoint that is about to be written."""
        self._saved = {
            'processes': gathered_state(runner.bare_model, runner.optim_wrapper),
            # As the config has it, whatever number of processes the run goes on with.
            'began': self._began or _sharing(runner),
        }

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add it."""
        checkpoint[EXACT] = self._saved

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep it until the loop starts."""
        if runner._resume:
            self._loaded = checkpoint.get(EXACT)
            began = (self._loaded or {}).get('began')
            if began and math.prod(began) == math.prod(_sharing(runner) or [0]):
                self._began = began

    def before_train(self, runner: Runner) -> None:
        """Put it back."""
        if not runner._resume:
            return
        processes = (self._loaded or {}).get('processes', [])
        if len(processes) == runner.world_size:
            restore_state(processes[runner.rank], runner.bare_model)
        else:
            before = f'{len(processes)} processes' if processes else 'an older version'
            lost = ' and without the gradients of an unfinished step'
            runner.logger.warning(
                f'The checkpoint was saved by {before}: the run goes on with the same pictures, '
                'but other random numbers in the network'
                f'{lost if any(state["gradients"] for state in processes) else ""}.'
            )
        self._loaded = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Validate what process 0 saves, after averaged weights have taken their place.

        BatchNorm's running statistics are each process's own: with them the metric would be that of
        no checkpoint.
        """
        for buffer in saved_buffers(runner.bare_model).values():
            broadcast(buffer)


def _sharing(runner: Runner) -> list[int] | None:
    """How the samples of a step are shared: the processes, and the samples of each; if known."""
    size = getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)
    return None if size is None else [runner.world_size, size]


def choose_checkpoint(cfg: Config, own: bool = False) -> list[str]:
    """Name in a config what it resumes from, the newest of its folder if it does not say.

    The run then has the seed of the one before, and on any number of processes its total batch.

    Args:
        cfg: Changed in place. Without a checkpoint it starts anew.
        own: Leave alone what an earlier run, which this one did not go on from, left in the folder.

    Returns:
        What to tell the user.

    Raises:
        UserError: The checkpoint is not readable, or so many processes cannot share the batch.
    """
    if not cfg.get('resume'):
        return []
    notes = []
    if not cfg.get('load_from'):
        newest, broken = from_main(lambda: latest_checkpoint(cfg.work_dir, own))
        notes = [f'Passed over {path}: it is not what was written.' for path in broken]
        if newest is None:
            cfg.resume = False
            return [*notes, f'No checkpoint in {cfg.work_dir}: starting at iteration 0.']
        cfg.load_from = str(newest)
    checkpoint = read_checkpoint(cfg.load_from)
    if 'meta' in checkpoint:  # else it is refused as weights alone
        require_progress(cfg.load_from, checkpoint)
    seed = checkpoint.get('meta', {}).get('seed')
    if seed is not None:
        cfg.randomness = {'seed': None, **(cfg.get('randomness') or {})}
        cfg.randomness.seed = seed if cfg.randomness.seed is None else cfg.randomness.seed
    shared = _share_batch(cfg.train_dataloader, checkpoint.get(EXACT))
    return [*notes, f'Resuming from {cfg.load_from}.', *([shared] if shared else [])]


def require_progress(filename: str, checkpoint: dict) -> None:
    """Stop unless a checkpoint says how far its run had come.

    Raises:
        UserError: It does not.
    """
    meta, exact = checkpoint.get('meta'), checkpoint.get(EXACT)
    counts = [meta.get(unit) for unit in ('epoch', 'iter')] if isinstance(meta, dict) else [meta]
    if exact is not None:
        exact = exact if isinstance(exact, dict) else {}
        processes, began = exact.get('processes'), exact.get('began')
        if not isinstance(processes, list):
            counts.append(None)
        elif began is not None:
            counts += began if isinstance(began, list) and len(began) == 2 else [None]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise UserError(
            f'{filename} cannot be resumed: it does not say how far its run had come',
            expected='the epoch and iteration in meta, and the size of a batch',
            got=reprlib.repr(counts),
        )


def has_saved_since(work_dir: str | Path, start: str) -> bool:
    """Whether a run that resumed from `start` has come further; one started again must not repeat.

    Args:
        work_dir: Where the run saves.
        start: A path or URL, or 'auto'.
    """
    newest, _ = latest_checkpoint(work_dir)
    if start == 'auto' or newest is None:
        return False
    reached, began = (
        read_checkpoint(source).get('meta', {}).get('iter', 0) for source in (newest, start)
    )
    return reached > began


def _share_batch(loader: dict, exact: dict | None) -> str | None:
    """Keep the samples of a step, unless the config has another batch than when the run began."""
    if not exact or not exact.get('began') or loader.get('batch_size') != exact['began'][1]:
        return None
    total, now = math.prod(exact['began']), get_world_size()
    if total % now:
        raise UserError(
            f'this run began with {total} samples a step, which {now} processes cannot share',
            expected=f'a number of processes that divides {total}',
            do='start that many, or choose the batch: --cfg-options train_dataloader.batch_size=N',
        )
    loader['batch_size'] = total // now
    before = len(exact['processes'])
    if now == before:
        return None
    return (
        f'Now on {now} instead of {before} processes, with {loader["batch_size"]} samples each, '
        f'so that a step still sees {total}.'
    )
