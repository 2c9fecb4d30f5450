"""MMEngine's loops of training, which stop between two steps and go on between the same two."""

from __future__ import annotations

from contextlib import nullcontext

from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from torch import nn

from ..datasets.stream import Stream
from ..errors import UserError
from ..processes.agreement import Agreement
from .checkpoints import VALIDATED, CheckpointHook
from .nonfinite import NonFiniteHook
from .stopping import Stopped


class _Interruptible:
    """What the loops share: after each step all processes ask whether to stop."""

    @property
    def _stream(self) -> Stream:
        return self.dataloader.batch_sampler

    def _begin(self) -> None:
        """Look up who is asked; a validation that a kill cut short comes first."""
        hooks = self.runner.hooks
        self._saving = next((hook for hook in hooks if isinstance(hook, CheckpointHook)), None)
        self._finite = next(hook for hook in hooks if isinstance(hook, NonFiniteHook))
        self._agreement = Agreement(2)
        self.runner.stop_request.unsaved = True
        self._decide_current_val_interval()
        validated = self.runner.message_hub.get_info(VALIDATED)
        if self._iter > 0 and self._is_validation_due() and validated != self._iter:
            self._validate()

    def _after_step(self) -> None:
        asked = self.runner.stop_request.name is not None
        self._act(*self._agreement.ask(asked, self._finite.is_exhausted))

    def _act(self, stop: bool, broken: bool) -> None:
        if broken:
            self._finite.give_up(self.runner)
        if stop:
            self._save()
            if not self._has_saved():
                raise UserError(
                    f'stopped by a signal after {self._iter} iterations, which could not be saved',
                    do='mend what the log says of the last checkpoint, and go on with --resume',
                )
            self.runner.call_hook('after_run')
            self.runner.logger.info(f'Stopped by a signal after {self._iter} iterations.')
            raise Stopped

    def _save(self) -> None:
        if self._saving is None:
            self.runner.logger.warning('Nothing was saved: the config has no checkpoint hook.')
        else:
            self._saving.save_now(self.runner)

    def _has_saved(self) -> bool:
        return self._saving is not None and self._saving.has_saved(self.runner)

    def _validate(self) -> None:
        """Validate; since that may take longer than a signal allows, save before."""
        self._act(*self._agreement.settle())
        if self._saving is not None and self._saving.interval > 0:
            self._save()
        request = self.runner.stop_request
        with request.nothing_unsaved() if self._has_saved() else nullcontext():
            self.runner.val_loop.run()

    def _finish(self) -> nn.Module:
        """A stop that was asked for in the last step comes too late."""
        _, broken = self._agreement.settle()
        self._act(False, broken)
        self.runner.call_hook('after_train')
        self.runner.stop_request.unsaved = False
        return self.runner.model


class IterBasedTrainLoop(_Interruptible, MMEngineIterBasedTrainLoop):
    """Training that counts iterations; the data have no end."""

    def run(self) -> nn.Module:
        """Train, from the iteration that the run has come to."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')  # all of it is one epoch to hooks
        self._stream.endless = True
        self._stream.start(epoch=0, skipped=self._iter)
        self._begin()
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            self._after_step()
            if self._is_validation_due():
                self._validate()
        self.runner.call_hook('after_train_epoch')
        return self._finish()

    def _is_validation_due(self) -> bool:
        is_last = self._iter == self._max_iters
        in_turn = self._iter >= self.val_begin and self._iter % self.val_interval == 0
        return self.runner.val_loop is not None and (in_turn or is_last)


class EpochBasedTrainLoop(_Interruptible, MMEngineEpochBasedTrainLoop):
    """Training that counts epochs; a run may go on in the middle of one."""

    def run(self) -> nn.Module:
        """Train, from the batch that the run has come to."""
        self.runner.call_hook('before_train')
        self._begin()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._after_step()
            if self._is_validation_due():
                self._validate()
        return self._finish()

    def run_epoch(self) -> None:
        """Train what is left of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._done()
        self._stream.start(self._epoch, done)
        for number, batch in enumerate(self.dataloader, start=done):
            if number > done:
                self._after_step()
            self.run_iter(number, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _done(self) -> int:
        """Batches of this epoch that are behind; 0 if the data are others than before."""
        done = self._iter - self._epoch * len(self.dataloader)
        return done if 0 < done < len(self.dataloader) else 0

    def _is_validation_due(self) -> bool:
        if self.runner.val_loop is None or self._done():
            return False
        is_last = self._epoch == self._max_epochs
        in_turn = self._epoch >= self.val_begin and self._epoch % self.val_interval == 0
        return in_turn or is_last
