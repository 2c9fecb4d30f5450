"""Trainings in processes of their own, one seed after the other: what the tools for it share."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..atomic import write_text
from ..engine.arguments import train_parser
from ..errors import UserError
from ..places import TOOLS
from ..processes.launch import STOPPED
from .records import last_finished

SETTINGS = 'seeds.json'  # what the seeds of a folder have in common
BAD_INPUT = 2  # the exit status of every tool; no other seed would fare better


def parser_of_seeds(description: str, **seeds: object) -> argparse.ArgumentParser:
    """A parser with what the tools that train several seeds share.

    Args:
        description: Of the tool.
        seeds: What is particular about its `--seeds`: `default` or `required`.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, metavar='N', help='one training each', **seeds
    )
    parser.add_argument('--gpus', type=int, metavar='N', help='through tools/dist_train.sh')
    return parser


def parse_with_training(
    parser: argparse.ArgumentParser, given: tuple[str, ...]
) -> tuple[argparse.Namespace, list[str]]:
    """A tool's arguments, and those of tools/train.py, which are checked before anything starts.

    Args:
        parser: The tool's.
        given: Options of tools/train.py that each training is given as it needs them.
    """
    args, options = parser.parse_known_args()
    if len(set(args.seeds)) < len(args.seeds):
        parser.error('--seeds: each once')
    theirs = train_parser().parse_args(['CONFIG', *options])
    for name in given:
        if getattr(theirs, name) is not None:
            parser.error(f'--{name} is given to each training as it needs it')
    if theirs.launcher != 'none':
        parser.error('--launcher: several processes are started by --gpus N')
    return args, options


class Training:
    """Runs trainings one at a time, and hands signals on to the one that runs.

    Each is in a session of its own, so that Ctrl-C reaches it once: from here.

    Args:
        gpus: How many processes torchrun starts; None: one, without it.

    Attributes:
        stopped: Whether a signal came.
    """

    def __init__(self, gpus: int | None) -> None:
        self.gpus = gpus
        self.stopped = False
        self._running: subprocess.Popen | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._hand_on)

    def run(self, config: str, options: list[str]) -> int:
        """Train to the end, and return the exit status."""
        if self.gpus is None:
            return self._start([sys.executable, TOOLS / 'train.py', config, *options])
        return self._start(['bash', TOOLS / 'dist_train.sh', config, str(self.gpus), *options])

    def test(self, config: str, checkpoint: Path, options: list[str | Path]) -> int:
        """Test what was trained, in one process, and return the exit status."""
        return self._start([sys.executable, TOOLS / 'test.py', config, checkpoint, *options])

    def _start(self, command: list[str | Path]) -> int:
        self._running = subprocess.Popen(command, start_new_session=True)
        if self.stopped:  # the signal came before there was anything to hand it to
            self._running.terminate()
        return self._running.wait()

    def _hand_on(self, number: int, _: object) -> None:
        self.stopped = True
        if self._running:
            self._running.send_signal(number)


def train_all(
    training: Training, config: str, options: list[str], seeds: list[int], root: Path
) -> int:
    """Train the seeds of a config that have not finished; 0, or the status to end with at once."""
    keep_settings(root, {'config': config, 'gpus': training.gpus, 'options': options})
    for seed in seeds:
        with _alone(training, root, seed):
            status = _train(training, config, options, seed, root / f'seed_{seed}')
        if training.stopped or status == STOPPED:
            return STOPPED
        if status == BAD_INPUT:
            return status
        if status:
            print(f'seed {seed}: ended with status {status}', flush=True)
    return 0


def _train(training: Training, config: str, options: list[str], seed: int, work_dir: Path) -> int:
    if training.stopped:
        return STOPPED
    if last_finished(work_dir, 'train'):
        print(f'seed {seed}: finished before, in {work_dir}', flush=True)
        return 0
    own = ['--seed', str(seed), '--work-dir', str(work_dir)]
    own += ['--resume', 'auto'] if work_dir.is_dir() else []
    work_dir.mkdir(exist_ok=True)
    print(f'seed {seed}: training in {work_dir}', flush=True)
    return training.run(config, [*own, *options])


@contextmanager
def _alone(training: Training, root: Path, seed: int) -> Iterator[None]:
    """Wait until no other command trains this seed, or a signal comes."""
    lock, said = FileLock(root / f'.seed_{seed}.lock'), False
    while not (lock.is_locked or training.stopped):
        try:
            lock.acquire(timeout=1)
        except Timeout:
            if not said:
                print(f'seed {seed}: another command trains it; waiting', flush=True)
            said = True
    try:
        yield
    finally:
        lock.release()


def keep_settings(root: Path, settings: dict) -> None:
    """Stop if the folder holds seeds of another command: their mean would mean nothing.

    Raises:
        UserError: It does.
    """
    path = root / SETTINGS
    if not path.is_file():
        root.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(settings, indent=1))
        return
    before = json.loads(path.read_text())
    if before != settings:
        raise UserError(
            f'{root} holds seeds of another command',
            expected=json.dumps(before),
            got=json.dumps(settings),
            do=f'give another --work-dir, or delete {path} if results are the same',
        )
