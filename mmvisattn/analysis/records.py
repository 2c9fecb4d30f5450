"""Read the records of runs (docs/records.md), and say in what two runs differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff
from pathlib import Path

from ..engine.record import NAME, NOT_HASHED, SCHEMA
from ..errors import UserError

WIDTH = 80
DIGITS = 16  # of a sha256; no two files share them by chance
GROUPS = (
    'run', 'code', 'packages', 'machine', 'environment', 'config', 'weights', 'data', 'outcome',
)  # fmt: skip
# What two equal runs may differ in, by the beginning of its name.
NOISE = re.compile(
    r'run\.(command|start|pid|work_dir|log_dir|folder|launcher|first_iter)'
    r'|machine\.(host|platform|cores)|config\.(path|text)'
    r'|environment\.(SLURM_|CUDA_VISIBLE_DEVICES|MMVISATTN_(CACHE|WEIGHTS|TRACEBACK))'
    r'|weights\..*\.(path|source|written_by|error)|data\..*\.(path|error)'
    r'|outcome\.(end|wall_seconds|peak_memory|best)'
)
# Worth seeing, and no cause of another result: what ran is in code.mmvisattn.source_sha256.
RESULT = re.compile(r'outcome\.|code\.mmvisattn\.(revision|dirty|changes_sha256)')
NOT_THERE = '(none)'


@dataclass(frozen=True)
class Difference:
    """A field in which two records differ.

    Attributes:
        name: Its place, such as 'packages.torch'.
        values: What the first and the second hold, as text.
        counts: Whether it may change results.
    """

    name: str
    values: tuple[str, str]
    counts: bool


def read_record(path: str | Path) -> dict:
    """A record: a file, or the newest of a work dir.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        records = records_in(path)
        if not records:
            raise UserError(
                f'no record in {path}',
                expected=f'{NAME}, in the folder or in one of its folders TIMESTAMP',
                do='give the work dir of a run',
            )
        return records[-1]
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path} cannot be read', expected=f'the {NAME} of a run', got=error
        ) from error
    if not isinstance(record, dict) or not {'schema', *GROUPS} <= set(record):
        raise UserError(f'{path} is no record', expected=f'the {NAME} of a run')
    if record['schema'] != SCHEMA:
        raise UserError(
            f'{path} is of another schema', expected=SCHEMA, got=record['schema'],
            do='read it with the version of mmvisattn that it names under code',
        )  # fmt: skip
    return record


def records_in(work_dir: Path) -> list[dict]:
    """The records in a work dir or a log folder, the newest last."""
    paths = [*work_dir.glob(NAME), *work_dir.glob(f'*/{NAME}')]
    return sorted(map(read_record, paths), key=_start)


def last_finished(work_dir: Path, task: str) -> dict | None:
    """The newest record of a work dir ('train' or 'test'), if that run finished."""
    records = [record for record in records_in(work_dir) if record['run']['task'] == task]
    return records[-1] if records and records[-1]['outcome']['status'] == 'finished' else None


def _start(record: dict) -> datetime:
    return datetime.fromisoformat(record['run']['start'])


def differences(a: dict, b: dict, *, everything: bool = False) -> list[Difference]:
    """The fields in which two records differ, in the order of `GROUPS`.

    Args:
        a: A record.
        b: Another.
        everything: Also what two equal runs may differ in: times, hosts, folders.
    """
    flat_a, flat_b = dict(_fields(a)), dict(_fields(b))
    names = sorted({**flat_a, **flat_b}, key=lambda name: GROUPS.index(name.split('.')[0]))
    found = []
    for name in names:
        pair = flat_a.get(name, NOT_THERE), flat_b.get(name, NOT_THERE)
        noise = NOISE.match(name) is not None
        if pair[0] != pair[1] and (everything or not noise):
            found.append(Difference(name, pair, not noise and not RESULT.match(name)))
    return found


def describe_differences(a: dict, b: dict, *, everything: bool = False) -> Iterator[str]:
    """The differences as lines of at most 80 columns, grouped, then the configs' own lines."""
    group = None
    for difference in differences(a, b, everything=everything):
        if difference.name == 'config.text':
            continue  # shown line by line below
        if difference.name.split('.')[0] != group:
            group, _, _ = difference.name.partition('.')
            yield f'{group} (changes no result by itself)' if group == 'outcome' else group
        yield from _side_by_side(difference)
    if everything or a['config']['sha256'] != b['config']['sha256']:
        lines = (_config_lines(record, everything) for record in (a, b))
        yield from unified_diff(*lines, 'config of A', 'config of B', n=2, lineterm='')


def _side_by_side(difference: Difference) -> Iterator[str]:
    name = difference.name.partition('.')[2]
    line = f'  {name}: {" | ".join(difference.values)}'
    if len(line) <= WIDTH:
        yield line
        return
    yield f'  {name}'
    for side, value in zip('AB', difference.values, strict=True):
        text = f'    {side}: {value}'
        yield text if len(text) <= WIDTH else text[: WIDTH - 3] + '...'


def _config_lines(record: dict, everything: bool) -> list[str]:
    text = record['config']['text']
    if not everything:
        text = re.sub(rf'^(?:{"|".join(NOT_HASHED)}) = .*\n', '', text, flags=re.MULTILINE)
    return text.splitlines()


def _fields(record: dict) -> Iterator[tuple[str, str]]:
    """The fields of a record as text, with dotted names."""
    for group in GROUPS:
        if group == 'weights':
            for number, load in enumerate(record['weights'], 1):
                yield from _checked(f'{group}.{number}.{load["purpose"]}', load)
        elif group == 'data':
            for place, found in (record['data'] or {}).items():
                yield from _checked(f'{group}.{place}', found)
        else:
            yield from _flat(group, record[group])


def _checked(name: str, entry: dict) -> Iterator[tuple[str, str]]:
    """A file or folder: its content as one field, and what else is known of it."""
    counts = ''.join(f', {entry[key]} {key}' for key in ('files', 'bytes') if key in entry)
    yield name, entry.get('sha256', 'not known')[:DIGITS] + counts
    for key in ('path', 'source', 'error'):
        yield from _flat(f'{name}.{key}', entry.get(key))
    yield from _flat(f'{name}.written_by', entry.get('written_by'))
    if entry.get('report'):
        lengths = {k: len(v) if isinstance(v, list) else v for k, v in entry['report'].items()}
        kinds = [f'{n} {kind}' for kind, n in lengths.items() if n and kind != 'coverage']
        yield f'{name}.report', ', '.join(kinds)


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f'{name}.{key}', item)
    elif value not in (None, []):
        text = ', '.join(map(str, value)) if isinstance(value, list) else str(value)
        yield name, text[:DIGITS] if name.endswith('sha256') else text
