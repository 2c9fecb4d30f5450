"""Files that were made to do harm, and files that came to it: refused, and nothing of them runs."""

import ast
import json
import pickle
import random
import select
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from conftest import DEMO_CONFIG, ROOT
from mmengine.dataset import BaseDataset
from mmengine.logging import HistoryBuffer
from mmpretrain.datasets.utils import extract_archive

from mmvisattn.datasets.checks import check_coco_file
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.run import test as run_test
from mmvisattn.engine.run import train
from mmvisattn.errors import UserError
from mmvisattn.weights import guard_libraries, read_checkpoint

SECONDS = 30  # that a file may take: of small ones a sound reader takes some hundredths of one
SEED = 6
WORDS = ('tried', 'accepted', 'refused', 'otherwise')


@pytest.fixture(autouse=True)
def careless_pytorch(monkeypatch):
    """A run of another test has held PyTorch to plain data in this process; here it is compared."""
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)


class Reader:
    """`hostile_reader.py` in a process of its own, started anew if a file ends it."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        folder.mkdir()
        truth = hostile.coco()
        for annotation in truth['annotations']:  # for poses, too
            annotation.update(keypoints=[1, 1, 2] * 17, num_keypoints=17)
        (folder / 'truth.json').write_text(json.dumps(truth))
        self.start()

    def start(self):
        self.log = (self.folder / 'log.txt').open('w')
        self.process = subprocess.Popen(
            [sys.executable, ROOT / 'tests/hostile_reader.py'],
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True,
        )  # fmt: skip
        assert self.answer(120) == 'ready', (self.folder / 'log.txt').read_text()[-3000:]

    def answer(self, seconds):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return f'hang: no answer in {seconds} s'
        line = self.process.stdout.readline()
        return json.loads(line) if line else f'crash: status {self.process.wait()}'

    def read(self, kind, path):
        """What becomes of a file."""
        print(kind, path, sep='\t', file=self.process.stdin, flush=True)
        said = self.answer(SECONDS)
        if said.startswith(('hang', 'crash')):
            self.stop()
            self.start()
        if (self.folder / 'executed').exists():
            (self.folder / 'executed').unlink()
            said = f'executed ({said})'
        return said

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp('hostile') / 'reader')
    yield made
    made.stop()


@pytest.fixture(scope='module')
def checkpoint(reader):
    """What a run wrote."""
    return reader.folder / 'run' / 'iter_2.pth'


class Tally:
    """What became of how many files of each kind."""

    def __init__(self):
        self.counts, self.bad, self.start = Counter(), [], time.monotonic()

    def add(self, kind, path, said, sound=None):
        word = said.partition(':')[0]
        self.counts[kind, word if word in WORDS else WORDS[-1]] += 1
        wanted = {True: ['accepted'], False: ['refused'], None: ['accepted', 'refused']}[sound]
        if word not in wanted:
            self.bad.append(f'{kind} {Path(path).name} is to be {" or ".join(wanted)}: {said}')

    def report(self, capsys, record_property, title):
        rows = []
        for kind in sorted({kind for kind, _ in self.counts}):
            numbers = [self.counts[kind, word] for word in WORDS[1:]]
            row = (
                f'{n:6d} {word}' for n, word in zip([sum(numbers), *numbers], WORDS, strict=True)
            )
            rows.append(f'{kind:<9}{" ".join(row)}')
            for word, count in zip(WORDS[1:], numbers, strict=True):
                record_property(f'{kind}_{word}', count)
        record_property('tried', self.counts.total())
        record_property('refused', sum(n for (_, w), n in self.counts.items() if w == 'refused'))
        with capsys.disabled():
            took = time.monotonic() - self.start
            print(f'\n{title}: {self.counts.total()} files in {took:.1f} s', *rows, sep='\n')
        assert not self.bad, '\n'.join(self.bad)


def test_files_made_to_do_harm_are_refused(reader, checkpoint, tmp_path, capsys, record_property):
    tally = Tally()
    made = {**hostile.MAKERS, 'weights': lambda folder: hostile.weights(folder, checkpoint)}
    for name, maker in made.items():
        (tmp_path / name).mkdir()
        for kind, path, sound in maker(tmp_path / name):
            tally.add(kind, path, reader.read(kind, path), sound)
    tally.report(capsys, record_property, 'made by hand')
    escaped = [*tmp_path.rglob('escaped'), *reader.folder.rglob('escaped')]
    assert not [path for path in escaped if reader.folder / 'unpacked' not in path.parents]


@pytest.mark.parametrize('each', [20, pytest.param(250, marks=pytest.mark.slow)])
def test_files_that_came_to_harm_are_read_or_refused(
    reader, checkpoint, tmp_path, capsys, record_property, each
):
    rng, tally = random.Random(SEED), Tally()
    for kind, name, content, mutators in hostile.seeds(tmp_path, checkpoint):
        path = tmp_path / name
        path.write_bytes(content)
        tally.add(kind, path, reader.read(kind, path), sound=True)
        for number in range(each):
            mutator = mutators[number % len(mutators)]
            path.write_bytes(mutator(content, rng))
            said = reader.read(kind, path)
            tally.add(kind, path, said)
            if not said.startswith(('accepted', 'refused')):
                path.rename(tmp_path / f'{number} {name}')  # to be looked at
        path.unlink(missing_ok=True)
    tally.report(capsys, record_property, 'mutated')


@pytest.mark.parametrize('each', [40, pytest.param(400, marks=pytest.mark.slow)])
def test_configs_that_came_to_harm_are_refused_unrun(
    reader, tmp_path, capsys, record_property, each
):
    """A config is code: one that is still Python would run, and is left out."""
    rng, tally = random.Random(SEED), Tally()
    text, path = (ROOT / DEMO_CONFIG).read_bytes(), tmp_path / 'config.py'
    while tally.counts.total() < each:
        changed = hostile.mutated(text, rng)
        try:
            ast.parse(changed)
        except (SyntaxError, ValueError):
            path.write_bytes(changed)
            tally.add('config', path, reader.read('config', path), sound=False)
    tally.report(capsys, record_property, 'mutated configs')


def test_the_reader_sees_what_runs(reader, tmp_path):
    """Else it would prove nothing: files of our own do what none of the others may."""
    path = tmp_path / 'config.py'
    for code, event in {
        'import os; os.system("true")': 'exec',
        'x = (': 'refused',
    }.items():
        path.write_text(code)
        assert reader.read('config', path).startswith(('executed', 'refused'))
        assert event in reader.read('config', path)


def test_what_checkpoints_hold_comes_back_as_it_was(tmp_path):
    """Stand-ins for numpy's functions read what numpy's own would, under its older names too."""
    numbers = np.arange(6.0).reshape(2, 3)
    content = {
        'arrays': [numbers, numbers.T, numbers.astype('>i4'), numbers[:0], numbers > 2],
        'random': ('MT19937', np.arange(624, dtype=np.uint32), 624),
        'scalars': (np.float32(0.5), np.int64(3)),
        'log': HistoryBuffer([1.0, 3.0], [1, 1]),
        'args': Namespace(rate=0.1, sizes=[numbers]),
        'shape': torch.Size([1, 2]),
    }
    shared = content['args'].sizes[0] = content['arrays'][0]
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    older = path.read_bytes().replace(b'cnumpy._core.', b'cnumpy.core.')
    read = read_checkpoint(path)
    assert older != path.read_bytes()
    for found in (read, torch.load(path, weights_only=False)):
        for mine, theirs in zip(found['arrays'], content['arrays'], strict=True):
            assert type(mine) is np.ndarray
            assert mine.dtype == theirs.dtype.newbyteorder('=')  # as numpy's own reader has it
            np.testing.assert_array_equal(mine, theirs)
    assert read['args'].sizes[0] is read['arrays'][0]
    assert shared is not read['arrays'][0]
    assert read['random'][1].dtype == np.uint32
    assert read['scalars'] == content['scalars']
    assert read['log'].mean() == 2
    assert type(read['log'].mean()) is np.float64
    assert read['shape'] == torch.Size([1, 2])


@pytest.mark.parametrize(
    'name', ['https://example.com/c.py', 'a.zip', 'a.zip/c.py', 'a.pth', 'far.py', 'within.py']
)
def test_the_tools_take_no_config_from_elsewhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for archive in ('a.zip', 'a.pth'):
        with zipfile.ZipFile(archive, 'w') as made:
            made.writestr('c.py', 'import os; os.mkdir("executed")')
    Path('far.py').write_text("_base_ = 'https://example.com/c.py'")
    Path('within.py').write_text("_base_ = 'a.zip/c.py'")
    for parser, tool, more in ((train_parser, train, []), (parser_of_test, run_test, ['x.pth'])):
        with pytest.raises(UserError, match='configs are code'):
            tool(parser().parse_args([name, *more]))
    assert not Path('executed').exists()


def test_pickled_annotations_are_plain_data_or_vouched_for(tmp_path, monkeypatch):
    """As every library reads them."""
    guard_libraries()
    monkeypatch.chdir(tmp_path)
    Path('x.pkl').write_bytes(
        pickle.dumps({'metainfo': OrderedDict(), 'data_list': [{'img_path': 'x'}]})
    )
    settings = dict(ann_file='x.pkl', pipeline=[])
    with pytest.raises(UserError, match='MMVISATTN_TRUSTED_GLOBALS=collections.OrderedDict'):
        BaseDataset(**settings)
    monkeypatch.setenv('MMVISATTN_TRUSTED_GLOBALS', 'collections.OrderedDict')
    assert len(BaseDataset(**settings)) == 1
    Path('x.pkl').write_bytes(pickle.dumps(hostile.Evil()))
    with pytest.raises(UserError, match='would run code'):
        BaseDataset(**settings)
    assert not Path('executed').exists()


def test_mmpretrain_unpacks_within_the_folder(tmp_path):
    guard_libraries()
    (tmp_path / 'archives').mkdir()
    (tmp_path / 'data' / 'mine').mkdir(parents=True)
    for _, path, sound in hostile.archives(tmp_path / 'archives'):
        if sound is False:
            with pytest.raises(tarfile.TarError):
                extract_archive(str(path), str(tmp_path / 'data' / 'mine'))
    assert not list((tmp_path / 'data').rglob('*'))[1:]


def test_names_in_annotations_do_not_reach_the_terminal(tmp_path):
    hostile.pictures_beside(tmp_path)
    content = hostile.coco()
    content['images'][0]['file_name'] = '\x1b[2J\ud800'
    (tmp_path / 'x.json').write_text(json.dumps(content))
    (problem,) = check_coco_file(tmp_path / 'x.json', tmp_path)
    assert problem.endswith(r': \x1b[2J\ud800')
    assert problem.isprintable()


def test_a_picture_outside_of_its_folder_is_mentioned(tmp_path):
    hostile.pictures_beside(tmp_path)
    (tmp_path / 'pictures').mkdir()
    shutil.copy(tmp_path / '2.jpg', tmp_path / 'pictures')
    content = hostile.coco()
    content['images'][0]['file_name'] = '../1.jpg'
    (tmp_path / 'x.json').write_text(json.dumps(content))
    report = check_coco_file(tmp_path / 'x.json', tmp_path / 'pictures')
    assert report == []
    assert any('outside of' in note and '../1.jpg' in note for note in report.notes)
