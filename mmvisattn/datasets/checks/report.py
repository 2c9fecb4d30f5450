"""What a check found, as sentences that name the first few places of each kind."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

SHOWN = 3  # how many places of a kind a sentence names
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


class Finding(NamedTuple):
    """One thing that a check saw.

    Attributes:
        kind: What it is, in the plural: "pictures of FOLDER without a label map".
        place: Which one: a file, an id. None: `kind` is a whole sentence.
        legal: Whether the libraries handle it as documented: good to know, not wrong.
    """

    kind: str
    place: object = None
    legal: bool = False


class Report(list):
    """What is wrong, a sentence for each kind; empty when all is well.

    Args:
        findings: What the check saw, in any order.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(dict.fromkeys(findings))
        super().__init__(self.sentences())

    @property
    def notes(self) -> list[str]:
        """What is legal and good to know."""
        return self.sentences(legal=True)

    def sentences(self, *, legal: bool = False, shown: int | None = SHOWN) -> list[str]:
        """A sentence for each kind of finding; it names `shown` places, all if None."""
        places: dict[str, list[str]] = {}
        for kind, place, is_legal in self.findings:
            if is_legal == legal:
                places.setdefault(kind, []).extend([] if place is None else [str(place)])
        return [_printable(_sentence(kind, named, shown)) for kind, named in places.items()]


def _sentence(kind: str, places: list[str], shown: int | None) -> str:
    if not places:
        return kind
    more = ', ...' if shown is not None and len(places) > shown else ''
    return f'{len(places)} {kind}: {", ".join(places[:shown])}{more}'


def _printable(text: str) -> str:
    """Names in files may hold what a terminal obeys, and what is no character."""
    shown = (c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
    return ''.join(shown)


def repeated(kind: str, values: Iterable) -> Iterator[Finding]:
    """The values that occur more than once."""
    seen = set()
    for value in values:
        if value in seen:
            yield Finding(kind, value)
        seen.add(value)


def spread(items: Sequence, count: int | None) -> Sequence:
    """`count` of the items at even distances, all if None."""
    if count is None or count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def malformed(entry: object, keys: Mapping[str, type | tuple[type, ...]]) -> str | None:
    """Why an entry of a JSON list is not one of those keys and types; None if it is one."""
    if not isinstance(entry, dict):
        return f'a {type(entry).__name__} in place of an object'
    missing = [key for key in keys if key not in entry]
    if missing:
        return f'without {", ".join(missing)}'
    wrong = [key for key, types in keys.items() if not isinstance(entry[key], types)]
    return f'with {wrong[0]} {brief(entry[wrong[0]])}' if wrong else None


def brief(value: object) -> str:
    """A value of a file as code would write it, cut short: it may be of any size and depth."""
    return _brief.repr(value)
