"""Find the checkpoint that a run goes on from."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UserError
from ..weights import read_checkpoint


def latest_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint of a run that can be read, and those passed over because they cannot.

    The newest is the one that MMEngine's `last_checkpoint` names (an older run may have left a
    higher number); then they go by number. The folder may have been moved.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    named = Path(pointer.read_text().strip()).name if pointer.is_file() else None
    saved = [path for path in work_dir.glob('*.pth') if _step(path) is not None]
    broken = []
    for path in sorted(saved, key=lambda p: (p.name == named, _step(p)), reverse=True):
        try:
            read_checkpoint(path)
        except UserError:
            broken.append(path)
        else:
            return path, broken
    return None, broken


def _step(path: Path) -> int | None:
    """The number in iter_N.pth or epoch_N.pth; None for another name (best_*)."""
    found = re.fullmatch(r'(?:iter|epoch)_(\d+)', path.stem)
    return int(found[1]) if found else None
