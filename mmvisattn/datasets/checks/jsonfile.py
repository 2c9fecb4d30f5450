"""Annotation files: read whole, or only their beginnings where they are large.

COCO's largest file has 450 MB, and to parse it takes 15 s and gigabytes. Before a run only the
list of categories and the first entries of the other lists are read, whatever the size.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterable
from pathlib import Path

WINDOW = 1 << 16  # bytes that are parsed at first; doubled until an entry is complete


def read_lists(file: Path, names: Iterable[str], first: int | None = None) -> dict[str, list]:
    """The lists of these names at the top of a JSON object; a list that is not there is left out.

    Args:
        file: The file.
        names: Of the lists; 'categories' is always read to its end.
        first: How many entries of a list to read; None parses the whole file.

    Raises:
        ValueError: The file is empty, cut off, or not JSON.
    """
    if first is not None:
        return _beginnings(file, names, first)
    content = json.loads(
        file.read_text(encoding='utf-8')
    )  # as the libraries do: no byte order mark
    if not isinstance(content, dict):
        raise ValueError(f'a {type(content).__name__} in place of an object')
    return {name: content[name] for name in names if isinstance(content.get(name), list)}


def _beginnings(file: Path, names: Iterable[str], first: int) -> dict[str, list]:
    if not file.stat().st_size:
        raise ValueError('the file is empty')
    with (
        file.open('rb') as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        if not re.match(rb'\s*{', text):
            raise ValueError('it does not begin with an object')
        if not text[-WINDOW:].rstrip().endswith(b'}'):
            raise ValueError('it is cut off')
        lists = {}
        for name in names:
            start = re.search(rb'"%s"\s*:\s*\[' % name.encode(), text)
            if start:
                count = None if name == 'categories' else first
                lists[name] = _entries(text, start.end(), count)
    return lists


def _entries(text: mmap.mmap, position: int, count: int | None) -> list:
    """The first `count` entries (None: all) of the list whose bracket ends before `position`."""
    entries = []
    while count is None or len(entries) < count:
        position = re.compile(rb'[\s,]*').match(text, position).end()
        if text[position : position + 1] == b']':
            break
        entry, length = _entry(text, position)
        entries.append(entry)
        position += length
    return entries


def _entry(text: mmap.mmap, position: int) -> tuple[object, int]:
    """The value that begins at `position`, and how many bytes it takes."""
    size = WINDOW
    while True:
        window = text[position : position + size].decode(errors='ignore')
        try:
            entry, end = json.JSONDecoder().raw_decode(window)
        except json.JSONDecodeError:
            if position + size >= len(text):
                raise
            size *= 2
        else:
            return entry, len(window[:end].encode())
