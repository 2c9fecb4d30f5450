"""Names that tell files and folders of one figure or list apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def distinct_names(paths: Sequence[str | Path]) -> list[str]:
    """A name for each path: its last part, with as many parents as it takes to differ.

    What is given twice has its number after the name from the second on.
    """
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    names: list[str] = []
    for number, own in enumerate(parts):
        others = [other for other in parts if other != own]
        length = 1
        while any(other[-length:] == own[-length:] for other in others):
            length += 1
        name, before = Path(*own[-length:]).as_posix(), parts[:number].count(own)
        names.append(f'{name} ({before + 1})' if before else name)
    return names
