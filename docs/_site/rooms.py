#!/usr/bin/env python
"""Draw the rooms of the package and the arrows between them: docs/architecture.svg, and the table
in docs/architecture.md. Both follow from ARROWS in tests/test_layout.py and from docstrings.

python docs/_site/rooms.py
"""

import argparse
import ast
import re
import textwrap
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE, DRAWING = ROOT / 'docs' / 'architecture.md', ROOT / 'docs' / 'architecture.svg'
TABLE = re.compile(r'(?<=<!-- rooms -->\n).*(?=<!-- /rooms -->)', re.S)

WIDTH, HEIGHT, GAP, RISE, LINE = 216, 112, 20, 56, 16  # pixels: a box, beside, above it, a line
BEND = 30  # the width that is left to an arrow on its way past a row
STYLE = """
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif }
  .name { font-size: 17px; font-weight: 600 }
  text { fill: #37474f } .name, .note { fill: #004d43 }
  rect { fill: #eef7f5; stroke: #009485; stroke-width: 1.2 }
  .base rect { fill: #f5f5f5; stroke: #90a4ae }
  path { fill: none; stroke: #607d8b; stroke-width: 1.5 } marker path { fill: #607d8b }
  @media (prefers-color-scheme: dark) {
    text { fill: #c5d0d5 } .name, .note { fill: #7fe0d0 }
    rect { fill: #16302f; stroke: #2fb5a3 }
    .base rect { fill: #262a35; stroke: #6b7a88 }
    path { stroke: #9fb3bd } marker path { fill: #9fb3bd }
  }
"""


def arrows() -> dict[str, set[str]]:
    """Which rooms each room may import."""
    tree = ast.parse((ROOT / 'tests' / 'test_layout.py').read_text())
    (value,) = (n.value for n in tree.body if getattr(getattr(n, 'targets', [None])[0], 'id', '')
                == 'ARROWS')  # fmt: skip
    found = ast.literal_eval(value)
    return {room: {other for other in found[room] if other in found} for room in found}


def path_of(room: str) -> Path:
    """The file whose docstring says what a room is."""
    folder = ROOT / 'mmvisattn' / room
    return folder / '__init__.py' if folder.is_dir() else folder.with_suffix('.py')


def sentence(room: str) -> str:
    """The first sentence of a room's docstring, in one line."""
    text = ast.get_docstring(ast.parse(path_of(room).read_text())).split('\n\n')[0]
    return ' '.join(text.split())


def table(read: dict[str, set[str]]) -> str:
    """The rooms in Markdown."""
    rows = ['| room | what it is | may import |', '|---|---|---|']
    for room in sorted(read):
        link = f'[`{room}`](../{path_of(room).relative_to(ROOT).as_posix()})'
        others = ', '.join(f'`{other}`' for other in sorted(read[room]))
        rows.append(f'| {link} | {sentence(room)} | {others} |')
    return '\n'.join(rows) + '\n'


def page() -> str:
    """docs/architecture.md with the table as it is now."""
    return TABLE.sub(lambda _: table(arrows()), PAGE.read_text())


def drawing(read: dict[str, set[str]]) -> str:
    """The rooms as an SVG: whoever imports stands above.

    Rooms that read nothing stand together at the foot, without arrows. An arrow that leads where
    others lead already is left out.
    """
    base = sorted(room for room in read if not read[room])
    read = {room: others - set(base) for room, others in read.items() if room not in base}
    reach = {}
    for room in _from_below(read):
        reach[room] = set().union(*({other} | reach[other] for other in read[room]))
    direct = {
        room: sorted(o for o in read[room] if not any(o in reach[via] for via in read[room]))
        for room in read
    }
    rows, links = _rows(direct)
    width = max(sum(map(_width, row)) + GAP * (len(row) - 1) for row in rows)
    width = max(width, len(base) * (WIDTH + GAP) - GAP) + 2 * GAP
    place = {node: at for row in rows for node, at in _placed(row, width)}
    foot = len(rows) * (HEIGHT + RISE)
    parts = []
    for upper, lower in links:
        parts += _curve(place, rows, upper, lower)
    for number, row in enumerate(rows):
        for node in row:
            if isinstance(node, str):
                parts += _box(node, place[node], number * (HEIGHT + RISE) + GAP)
    parts.append(f'<text class="note" x="{GAP}" y="{foot + 6}">Below all, read by many:</text>')
    parts.append('<g class="base">')
    for node, at in _placed(base, width):
        parts += _box(node, at, foot + GAP)
    parts.append('</g>')
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} '
        f'{foot + HEIGHT + 2 * GAP}" role="img" aria-label="The rooms of mmvisattn">',
        f'<style>{STYLE}</style>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5.5" '
        'markerHeight="5.5" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
        *parts,
        '</svg>\n',
    ])  # fmt: skip


