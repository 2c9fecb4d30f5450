"""A subcommand of the benchmark: measure, print, write."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from ...errors import UserError
from . import backbones, evaluation, exports, operators, tasks
from .data import report as report_data
from .machine import name_of, versions
from .measure import Bench
from .report import Report, plot, table, write_json

SUITES: dict[str, Callable[[Bench], Report]] = dict(
    op=operators.report,
    backbone=backbones.report,
    train=partial(tasks.report, training=True),
    infer=partial(tasks.report, training=False),
    data=report_data,
    eval=evaluation.report,
    export=exports.report,
)


def run(
    what: str,
    *,
    device: str = 'cpu',
    threads: int = 1,
    dtype: str = 'float32',
    short: bool = False,
    only: str = '',
    size: tuple[int, int] | None = None,
    data: str | None = None,
    json: str | None = None,
    plot_to: str | None = None,
) -> Report:
    """Measure, print the table, and write what was asked for.

    Args:
        what: A key of `SUITES`.
        device: 'cpu' or 'cuda'.
        threads: Threads of the CPU.
        dtype: 'float32', 'bf16' or 'fp16'.
        short: Whether to take minutes, not an hour.
        only: Measure titles that contain this text alone.
        size: Height and width of pictures, in place of the suite's.
        data: Folder of the folders of data, such as 'coco', for the suite 'data'.
        json: File of the results.
        plot_to: File of a plot of them.

    Raises:
        UserError: What this machine has not, a size that no picture has, or nothing to measure.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda needs a GPU, and PyTorch sees none', do='--device cpu')
    if size and min(size) < 32:
        raise UserError('--size is too small', expected='32 pixels or more', got=size)
    torch.set_num_threads(threads)
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # it lists every parameter
    bench = Bench(device, dtype, short, only, size, data and Path(data))
    found = SUITES[what](bench)
    if not found.rows:
        raise UserError(f'{what} has no title with that text', got=f'--only {only}')
    found = replace(
        found,
        setting=dict(
            device=name_of(bench.device),
            threads=threads,
            dtype=dtype,
            date=date.today().isoformat(),
            command=' '.join(['python tools/analysis_tools/benchmark.py', *sys.argv[1:]]),
            limits=asdict(bench.limits()),
            versions=versions(),
        ),
    )
    print(table(found))
    if json:
        write_json(found, Path(json))
    if plot_to:
        plot(found, Path(plot_to))
    return found
