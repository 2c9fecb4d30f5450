"""What a wheel holds, and that it works where there is no checkout; version, images."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, run, short_run

from mmvisattn import __version__
from mmvisattn.__main__ import find_tool, summary_of, tools
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError
from mmvisattn.places import find_config

# What a checkout holds beside its sources: never copied, never packed.
LEFT_BEHIND = shutil.ignore_patterns(
    '.*', 'data', 'work_dirs', 'build', 'dist', '__pycache__', '*.egg-info'
)
# Of tools/, what works in a checkout only.
OF_A_CHECKOUT = {'install.sh', 'write_pages.py'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(ROOT, source, ignore=LEFT_BEHIND)
    stale = source / 'build' / 'lib' / 'mmvisattn' / '.mim' / 'configs'  # of an earlier build
    stale.mkdir(parents=True)
    (stale / 'gone.py').touch()
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    done = run(
        *pip, 'wheel', '--no-build-isolation', '--no-deps', '--wheel-dir', folder, '.', cwd=source
    )
    assert done.returncode == 0, done.tail
    (file,) = folder.glob('*.whl')
    return file


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """A folder that holds the wheel's files alone, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp('installed')
    with zipfile.ZipFile(wheel) as archive:  # as pip does with a wheel of pure Python
        archive.extractall(folder)
    return folder


def outside(installed, cwd, *arguments, timeout=300):
    """Run `python -m mmvisattn` of the wheel in another folder."""
    env = {'PYTHONPATH': str(installed)}
    return run(sys.executable, '-m', 'mmvisattn', *arguments, cwd=cwd, env=env, timeout=timeout)


def files_below(folder, root=ROOT):
    found = (path for path in folder.rglob('*') if path.is_file())
    return {str(p.relative_to(root)) for p in found if '__pycache__' not in p.parts}


def test_the_wheel_holds_the_package_configs_and_tools(wheel):
    """All of them and nothing else: no tests, no bytecode, no data, no results."""
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith(f'mmvisattn-{__version__}.dist-info/')}
    carried = files_below(ROOT / 'configs') | files_below(ROOT / 'tools') | {'model-index.yml'}
    carried = {f'mmvisattn/.mim/{name}' for name in carried if Path(name).name not in OF_A_CHECKOUT}
    assert names - metadata == files_below(ROOT / 'mmvisattn') | carried
    assert any(name.endswith('.cpp') for name in names)
    entries = zipfile.ZipFile(wheel).read(f'mmvisattn-{__version__}.dist-info/entry_points.txt')
    assert b'mmvisattn = mmvisattn.__main__:main' in entries


def test_the_installed_command_lists_what_there_is(installed, tmp_path):
    done = outside(installed, tmp_path, '--where')
    assert done.output.strip() == str(installed / 'mmvisattn' / '.mim')
    done = outside(installed, tmp_path, '--help')
    assert done.returncode == 0, done.tail
    listed = set(re.findall(r'^  (\w+)  ', done.output, re.M))
    assert listed == set(tools()) - {Path(name).stem for name in OF_A_CHECKOUT}
    done = outside(installed, tmp_path, '--configs', 'van_b2', 'ade20k')
    assert done.output.split() == ['fpn_van_b2_ade20k', 'upernet_van_b2_ade20k']
    done = outside(installed, tmp_path, 'dist_train')
    assert (done.returncode, 'CONFIG GPUS' in done.output) == (2, True)


