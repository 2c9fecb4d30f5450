"""The benchmark: its peers equal ours, and every subcommand measures, prints and writes."""

import json
import time

import pytest
import torch
from conftest import ROOT, run_tool
from test_ops import CASES, results

from mmvisattn import ops
from mmvisattn.analysis.bench import backbones, data, evaluation, operators, page, references, tasks
from mmvisattn.analysis.bench.measure import (
    Bench,
    Contest,
    Effort,
    Peer,
    growth_exponent,
    peak_memory,
)
from mmvisattn.analysis.bench.report import Report, plot, read_json, table, write_json
from mmvisattn.analysis.bench.run import SUITES, run
from mmvisattn.errors import UserError

# Two orders of the same few hundred sums in double precision differ by about 1e-13.
EXACT = dict(rtol=1e-10, atol=1e-10)
CPU = torch.device('cpu')


class Quick(Bench):
    """A bench that measures each peer twice, once each time."""

    def __init__(self, **settings):
        super().__init__(short=True, **settings)
        self.effort = Effort(rounds=2, seconds=0.0)


def valid(report):
    """Every row has its numbers, and each title begins with what the others are compared with."""
    assert report.rows
    seen = set()
    for row in report.rows:
        median, low, high = row.milliseconds
        assert 0 < low <= median <= high
        slowest, fastest = row.speedup[1:]
        assert 0 < slowest <= row.speedup[0] <= fastest
        if (row.title, row.run) not in seen:
            assert row.speedup == [1, 1, 1]
        seen.add((row.title, row.run))
    return {row.peer for row in report.rows if row.chosen}


# ---- what we compare with


# What is published has odd kernels.
@pytest.mark.parametrize('name', [name for name in CASES if not name.endswith('-even')])
def test_published_forms_compute_what_ours_do(name):
    case = CASES[name]
    tensors, options = case.at(2, 9, 5)
    expected = results(case.operator, tensors, options)
    with references.as_published():
        published = results(case.operator, tensors, options)
    torch.testing.assert_close(published, expected, **EXACT)


def test_published_forms_are_what_runs_inside():
    case = CASES['cycle-1x3']
    tensors, options = case.at(1, 4, 4)
    names = {}
    for name, context in (('published', references.as_published()), ('ours', torch.no_grad())):
        with context, torch.profiler.profile() as recorded:
            case.operator(**tensors, **options)
        names[name] = {event.name for event in recorded.events()}
    assert any('deform_conv2d' in name for name in names['published'])
    assert not any('deform_conv2d' in name for name in names['ours'])


@pytest.mark.parametrize('name', ['van_b0', 'cyclemlp_b1', 'coatnet_0', 'sasa_r26'])
def test_every_operator_of_a_network_has_a_published_form(name):
    """One without would be ours in what ours is compared with."""
    with torch.device('meta'):
        network = backbones.ours(name)
        with ops.counting() as counts:
            network(torch.empty(1, 3, 64, 64))
    assert counts.keys() <= references.PUBLISHED.keys()
    assert counts


def test_half_precision_has_a_published_form():
    tensors, options = CASES['cycle-1x3'].at(1, 4, 4, torch.bfloat16)
    with references.as_published():
        out = CASES['cycle-1x3'].operator(**tensors, **options)
    assert out.dtype is torch.bfloat16


@pytest.mark.parametrize('case', operators.CASES, ids=lambda case: case.title)
def test_problems_of_the_benchmark_have_one_answer(case):
    bench = Quick()
    problem = case.make(bench, 1, 64, 5, 6)
    for tensor in problem.tensors.values():
        tensor.requires_grad_()
    variants = list(operators._variants(case.published, problem, bench))
    assert len(variants) > 1
    (_, published, _), *rest = variants
    for name, ours, _ in rest:
        # float32, and sums of some hundred numbers about 1
        torch.testing.assert_close(
            ours.inference(), published.inference(), rtol=1e-4, atol=1e-4, msg=name
        )
        torch.testing.assert_close(
            ours.training(), published.training(), rtol=1e-3, atol=1e-3, msg=name
        )


# ---- measuring


def test_peers_take_turns_and_are_compared_round_by_round():
    turns = []

    def sleeper(name, seconds):
        def run():
            turns.append(name)
            time.sleep(seconds)

        return run

    bench = Quick()
    peers = [Peer('slow', sleeper('slow', 0.02)), Peer('fast', sleeper('fast', 0.005), True)]
    slow, fast = bench.rows(Contest('sleep', 'once', peers, images=4))
    assert turns[-6:-2] == ['slow', 'fast', 'fast', 'slow']  # then each once for its memory
    assert slow.milliseconds[0] >= 20
    assert fast.speedup[0] > 1
    assert fast.rate == pytest.approx(4e3 / fast.milliseconds[0])
    assert slow.share is None


