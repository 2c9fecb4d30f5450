"""What the documents say can be done: each command is run here or by a test, or says what it needs.

Right above each block of commands or Python stands one of these comments:

- `run`: it is run here, in a folder with `configs/` and `tools/`, the embedded data and the
  checkpoints of the demo that its page names; `run: slow` where that takes more than some seconds.
- `file: PATH`: it is written there for the blocks after it, and loaded if it is a config.
- `tested: tests/FILE.py::TEST, ...`: these tests use the same tools in the same way.
- `needs: data`, `gpu`, `cluster`, `network` or `browser`: it cannot be run in every place.
"""

import ast
import configparser
import contextlib
import doctest
import io
import os
import re
import sys

import pytest
import torch
from conftest import ROOT, run
from documents import (
    INLINE,
    PAGES,
    anchors,
    blocks,
    commands,
    parser_of,
    prose,
    tool_call,
    tools_of,
)
from mmengine.registry import MODELS, init_default_scope

from mmvisattn.datasets.demo import LAYOUTS, make_data
from mmvisattn.engine.config import load_config
from mmvisattn.weights import write_checkpoint

LANGUAGES = {'sh', 'python', 'text', 'json', 'yaml', 'toml', 'ini', 'dockerfile', 'bibtex'}
NEEDS = {'data', 'gpu', 'cluster', 'network', 'browser'}
pages = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def files_of(page):
    """What the blocks of a page write."""
    named = (block.marker or '' for block in blocks(page))
    return {marker.removeprefix('file: ') for marker in named if marker.startswith('file: ')}


@pages
def test_every_block_says_what_tests_it(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f'{block}: of no known language'
        if block.language not in ('sh', 'python'):
            continue
        kind, _, rest = (block.marker or '').partition(': ')
        parts = [part.strip() for part in rest.split(',')]
        if kind == 'run':
            assert rest in ('', 'slow'), block
        elif kind == 'file':
            assert block.language == 'python', block
        elif kind == 'needs':
            assert set(parts) <= NEEDS, block
        else:
            assert kind == 'tested', f'{block}: no comment says how it is tested'
            check_tests(block, parts)


def check_tests(block, named):
    """The tests are there, and each tool of the block occurs in the file of one of them."""
    texts = []
    for name in named:
        path, _, test = name.partition('::')
        texts.append((ROOT / path).read_text())
        if path.endswith('.py'):
            functions = [n for n in ast.parse(texts[-1]).body if isinstance(n, ast.FunctionDef)]
            assert test in [function.name for function in functions], f'{block}: {name}'
        else:
            assert path in ('.ci/run', 'Makefile'), f'{block}: {name} is no test'
    if block.language == 'sh':
        for tool in tools_of(block.text):
            assert any(os.path.basename(tool) in text for text in texts), f'{block}: {tool}'


@pages
def test_no_command_hides_in_an_indented_block(page):
    """Which no comment could mark: a fence is asked for."""
    indented = re.findall(r'(?<=\n\n) {4}(?! *[-*\d`])((\S+).*)', prose(page))
    words = {'python', 'python3', 'bash', 'make', 'pip', 'sbatch', 'source', 'pytest', 'ruff', '$'}
    assert not words & {word for _, word in indented}
    assert not [line for line, _ in indented if 'tools/' in line and '`' not in line]


@pages
def test_commands_are_what_the_tools_take(page):
    extras = configparser.ConfigParser()
    extras.read(ROOT / 'setup.cfg')
    extras = set(extras['options.extras_require'])
    targets = set(re.findall(r'^([\w-]+):(?!=)', (ROOT / 'Makefile').read_text(), re.M))
    texts = [(str(block), block.text) for block in blocks(page, 'sh')]
    texts += [(f'{page.name}: {text}', text) for text in INLINE.findall(prose(page))]
    for place, text in texts:
        for command in commands(text):
            tool, words = tool_call(command)
            if tool:
                check_call(place, tool, words)
            elif command[0] == 'make':
                asked = {word for word in command[1:] if '=' not in word and word[0] != '-'}
                assert asked <= targets, place
            elif command[:2] == ['pip', 'install']:
                for word in re.findall(r'(?:^|\s)(?:\.|mmvisattn)\[(.*?)\]', ' '.join(command)):
                    assert set(word.split(',')) <= extras, place


def check_call(place, tool, words):
    """A tool of ours is there and its parser takes the words."""
    if tool.startswith('tools/'):
        assert (ROOT / tool).is_file(), f'{place}: no {tool}'
    if tool.endswith('.sh') or '...' in words or place.endswith(tool):
        return  # the name alone is no call
    parser = parser_of(tool)
    if tool in ('tools/train_seeds.py', 'tools/reproduce.py'):  # they hand on what they do not know
        _, words = parser.parse_known_args(words)
        parser, words = parser_of('tools/train.py'), ['CONFIG', *words]
    if parser is None:
        assert not words, f'{place}: {tool} takes no argument'
        return
    said, status = io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(words)
    except SystemExit as end:
        status = end.code
    assert status == 0, f'{place}: {said.getvalue()}'


@pages
def test_files_that_are_named_are_there(page):
    name = r'(?<![\w/.-])((?:tools|configs|tests|docs|mmvisattn)/[\w/.-]+\.(?:py|sh|md|svg|png))\b'
    named = set(re.findall(name, page.read_text())) - files_of(page)
    assert not [path for path in named if not (ROOT / path).exists()]


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r'(?<=\]\()[^)\s]+(?=\))', prose(page)):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        there = (page.parent / path) if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


