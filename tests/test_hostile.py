"""Files that were made to do harm, and files that came to it: refused, and nothing of them runs."""

import ast
import json
import random
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import hostile
import pytest
from conftest import DEMO_CONFIG, ROOT

SECONDS = 30  # that a file may take: of small ones a sound reader takes some hundredths of one
SEED = 6
WORDS = ('tried', 'accepted', 'refused', 'otherwise')


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
