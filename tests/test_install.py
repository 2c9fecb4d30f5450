"""tools/install.sh before and after it installs: each obstacle gets one line and its remedy.

What it installs is tested by these tests running at all, in the environment it made.
"""

import hashlib
import sys

import pytest
from conftest import ROOT, run

BASE_PYTHON = f'{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}'


def install(venv, **env):
    return run('bash', 'tools/install.sh', env={'VENV': str(venv), 'PYTHON': BASE_PYTHON, **env})


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


def test_a_second_call_does_nothing(tmp_path):
    script(tmp_path / 'bin' / 'python', 'exit 1')
    texts = (ROOT / 'setup.cfg').read_bytes() + (ROOT / 'tools/install.sh').read_bytes()
    (tmp_path / 'installed').write_text(f'{hashlib.sha256(texts).hexdigest()}  - FORCE_CUDA=0\n')
    done = install(tmp_path)
    assert (done.returncode, done.output) == (0, f'{tmp_path} is up to date.\n')


@pytest.mark.parametrize(
    ('env', 'said', 'remedy'),
    [
        (dict(PYTHON='{tmp}/old'), '3.10, 3.11 or 3.12 is needed', 'PYTHON=python3.11'),
        (dict(CXX='no-such-compiler'), 'no C++ compiler (no-such-compiler)', 'apt-get install g++'),
        (dict(PYTHON='{tmp}/bare'), 'cannot make virtual', 'apt-get install python3-venv'),
    ],
)
def test_what_the_machine_lacks_is_named(tmp_path, env, said, remedy):
    script(tmp_path / 'old', 'echo Python 3.8.1; exit 1')
    script(tmp_path / 'bare', f'case "$2" in *ensurepip*) exit 1;; esac; exec {BASE_PYTHON} "$@"')
    venv = tmp_path / 'venv'
    done = install(venv, **{k: v.format(tmp=tmp_path) for k, v in env.items()})
    assert done.returncode == 1
    assert said in done.output
    assert remedy in done.output
    assert not venv.exists()


@pytest.mark.parametrize(
    ('file', 'text', 'said'),
    [
        ('notes.txt', '', 'is no virtual environment'),
        ('bin/python', 'exit 1', 'does not run'),
        ('bin/python', f'[ "$1" = -m ] && exit 1; exec {BASE_PYTHON} "$@"', 'without pip'),
    ],
)
def test_a_half_finished_environment_is_named(tmp_path, file, text, said):
    script(tmp_path / 'venv' / file, text)
    done = install(tmp_path / 'venv')
    assert done.returncode == 1
    assert said in done.output
    assert f'rm -rf {tmp_path}/venv' in done.output


def test_the_makefile_explains_itself():
    done = run('make')
    assert done.returncode == 0
    for target in ('install', 'demo', 'test', 'format', 'clean'):
        assert f'make {target}' in done.output
    assert max(map(len, done.output.splitlines())) <= 80
