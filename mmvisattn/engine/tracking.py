"""Show runs in TensorBoard, Weights & Biases or MLflow: `--track NAME ...`.

MMEngine's backends write them, beside its own files. Nothing leaves the machine without the switch;
with it, W&B and MLflow do what their own variables say (WANDB_MODE, MLFLOW_TRACKING_URI).
"""

from __future__ import annotations

import importlib.util
import os
from numbers import Real
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import UserError

# By the switch: what has to be there, and how to get it.
LIBRARIES = {
    'tensorboard': ('tensorboard', 'pip install mmvisattn[track]'),
    'wandb': ('wandb', 'pip install wandb'),
    'mlflow': ('mlflow', 'pip install mlflow'),
}


def use_trackers(cfg: Config, names: list[str]) -> None:
    """Let a config write to these trackers, too.

    Args:
        cfg: The config, changed in place; its `work_dir` must be known.
        names: Keys of `LIBRARIES`.

    Raises:
        UserError: A tracker's library is not installed.
    """
    for name in names:
        module, command = LIBRARIES[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f'--track {name} needs the library {module}', do=command)
    if not cfg.get('visualizer'):
        cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    there = cfg.visualizer.get('vis_backends') or []
    there = there if isinstance(there, (list, tuple)) else [there]
    types = {backend['type'] for backend in there}
    wanted = [_backend(name, cfg.work_dir) for name in dict.fromkeys(names)]
    cfg.visualizer.vis_backends = [*there, *(b for b in wanted if b['type'] not in types)]


def _backend(name: str, work_dir: str) -> dict:
    """MMEngine's backend of a tracker."""
    run = Path(work_dir).resolve()
    if name == 'wandb':
        return dict(
            type='WandbVisBackend', init_kwargs=dict(name=os.environ.get('WANDB_NAME') or run.name)
        )
    if name == 'mlflow':
        # MMEngine would name a folder, which MLflow 3 no longer writes to, over the variable.
        place = os.environ.get('MLFLOW_TRACKING_URI') or f'sqlite:///{run / "mlflow.db"}'
        return dict(
            type='MLflowVisBackend',
            tracking_uri=place,
            exp_name=os.environ.get('MLFLOW_EXPERIMENT_NAME') or 'mmvisattn',
            tags={'mlflow.runName': run.name},
            artifact_location=(run / 'mlflow_artifacts').as_uri(),
            artifact_suffix=(),  # the logs stay where they are; the config goes along
        )
    return dict(type='TensorboardVisBackend')


class TrackTestHook(Hook):
    """Hand the metrics of a test to the trackers, where MMEngine writes a file alone.

    Args:
        names: Keys of `LIBRARIES`.
    """

    def __init__(self, names: list[str]) -> None:
        self.types = [_backend(name, '')['type'] for name in names]

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Add the numbers; a test counts no steps."""
        numbers = {
            f'test/{name}': float(value)
            for name, value in (metrics or {}).items()
            if isinstance(value, Real)  # numpy's numbers, too
        }
        for backend in map(runner.visualizer.get_backend, self.types if runner.rank == 0 else ()):
            backend.add_scalars(numbers, step=0)
