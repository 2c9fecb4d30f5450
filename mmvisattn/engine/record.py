"""A run's record: `record.json` beside its log, from which it can be repeated and compared.

It is written when the run starts, again as more is known, and when the run ends; each time under
another name that is then renamed, so that a killed run leaves a whole record without an end.
docs/records.md lists the fields.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import RLock, Thread

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from ..atomic import write_text
from ..survival.stopping import Stopped
from ..weights import Load, listening
from .data_record import describe_data, describe_file, places_of
from .runner import Runner
from .surroundings import (
    describe_code,
    describe_environment,
    describe_machine,
    describe_packages,
)

NAME = 'record.json'
SCHEMA = 1
# Of a config, where results lie, how the run was started, and which file it loads (whose own
# checksum stands under weights).
NOT_HASHED = ('work_dir', 'launcher', 'load_from', 'resume')
# Seconds that an end waits for checksums: whoever stops a run may kill it soon.
PATIENCE = {'finished': 60.0, 'stopped': 1.0, 'failed': 1.0}
# What may be in URLs and options and is nobody's business: user names, signatures, keys.
SECRETS = (
    (re.compile(r'(https?://)[^/\s\'"@]+@'), r'\1***@'),
    (re.compile(r'(https?://[^\s\'"?]+)\?[^\s\'"]+'), r'\1?***'),
    (
        re.compile(
            r'((?:api_?key|passw(?:or)?d|secret|access_token|auth_token)[\'"]?\s*[=:]\s*[\'"]?)'
            r'[^\s\'",)]+',
            re.IGNORECASE,
        ),
        r'\1***',
    ),
)


@contextmanager
def recording(runner: Runner, loaders: tuple[str, ...]) -> Iterator[Record | None]:
    """Keep the record of what runs inside: what it started from, its metrics and how it ended.

    Process 0 writes; the others get None. Checksums of data and weights are computed beside the
    run, which does not wait for them.

    Args:
        runner: What is about to train or test.
        loaders: Whose data it reads.
    """
    if runner.rank != 0:
        yield None
        return
    record = Record(Path(runner.log_dir) / NAME, describe_start(runner), runner.logger.warning)
    places = places_of(runner.cfg, loaders)
    record.fill_later('data', lambda: describe_data(places))
    runner.register_hook(RecordHook(record), priority='LOWEST')
    try:
        with listening(record.add_weights):
            yield record
    except BaseException as error:
        record.finish(**_ending(error, runner), **_progress(runner))
        raise
    record.finish('finished', **_progress(runner))


class Record:
    """A record on disk.

    A disk that is full does not end the run that is recorded: it warns, once.

    Args:
        path: The file.
        content: What is known at the start.
        warn: Takes a sentence.
    """

    def __init__(self, path: Path, content: dict, warn: Callable[[str], None]) -> None:
        self.path = path
        self.content = {**content, 'weights': [], 'data': None, 'outcome': {'status': 'running'}}
        self._warn = warn
        self._start = time.monotonic()
        self._lock = RLock()
        self._threads: list[Thread] = []
        self.write()

    def update(self, section: str, **values: object) -> None:
        """Set fields of a section, and write."""
        with self._lock:
            self.content[section].update(plain(values))
        self.write()

    def fill_later(self, section: str, compute: Callable[[], object]) -> None:
        """Compute a section beside the run, and write it when it is known."""

        def fill() -> None:
            value = compute()
            with self._lock:
                self.content[section] = plain(value)
            self.write()

        self._in_background(fill)

    def add_weights(self, load: Load) -> None:
        """Add a file that weights are loaded from; its checksum is computed beside the run."""
        with self._lock:
            known = [w for w in self.content['weights'] if w['path'] == str(load.path)]
            if known and load.match is None:  # as MMEngine's loader reports what we compared before
                return
            entry = _describe_weights(load)
            self.content['weights'].append(entry)
        self.write()

        def fill() -> None:
            found = describe_file(load.path)
            with self._lock:
                entry.update(found)
            self.write()

        self._in_background(fill)

    def finish(self, status: str, **details: object) -> None:
        """Write how the run ended; what is said first counts.

        Args:
            status: 'finished', 'stopped' (by a signal) or 'failed'.
            details: More fields of `outcome`, such as signal='SIGTERM' or error='...'.
        """
        if self.content['outcome']['status'] != 'running':
            return
        deadline = time.monotonic() + PATIENCE[status]
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.update(
            'outcome',
            status=status,
            end=_now(),
            wall_seconds=round(time.monotonic() - self._start, 3),
            peak_memory=_peak_memory(),
            **details,
        )

    def write(self) -> None:
        """Write all that is known: whole, or not at all."""
        with self._lock:
            try:
                write_text(self.path, json.dumps(self.content, indent=1, allow_nan=False))
            except OSError as error:
                warn, self._warn = self._warn, lambda _: None
                warn(f'{self.path} could not be written: {error}')

    def _in_background(self, function: Callable[[], None]) -> None:
        thread = Thread(target=function, name='record', daemon=True)
        self._threads.append(thread)
        thread.start()


class RecordHook(Hook):
    """Tell a record where training starts, and what validations and tests find.

    Args:
        record: The record.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def before_train(self, runner: Runner) -> None:
        """Note the seed, which a checkpoint may have brought, and the first step."""
        self.record.update('run', seed=runner.seed, first_iter=runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note the metrics, and the best so far if the run saves its best checkpoint."""
        best = {k: v for k, v in runner.message_hub.runtime_info.items() if k.startswith('best_')}
        self.record.update('outcome', metrics=metrics, step=_step(runner), best=best or None)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note the metrics."""
        self.record.update('outcome', metrics=metrics)


def describe_start(runner: Runner) -> dict:
    """What is known of a run before it starts."""
    cfg = runner.cfg
    return plain(
        {
            'schema': SCHEMA,
            'run': {
                'task': 'train' if runner.trains else 'test',
                'command': sys.argv,
                'start': _now(),
                'pid': os.getpid(),
                'work_dir': runner.work_dir,
                'log_dir': runner.log_dir,
                'folder': os.getcwd(),
                'launcher': cfg.get('launcher', 'none'),
                'world_size': runner.world_size,
                'seed': runner.seed,
                'deterministic': torch.are_deterministic_algorithms_enabled(),
                'cudnn_benchmark': torch.backends.cudnn.benchmark,
                'folded': runner.folds,
            },
            'config': {
                'path': cfg.filename,
                'sha256': config_sha256(cfg),
                'text': cfg.pretty_text,
            },
            'code': describe_code(cfg.filename),
            'packages': describe_packages(),
            'machine': describe_machine(),
            'environment': describe_environment(),
        }
    )


def config_sha256(cfg: Config) -> str:
    """A sha256 of a resolved config, the same for the runs of one experiment.

    It leaves out what `NOT_HASHED` names, and the seed, which stands beside it.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key not in NOT_HASHED}
    randomness = content.get('randomness') or {}
    content['randomness'] = {key: value for key, value in randomness.items() if key != 'seed'}
    canonical = json.dumps(plain(content), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def plain(value: object) -> object:
    """A value as JSON holds it, without secrets: what is not a number or text becomes its name."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if callable(value) and hasattr(value, '__qualname__'):  # a class or function of a lazy config
        return f'{value.__module__}.{value.__qualname__}'
    text = str(value)
    for pattern, shown in SECRETS:
        text = pattern.sub(shown, text)
    return text


def _describe_weights(load: Load) -> dict:
    match = load.match
    report = match and {
        'coverage': match.coverage,
        'matched': len(match.matched),
        'dropped': match.dropped,
        'new': match.new,
        'missing': match.missing,
        'unexpected': match.unexpected,
        'wrong_shape': match.wrong_shape,
    }
    written_by = {key: load.meta[key] for key in ('experiment_name', 'epoch', 'iter', 'seed')
                  if key in load.meta}  # fmt: skip
    return plain(
        {
            'purpose': load.purpose,
            'source': load.source,
            'path': str(load.path),
            'report': report,
            'written_by': written_by or None,
        }
    )


def _ending(error: BaseException, runner: Runner) -> dict[str, str | None]:
    """How a run ended that this stopped."""
    if isinstance(error, Stopped):
        return {'status': 'stopped', 'signal': runner.stop_request.name}
    if isinstance(error, KeyboardInterrupt):
        return {'status': 'stopped', 'signal': 'SIGINT'}
    lines = str(error).strip().splitlines() or ['']
    return {'status': 'failed', 'error': f'{type(error).__name__}: {lines[0]}'.rstrip(': ')}


def _progress(runner: Runner) -> dict[str, int]:
    """The steps that training has done, counted from its first start."""
    return {'iter': runner.iter} if runner.trains else {}


def _step(runner: Runner) -> int:
    """The step of a validation as the log counts it: epochs, or iterations."""
    return runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.iter


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')


def _peak_memory() -> dict[str, int | None]:
    """The most bytes that this process and, by its tensors, its GPU held."""
    own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in kilobytes
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {'process': own, 'gpu': gpu}
