"""Launchers, checkpoints and errors, without starting a run."""

import os
import pickle
from argparse import Namespace

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmseg.models import ResNet
from torch import nn

from mmvisattn.engine import launch
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.checkpoint import (
    Match,
    latest_checkpoint,
    read_checkpoint,
    require_match,
    require_pretrained_match,
    state_dict_of,
)
from mmvisattn.errors import UserError, reported


@pytest.mark.parametrize(
    ('nodelist', 'host'),
    [
        ('n1', 'n1'), ('n1,n2', 'n1'), ('gpu[03-05,9],login', 'gpu03'), ('a[7]-ib', 'a7-ib'),
        ('rack-1-node[12,14]', 'rack-1-node12'), ('host.domain', 'host.domain'),
    ],
)  # fmt: skip
def test_first_host_of_a_slurm_nodelist(nodelist, host):
    assert launch.first_host(nodelist) == host


def test_slurm_environment_becomes_torchs():
    env = {
        'SLURM_PROCID': '3', 'SLURM_LOCALID': '1', 'SLURM_NTASKS': '4',
        'SLURM_NODELIST': 'n[1-2]', 'SLURM_JOB_ID': '20007',
    }  # fmt: skip
    assert launch._slurm(env) == {
        'RANK': '3', 'LOCAL_RANK': '1', 'WORLD_SIZE': '4', 'MASTER_ADDR': 'n1',
        'MASTER_PORT': '20007',
    }  # fmt: skip
    assert launch._slurm({**env, 'MASTER_PORT': '5'})['MASTER_PORT'] == '5'


def test_mpi_environment_becomes_torchs():
    env = {f'OMPI_COMM_WORLD_{name}': '2' for name in ('RANK', 'LOCAL_RANK', 'SIZE', 'LOCAL_SIZE')}
    assert launch._mpi(env)['MASTER_ADDR'] == '127.0.0.1'
    with pytest.raises(KeyError, match='MASTER_ADDR'):
        launch._mpi({**env, 'OMPI_COMM_WORLD_SIZE': '4'})


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_that_did_not_launch_is_explained(launcher, monkeypatch):
    for name in list(os.environ):
        if name.startswith(('SLURM_', 'OMPI_', 'RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_')):
            monkeypatch.delenv(name)
    with pytest.raises(UserError, match='not started by it'):
        launch.init_distributed(launcher)


class Evil:
    def __reduce__(self):
        return os.system, ('touch executed',)


def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'meta': Evil()}, 'evil.pth')
    with pytest.raises(UserError, match='would run code') as error:
        read_checkpoint('evil.pth')
    assert 'system' in str(error.value)
    assert not (tmp_path / 'executed').exists()
    torch.load('evil.pth', weights_only=False)  # the file does what it is made for
    assert (tmp_path / 'executed').exists()


def test_getattr_in_a_checkpoint_reaches_log_buffers_only(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, '__init_subclass__')

    torch.save({'x': Reach()}, tmp_path / 'reach.pth')
    with pytest.raises(UserError, match='would run code'):
        read_checkpoint(tmp_path / 'reach.pth')
    torch.save({'log': HistoryBuffer([1.0], [1])}, tmp_path / 'log.pth')
    assert read_checkpoint(tmp_path / 'log.pth')['log'].current() == 1.0


@pytest.mark.parametrize(
    'content',
    [b'', b'hello', b'<!DOCTYPE html>', pickle.dumps([1], protocol=2), b'PK\x03\x04 half a zip'],
)
def test_an_unreadable_checkpoint_is_explained(tmp_path, content):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(UserError, match=r'x\.pth'):
        read_checkpoint(tmp_path / 'x.pth')
    with pytest.raises(UserError, match='no such checkpoint'):
        read_checkpoint(tmp_path / 'y.pth')


def test_a_file_of_something_else_is_explained(tmp_path):
    torch.save([torch.ones(1)], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='it holds a list'):
        read_checkpoint(tmp_path / 'list.pth')
    (tmp_path / 'page.pth').write_bytes(b'<!DOCTYPE html>')
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / 'page.pth')
    assert 'weights_only' not in str(error.value), "PyTorch's advice to load unsafely"


