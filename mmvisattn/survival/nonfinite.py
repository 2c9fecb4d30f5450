"""Stop before a loss that is no number has cost a week, and say which pictures it came with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from ..atomic import write_text
from ..errors import UserError

FILE = 'nonfinite_rank{}.json'


@dataclass(frozen=True)
class NonFinite:
    """What a run does about losses that are not finite: `nonfinite` of a config.

    Attributes:
        steps: After so many in a row it stops.
        skip: Whether it leaves the weights alone meanwhile; else they are lost with the first one,
            and the run goes on from a checkpoint.
    """

    steps: int = 3
    skip: bool = False

    @classmethod
    def of(cls, cfg: Config) -> NonFinite:
        """Read the settings of a config.

        Raises:
            UserError: They are no such settings.
        """
        given = cfg.get('nonfinite') or {}
        try:
            settings = cls(**given)
        except TypeError as error:
            raise UserError(
                'nonfinite has settings that nothing reads',
                expected='steps, skip',
                got=', '.join(map(str, given)),
            ) from error
        if isinstance(settings.steps, bool) or not isinstance(settings.steps, int):
            raise UserError(
                'nonfinite.steps counts steps', expected='1 or more', got=settings.steps
            )
        if settings.steps < 1 or not isinstance(settings.skip, bool):
            raise UserError(
                'nonfinite says after how many steps a run stops, and whether it skips them',
                expected='nonfinite = dict(steps=3, skip=False)',
                got=given,
            )
        return settings


class NonFiniteHook(Hook):
    """Counts losses in a row that are not finite, and writes down the files of their batches.

    Args:
        settings: See `NonFinite`.
    """

    def __init__(self, settings: NonFinite) -> None:
        self.settings = settings
        self.seen: list[dict] = []
        self._row = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether as many losses in a row as are allowed were not finite."""
        return self._row >= self.settings.steps

    def before_train(self, runner: Runner) -> None:
        """Guard the optimizer, if it is to leave such steps out."""
        if self.settings.skip:
            _step_if_finite(runner.optim_wrapper, runner.bare_model)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict | None = None
    ) -> None:
        """Look at the losses of a step."""
        losses = {key: value for key, value in (outputs or {}).items() if 'loss' in key}
        if math.isfinite(_number(losses.get('loss', 0.0))):
            self._row = 0
            return
        self._row += 1
        losses = {key: str(_number(value)) for key, value in losses.items()}
        self.seen.append({'iter': runner.iter + 1, 'losses': losses, 'files': _files(data_batch)})
        try:
            write_text(self._path(runner), json.dumps(self.seen, indent=1))
        except OSError as error:
            runner.logger.error(f'{self._path(runner)} could not be written: {error}')
        runner.logger.warning(
            f'The loss of iteration {runner.iter + 1} is not finite ({self._row} in a row): '
            f'{", ".join(self.seen[-1]["files"])}'
        )

    def give_up(self, runner: Runner) -> None:
        """End the run.

        Raises:
            UserError: Always.
        """
        first = self.seen[-self._row] if self._row else None
        raise UserError(
            f'the loss was not finite {self.settings.steps} steps in a row',
            got='\n'.join([f'iteration {first["iter"]}: {first["losses"]}', *first['files']])
            if first
            else 'in another process',
            do=f'look at the batches in {runner.log_dir}/{FILE.format("*")}, '
            'lower the learning rate,\nclip gradients (optim_wrapper.clip_grad) or train in bf16 '
            'instead of fp16, and go on\nwith --resume; --cfg-options nonfinite.skip=True leaves '
            'such steps out',
        )

    def _path(self, runner: Runner) -> Path:
        return Path(runner.log_dir) / FILE.format(runner.rank)


def _step_if_finite(optim_wrapper: OptimWrapper, model: nn.Module) -> None:
    """Leave the network alone where a gradient is not finite; all processes see the same ones.

    BatchNorm's averages have taken the batch in by then: they go back to what they were. fp16's
    scaler leaves such steps out by itself.
    """
    step: Callable = optim_wrapper.step
    looks = not hasattr(optim_wrapper, 'loss_scaler')
    averages = [
        buffer
        for buffer in model.buffers()
        if buffer.is_floating_point() and bool(buffer.isfinite().all())
    ]
    kept = [buffer.clone() for buffer in averages]

    @wraps(step)
    def guarded(**kwargs: object) -> None:
        gradients = [
            parameter.grad
            for group in optim_wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if not looks or torch.nn.utils.get_total_norm(gradients).isfinite():
            step(**kwargs)
        if all(bool(buffer.isfinite().all()) for buffer in averages):
            torch._foreach_copy_(kept, averages)
        else:
            torch._foreach_copy_(averages, kept)

    optim_wrapper.step = guarded


def _number(value: torch.Tensor | float) -> float:
    return torch.as_tensor(value).detach().item()


def _files(data_batch: dict) -> list[str]:
    """The pictures of a batch."""
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    return [str(getattr(sample, 'img_path', 'a picture without a path')) for sample in samples]
