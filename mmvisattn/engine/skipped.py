"""Report the pictures that training went on without."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.guard import NAMED, SHARE, SkippedSamples
from ..errors import UserError


def allowed_share(cfg: Config) -> float:
    """How many of the pictures seen in training may be bad: `bad_pictures` of the config.

    Raises:
        UserError: It is no share.
    """
    share = cfg.get('bad_pictures', SHARE)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise UserError(
            'bad_pictures is the share of pictures that training may skip',
            expected=f'0 to 1, such as {SHARE}',
            got=share,
        )
    return share


class SkippedPicturesHook(Hook):
    """Log the files skipped so far, in all processes, after an epoch and before a validation.

    Args:
        counts: What `skip_bad_samples` returned.
    """

    def __init__(self, counts: list[SkippedSamples]) -> None:
        self.counts = counts
        self._reported = [0] * len(counts)

    def after_train_epoch(self, runner: Runner) -> None:
        """Report; a training that counts in iterations comes here once, at its end."""
        self._report(runner)

    def before_val(self, runner: Runner) -> None:
        """Report at the intervals of validation."""
        self._report(runner)

    def _report(self, runner: Runner) -> None:
        for number, count in enumerate(self.counts):
            skipped = count.gathered()
            if len(skipped) > self._reported[number]:
                files = list(count.files(skipped))
                names = ', '.join(files[:NAMED]) + (', ...' if len(files) > NAMED else '')
                runner.logger.warning(
                    f'{len(skipped)} of {len(count.dataset)} training samples were skipped, since '
                    f'their pictures or annotations are bad: {names}'
                )
                self._reported[number] = len(skipped)
