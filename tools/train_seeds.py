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
import sys
from pathlib import Path

try:
    from mmvisattn.analysis.launching import (
        Training,
        parse_with_training,
        parser_of_seeds,
        train_all,
    )
    from mmvisattn.analysis.seeds import describe_seeds, read_seeds
    from mmvisattn.errors import reported
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')


def main() -> int:
    """Train what is left to train; the exit status is 0 if every seed has a result."""
    args, options = parse()
    root = Path(args.work_dir or Path('work_dirs') / f'{Path(args.config).stem}_seeds')
    status = train_all(Training(args.gpus), args.config, options, args.seeds, root)
    if status:
        return status
    runs = read_seeds([root / f'seed_{seed}' for seed in args.seeds])
    print(*describe_seeds(runs), sep='\n')
    return int(any(run.problem for run in runs))


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those of tools/train.py."""
    parser = parser_of_seeds(__doc__, required=True)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', metavar='DIR', help='default: work_dirs/CONFIG_NAME_seeds')
    return parse_with_training(parser, given=('seed', 'resume'))


if __name__ == '__main__':
    with reported():
        sys.exit(main())
