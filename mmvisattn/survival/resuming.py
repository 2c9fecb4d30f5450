"""Go on exactly where a run stopped: what a checkpoint holds for that, and who puts it back."""

from __future__ import annotations

import reprlib
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import UserError
from ..processes.agreement import from_main
from ..weights import read_checkpoint
from .checkpoints import latest_checkpoint
from .state import gathered_state, restore_state

# The key of a checkpoint that holds it.
EXACT = 'exact_state'


class ExactResumeHook(Hook):
    """Saves what MMEngine's checkpoints lack, and puts it back before the first step."""

    priority = 'LOWEST'  # nothing draws a random number between it and the loop

    def __init__(self) -> None:
        self._saved: dict | None = None
        self._loaded: dict | None = None

    def gather(self, runner: Runner) -> None:
        """Collect the state of all processes for the checkpoint that is about to be written."""
        self._saved = {
            'processes': gathered_state(runner.bare_model, runner.optim_wrapper),
            'batch_size': runner.train_dataloader.batch_size,
        }

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add it."""
        checkpoint[EXACT] = self._saved

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep it until the loop starts."""
        if runner._resume:
            self._loaded = checkpoint.get(EXACT)

    def before_train(self, runner: Runner) -> None:
        """Put it back."""
        if not runner._resume:
            return
        processes = (self._loaded or {}).get('processes', [])
        if len(processes) == runner.world_size:
            restore_state(processes[runner.rank], runner.bare_model)
        else:
            before = f'{len(processes)} processes' if processes else 'an older version'
            runner.logger.warning(
                f'The checkpoint was saved by {before}: the run goes on with the same pictures, '
                'but other random numbers in the network.'
            )
        self._loaded = None


def choose_checkpoint(cfg: Config) -> list[str]:
    """Name in a config what it resumes from, the newest of its folder if it does not say.

    The run then has the seed of the one before, and on any number of processes its total batch.

    Args:
        cfg: Changed in place. Without a checkpoint it starts anew.

    Returns:
        What to tell the user.

    Raises:
        UserError: The checkpoint is not readable, or so many processes cannot share the batch.
    """
    if not cfg.get('resume'):
        return []
    notes = []
    if not cfg.get('load_from'):
        newest, broken = from_main(lambda: latest_checkpoint(cfg.work_dir))
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
        is_state = isinstance(exact, dict) and isinstance(exact.get('processes'), list)
        counts.append(exact.get('batch_size') if is_state else exact)
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
    """Keep the samples of a step, unless the batch is another for a reason of its own."""
    if not exact or loader.get('batch_size') != exact['batch_size']:
        return None
    before, now, size = len(exact['processes']), get_world_size(), exact['batch_size']
    if now == before:
        return None
    if before * size % now:
        raise UserError(
            f'{before} processes began this run with {size} samples each, which {now} cannot share',
            expected=f'a number of processes that divides {before * size}',
            do='start that many, or choose the batch: --cfg-options train_dataloader.batch_size=N',
        )
    loader['batch_size'] = before * size // now
    return (
        f'Resumed by {now} instead of {before} processes: {loader["batch_size"]} instead of {size} '
        f'samples in each, so that a step still sees {before * size}.'
    )
