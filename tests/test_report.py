"""The page about a run, as its reader sees it: in a browser, and without one."""

import copy
import json
import re
import runpy
import sys
from html.parser import HTMLParser

import pytest
from browser import PHONE, Browser, overflows
from conftest import DEMO_CONFIG, ROOT
from guesses import write_guess

from mmvisattn.analysis.report import write_report
from mmvisattn.analysis.report.page import duration
from mmvisattn.datasets.demo import make_data
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError

HOSTILE = '<script>alert("x")</script>'
RECORD = {
    'schema': 1,
    'run': dict(task='train', start='2026-01-01T00:00:00+00:00', seed=7, world_size=1,
                command=['train.py', HOSTILE], first_iter=0),
    'code': {'mmvisattn': dict(version='0', revision='0123456789abcdef')},
    'packages': {'torch': '2'},
    'machine': dict(cpu=HOSTILE, gpus=[]),
    'environment': {},
    'config': dict(sha256='0', text=f'a = "{HOSTILE}"'),
    'weights': [dict(purpose='pretrained', path='w.pth')],
    'data': None,
    'outcome': dict(status='finished', metrics=dict(mIoU=41.5), iter=20, wall_seconds=90,
                    peak_memory=dict(process=2**30)),
}  # fmt: skip


def log(work_dir, metric='mIoU', validated=True):
    file = work_dir / '20260101_000000/vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    rows = [dict(lr=0.1 / n, loss=3 / n, time=0.2, data_time=0.01, step=n) for n in (5, 10, 15, 20)]
    if validated:
        rows += [{metric: 41.5, 'time': 0.05, 'step': 20}]
    file.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (work_dir / '20260101_000000/record.json').write_text(json.dumps(RECORD))


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """A page with everything in it, of a folder whose name is markup."""
    folder = tmp_path_factory.mktemp('report')
    data = make_data('ade20k', folder / 'data', num_train=1, num_val=3)
    options = {'data_root': str(data), 'test_dataloader.num_workers': 0,
               'test_dataloader.persistent_workers': False}  # fmt: skip
    cfg = load_config(ROOT / DEMO_CONFIG, options)
    work_dir = folder / 'run <b>bold<|b>'
    log(work_dir)
    cfg.dump(work_dir / 'config.py')
    write_guess('segmentation', data, work_dir / 'predictions', cfg.classes)
    return write_report(str(work_dir), count=2)


class Reader(HTMLParser):
    """What a page is made of.

    Attributes:
        tags: (name, attributes) of each.
        open: Those that were not closed.
    """

    EMPTY = ('meta', 'link', 'img', 'use', 'path')

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_holds_what_it_needs(report):
    text = report.read_text()
    reader = Reader(text)
    assert reader.open == []
    addresses = [value for _, attributes in reader.tags for name, value in attributes.items()
                 if name in ('src', 'href', 'xlink:href', 'srcset', 'action')]  # fmt: skip
    assert all(address.startswith(('#', 'data:')) for address in addresses)
    assert not re.search(r'url\((?!#)|@import|@font-face', text)
    ids = [attributes['id'] for _, attributes in reader.tags if 'id' in attributes]
    assert len(ids) == len(set(ids))
    targets = [address[1:] for address in addresses if address.startswith('#')]
    assert set(targets) <= set(ids)
    names = [name for name, _ in reader.tags]
    assert names.count('h1') == 1
    assert names.count('svg') == 5  # loss, mIoU, lr, kinds of errors, confusion
    assert names.count('img') == 12  # two pictures of each kind, with truth and prediction
    assert all(attributes.get('alt') for name, attributes in reader.tags if name == 'img')
    assert all(attributes.get('scope') for name, attributes in reader.tags if name == 'th')


def test_the_page_escapes_what_it_shows(report):
    text = report.read_text()
    names = [name for name, _ in Reader(text).tags]
    assert 'script' not in names
    assert 'b' not in names
    assert text.count('&lt;script&gt;') == 4  # processor twice, command, config
    assert '<title>run &lt;b&gt;bold&lt;|b&gt; - report of a run</title>' in text


def test_the_page_says_what_is_known(report):
    text = report.read_text()
    for part in ('41.5', '200 ms', '1.00 GiB', '1 min 30 s', '0123456789ab', 'building',
                 'mIoU of the picture', 'ADE_val_00000001.jpg'):  # fmt: skip
        assert part in text, part
    assert [duration(s) for s in (59.6, 3600)] == ['1 min 00 s', '1 h 00 min']


def test_a_page_does_without_predictions_and_record(tmp_path):
    work_dir = tmp_path / 'run'
    log(work_dir)
    (work_dir / '20260101_000000/record.json').unlink()
    text = write_report(str(work_dir), str(tmp_path / 'page.html')).read_text()
    assert Reader(text).open == []
    assert 'No predictions' in text
    assert 'no record.json' in text
    assert '<img' not in text
    with pytest.raises(UserError, match='no folder'):
        write_report(str(work_dir), results=str(tmp_path / 'none'), config=str(ROOT / DEMO_CONFIG))
    with pytest.raises(UserError, match='no config in'):
        write_report(str(work_dir), results=str(tmp_path))


