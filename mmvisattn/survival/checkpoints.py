"""Checkpoints of a run: written whole, kept until a newer one is safe, and read if they verify."""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner
from torch import nn

from ..atomic import remove_partial, write_text
from ..errors import UserError
from ..processes.agreement import any_process
from ..weights import read_checkpoint

POINTER = 'last_checkpoint'
NONE_YET = 'none yet'  # what it says when a run has begun anew
# What a run remembers, in MMEngine's message hub: the names of the checkpoints that max_keep_ckpts
# counts, that of one saved out of turn, and the iteration that was validated last. What begins
# with train, val or test, MMEngine would log.
KEPT, EXTRA, VALIDATED = 'kept_ckpts', 'extra_ckpt', 'last_validated_iter'


def latest_checkpoint(work_dir: str | Path, own: bool = False) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint of a run that verifies, and those passed over because they do not.

    The newest is the one that `last_checkpoint` names (an older run may have left a higher number);
    then they go by number. The folder may have been moved, or the run may save elsewhere.

    Args:
        work_dir: The run's folder.
        own: Leave out what the folder held when the last run that began anew there began.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / POINTER
    text = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    named = Path(text).name
    saved = [path for path in work_dir.glob('*.pth') if path.is_file() and _step(path) is not None]
    if own and text == NONE_YET:
        began = pointer.stat().st_mtime_ns
        saved = [path for path in saved if path.stat().st_mtime_ns > began]
    saved.sort(key=lambda path: (path.name == named, _step(path)), reverse=True)
    if text.endswith('.pth') and named not in {p.name for p in saved} and Path(text).is_file():
        saved.insert(0, Path(text))
    broken = []
    for path in saved:
        if verifies(path):
            return path, broken
        broken.append(path)
    return None, broken