def _from_below(read: dict[str, set[str]]) -> list[str]:
    """The rooms, each after those that it reads."""
    order = []
    while len(order) < len(read):
        order += sorted(r for r in read if r not in order and read[r] <= set(order))
    return order


def _rows(direct: dict[str, list[str]]) -> tuple[list[list], list[tuple]]:
    """The rooms row by row from the top, and links from each row to the next.

    A long arrow passes the rows between as (upper, lower, row); rows are ordered so that few
    arrows cross: each node by the mean place of its neighbours, down and up again.
    """
    level = {}
    for room in _from_below({room: set(others) for room, others in direct.items()}):
        level[room] = 1 + max((level[other] for other in direct[room]), default=-1)
    top = max(level.values())
    rows = [sorted(room for room in level if level[room] == top - i) for i in range(top + 1)]
    links = []
    for room, others in direct.items():
        for other in others:
            chain = [room, *((room, other, i) for i in range(level[room] - 1, level[other], -1))]
            for node in chain[1:]:
                rows[top - node[2]].append(node)
            links += zip(chain, [*chain[1:], other], strict=True)
    for turn in range(24):
        down = turn % 2 == 0
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = rows[i - 1] if down else rows[i + 1]
            spot = {node: (k + 0.5) / len(fixed) for k, node in enumerate(fixed)}
            own = {node: (k + 0.5) / len(rows[i]) for k, node in enumerate(rows[i])}
            near = {
                node: [spot[b if a == node else a] for a, b in links
                       if node in (a, b) and (b if a == node else a) in spot]
                for node in rows[i]
            }  # fmt: skip
            mean = {n: sum(s) / len(s) if s else own[n] for n, s in near.items()}
            rows[i].sort(key=lambda node: (mean[node], str(node)))
    return rows, links


def _width(node: str | tuple) -> int:
    return WIDTH if isinstance(node, str) else BEND


def _placed(row: list, width: float) -> list[tuple]:
    """Each node of a row with the x of its middle, the row spread over the whole width."""
    space = (width - 2 * GAP - sum(map(_width, row))) / len(row)
    x, places = GAP + space / 2, []
    for node in row:
        places.append((node, x + _width(node) / 2))
        x += _width(node) + space
    return places


def _curve(place: dict, rows: list[list], upper: str | tuple, lower: str | tuple) -> list[str]:
    """A piece of an arrow from one row to the next."""
    number = next(i for i, row in enumerate(rows) if upper in row)
    y = number * (HEIGHT + RISE) + GAP
    start, end = y + HEIGHT, y + HEIGHT + RISE
    middle = (start + end) / 2
    x, to = place[upper], place[lower]
    head = ' marker-end="url(#head)"' if isinstance(lower, str) else ''
    past = '' if isinstance(upper, str) else f'M{x:.0f} {y}L{x:.0f} {start}'
    curve = f'M{x:.0f} {start}C{x:.0f} {middle:.0f} {to:.0f} {middle:.0f} {to:.0f} {end}'
    return [f'<path d="{past}{curve}"{head}/>']


def _box(room: str, x: float, y: float) -> list[str]:
    left = x - WIDTH / 2
    lines = textwrap.wrap(sentence(room).replace('`', ''), 26)
    if len(lines) > 4:
        lines = [*lines[:3], lines[3] + ' …']
    return [
        f'<rect x="{left:.0f}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text class="name" x="{left + 10:.0f}" y="{y + 24}">{escape(room)}</text>',
        *(
            f'<text x="{left + 10:.0f}" y="{y + 44 + LINE * i}">{escape(line)}</text>'
            for i, line in enumerate(lines)
        ),
    ]


if __name__ == '__main__':
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    DRAWING.write_text(drawing(arrows()))
    PAGE.write_text(page())
    print(f'wrote {DRAWING} and the table of {PAGE}')
