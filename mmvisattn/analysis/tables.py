"""Tables of numbers as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence

from .predicted import Table

NONE = '-'
NAME_WIDTH = 24


def as_text(table: Table) -> Iterator[str]:
    """The lines of a table, its columns below their names."""
    width = min(NAME_WIDTH, max(map(len, table.rows), default=0))
    widths = [max(7, len(column)) for column in table.columns]

    def line(name: str, cells: Sequence[str]) -> str:
        columns = (f'{cell:>{size}}' for cell, size in zip(cells, widths, strict=True))
        return f'{name[:width]:<{width}}  {"  ".join(columns)}'.rstrip()

    yield table.title
    yield line('', table.columns)
    for name, numbers in table.rows.items():
        yield line(name, [shown(number) for number in numbers])
    yield table.about


def shown(number: float) -> str:
    """A count as it is, another number with one digit, NaN as a dash."""
    if isinstance(number, int):
        return str(number)
    return NONE if math.isnan(number) else f'{number:.1f}'


def as_csv(tables: Sequence[Table]) -> str:
    """All tables as one, a line for each number: table, row, column, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(['table', 'row', 'column', 'value'])
    for table in tables:
        for name, numbers in table.rows.items():
            for column, number in zip(table.columns, numbers, strict=True):
                writer.writerow([table.title, name, column, '' if math.isnan(number) else number])
    return out.getvalue()


def as_json(tables: Sequence[Table]) -> dict:
    """{table: {row: {column: value}}}, null where there is no number."""
    return {
        table.title: {
            name: {
                column: None if math.isnan(number) else number
                for column, number in zip(table.columns, numbers, strict=True)
            }
            for name, numbers in table.rows.items()
        }
        for table in tables
    }
