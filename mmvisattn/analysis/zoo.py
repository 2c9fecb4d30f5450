"""`docs/model_zoo.md`: what each config costs, what was published of it, and what we measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..weights import published
from .bench.page import RESULTS
from .bench.report import MIB, read_json
from .catalogue import Entry, entries
from .metafiles import COUNTS
from .scores import Scores, scores_of

INTRODUCTION = """\
Written by `python tools/analysis_tools/write_pages.py` from the configs, the metafiles in
`configs/metafiles`, the records in `docs/model_zoo` and the measurements in `docs/performance`; a
test compares it with them. `model-index.yml` names the metafiles, for OpenMMLab's tools.

- **Parameters** are in millions, **costs** in billions of multiply-adds for the picture named above
  the table (height x width), both counted. What the first stage of a detector leaves to the second
  varies: \\* marks the cost of backbone, neck and RPN alone. Mask2Former's is not counted.
- **Published** scores are reported by the papers or people named in [configs.md](configs.md), from
  their own trainings, not ours.
- **Ours** is measured by us: mean and standard deviation (over n - 1) of the seeds whose records
  are beside the one that the number leads to. A config without a record has no number here: nobody
  has trained these recipes to the end yet, and no weights of whole models are published.
- **Backbone weights** are ImageNet weights by others, which the config downloads
  ([the list below](#backbone-weights)); where the cell is empty, training starts from random ones.
"""
SPEED = """\
## Speed and memory of the backbones: {device}

Pictures of 256 x 256, {dtype}, PyTorch's threads: {threads}. Milliseconds for each picture, MiB of
the tensors that live at once for the whole batch, beside inputs and parameters. Peers, quartiles,
training and inference of whole models: [performance.md](performance.md). Networks that are missing
here were not measured.

| backbone | batch | inference, ms | training step, ms | inference, MiB | training step, MiB |
| --- | ---: | ---: | ---: | ---: | ---: |"""
WEIGHTS = """\
## Backbone weights

`checkpoint='NAME'` of `mmvisattn.CheckedPretrained`, or `--pretrained NAME`. Where a digest is
published (the first digits of the file's sha256, which OpenMMLab and timm put into its name), a
file with another is refused. Files put into `$MMVISATTN_WEIGHTS` are not downloaded.

| name | network | file | sha256 begins | mirrors |
| --- | --- | --- | --- | ---: |"""
DEMO = """\
## Scores on the embedded data

The same recipe for every network of a table, from random weights, on the data that
`tools/make_demo_data.py` draws: they compare what the networks learn in minutes from a few hundred
drawn pictures, and say nothing about photographs. Several seeds each; "not trained" where there is
no record. To repeat a row, or to add one (`max_iters` is its number of steps):

<!-- tested: tests/test_records.py::test_several_seeds_end_with_mean_and_std -->
```sh
python tools/train_seeds.py configs/upernet_van_b0_demo.py --seeds 0 1 2 \\
    --work-dir work_dirs/demo --cfg-options max_iters=200
```

<!-- tested: tests/test_zoo.py::test_the_newest_finished_records_are_kept -->
```sh
python tools/analysis_tools/write_pages.py --keep work_dirs/demo
```
"""
# Networks of the libraries as the benchmarks call them.
PEERS = {'swin_t of mmdet': 'swin_t', 'convnext_t of mmpretrain': 'convnext_t'}


def markdown(counts: dict[str, dict[str, int]]) -> str:
    """The text of docs/model_zoo.md.

    Args:
        counts: What was counted of each config, by its name.
    """
    found = entries()
    demos = [entry for entry in found if entry.name.endswith('_demo')]
    others = [entry for entry in found if entry not in demos]
    parts = [
        _section(task, [entry for entry in others if entry.task == task], counts)
        for task in dict.fromkeys(entry.task for entry in others)
    ]
    demo_parts = [DEMO]
    for task in dict.fromkeys(entry.task for entry in demos):
        demo_parts += _demo_section(task, [e for e in demos if e.task == task], counts)
    blocks = ['# Model zoo\n', INTRODUCTION, *demo_parts, *_speed(), *_flat(parts), *_weights()]
    return '\n'.join(blocks)


def _flat(parts: Iterable[Iterable[str]]) -> Iterator[str]:
    for part in parts:
        yield from part


def _section(task: str, members: list[Entry], counts: dict) -> Iterator[str]:
    """A task, with a table for each framework."""
    yield f'## {task}\n'
    frameworks = dict.fromkeys((e.framework, e.about, e.picture) for e in members)
    for framework, about, picture in frameworks:
        yield f'### {framework}\n'
        yield f'{about} Costs at {picture[0]} x {picture[1]}.\n'
        yield _row('config', 'parameters', 'cost', 'published', 'ours', 'backbone weights')
        yield _row('---', '---:', '---:', '---', '---', '---')
        for entry in members:
            if entry.framework == framework:
                yield _row(
                    _link(entry),
                    *_costs(counts[entry.name]),
                    entry.reported[0] if entry.reported else '',
                    _ours(scores_of(entry)),
                    _source(entry.weights),
                )
        yield ''


def _demo_section(task: str, members: list[Entry], counts: dict) -> Iterator[str]:
    found = {entry: scores_of(entry) for entry in members}
    names = list(dict.fromkeys(name for s in found.values() if s for name in s.metrics))
    yield f'### {task} of embedded scenes\n'
    yield _row('config', 'parameters', *(names or ['score']), 'seeds', 'steps')
    yield _row('---', *['---:'] * (1 + max(len(names), 1)), '---', '---:')
    for entry, scores in found.items():
        parameters, _ = _costs(counts[entry.name])
        if scores:
            values = [_spread(scores, name) for name in names]
            values[0] = f'[{values[0]}]({_record(scores)})'
            ending = [', '.join(map(str, scores.seeds)), str(scores.steps or '')]
        else:
            values, ending = ['not trained'] + [''] * (len(names) - 1), ['', '']
        yield _row(_link(entry), parameters, *values, *ending)
    yield ''
    if len({scores.data for scores in found.values() if scores}) > 1:
        yield '**Not comparable**: the records name different data.\n'
    if len({scores.steps for scores in found.values() if scores}) > 1:
        yield '**Not comparable**: some were trained for longer.\n'


def _costs(counts: dict[str, int]) -> tuple[str, str]:
    _, whole, first_stage = COUNTS
    cost = ''
    if whole in counts:
        cost = f'{counts[whole] / 1e9:.1f}'
    elif first_stage in counts:
        cost = f'{counts[first_stage] / 1e9:.1f}\\*'
    return f'{counts["Parameters"] / 1e6:.1f}', cost


def _ours(scores: Scores | None) -> str:
    if scores is None:
        return ''
    text = ', '.join(f'{name} {_spread(scores, name)}' for name in scores.metrics)
    return f'[{text}]({_record(scores)})'


def _record(scores: Scores) -> str:
    """Of the first seed; those of the others are beside it."""
    return f'{scores.folder.removeprefix("docs/")}/seed_{scores.seeds[0]}.json'


def _spread(scores: Scores, name: str) -> str:
    spread = scores.metrics[name]
    deviation = '' if spread.std is None else f' ± {spread.std:.1f}'
    return f'{spread.mean:.1f}{deviation}'


def _link(entry: Entry) -> str:
    return f'[`{entry.name}`](../configs/{entry.path.name})'


def _source(weights: str | None) -> str:
    if not weights or weights in published():
        return f'`{weights}`' if weights else ''
    return f"[its authors']({weights})" if weights.startswith('https:') else f'`{weights}`'


def _speed() -> Iterator[str]:
    """The backbones' own rows of the benchmark; of those measured twice, the later."""
    for path in sorted(RESULTS.glob('*_backbone.json')):
        report = read_json(path)
        networks = {entry.network for entry in entries()}
        measured: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
        for row in report.rows:
            name = PEERS.get(row.peer, row.peer.removesuffix('_224'))
            if name in networks and '256x256' in row.title:
                batch = int(row.title.rpartition('batch ')[2])
                milliseconds = row.milliseconds[0] / batch
                measured.setdefault((name, batch), {})[row.run] = milliseconds, row.memory / MIB
        yield SPEED.format(**report.setting)
        for (name, batch), runs in sorted(measured.items()):
            columns = [runs.get('inference'), runs.get('training step')]
            cells = [f'{c[which]:.0f}' if c else '' for which in (0, 1) for c in columns]
            yield _row(f'`{name}`', str(batch), *cells)
        yield ''


def _weights() -> Iterator[str]:
    yield WEIGHTS
    for name, checkpoint in published().items():
        url, digits = next(iter(checkpoint.mirrors.items()))
        network = f'{checkpoint.network} `{checkpoint.arch}`'
        file = f'[{url.rpartition("/")[2]}]({url})'
        yield _row(f'`{name}`', network, file, digits or '', str(len(checkpoint.urls)))
    yield ''


def _row(*cells: str) -> str:
    return f'| {" | ".join(cells)} |'