def verifies(path: str | Path) -> bool:
    """Whether a checkpoint is what was written: every record against the checksum beside it.

    `torch.save` stores a CRC-32 of each tensor, which `torch.load` does not look at. A file in
    PyTorch's older format, which has none, must be readable.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        with suppress(UserError):
            read_checkpoint(path)
            return True
        return False
    except Exception:  # broken files make zipfile raise anything
        return False


class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's, which neither deletes before it has saved nor ends a run that cannot save."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._saved_iter: int | None = None
        self._failure: str | None = None
        self._constant: set[str] = set()  # buffers that were no numbers from the start: masks

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder; remove what a process that was killed was writing there."""
        super().before_train(runner)
        folder = Path(self.out_dir)
        if is_main_process() and folder.is_dir():
            remove_partial(folder)
        self._constant = {n for n, values in _values(runner.bare_model) if not _is_finite(values)}
        if is_main_process() and not runner._resume:
            self._point_to(NONE_YET, runner)
        if runner._resume and Path(runner._load_from).resolve().parent == folder.resolve():
            self._saved_iter = runner.iter

    def has_saved(self, runner: Runner) -> bool:
        """Whether the run is on the disk as it is between two steps."""
        return self._saved_iter == runner.iter

    def save_now(self, runner: Runner) -> None:
        """Save the run as it is between two steps, unless that is on the disk already.

        Where epochs are counted the file is named epoch_E_iter_N.pth. The next regular checkpoint
        removes it.
        """
        if self.has_saved(runner):
            return
        epochs = f'epoch_{runner.epoch}_' if self.by_epoch else ''
        runner.logger.info(f'Saving checkpoint at {runner.iter} iterations')
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        self._save(runner, f'{epochs}iter_{runner.iter}.pth', meta, is_extra=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best; the one it replaces is deleted once it is there."""
        runner.message_hub.update_info(VALIDATED, runner.iter)
        if self.save_best is None:
            return
        backend, info = self.file_backend, runner.message_hub.runtime_info
        self.file_backend = _LateRemovals(backend)
        best = {key: value for key, value in info.items() if key.startswith('best_')}
        own = {key: copy.copy(value) for key, value in vars(self).items() if 'best' in key}
        try:
            super().after_val_epoch(runner, metrics)
            if is_main_process():
                self.file_backend.remove_now()
        except OSError as error:
            vars(self).update(own)
            for key in [key for key in info if key.startswith('best_')]:
                del info[key]
            info.update(best)
            runner.logger.error(f'The best checkpoint could not be saved: {error}.')
        finally:
            self.file_backend = backend

    def after_train(self, runner: Runner) -> None:
        """End the training.

        Raises:
            UserError: The last checkpoint could not be written.
        """
        if self._failure is not None:
            raise UserError(
                'the training has ended, and its last checkpoint could not be saved',
                got=self._failure,
                do=f'mend that, then continue with --resume: the last good one is {self.last_ckpt}',
            )
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._save(runner, self.filename_tmpl.format(step), meta)

    def _save(self, runner: Runner, name: str, meta: dict, is_extra: bool = False) -> None:
        """Write a checkpoint, then point to it, then delete what it replaces."""
        values = (v for name, v in _values(runner.bare_model) if name not in self._constant)
        if any_process(not all(map(_is_finite, values))):
            self._report(runner, name, 'weights are no longer finite')
            return
        info = runner.message_hub.runtime_info
        before = copy.deepcopy({key: info.get(key) for key in (KEPT, EXTRA, 'last_ckpt')})
        kept = [one for one in before[KEPT] or [] if one != name] + [name] * (not is_extra)
        outdated = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        if before[EXTRA] not in (None, name):
            outdated.append(before[EXTRA])
        path = self.file_backend.join_path(self.out_dir, name)
        # What the file says of itself, in case the run goes on from it.
        runner.message_hub.update_info_dict({
            KEPT: [one for one in kept if one not in outdated] if self.max_keep_ckpts > 0 else [],
            EXTRA: name if is_extra else None,
            'last_ckpt': path,
        })  # fmt: skip
        try:
            runner.save_checkpoint(
                self.out_dir, name, self.file_client_args,
                save_optimizer=self.save_optimizer or is_extra,
                save_param_scheduler=self.save_param_scheduler or is_extra,
                meta=meta, by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args,
            )  # fmt: skip
        except OSError as error:
            info.update(before)
            self._report(runner, name, str(error))
            return
        self.last_ckpt, self._saved_iter, self._failure = path, meta['iter'], None
        if is_main_process():
            self._point_to(path, runner)
            for one in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, one))

    def _report(self, runner: Runner, what: str, reason: str) -> None:
        """Say that a file could not be written; the run goes on, in the hope of the next one."""
        self._failure = reason
        runner.logger.error(
            f'{what} could not be saved: {reason}. The last good checkpoint is '
            f'{self.last_ckpt or "that which the run started from"}; the training goes on.'
        )

    def _point_to(self, name: str, runner: Runner) -> None:
        """Name the newest checkpoint; where there is no room for it, the highest number counts."""
        pointer = Path(runner.work_dir) / POINTER
        try:
            write_text(pointer, name)
        except OSError as error:
            pointer.unlink(missing_ok=True)
            runner.logger.error(f'{pointer} could not be written: {error}.')

    def _remove(self, path: str) -> None:
        """Delete a checkpoint, if it is there; one that cannot be deleted is in nobody's way."""
        with suppress(OSError):
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)


class _LateRemovals:
    """A file backend that removes only when it is told to."""

    def __init__(self, backend: object) -> None:
        self._backend = backend
        self._removals: list[tuple[Callable[[str], None], str]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._removals.append((self._backend.rmtree, path))

    def remove_now(self) -> None:
        for remove, path in self._removals:
            with suppress(OSError):
                remove(path)


def _values(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by name, or this process's share of them."""
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        value = value.detach()
        yield name, value.to_local() if hasattr(value, 'to_local') else value


def _is_finite(values: torch.Tensor) -> bool:
    return bool(values.isfinite().all())


def _step(path: Path) -> tuple[int, int] | None:
    """What a checkpoint's name counts, epochs first; None for another name (best_*)."""
    found = re.fullmatch(r'(?:epoch_(\d+))?_?(?:iter_(\d+))?', path.stem)
    if found is None or not any(found.groups()):
        return None
    epoch, iteration = found.groups(default='0')
    return int(epoch), int(iteration)
