"""Tell whoever listens which files weights come from: a run's record does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .match import Match


@dataclass(frozen=True)
class Load:
    """A file whose weights go into a network.

    Attributes:
        purpose: 'pretrained', 'load_from', 'resume' or 'test'.
        source: What the user named: a path, a URL or a published name.
        path: The file itself.
        match: How its tensors fit; None where a library loads them without our comparison.
        meta: What a checkpoint of MMEngine says of the run that wrote it.
    """

    purpose: str
    source: str
    path: Path
    match: Match | None = None
    meta: dict = field(default_factory=dict)


_listeners: list[Callable[[Load], None]] = []


@contextmanager
def listening(listener: Callable[[Load], None]) -> Iterator[None]:
    """Call this for every file that weights are loaded from meanwhile, in this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(load: Load) -> None:
    """Tell the listeners of a file."""
    for listener in _listeners:
        listener(load)
