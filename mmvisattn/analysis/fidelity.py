"""Every published size and cost of the networks beside ours: `docs/fidelity.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch

from .complexity import complexity
from .published import TABLES, Row, Table

OPERATIONS_PER_LOGIT = 14  # found by fitting the CoAtNet paper's costs at 384 and 512 pixels


@dataclass(frozen=True)
class Comparison:
    """A row with our numbers, in the units of the source."""

    row: Row
    parameters: float
    cost: float
    with_softmax: float

    @property
    def verdict(self) -> str:
        """'=' where it fits, 'with softmax' where it then does, '' elsewhere."""
        if not _fits(self.row.parameters, self.parameters):
            return ''
        if _fits(self.row.cost, self.cost):
            return '='
        return 'with softmax' if _fits(self.row.cost, self.with_softmax) else ''


@cache  # it takes most of a minute
def compare(table: Table) -> list[Comparison]:
    """Count every network of a table."""
    found = []
    for row in table.rows:
        with torch.device('meta'):
            network, forward = row.build()
        counted = complexity(network, (3, *row.shape), forward)
        cost = table.operations_per_multiply_add * counted.multiply_adds
        softmax = OPERATIONS_PER_LOGIT * counted.logits * table.softmax
        found.append(Comparison(row, counted.parameters / 1e6, cost / 1e9, (cost + softmax) / 1e9))
    return found


def markdown() -> str:
    """The text of docs/fidelity.md."""
    return '\n'.join(['# Sizes and costs beside the published ones', '', INTRODUCTION, *_tables()])


INTRODUCTION = f"""\
Written by `python tools/analysis_tools/write_pages.py`; a test compares it with the code.
Parameters are in millions, costs in billions of multiply-adds of one forward pass (of operations,
two for each multiply-add, where the column says so). A row fits (=) if each number is within 1 % of
the published one or within its rounding; the others say why not. Where a cell is empty, nothing is
published.

Convolutions, matrix products, attention and our operators are counted, nothing else. The CoAtNet
paper seems to count softmax and bias of attention too: {OPERATIONS_PER_LOGIT} operations for each
logit, a number found by fitting, bring CoAtNet-0 to 5 to its costs. For its tables the column "with
softmax" adds them.
"""


def _tables() -> Iterator[str]:
    for table in TABLES:
        unit = 'operations' if table.operations_per_multiply_add == 2 else 'multiply-adds'
        columns = ('network', 'pixels', 'parameters', 'ours', unit, 'ours', 'with softmax', 'fits')
        yield f'## {table.title}\n\n{table.source}. {table.remark}'.rstrip() + '\n'
        yield _line(*columns, 'note')
        yield _line(*('---' for _ in columns), '---')
        for found in compare(table):
            row = found.row
            yield _line(
                row.name,
                ' x '.join(str(n) for n in dict.fromkeys(row.shape)),
                row.parameters or '',
                f'{found.parameters:.2f}',
                row.cost or '',
                f'{found.cost:.2f}',
                f'{found.with_softmax:.2f}' if found.with_softmax != found.cost else '',
                found.verdict,
                row.note,
            )
        yield f'\n{table.why}\n' if table.why else ''


def _line(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'


def _fits(printed: str | None, ours: float) -> bool:
    if printed is None:
        return True
    published = float(printed)
    rounding = 0.5 * 10 ** -len(printed.partition('.')[2])
    return abs(ours - published) <= max(0.01 * published, rounding)