def test_timms_arguments_in_a_checkpoint_are_plain_data(tmp_path):
    torch.save({'state_dict': {}, 'args': Namespace(model='van_b2')}, tmp_path / 'timm.pth')
    assert read_checkpoint(tmp_path / 'timm.pth')['args'].model == 'van_b2'


def test_weights_of_the_libraries_own_backbones_are_left_to_mmengine():
    backbone = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
    assert require_pretrained_match(backbone) is None


def test_wrappings_are_taken_off():
    weight = torch.ones(1)
    for wrapped in ({'w': weight}, {'state_dict': {'module.w': weight}}, {'model': {'w': weight}}):
        assert state_dict_of(wrapped) == {'w': weight}


def test_a_match_counts_by_name_and_shape():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = module.state_dict()
    del state['1.num_batches_tracked'], state['0.bias']
    state['1.weight'], state['head'] = torch.ones(3), torch.ones(1)
    match = Match.of(module, state)
    assert (match.missing, match.wrong_shape, match.unexpected) == (
        ['0.bias'],
        ['1.weight'],
        ['head'],
    )
    with pytest.raises(UserError, match='not a checkpoint of this network') as error:
        require_match(module, state, 'x.pth')
    assert '0.bias' in str(error.value)
    assert require_match(module, state, 'x.pth', min_coverage=0.5) == match


def test_the_newest_readable_checkpoint_is_found(tmp_path):
    assert latest_checkpoint(tmp_path) == (None, [])
    for step in (9, 10):
        torch.save({}, tmp_path / f'iter_{step}.pth')
    torch.save({}, tmp_path / 'best_mIoU_iter_90.pth')
    whole = (tmp_path / 'iter_10.pth').read_bytes()
    (tmp_path / 'iter_11.pth').write_bytes(whole[: len(whole) // 2])
    newest, broken = latest_checkpoint(tmp_path)
    assert (newest.name, [p.name for p in broken]) == ('iter_10.pth', ['iter_11.pth'])
    (tmp_path / 'last_checkpoint').write_text('/moved/from/here/iter_9.pth')
    assert latest_checkpoint(tmp_path)[0].name == 'iter_9.pth'


def test_errors_are_reported_without_the_traceback_of_a_worker(capsys, monkeypatch):
    inner = UserError('bad picture', expected='one that decodes', do='mend it')
    text = f'Caught UserError in worker 0.\nTraceback\n  line\nmmvisattn.errors.UserError: {inner}'
    with pytest.raises(SystemExit) as stop, reported():
        raise UserError(text)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith('\nerror: bad picture\n  expected: one that decodes\n')
    assert 'Traceback' not in shown
    monkeypatch.setenv('MMVISATTN_TRACEBACK', '1')
    with pytest.raises(UserError), reported():
        raise UserError(text)


@pytest.mark.parametrize(
    ('parser', 'typed', 'today'),
    [
        (train_parser, '--resume-from', '--resume PATH'),
        (train_parser, '--options', '--cfg-options'),
        (train_parser, '--gpus', 'dist_train.sh'),
        (parser_of_test, '--eval', 'val_evaluator'),
        (parser_of_test, '--aug-test', '--tta'),
    ],
)
def test_old_options_say_what_is_typed_today(parser, typed, today, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(['config.py', 'checkpoint.pth', typed, 'value'])
    assert today in capsys.readouterr().err


def test_an_option_without_a_value_is_named(capsys):
    with pytest.raises(SystemExit):
        train_parser().parse_args(['c.py', '--cfg-options', 'a=1', 'max_iters'])
    assert "takes KEY=VALUE, got 'max_iters'" in capsys.readouterr().err


def test_amp_alone_means_half_precision():
    parse = train_parser().parse_args
    assert parse(['c.py']).amp is None
    assert parse(['c.py', '--amp']).amp == 'fp16'
    assert parse(['c.py', '--amp', 'bf16']).amp == 'bf16'
    assert parse(['c.py', '--resume']).resume == 'auto'
