"""What breaks in practice is found, and the remedy is named."""

import sys

import pytest
from conftest import run

from mmvisattn import doctor
from mmvisattn.doctor import Finding


def findings(monkeypatch, **versions):
    """The report on distributions, with some of them installed otherwise."""
    real = doctor.installed
    monkeypatch.setattr(doctor, 'installed', lambda name: versions.get(name, real(name)))
    return {f.name: f for f in doctor.check_distributions()}


def test_this_environment_is_sound():
    done = run(sys.executable, '-m', 'mmvisattn.doctor')
    assert done.returncode == 0, done.tail
    assert 'Ready to train.' in done.output
    assert 'FAIL' not in done.output


@pytest.mark.parametrize(
    ('name', 'found', 'line', 'fix'),
    [
        ('mmcv', {'onedl-mmcv': '2.3.6', 'mmcv': '2.1.0'}, 'onedl-mmcv', 'both write the folder'),
        ('mmcv', {'mmcv-full': '1.7.1'}, 'onedl-mmcv', 'too old for MMEngine'),
        ('mmdet', {'mmdet': '2.28.2'}, 'onedl-mmdetection', 'pip uninstall -y mmdet'),
        ('mmpose', {}, 'mmpose', 'make install'),
        ('torch', {'torch': '2.14.1'}, 'torch', "pip install 'torch==2.12.1'"),
        ('torch', {'torch': '2.1.0'}, 'torch', "pip install 'torch==2.12.1'"),
    ],
)
def test_bad_distributions_are_named(monkeypatch, name, found, line, fix):
    bad = findings(monkeypatch, **{name: found})
    assert fix in bad.pop(line).fix
    assert all(f.fix is None for f in bad.values())


@pytest.mark.parametrize(
    ('module', 'check', 'fix'),
    [
        ('mmcv.ops', doctor.check_mmcv_operators, '--no-build-isolation'),
        ('torchvision.ops', doctor.check_torchvision_operators, 'torchvision==0.27.1'),
        ('xtcocotools.mask', doctor.check_xtcocotools, '--no-binary xtcocotools'),
    ],
)
def test_extensions_that_do_not_load_are_named(monkeypatch, module, check, fix):
    assert check().fix is None
    monkeypatch.setitem(sys.modules, module, None)  # makes its import fail
    assert fix in check().fix


def test_a_toolbox_that_does_not_import_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpose.models', None)
    assert [f.name for f in doctor.check_toolboxes() if f.fix] == ['mmpose']


def test_status_counts_what_stops_training(monkeypatch, capsys):
    def status(*found):
        monkeypatch.setattr(doctor, 'diagnose', lambda: list(found))
        return doctor.main()

    warning = Finding('GPU', 'hidden', 'show it', fatal=False)
    assert status(Finding('a', 'ok'), warning) == 0
    assert status(Finding('a', 'bad', 'mend it'), warning) == 1
    assert 'fix: mend it' in capsys.readouterr().out


def test_a_missing_package_ends_the_report_early(monkeypatch):
    real = doctor.installed
    monkeypatch.setattr(doctor, 'installed', lambda name: {} if name == 'mmcv' else real(name))
    report = doctor.diagnose()
    assert [f.name for f in report if f.fix] == ['onedl-mmcv']
    assert 'mmcv.ops' not in [f.name for f in report]
