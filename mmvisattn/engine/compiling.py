"""`--compile`: what is compiled, for how many sizes of pictures, and what the log says of it."""

from __future__ import annotations

import math

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import _dynamo, nn

from ..errors import UserError

PARTS = ('backbone', 'neck')
# Detectors pad a batch to its largest picture, in steps of 32: many sizes. Longer steps leave few.
SIZE_STEP = 128
# Graphs of one part: PyTorch's 8 may be fewer than those sizes, in training and in validation.
GRAPH_LIMIT = 32


def prepare_compilation(cfg: Config) -> None:
    """Let a config that compiles pad the pictures of a detector to few sizes."""
    pixels = cfg.model.get('data_preprocessor') or {}
    if cfg.get('compile') and pixels.get('pad_size_divisor'):
        pixels.pad_size_divisor = math.lcm(pixels.pad_size_divisor, SIZE_STEP)


def compile_parts(model: nn.Module, options: dict) -> str:
    """Compile the backbone and the neck of a model, in place, when they are first called.

    Never a whole training step: losses and assigners are Python that would break the graph. One
    size of pictures is compiled for itself; from the second on PyTorch compiles for any.

    Args:
        model: The network.
        options: Of `torch.compile`.

    Returns:
        What will be compiled, in words.

    Raises:
        UserError: The model has no backbone.
    """
    if not hasattr(model, 'backbone'):
        raise UserError('--compile compiles a backbone, and this model has none')
    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, GRAPH_LIMIT)
    parts = {name: getattr(model, name, None) for name in PARTS}
    parts = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    for part in parts.values():
        part.compile(**{key: value for key, value in options.items() if key != 'target'})
    return ' and '.join(parts)


class CompilationHook(Hook):
    """Say what was compiled after a run, and at once if PyTorch goes on without compiling."""

    def __init__(self) -> None:
        self._before = _counts()
        self._has_warned = False

    def after_run(self, runner: Runner) -> None:
        """Log how many graphs were compiled; each beyond a part's first cost time again."""
        graphs, breaks, given_up = self._counts()
        runner.logger.info(
            f'torch.compile: {graphs} graphs compiled, {breaks} graph breaks, '
            f'{given_up} functions run without compiling.'
        )

    def _after_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        given_up = self._counts()[-1]
        if given_up and not self._has_warned:
            self._has_warned = True
            runner.logger.warning(
                'torch.compile has given up compiling a part of the network, which runs on '
                f'without it: after {_dynamo.config.recompile_limit} graphs (pictures of too many '
                'sizes?) or what it cannot compile. TORCH_LOGS=recompiles,graph_breaks says why.'
            )

    def _counts(self) -> list[int]:
        return [now - then for now, then in zip(_counts(), self._before, strict=True)]


def _counts() -> tuple[int, int, int]:
    """Graphs, graph breaks and functions left uncompiled in this process."""
    counters = _dynamo.utils.counters
    breaks = sum(counters['graph_break'].values())
    given_up = counters['frames']['total'] - counters['frames']['ok']
    return counters['stats']['unique_graphs'], breaks, given_up