@pytest.mark.slow
def test_an_installed_wheel_trains_outside_a_checkout(installed, tmp_path):
    """Counted, drawn, trained and launched by name, in a folder that holds nothing else."""
    done = outside(installed, tmp_path, 'get_flops', 'upernet_van_b0_demo')
    assert done.returncode == 0, done.tail
    assert '4.532 M' in done.output
    config = installed / 'mmvisattn/.mim/configs/upernet_van_b0_demo.py'
    assert f'note: upernet_van_b0_demo is {config}' in done.output

    few = ['--layout', 'ade20k', '--num-train', 4, '--num-val', 2]
    done = outside(installed, tmp_path, 'make_demo_data', 'data/demo_ade20k', *few)
    assert done.returncode == 0, done.tail
    # As the documentation names it in a checkout.
    options = short_run('data/demo_ade20k', 'one')
    done = outside(installed, tmp_path, 'train', 'configs/upernet_van_b0_demo.py', *options)
    assert done.returncode == 0, done.tail
    assert (tmp_path / 'one' / 'iter_2.pth').is_file()

    script = installed / 'mmvisattn/.mim/tools/dist_train.sh'
    env = {'PYTHONPATH': str(installed), 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
    options = short_run('data/demo_ade20k', 'launched')
    done = run('bash', script, 'upernet_van_b0_demo', 1, *options, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.tail
    assert (tmp_path / 'launched' / 'iter_2.pth').is_file()


@pytest.mark.parametrize(
    ('word', 'file'),
    [
        ('train', 'train.py'),
        ('get_flops.py', 'analysis_tools/get_flops.py'),
        ('tools/analysis_tools/get_flops', 'analysis_tools/get_flops.py'),
        ('tools/dist_train.sh', 'dist_train.sh'),
    ],
)
def test_a_tool_is_found_by_name(word, file):
    assert find_tool(word) == ROOT / 'tools' / file


@pytest.mark.parametrize('word', ['trian', 'analysis_tools/train', 'train.sh', '_launch', ''])
def test_another_name_is_refused(word):
    with pytest.raises(UserError, match='there is no tool'):
        find_tool(word)


def test_the_list_of_configs_ends_where_nobody_reads_on():
    command = f'{sys.executable} -m mmvisattn --configs'
    done = run('bash', '-c', f'set -o pipefail; {command} | head -1; echo "${{PIPESTATUS[0]}}"')
    assert 'Traceback' not in done.output
    assert done.output.splitlines()[0].startswith('atss_')
    assert run(sys.executable, '-m', 'mmvisattn', '--configs', 'nothing').returncode == 2


def test_every_tool_has_a_name_and_a_summary_of_its_own():
    files = [p for p in (ROOT / 'tools').rglob('*') if p.suffix in ('.py', '.sh')]
    files = [p for p in files if not p.name.startswith('_')]
    assert len({path.stem for path in files}) == len(files), 'a name alone tells a tool'
    assert {path.stem: path for path in files}.items() <= tools().items()
    summaries = {name: summary_of(path) for name, path in tools().items()}
    assert all(10 < len(summary) < 160 for summary in summaries.values()), summaries
    assert len(set(summaries.values())) == len(summaries)


def test_a_config_is_found_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ours = ROOT / 'configs' / 'fpn_van_b0_ade20k.py'
    for name in ('fpn_van_b0_ade20k', 'fpn_van_b0_ade20k.py', 'configs/fpn_van_b0_ade20k.py'):
        assert find_config(name) == ours
    assert find_config('other/fpn_van_b0_ade20k.py') is None
    assert find_config('runtime') is None  # a base
    assert load_config('fpn_van_b0_ade20k').model.backbone.arch == 'b0'
    assert f'note: fpn_van_b0_ade20k is {ours}' in capsys.readouterr().err

    Path('fpn_van_b0_ade20k.py').write_text("_base_ = 'mmvisattn::fpn_van_b1_ade20k.py'\n")
    assert load_config('fpn_van_b0_ade20k.py').model.backbone.arch == 'b1'
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match='did you mean .fpn_cyclemlp_b1'):
        load_config('fpn_cyclemlp_b1_ade')
    Path('wrong.py').write_text("_base_ = 'mmvisattn::nothing.py'\n")
    with pytest.raises(UserError, match='builds on a file that is not there'):
        load_config('wrong.py')


def test_bases_are_those_that_mmengine_finds(tmp_path, monkeypatch):
    """Its search of the metafiles is left out: both rules lead to one file."""
    from mmengine.config import Config

    from mmvisattn.engine import config

    for base in (
        'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
        'mmpretrain::_base_/default_runtime.py',
    ):
        assert Config._get_cfg_path(base, 'x.py') == config._find_base_of_mmengine(base, 'x.py')
    with pytest.raises(FileNotFoundError):
        Config._get_cfg_path('mmdet::nothing/there.py', 'x.py')


def test_version_and_changelog_agree():
    text = (ROOT / 'CHANGELOG.md').read_text()
    releases = re.findall(r'^## \[(.+?)\] - (.+)$', text, re.M)
    assert releases[0][0] == __version__
    numbers = [tuple(map(int, number.split('.'))) for number, _ in releases]
    assert numbers == sorted(set(numbers), reverse=True)
    for number, date in releases:
        assert re.fullmatch(r'\d{4}-\d{2}-\d{2}', date) or (date, number) == (
            'Unreleased',
            __version__,
        )
    kinds = set(re.findall(r'^### (.+)$', text, re.M))
    assert kinds <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'}


def instructions():
    """Those of the Dockerfile, as (name, arguments)."""
    text = (ROOT / 'docker' / 'Dockerfile').read_text()
    text = re.sub(r'^#.*\n', '', text, flags=re.M).replace('\\\n', ' ')
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_the_dockerfile_copies_and_runs_what_there_is():
    found = instructions()
    names = [name for name, _ in found]
    assert set(names) == {'ARG', 'FROM', 'RUN', 'USER', 'WORKDIR', 'ENV', 'COPY', 'CMD'}
    declared = {text.partition('=')[0] for name, text in found if name == 'ARG'}
    used = set(re.findall(r'\$\{(\w+)\}', ' '.join(text for _, text in found)))
    assert used == declared
    for name, text in found:
        if name == 'COPY':
            *sources, _ = [word for word in text.split() if not word.startswith('--')]
            assert all((ROOT / source).exists() for source in sources)
        if name == 'RUN':
            script = re.sub(r'^--mount=\S+ ', '', text)
            assert subprocess.run(['bash', '-n'], input=script, text=True).returncode == 0, script
    # Nobody is root once the project is there, and what is run by default is in the Makefile.
    assert names.index('USER') < names.index('COPY')
    targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M)
    assert {'install', 'demo'} <= set(targets)
    assert found[-1] == ('CMD', '["make", "demo"]')