def test_share_of_the_limit():
    bench = Quick()
    a = torch.randn(512, 512)
    peer = Peer('product', lambda: a @ a, operations=2 * 512**3)
    (row,) = bench.rows(Contest('product', 'once', [peer]))
    assert row.share == pytest.approx(2 * 512**3 / bench.limits().rate / row.milliseconds[0] * 1e3)


def test_memory_is_that_of_tensors_that_live_at_once():
    def three_of_them_two_at_once():
        first = torch.ones(1000)
        second = first + 1
        del first
        return second + 1

    assert 8000 <= peak_memory(CPU, three_of_them_two_at_once) < 8400


@pytest.mark.parametrize('exponent', [1, 2])
def test_growth(exponent):
    pixels = [100, 400, 1600]
    assert growth_exponent(pixels, [3 * n**exponent for n in pixels]) == pytest.approx(exponent)


# ---- the suites


@pytest.mark.parametrize('case', operators.CASES, ids=lambda case: case.title)
def test_op(case):
    small = operators.Case(case.title, case.published, case.make, [(1, 32, 6, 6)])
    report = operators.report(Quick(), [small])
    assert valid(report)
    assert {row.run for row in report.rows} == {'forward', 'forward + backward'}
    assert all(row.share > 0 and row.memory > 0 for row in report.rows)


@pytest.mark.parametrize(
    'title',
    [
        'VAN 32x',
        *(pytest.param(t, marks=pytest.mark.slow) for t in ('CycleMLP', 'SASA', 'CoAtNet,')),
    ],
)
def test_backbone(title):
    report = backbones.report(Quick(only=title, size=(32, 32)))
    assert len(valid(report)) == 1
    assert {row.run for row in report.rows} == {'inference', 'training step'}
    assert any('bf16' in row.peer for row in report.rows)
    assert len(report.growth) == (0 if ',' in title else 1)


DEMOS = [
    tasks.Task('UPerNet', 'upernet_{}_demo', 'ade20k', (64, 64), (64, 64)),
    tasks.Task('Mask R-CNN', 'mask_rcnn_{}_demo', 'coco', (64, 64), (64, 64)),
]


