"""Checkpoints, errors and command lines, without starting a run."""

import pytest
import torch

from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.errors import UserError, reported
from mmvisattn.survival.checkpoints import latest_checkpoint


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
