"""The rooms of the code and the one-way arrows between them."""

import ast
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / 'mmvisattn'
# Each room may import the rooms named after it, and nothing else of the package.
ARROWS = {
    '__main__': {'__version__', 'errors', 'places'},
    'atomic': set(),
    'errors': set(),
    'naming': set(),
    'outputs': {'atomic', 'errors'},
    'places': set(),
    'registry': set(),
    'ops': {'errors'},
    'layers': {'errors', 'ops'},
    'backbones': {'errors', 'registry', 'layers', 'ops'},
    'weights': {'atomic', 'errors', 'registry', 'ops'},
    'datasets': {'errors'},
    'deploy': {'errors', 'backbones', 'layers'},
    'doctor': {'__version__', 'ops'},
    'evaluation': {'errors', 'registry'},
    'processes': {'errors'},
    'survival': {'atomic', 'errors', 'datasets', 'processes', 'weights'},
    'engine': {
        '__version__',
        'atomic',
        'errors',
        'registry',
        'datasets',
        'deploy',
        'doctor',
        'places',
        'processes',
        'survival',
        'weights',
    },  # fmt: skip
    'exporting': {
        '__version__',
        'atomic',
        'errors',
        'backbones',
        'deploy',
        'engine',
        'weights',
    },
    'analysis': {
        '__version__',
        'atomic',
        'errors',
        'ops',
        'backbones',
        'datasets',
        'deploy',
        'engine',
        'exporting',
        'inference',
        'naming',
        'outputs',
        'places',
        'processes',
        'weights',
    },
    'inference': {'atomic', 'errors', 'engine'},
    'visualization': {
        'backbones',
        'engine',
        'errors',
        'inference',
        'naming',
        'ops',
        'outputs',
        'weights',
    },
    'app': {'errors', 'inference', 'naming', 'visualization'},
    'timm': {'errors', 'backbones', 'weights'},
}
# The package meets the toolboxes in configs; only the doctor looks at them.
TOOLBOXES = {'mmseg', 'mmdet', 'mmpose', 'mmpretrain'}


def modules(room):
    folder = PACKAGE / room
    return sorted(folder.rglob('*.py')) if folder.is_dir() else [folder.with_suffix('.py')]


def imports(file: Path):
    """The modules that a file imports, relative ones as mmvisattn.room."""
    package = ('mmvisattn', *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            name = '.'.join((*base, *(node.module or '').split('.'))).strip('.')
            yield from (f'{name}.{a.name}' for a in node.names) if name == 'mmvisattn' else [name]


def test_every_room_is_listed():
    rooms = {p.stem for p in PACKAGE.iterdir() if p.is_dir() or p.suffix == '.py'}
    assert rooms - {'__init__', '__pycache__'} == set(ARROWS)


@pytest.mark.parametrize('room', ARROWS)
def test_imports_follow_the_arrows(room):
    for file in modules(room):
        for name in imports(file):
            top, _, rest = name.partition('.')
            if top == 'mmvisattn' and rest:
                target = rest.partition('.')[0]
                assert target in ARROWS[room] | {room}, f'{file} imports {name}'
            assert room == 'doctor' or top not in TOOLBOXES, f'{file} imports {name}'


def test_an_import_against_the_arrows_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'PACKAGE', tmp_path)
    (tmp_path / 'layers').mkdir()
    file = tmp_path / 'layers' / 'norm.py'
    file.write_text('from ..backbones.van import VAN\nfrom .. import engine\nimport mmseg.apis\n')
    assert list(imports(file)) == ['mmvisattn.backbones.van', 'mmvisattn.engine', 'mmseg.apis']


def test_operators_need_torch_alone():
    for file in modules('ops'):
        foreign = {name.partition('.')[0] for name in imports(file)} - set(sys.stdlib_module_names)
        # filelock comes with torch, and triton with torch for CUDA; kernels are imported when used.
        kernels = {'triton'} if file.parent.name == 'kernels' else set()
        assert foreign <= {'torch', 'filelock', 'mmvisattn'} | kernels, file


def test_no_backbone_asks_for_a_backend():
    """Which code computes an operator is the operator's to choose."""
    for file in modules('backbones'):
        calls = (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call))
        assert 'backend' not in {k.arg for call in calls for k in call.keywords}, file


def test_registry_imports_mmengine_alone():
    """MMEngine hides an ImportError raised in a file of this name."""
    tops = {name.partition('.')[0] for name in imports(PACKAGE / 'registry.py')}
    assert tops == {'mmengine'}


def test_the_tests_that_promises_name_are_there():
    named = set(re.findall(r'`(test_\w+)`', (ROOT / 'docs' / 'reliability.md').read_text()))
    there = {
        node.name
        for file in (ROOT / 'tests').glob('test_*.py')
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 30
    assert named <= there
