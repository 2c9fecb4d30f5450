#!/usr/bin/env python
"""Train a config with several seeds, one after the other; print mean and std.

python tools/train_seeds.py CONFIG --seeds 0 1 2 [--gpus N] [those of train.py]

Seed N lies in DIR/seed_N. The same command again goes on: a finished seed is
not trained again, an interrupted one is resumed. A signal (SIGTERM, SIGUSR1,
Ctrl-C) is handed to the training; then this ends with the training's status
75: start it again later.

On a cluster start tools/slurm_train.sh once a seed, with --work-dir DIR/seed_N
--seed N, and then tools/analysis_tools/summarize_seeds.py DIR.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

try:
    from mmvisattn.analysis.records import records_in
    from mmvisattn.analysis.seeds import describe_seeds, read_seeds
    from mmvisattn.engine.arguments import train_parser
    from mmvisattn.errors import UserError, reported
    from mmvisattn.processes.launch import STOPPED
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

TOOLS = Path(__file__).resolve().parent
SETTINGS = 'seeds.json'  # what the seeds of a folder have in common
BAD_INPUT = 2  # the exit status of every tool; no other seed would fare better


def main() -> int:
    """Train what is left to train; the exit status is 0 if every seed has a result."""
    args, options = parse()
    root = Path(args.work_dir or Path('work_dirs') / f'{Path(args.config).stem}_seeds')
    keep_settings(root, {'config': args.config, 'gpus': args.gpus, 'options': options})
    training = Training(args.gpus)
    for seed in args.seeds:
        work_dir = root / f'seed_{seed}'
        if last_status(work_dir) == 'finished':
            print(f'seed {seed}: finished before, in {work_dir}', flush=True)
            continue
        own = ['--seed', str(seed), '--work-dir', str(work_dir)]
        own += ['--resume', 'auto'] if work_dir.is_dir() else []
        work_dir.mkdir(exist_ok=True)
        print(f'seed {seed}: training in {work_dir}', flush=True)
        status = training.run(args.config, [*own, *options])
        if training.stopped or status == STOPPED:
            return STOPPED
        if status == BAD_INPUT:
            return status
        if status:
            print(f'seed {seed}: ended with status {status}', flush=True)
    runs = read_seeds([root / f'seed_{seed}' for seed in args.seeds])
    print(*describe_seeds(runs), sep='\n')
    return int(any(run.problem for run in runs))


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those of tools/train.py, which are checked before anything starts."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--seeds', nargs='+', type=int, required=True, metavar='N', help='one training each'
    )
    parser.add_argument('--work-dir', metavar='DIR', help='default: work_dirs/CONFIG_NAME_seeds')
    parser.add_argument('--gpus', type=int, metavar='N', help='through tools/dist_train.sh')
    args, options = parser.parse_known_args()
    if len(set(args.seeds)) < len(args.seeds):
        parser.error('--seeds: each once')
    theirs = train_parser().parse_args([args.config, *options])
    for name in ('seed', 'resume'):
        if getattr(theirs, name) is not None:
            parser.error(f'--{name} is given to each training as it needs it')
    if theirs.launcher != 'none':
        parser.error('--launcher: several processes are started by --gpus N')
    return args, options


def keep_settings(root: Path, settings: dict) -> None:
    """Stop if the folder holds seeds of another command: their mean would mean nothing.

    Raises:
        UserError: It does.
    """
    path = root / SETTINGS
    if not path.is_file():
        root.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=1))
        return
    before = json.loads(path.read_text())
    if before != settings:
        raise UserError(
            f'{root} holds seeds of another command',
            expected=json.dumps(before),
            got=json.dumps(settings),
            do=f'give another --work-dir, or delete {path} if results are the same',
        )


def last_status(work_dir: Path) -> str | None:
    """How the newest training in a work dir ended, by its record; None without one."""
    records = [record for record in records_in(work_dir) if record['run']['task'] == 'train']
    return records[-1]['outcome']['status'] if records else None


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
            command = [sys.executable, TOOLS / 'train.py', config, *options]
        else:
            command = ['bash', TOOLS / 'dist_train.sh', config, str(self.gpus), *options]
        self._running = subprocess.Popen(command, start_new_session=True)
        if self.stopped:  # the signal came before there was anything to hand it to
            self._running.terminate()
        return self._running.wait()

    def _hand_on(self, number: int, _: object) -> None:
        self.stopped = True
        if self._running:
            self._running.send_signal(number)


if __name__ == '__main__':
    with reported():
        sys.exit(main())
