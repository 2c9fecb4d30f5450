#!/usr/bin/env python
"""Repeat numbers of docs/results.md: train rows, test them, keep their records.

python tools/reproduce.py ROW [ROW ...] [--seeds 0 1 2] [--gpus N]
    [--data DIR] [options of tools/train.py]

A ROW stands in the last column of the tables, such as imagenette/van_b0_5; the
name of a benchmark (imagenette, camvid, pennfudan, ablations) means all of its
rows. What a row starts from is trained first. The same command again goes on:
what has finished is not trained again, what was interrupted is resumed.
Records go to docs/results; python tools/analysis_tools/write_pages.py reads them.
"""

import argparse
import subprocess
import sys
from pathlib import Path

try:
    from mmvisattn.analysis.launching import Training, train_all
    from mmvisattn.analysis.results.benchmarks import Row, rows_named
    from mmvisattn.analysis.results.measured import TEST, benchmark_of, keep
    from mmvisattn.analysis.scores import last_finished
    from mmvisattn.engine.arguments import train_parser
    from mmvisattn.errors import reported
    from mmvisattn.places import TOOLS
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

FIRST = 0  # the seed of what other rows start from


def main() -> int:
    """Go through the rows; the exit status is 0 if all have a record."""
    args, options = parse()
    rows, training = rows_named(args.rows), Training(args.gpus)
    starts = dict.fromkeys(row.start for row in rows if row.start)
    first = [(row, [FIRST]) for row in rows_named(list(starts))]
    status = 0
    for row, seeds in [*first, *((row, args.seeds) for row in rows)]:
        print(f'{row.name}: {row.config}', flush=True)
        settings = settings_of(row, args)
        root = args.work_dir / row.name
        found = train_all(training, f'configs/{row.config}.py', [*settings, *options], seeds, root)
        if found:
            return found
        for seed in seeds:
            status |= test_and_keep(row, root / f'seed_{seed}', seed, args)
    return status


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those of tools/train.py, which are checked before anything starts."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('rows', nargs='+', metavar='ROW', help='of docs/results.md')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='N')
    parser.add_argument('--gpus', type=int, metavar='N', help='through tools/dist_train.sh')
    parser.add_argument(
        '--data', type=Path, default=Path('data'), metavar='DIR',
        help='the folder of imagenette, camvid and pennfudan (default: data)',
    )  # fmt: skip
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/results'), metavar='DIR',
        help='a folder for each row goes there (default: work_dirs/results)',
    )  # fmt: skip
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    args, options = parser.parse_known_args()
    theirs = train_parser().parse_args(['CONFIG', *options])
    for name in ('seed', 'resume', 'pretrained'):
        if getattr(theirs, name) is not None:
            parser.error(f'--{name} is given to each training as it needs it')
    return args, options


def settings_of(row: Row, args: argparse.Namespace) -> list[str]:
    """What a row's training is started with, beside its seed."""
    start = str(args.work_dir / row.start / f'seed_{FIRST}') if row.start else 'none'
    data = f'data_root={args.data / row.config.rpartition("_")[2]}'
    return ['--pretrained', start, '--cfg-options', data, *row.options, *args.cfg_options]


def test_and_keep(row: Row, work_dir: Path, seed: int, args: argparse.Namespace) -> int:
    """Test what was trained, if that is the score, and keep the records; 1 if there are none."""
    if last_finished(work_dir, 'train') is None:
        return 1
    if benchmark_of(row).tested and last_finished(work_dir / TEST, 'test') is None:
        options = settings_of(row, args)[2:]
        command = [f'configs/{row.config}.py', work_dir, '--work-dir', work_dir / TEST, *options]
        status = subprocess.run([sys.executable, TOOLS / 'test.py', *command]).returncode
        if status:
            return status
    for path in keep(row, work_dir, seed):
        print(f'kept {path}', flush=True)
    return 0


if __name__ == '__main__':
    with reported():
        sys.exit(main())