@pytest.mark.parametrize(
    ('task', 'training'),
    [
        (DEMOS[0], True),
        (DEMOS[0], False),
        pytest.param(DEMOS[1], True, marks=pytest.mark.slow),
        pytest.param(DEMOS[1], False, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, 'title', 'train' if value else 'infer'),
)
def test_tasks(task, training, monkeypatch):
    released = tasks.RELEASED_VAN | dict(arch='t')
    few = [
        tasks.Entrant('released', 'van_b0', backbone=released),
        tasks.Entrant('published', 'van_b0', published=True),
        tasks.Entrant('van_b0', 'van_b0', chosen=True),
        tasks.Entrant('amp', 'van_b0', switches='--amp bf16')
        if training
        else tasks.Entrant('folded', 'van_b0', folded=True),
    ]
    monkeypatch.setattr(tasks, 'contestants', lambda *_: [('VAN', few)])
    report = tasks.report(Quick(), training, [task])
    updates = ['torch.optim.AdamW', 'fused'] if training else []
    assert valid(report) == {'van_b0', *updates[1:]}
    assert [row.peer for row in report.rows] == [*(entrant.name for entrant in few), *updates]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('short', [True, False])
def test_every_contestant_has_its_config(short, training):
    for task in tasks.TASKS:
        for _, entrants in tasks.contestants(short, training):
            assert not entrants[0].chosen
            assert sum(entrant.chosen for entrant in entrants) == 1
            for entrant in entrants:
                assert (ROOT / 'configs' / f'{task.config.format(entrant.network)}.py').is_file()


def test_data(monkeypatch):
    monkeypatch.setattr(data, 'PICTURES', {True: 2})
    report = data.report(Quick())
    last = [row for row in report.rows if row.chosen]
    assert [row.title for row in last] == [*data.PIPELINES]
    assert {row.peer for row in last} == {'all'}
    for row in report.rows:
        assert row.rate == pytest.approx(1e3 / row.milliseconds[0])
        assert row.rate >= next(one.rate for one in last if one.title == row.title)
    assert 'embedded' in report.notes[0]


def test_data_of_ones_own(ade20k):
    folder = ade20k.parent
    report = data.report(Quick(only='upernet', data=folder))
    assert report.rows
    assert not report.notes
    with pytest.raises(FileNotFoundError):
        data.report(Quick(only='mask_rcnn', data=folder / 'nothing'))


def test_eval(monkeypatch):
    monkeypatch.setattr(evaluation, 'PICTURES', {True: (4,)})
    report = evaluation.report(Quick(size=(32, 48)))
    assert valid(report) == {
        'mmvisattn.IoUMetric', 'mmvisattn.EncoderDecoder', 'faster-coco-eval',
    }  # fmt: skip


def test_label_maps_of_both_segmentors_are_equal(tmp_path):
    first, second = evaluation._label_maps(Quick(), (32, 48), tmp_path / 'ade20k')
    for one, other in zip(first.run(), second.run(), strict=True):
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
        assert one.pred_sem_seg.data.shape[-2:] == (32, 48)


def test_both_evaluators_find_the_same_precision(tmp_path):
    for kind in ('bbox', 'segm'):
        peers = evaluation._coco(20, kind, tmp_path)
        expected, found = (peer.run() for peer in peers)
        assert found == pytest.approx(expected, abs=1e-9)
        assert 0.01 < expected < 0.99


# ---- what is written


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """One run of the tool, as a user runs it."""
    folder = tmp_path_factory.mktemp('bench')
    done = run_tool(
        'analysis_tools/benchmark.py', 'op', '--short', '--only', 'cyclefc 2x320',
        '--json', folder / 'a' / 'op.json', '--plot', folder / 'op.png',
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    return done, folder


def test_the_tool_prints_a_table_of_100_columns(written):
    done, _ = written
    assert 'CycleFC 2x320x14x14, forward + backward' in done.output
    assert 'deform_conv2d (published)' in done.output
    assert '\n* shift' in done.output
    assert max(map(len, done.output.splitlines())) <= 100


def test_the_tool_writes_json_and_a_plot(written):
    _, folder = written
    assert [file.name for file in (folder / 'a').iterdir()] == ['op.json']
    content = json.loads((folder / 'a' / 'op.json').read_text())
    assert content['what'] == 'op'
    assert content['setting'].keys() == {
        'device', 'threads', 'dtype', 'date', 'command', 'limits', 'versions',
    }  # fmt: skip
    assert content['setting']['versions']['torch'] == torch.__version__.partition('+')[0]
    assert content['setting']['limits'].keys() == {'bandwidth', 'rate'}
    assert (folder / 'op.png').read_bytes()[1:4] == b'PNG'
    valid(read_json(folder / 'a' / 'op.json'))


def test_json_comes_back_as_it_was(written, tmp_path):
    _, folder = written
    report = read_json(folder / 'a' / 'op.json')
    write_json(report, tmp_path / 'copy.json')
    assert read_json(tmp_path / 'copy.json') == report


def test_the_page_shows_what_is_there(written, tmp_path):
    _, folder = written
    text = page.markdown(folder / 'a')
    report = read_json(folder / 'a' / 'op.json')
    assert f'## Operators: {report.setting["device"]}' in text
    assert report.setting['date'] in text
    assert 'torch ' + report.setting['versions']['torch'] in text
    assert '| CycleFC 2x320x14x14, forward |' in text
    assert '| **shift** |' in text
    assert 'No results are committed yet.' in page.markdown(tmp_path)


def test_make_bench_runs_every_suite():
    makefile = (ROOT / 'Makefile').read_text()
    (line,) = (line for line in makefile.splitlines() if line.startswith('benchmarks :='))
    assert line.split()[2:] == [*SUITES]


def test_the_page_of_performance_is_current():
    text = (ROOT / 'docs' / 'performance.md').read_text()
    assert text == page.markdown(), 'run python tools/analysis_tools/write_pages.py'


def test_growth_is_drawn_and_printed(written, tmp_path):
    _, folder = written
    report = read_json(folder / 'a' / 'op.json')
    grown = backbones.Growth('van_b9', [100, 200], [1.0, 2.0], 1.0)
    report = Report('backbone', report.setting, report.rows, [grown])
    assert 'van_b9: time grows with pixels to the power 1.00' in table(report)
    plot(report, tmp_path / 'growth.png')
    write_json(report, tmp_path / 'growth.json')
    assert '| van_b9 | 1.00 | 1.00 ms at 100, 2.00 ms at 200 |' in page.markdown(tmp_path)


@pytest.mark.parametrize('content', ['{}', '[]', 'no', '{"what": "op", "rows": [{}]}'])
def test_other_files_are_no_results(tmp_path, content):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(UserError, match='x.json is no result of a benchmark'):
        page.markdown(tmp_path)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(what='op', only='nothing'), 'op has no title with that text'),
        (dict(what='backbone', size=(8, 8)), '--size is too small'),
    ],
)
def test_bad_input_is_said(settings, message):
    with pytest.raises(UserError, match=message):
        run(**settings, short=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_the_tool_says_that_there_is_no_gpu():
    done = run_tool('analysis_tools/benchmark.py', 'op', '--device', 'cuda')
    assert done.returncode == 2
    assert 'PyTorch sees none' in done.output
    assert 'Traceback' not in done.output


def test_the_tool_refuses_other_words():
    done = run_tool('analysis_tools/benchmark.py', 'speed', '--threads', '0')
    assert done.returncode == 2
    assert "invalid choice: 'speed'" in done.output


@pytest.mark.gpu
def test_op_on_a_gpu():
    report = operators.report(Quick(device='cuda', dtype='bf16', only='CycleFC 32x320'))
    assert valid(report)
