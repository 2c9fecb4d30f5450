"""Gather what is known of a run, and put it into `page.html`.

Everything shown is escaped by Jinja2; figures are inlined, as SVG whose text has the colour of the
page, and pictures as JPEG in base64. A browser has nothing to ask a network for.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from mmengine.config import Config
from numpy.typing import NDArray
from PIL import Image

from ... import __version__
from ...datasets.checks.report import spread
from ...engine.config import load_config
from ...errors import UserError
from ...outputs import check_output, write_output
from ..curves import Group, default_keys, draw_curves, read_group
from ..figures import draw_confusion, draw_errors, svg
from ..gallery import TITLES, rows_of
from ..pictures import read_pictures
from ..predicted import Errors, Predicted, Table, read_predicted
from ..records import records_in
from ..seeds import SeedRun, read_seeds, summarize, work_dirs_in
from ..tables import shown

PREDICTIONS = 'predictions'  # where `make demo` and the README let a test write, in the work dir
WIDTH = 480  # pixels of a picture in the page
MOST_COLUMNS = 60  # classes up to which a confusion matrix can be read in a page


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        svg: The drawing.
        caption: What it shows.
    """

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Some pictures of a test.

    Attributes:
        title: Which.
        about: How they were chosen.
        rows: (name, score or '', [(title, data URL), ...]).
    """

    title: str
    about: str
    rows: list[tuple[str, str, list[tuple[str, str]]]]


@dataclass
class Page:
    """What the template shows, part by part; an empty part is left out."""

    title: str
    summary: list[tuple[str, str]] = field(default_factory=list)
    metrics: list[tuple[str, str]] = field(default_factory=list)
    curves: list[Figure] = field(default_factory=list)
    speed: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    confusion: Figure | None = None
    breakdown: Figure | None = None
    errors: Errors | None = None
    pictures: list[Pictures] = field(default_factory=list)
    record: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    starts: list[list[str]] = field(default_factory=list)
    config: str = ''
    notes: list[str] = field(default_factory=list)


def write_report(
    work_dir: str,
    out: str | None = None,
    config: str | None = None,
    results: str | None = None,
    options: dict | None = None,
    count: int = 6,
) -> Path:
    """Write the page about a run.

    Args:
        work_dir: Of a training, or of several seeds (`train_seeds.py`).
        out: The file; by default `report.html` in the work dir.
        config: The config that was tested; by default the one that the training dumped.
        results: Its predictions; by default `predictions` in the work dir, if it is there.
        options: Changes to the config.
        count: How many pictures of each kind.

    Raises:
        UserError: There is no run, or the predictions asked for cannot be read.
    """
    folder = Path(work_dir)
    group = read_group(folder)
    target = Path(out or folder / 'report.html')
    check_output(target)
    page = Page(folder.resolve().name)
    _add_records(page, folder, group)
    page.metrics = list(_metrics(read_seeds([folder])))
    _add_curves(page, group)
    chosen = results or str(folder / PREDICTIONS)
    if results or Path(chosen).is_dir():
        try:
            cfg = load_config(config or _dumped(folder), options)
            _add_predictions(page, cfg, chosen, count)
        except UserError as error:
            if results:
                raise
            page.notes.append(f'{chosen} is not shown whole: {error}')
    else:
        page.notes.append(
            'No predictions: tools/test.py CONFIG CHECKPOINT --out WORK_DIR/predictions writes '
            'them, and this page then has metrics by class and pictures.'
        )
    write_output(target, render(page))
    return target


def render(page: Page) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters['shown'] = shown
    now = datetime.now().astimezone().isoformat(' ', 'minutes')
    return environment.get_template('page.html').render(page=page, now=now, version=__version__)


def _dumped(folder: Path) -> str:
    """The config that a training wrote into its work dir."""
    found = [path for work_dir in work_dirs_in(folder) for path in work_dir.glob('*.py')]
    if not found:
        raise UserError(f'no config in {folder}', do='give the one that was tested: --config FILE')
    return str(max(found, key=lambda path: path.stat().st_mtime))


def _add_records(page: Page, folder: Path, group: Group) -> None:
    """What the newest training says of itself, and a line for each start."""
    records = [
        record
        for work_dir in work_dirs_in(folder)
        for record in records_in(work_dir)
        if record['run']['task'] == 'train'
    ]
    page.starts = [_start(record) for record in records]
    if not records:
        page.notes.append(
            'This run has no record.json, so that seed, versions and data are unknown.'
        )
        return
    record = records[-1]
    run, outcome, code = record['run'], record['outcome'], record['code']['mmvisattn']
    page.summary = [
        ('status', outcome['status'] + (f': {outcome["error"]}' if 'error' in outcome else '')),
        ('started', run['start']),
        ('seed', str(run['seed'])),
        ('processes', str(run['world_size'])),
        ('machine', ', '.join([record['machine']['cpu'] or '', *record['machine']['gpus']])),
        ('revision', str(code.get('revision') or code['version'])[:12]),
    ]
    page.speed = list(_speed(record, group))
    page.config = record['config']['text']
    for name in ('run', 'code', 'packages', 'machine', 'environment', 'weights', 'data', 'outcome'):
        rows = list(_flat('', record[name]))
        if rows:
            page.record.append((name, rows))


def _metrics(runs: list[SeedRun]) -> Iterator[tuple[str, str]]:
    """Of the last validation: mean and standard deviation of several seeds that ended well."""
    spreads = summarize(runs)
    several = len(runs) > 1 and spreads
    last = next((run for run in reversed(runs) if run.metrics), runs[-1])
    for key, value in last.metrics.items() if not several else ():
        yield key, f'{value:.4g}'
    for key, over in spreads.items() if several else ():
        std = '' if over.std is None else f' +- {over.std:.2g}'
        yield key, f'{over.mean:.4g}{std} (of {_seeds(over.values)})'


def _seeds(what: Sequence) -> str:
    return f'{len(what)} seed' + 's' * (len(what) > 1)


def _start(record: dict) -> list[str]:
    run, outcome = record['run'], record['outcome']
    seconds = outcome.get('wall_seconds')
    steps = (str(run.get('first_iter', '')), str(outcome.get('iter', '')))
    took = '' if seconds is None else duration(seconds)
    return [run['start'], str(run['seed']), *steps, outcome['status'], took]


def _speed(record: dict, group: Group) -> Iterator[tuple[str, str]]:
    """Times and memory: medians over what was logged, so that a slow start does not count."""
    lines, outcome = group.runs[-1].lines, record['outcome']
    for key, name in (('time', 'a step takes'), ('data_time', 'of which data'),
                      ('val/time', 'a batch of the validation takes')):  # fmt: skip
        if key in lines:
            yield name, f'{1000 * float(np.median(lines[key][1])):.0f} ms'
    if 'memory' in lines:
        yield 'memory of the GPU', f'{float(lines["memory"][1].max()):.0f} MiB'
    if 'wall_seconds' in outcome:
        yield 'the last start took', duration(outcome['wall_seconds'])
    memory = (outcome.get('peak_memory') or {}).get('process')
    if memory:
        yield 'memory of the process', f'{memory / 2**30:.2f} GiB'


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min {rest:02d} s'


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Nested fields as rows of dotted names and text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f'{name}.{key}' if name else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flat(f'{name}.{number}' if name else str(number), item)
    elif value not in (None, [], ''):
        yield name, ', '.join(map(str, value)) if isinstance(value, list) else str(value)


def _add_curves(page: Page, group: Group) -> None:
    keys = default_keys([group])
    metrics = dict.fromkeys(key for run in group.runs for key in run.metrics)
    more = [key for key in ('lr', *metrics) if key not in keys]
    for key in [*keys, *more][:6]:
        having = [run for run in group.runs if key in run.lines]
        if not having:
            continue
        steps, values = having[-1].lines[key]
        ends = (f'{values[i]:.4g} at iteration {steps[i]:.0f}' for i in (0, -1))
        caption = f'{key}: {", ".join(dict.fromkeys(ends))}'
        if len(group.runs) > 1:
            caption += f', of {having[-1].name}, the last of {_seeds(having)}'
        page.curves.append(Figure(Markup(svg(draw_curves([group], [key]), caption)), caption))


def _add_predictions(page: Page, cfg: Config, results: str, count: int) -> None:
    predicted = read_predicted(cfg, results)
    page.tables = predicted.details()
    page.errors = predicted.errors()
    caption = f'Percent of the {page.errors.unit}, by {page.errors.source}'
    page.breakdown = Figure(Markup(svg(draw_errors(page.errors), caption)), caption)
    page.confusion = _confusion(page, predicted)
    _add_pictures(page, cfg, predicted, count)


def _confusion(page: Page, predicted: Predicted) -> Figure | None:
    try:
        confusion = predicted.confusion()
    except UserError:  # of keypoints
        return None
    if len(confusion.predicted) > MOST_COLUMNS:
        page.notes.append(
            f'The confusion of {len(confusion.predicted)} classes is too large for a page: '
            'tools/analysis_tools/confusion_matrix.py draws it.'
        )
        return None
    caption = f'Percent of the true {confusion.unit}; rows are true classes, columns predicted ones'
    return Figure(Markup(svg(draw_confusion(confusion), caption)), caption)


def _add_pictures(page: Page, cfg: Config, predicted: Predicted, count: int) -> None:
    task = read_pictures(cfg, predicted.folder)
    scores = {score.path: score.value for score in predicted.scores()}
    chosen = {
        'Worst pictures': (
            sorted(scores, key=lambda path: (scores[path], path))[:count],
            f'the lowest by {predicted.scored_by}',
        ),
        'Pictures at even distances': (spread(task.paths, count), 'as the data set has them'),
    }
    for title, (paths, about) in chosen.items():
        rows = []
        for path, row in zip(paths, rows_of(task, paths), strict=True):
            score = f'{predicted.scored_by}: {scores[path]:.1f}' if path in scores else ''
            shown = [(name, data_url(one)) for name, one in zip(TITLES, row, strict=True)]
            rows.append((Path(path).name, score, shown))
        page.pictures.append(Pictures(title, about, rows))


def data_url(picture: NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) within the page, at most `WIDTH` pixels wide."""
    image = Image.fromarray(np.asarray(picture, np.uint8))
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)))
    out = io.BytesIO()
    image.save(out, 'JPEG', quality=85)
    return f'data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}'