def test_the_packages_of_the_image_exist():
    if shutil.which('apt-cache') is None:
        pytest.skip('needs apt-cache')
    (line,) = [text for name, text in instructions() if name == 'RUN' and 'apt-get' in text]
    packages = re.search(r'--no-install-recommends\s+(.+?)\s+&&', line)[1].split()
    known = subprocess.run(['apt-cache', 'pkgnames'], capture_output=True, text=True).stdout.split()
    if len(known) < 10_000:
        pytest.skip("needs apt's lists: apt-get update")
    assert set(packages) <= set(known)


def test_the_image_is_not_given_what_a_checkout_gathers():
    ignored = (ROOT / '.dockerignore').read_text().split()
    assert {'.git', '.venv*', 'data', 'work_dirs/*', '**/__pycache__'} <= set(ignored)
    # What is installed by make, and what is run, is.
    for name in ('setup.cfg', 'tools', 'configs', 'mmvisattn', 'README.md', 'model-index.yml'):
        assert name not in ignored


def test_the_guide_to_releasing_names_what_there_is():
    text = (ROOT / 'docs' / 'releasing.md').read_text()
    for target in re.findall(r'\bmake ([\w-]+)', text):
        assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M), target
    for path in re.findall(r'\btools/\S+\.py|`docs/\w+`', text):
        assert os.path.exists(ROOT / path.strip('`')), path
