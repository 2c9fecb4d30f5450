#!/usr/bin/env python
"""Repeat numbers of docs/results.md: train rows, test them, keep their records.

python tools/reproduce.py ROW [ROW ...] [--seeds 0 1 2] [--gpus N]
    [--data DIR] [options of tools/train.py]

A ROW stands in the last column of the tables, such as imagenette/van_b0_5; the
name of a benchmark (imagenette, camvid, pennfudan, ablations, choices) means all
of its rows. What a row starts from is trained first. The same command again goes
on: what has finished is not trained again, what was interrupted is resumed.
Records go to docs/results; python tools/analysis_tools/write_pages.py reads them.
"""

import argparse
import sys
from pathlib import Path

try:
    from mmvisattn.analysis.launching import (
        BAD_INPUT,
        Training,
        parse_with_training,
        parser_of_seeds,
        train_all,
    )
    from mmvisattn.analysis.records import last_finished
    from mmvisattn.analysis.results.benchmarks import Row, options_of, rows_named
    from mmvisattn.analysis.results.measured import TEST, benchmark_of, keep
    from mmvisattn.analysis.results.recipe import require_recipe
    from mmvisattn.engine.config import load_config
    from mmvisattn.engine.datasets_check import check_datasets
    from mmvisattn.engine.run import TEST_DATA
    from mmvisattn.errors import UserError, reported
    from mmvisattn.processes.launch import STOPPED
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

FIRST = 0  # the seed of what other rows start from
FAILED = 1


def main() -> int:
    """Go through the rows; the exit status is 0 if all have a record."""
    args, options = parse()
    rows, training = rows_named(args.rows), Training(args.gpus)
    tested = {row.data_set: row for row in rows if benchmark_of(row).tested}
    for name, row in tested.items():  # else its pictures are missed when all is trained
        changes = {**options_of(row), 'data_root': str(args.data / name)}
        check_datasets(load_config(f'configs/{row.config}.py', changes), TEST_DATA)
    for start in rows_named(list(dict.fromkeys(row.start for row in rows if row.start))):
        status = have(training, start, args, options)
        if status:
            return status
    status = 0
    for row in rows:
        found = go_through(training, row, args.seeds, args, options, args.cfg_options)
        if training.stopped or found == BAD_INPUT:
            return found or STOPPED
        status = status or found
    return status


def have(training: Training, start: Row, args: argparse.Namespace, options: list[str]) -> int:
    """Train what rows start from, unless this very training has finished; 0, or what went wrong."""
    work_dir = args.work_dir / start.name / f'seed_{FIRST}'
    finished = last_finished(work_dir, 'train')
    if finished is None:
        return go_through(training, start, [FIRST], args, options, [])
    require_recipe(start, finished, work_dir)
    return 0


def go_through(
    training: Training,
    row: Row,
    seeds: list[int],
    args: argparse.Namespace,
    options: list[str],
    changes: list[str],
) -> int:
    """Train a row, test it if that is the score, and keep its records; 0, or what went wrong."""
    print(f'{row.name}: {row.config}', flush=True)
    root = args.work_dir / row.name
    start = str(args.work_dir / row.start / f'seed_{FIRST}') if row.start else 'none'
    settings = ['--cfg-options', *settings_of(row, args), *changes]
    command = ['--pretrained', start, *options, *settings]
    status = train_all(training, f'configs/{row.config}.py', command, seeds, root)
    if status:
        return status
    for seed in seeds:
        found = test_and_keep(training, row, root / f'seed_{seed}', seed, settings)
        if training.stopped or found == BAD_INPUT:
            return found
        status = status or found
    return status


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those of tools/train.py."""
    parser = parser_of_seeds(__doc__, default=[0, 1, 2])
    parser.add_argument('rows', nargs='+', metavar='ROW', help='of docs/results.md')
    parser.add_argument(
        '--data', type=Path, default=Path('data'), metavar='DIR',
        help='the folder of imagenette, camvid, pennfudan and imagenette_tenth (default: data)',
    )  # fmt: skip
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/results'), metavar='DIR',
        help='a folder for each row goes there (default: work_dirs/results)',
    )  # fmt: skip
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    return parse_with_training(parser, given=('seed', 'resume', 'pretrained'))


def settings_of(row: Row, args: argparse.Namespace) -> list[str]:
    """What a row's trainings and tests change of its config; several GPUs share its batch."""
    data = f'data_root={args.data / row.data_set}'
    if not args.gpus:
        return [data, *row.options]
    cfg = load_config(f'configs/{row.config}.py', options_of(row))
    batch = cfg.train_dataloader.batch_size
    if batch % args.gpus:
        raise UserError(
            f'{row.name} trains with {batch} pictures a step, which {args.gpus} GPUs cannot share',
            expected=f'a number that divides {batch}',
        )
    return [data, *row.options, f'train_dataloader.batch_size={batch // args.gpus}']


def test_and_keep(
    training: Training, row: Row, work_dir: Path, seed: int, settings: list[str]
) -> int:
    """Test what was trained, if that is the score, and keep the records; 0, or what went wrong."""
    if last_finished(work_dir, 'train') is None:
        return FAILED
    if benchmark_of(row).tested and last_finished(work_dir / TEST, 'test') is None:
        options = ['--work-dir', work_dir / TEST, *settings]
        status = training.test(f'configs/{row.config}.py', work_dir, options)
        if training.stopped or status:
            return STOPPED if training.stopped else status
    for path in keep(row, work_dir, seed):
        print(f'kept {path}', flush=True)
    return 0


if __name__ == '__main__':
    with reported():
        sys.exit(main())