def test_the_tool_writes_a_page_of_seeds(tmp_path, monkeypatch, capsys):
    for seed in (0, 1):
        log(tmp_path / f'seed_{seed}')
        record = copy.deepcopy(RECORD)
        record['run']['seed'] = seed
        (tmp_path / f'seed_{seed}/20260101_000000/record.json').write_text(json.dumps(record))
    monkeypatch.setattr(sys, 'argv', ['report.py', str(tmp_path)])
    runpy.run_path(str(ROOT / 'tools/analysis_tools/report.py'), run_name='__main__')
    assert capsys.readouterr().out.endswith('report.html\n')
    text = (tmp_path / 'report.html').read_text()
    assert 'of seed_1, the last of 2 seeds' in text
    assert '41.5 +- 0 (of 2 seeds)' in text
    assert text.count('<td>finished</td><td>1 min 30 s</td>') == 2


def test_a_page_of_seeds_of_which_the_last_was_killed(tmp_path):
    """Before its first validation; and predictions lie beside the seeds."""
    data = make_data('ade20k', tmp_path / 'data', num_train=1, num_val=2)
    options = {'data_root': str(data), 'test_dataloader.num_workers': 0,
               'test_dataloader.persistent_workers': False}  # fmt: skip
    cfg = load_config(ROOT / DEMO_CONFIG, options)
    seeds = tmp_path / 'seeds'
    log(seeds / 'seed_0')
    log(seeds / 'seed_1', validated=False)
    running = copy.deepcopy(RECORD)
    running['outcome'] = dict(status='running', iter=20)
    (seeds / 'seed_1/20260101_000000/record.json').write_text(json.dumps(running))
    cfg.dump(seeds / 'seed_0/config.py')
    write_guess('segmentation', data, seeds / 'predictions', cfg.classes)
    text = write_report(str(seeds), str(tmp_path / 'new/page.html'), count=1).read_text()
    assert 'mIoU: 41.5 at iteration 20, of seed_0, the last of 1 seed' in text
    assert '41.5 (of 1 seed)' in text
    assert 'mIoU of the picture' in text
    assert 'a batch of the validation' not in text, 'the newest validated nothing'
    for path in (seeds / 'predictions').iterdir():
        path.unlink()
    text = write_report(str(seeds), str(tmp_path / 'page.html')).read_text()
    assert 'predictions is not shown whole' in text
    assert 'mIoU: 41.5' in text
    with pytest.raises(UserError, match='lacks|missing'):
        write_report(str(seeds), results=str(seeds / 'predictions'))


def test_a_page_has_the_metrics_that_an_earlier_start_found(tmp_path):
    log(tmp_path / 'run')
    resumed = copy.deepcopy(RECORD)
    resumed['run']['start'] = '2026-01-02T00:00:00+00:00'
    resumed['outcome'] = dict(status='running', iter=25)
    (tmp_path / 'run/20260102_000000').mkdir()
    (tmp_path / 'run/20260102_000000/record.json').write_text(json.dumps(resumed))
    text = write_report(str(tmp_path / 'run')).read_text()
    assert 'Metrics of the last validation' in text


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_the_page_is_read_at_any_width_in_any_light(report, browser, dark):
    for size in ((1280, 900), PHONE):
        page = browser.open(report.as_uri(), size, dark)
        assert overflows(page) == 0
        ground, ink = (
            brightness(page.evaluate(f'getComputedStyle(document.{of}).{what}'))
            for of, what in (
                ('body', 'backgroundColor'),
                ('querySelector("figure svg text")', 'fill'),
            )
        )
        assert (ground < 60 and ink > 200) if dark else (ground > 250 and ink < 60)
        broken = 'Array.from(document.images).filter(i => !i.naturalWidth).length'
        page.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
        page.wait_for_function(f'{broken} === 0', timeout=10_000)
        assert overflows(page) == 0, 'with all its parts open'
    assert all(url.startswith(('file:', 'data:')) for url in browser.requests)
    assert browser.errors == []


def brightness(colour):
    """The mean of rgb(...) as a browser computes it."""
    return sum(map(float, re.findall(r'[\d.]+', colour)[:3])) / 3


def test_the_page_is_used_by_keys_alone(report, browser):
    page = browser.open(report.as_uri())
    page.keyboard.press('Tab')
    focused = 'document.activeElement'
    assert page.evaluate(f'{focused}.className') == 'skip'
    assert page.evaluate(f'{focused}.getBoundingClientRect().left') >= 0, 'seen once it is reached'
    page.keyboard.press('Enter')
    assert page.evaluate('location.hash') == '#content'
    seen = set()
    for _ in range(60):
        page.keyboard.press('Tab')
        seen.add(page.evaluate(f'{focused}.tagName'))
        if page.evaluate(f'{focused}.tagName') == 'SUMMARY':
            style = page.evaluate(f'getComputedStyle({focused}).outlineStyle')
            assert style == 'solid', 'the focus is seen'
            before = page.evaluate(f'{focused}.parentElement.open')
            page.keyboard.press('Enter')
            assert page.evaluate(f'{focused}.parentElement.open') != before
            break
    assert {'DIV', 'SUMMARY'} <= seen, 'tables that scroll, and parts that open'


def test_the_harness_sees_a_page_that_asks_a_network(chromium, tmp_path):
    (tmp_path / 'page.html').write_text('<img src="https://example.org/a.png"><img src="b.png">')
    one = Browser(chromium)
    one.open((tmp_path / 'page.html').as_uri()).wait_for_load_state()
    assert one.outside == ['https://example.org/a.png']
    one.close()