# What the tools say, as the page of troubleshooting quotes it.
SAID = (
    "there is no type '", 'misspelt key', 'nothing reads', ' is now: ', 'random weights',
    'coverage: ', 'the data set is not complete', 'the weights could not be downloaded',
    ' samples a step', 'would run code when loaded', 'Ready to train.',
)  # fmt: skip


def test_what_the_pages_quote_is_said():
    sources = ''.join(path.read_text() for path in (ROOT / 'mmvisattn').rglob('*.py'))
    page = ''.join(
        (ROOT / 'docs' / f'{name}.md').read_text() for name in ('troubleshooting', 'start')
    )
    for text in SAID:
        assert text in sources
        assert text.strip() in page


# ---- blocks that are run


def runnable():
    """The pages with something to run, those that take long marked as slow."""
    for page in PAGES:
        kinds = {block.marker for block in blocks(page, 'sh', 'python')}
        if any((kind or '').startswith(('run', 'file: ')) for kind in kinds):
            marks = [pytest.mark.slow] if 'run: slow' in kinds else []
            yield pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize('page', runnable())
def test_blocks_run(page, tmp_path, monkeypatch):
    """From the first to the last of a page, in one folder and one Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    to_do = [b for b in blocks(page, 'sh', 'python') if re.match('run|file: ', b.marker or '')]
    furnish(tmp_path, '\n'.join(block.text for block in to_do))
    names = {}
    for block in to_do:
        if block.marker.startswith('file: '):
            write(tmp_path / block.marker.removeprefix('file: '), block.text)
        elif block.language == 'sh':
            done = run('bash', '-euo', 'pipefail', '-c', block.text, cwd=tmp_path, env=ENVIRONMENT)
            assert done.returncode == 0, f'{block}\n{done.tail}'
        elif '>>>' in block.text:
            example = doctest.DocTestParser().get_doctest(block.text, names, str(block), None, 0)
            said = io.StringIO()
            failed, _ = doctest.DocTestRunner().run(example, out=said.write, clear_globs=False)
            assert not failed, said.getvalue()
            names = example.globs
        else:
            exec(compile(block.text, str(block), 'exec'), names)


ENVIRONMENT = {
    'PATH': f'{os.path.dirname(sys.executable)}{os.pathsep}{os.environ["PATH"]}',
    'PYTHONPATH': str(ROOT),
}


def write(path, text):
    """Write a file; a config must load."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if 'configs' in path.parts and '_base_' not in path.parts:
        load_config(path)


def furnish(folder, text):
    """The folder that blocks are run in: configs, tools, embedded data, untrained checkpoints."""
    (folder / 'tools').symlink_to(ROOT / 'tools')
    for config in [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/_base_/**/*.py')]:
        link = folder / config.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(config)
    made = set(re.findall(r'make_demo_data\.py data/demo_(\w+)', text))
    for layout in LAYOUTS.keys() - made:
        if f'data/demo_{layout}' in text or 'work_dirs/' in text:
            count = 10 if layout == 'imagenet' else 4  # one of each class
            make_data(layout, folder / 'data' / f'demo_{layout}', num_train=count, num_val=count)
    for name in set(re.findall(r'work_dirs/(\w+_demo)\b', text)):
        cfg = load_config(folder / 'configs' / f'{name}.py')
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        state = MODELS.build(cfg.model).state_dict()
        write_checkpoint(folder / 'work_dirs' / name / 'iter_1.pth', state, 'state_dict')


# ---- the tests above find what is wrong


@pytest.mark.parametrize(
    ('text', 'check'),
    [
        ('```sh\npython tools/train.py CONFIG\n```\n', test_every_block_says_what_tests_it),
        ('<!-- needs: luck -->\n```sh\nmake\n```\n', test_every_block_says_what_tests_it),
        (
            '<!-- tested: tests/test_docs.py::test_nothing -->\n```sh\nmake\n```\n',
            test_every_block_says_what_tests_it,
        ),
        (
            '<!-- tested: tests/test_timm.py::test_a_classifier -->\n```sh\n'
            'python tools/check_data.py coco DIR\n```\n',
            test_every_block_says_what_tests_it,
        ),
        ('Do\n\n    python tools/train.py CONFIG\n', test_no_command_hides_in_an_indented_block),
        ('Do\n\n    PORT=1 bash tools/dist_x.sh\n', test_no_command_hides_in_an_indented_block),
        ('```sh\npython tools/no_such.py\n```\n', test_commands_are_what_the_tools_take),
        ('`python tools/train.py CONFIG --tta`', test_commands_are_what_the_tools_take),
        ('`bash tools/dist_test.sh CONFIG X.pth 8 --ema`', test_commands_are_what_the_tools_take),
        ('```sh\nmake coffee\n```\n', test_commands_are_what_the_tools_take),
        ("```sh\npip install -e '.[dve]'\n```\n", test_commands_are_what_the_tools_take),
        ('`python -m mmvisattn.doctor --fix`', test_commands_are_what_the_tools_take),
        ('see `configs/upernet_van_b9_demo.py`', test_files_that_are_named_are_there),
        ('[a](nowhere.md)', test_links_lead_somewhere),
        ('# One\n\n[a](#two)', test_links_lead_somewhere),
    ],
)
def test_what_is_wrong_is_found(text, check, tmp_path, monkeypatch):
    monkeypatch.setattr('documents.Block.__str__', lambda block: f'line {block.line}')
    page = tmp_path / 'page.md'
    page.write_text(text)
    with pytest.raises(AssertionError):
        check(page)
