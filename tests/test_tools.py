"""The tools, run as a user runs them, over a handful of scenes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
import torch
from conftest import DEMO_CONFIG, ROOT, run_tool, short_run
from PIL import Image

from mmvisattn.backbones import VAN
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.run import test as run_test
from mmvisattn.engine.run import train
from mmvisattn.errors import UserError
from mmvisattn.weights import read_checkpoint

CONFIG = ROOT / DEMO_CONFIG


@pytest.fixture(scope='module')
def trained(ade20k, tmp_path_factory):
    """The work dir of a run of two iterations."""
    work_dir = tmp_path_factory.mktemp('runs') / 'trained'
    done = run_tool('train.py', CONFIG, *short_run(ade20k, work_dir))
    assert done.returncode == 0, done.tail
    return work_dir


def iterations(output):
    """The iterations that a log reports as trained."""
    return [int(n) for n in re.findall(r'Iter\(train\) *\[ *(\d+)/', output)]


def losses(work_dir):
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    rows = map(json.loads, scalars.read_text().splitlines())
    return [row['loss'] for row in rows if 'loss' in row]


def test_everything_lands_in_the_work_dir(trained):
    names = {p.name for p in trained.iterdir()}
    assert {'iter_2.pth', 'last_checkpoint', 'upernet_van_b0_demo.py'} <= names
    (log_dir,) = [p for p in trained.iterdir() if p.is_dir()]
    assert 'random weights' in (log_dir / f'{log_dir.name}.log').read_text()
    assert f'{metadata.version("torch")} (torch)' in (log_dir / 'environment.txt').read_text()
    assert 'max_iters = 2' in (trained / 'upernet_van_b0_demo.py').read_text()
    assert (log_dir / 'vis_data' / 'scalars.json').is_file()


def test_work_dir_is_named_after_the_config(ade20k, tmp_path):
    options = short_run(ade20k, 'unused', iterations=1)[2:]
    done = run_tool('train.py', CONFIG, '--no-validate', *options, cwd=tmp_path)
    assert done.returncode == 0, done.tail
    assert (tmp_path / 'work_dirs' / 'upernet_van_b0_demo' / 'iter_1.pth').is_file()
    assert 'Iter(val)' not in done.output


@pytest.mark.parametrize('tta', [[], ['--tta']])
def test_testing_writes_metrics_predictions_and_paintings(trained, ade20k, tmp_path, tta):
    done = run_tool(
        'test.py', CONFIG, trained, *tta, '--out', tmp_path / 'out', '--show-dir',
        tmp_path / 'shown', *short_run(ade20k, tmp_path / 'work'),
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert re.search(r'mIoU: +[\d.]+', done.output)
    predictions = sorted((tmp_path / 'out').glob('*.png'))
    assert len(predictions) == 4
    assert not (tmp_path / 'work' / 'upernet_van_b0_demo.py').exists(), 'training writes that one'
    labels = np.asarray(Image.open(predictions[0]))
    assert labels.shape == (128, 160)
    assert set(np.unique(labels)) <= set(range(1, 8))
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 4
    drawn = run_tool(
        'analysis_tools/draw_results.py', CONFIG, tmp_path / 'out', tmp_path / 'grid.png',
        '--num', '2', '--cfg-options', f'data_root={ade20k}',
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.tail
    width, height = Image.open(tmp_path / 'grid.png').size
    assert width > height > 400


def test_a_killed_run_resumes(ade20k, tmp_path):
    options = [
        CONFIG, *short_run(ade20k, tmp_path / 'run', iterations=12),
        'default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    command = [sys.executable, ROOT / 'tools' / 'train.py', *options]
    running = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    deadline = time.time() + 300
    while not (tmp_path / 'run' / 'iter_4.pth').is_file() and time.time() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    last = max(int(p.stem[5:]) for p in (tmp_path / 'run').glob('iter_*.pth'))
    assert 4 <= last < 12

    # A checkpoint cut short, as by a kill while it was written, is passed over and named.
    whole = (tmp_path / 'run' / 'iter_2.pth').read_bytes()
    (tmp_path / 'run' / 'iter_11.pth').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'run' / 'last_checkpoint').write_text('iter_11.pth')
    done = run_tool('train.py', *options, '--resume', 'auto')
    assert done.returncode == 0, done.tail
    assert 'Passed over' in done.output
    resumed = int(re.search(r'resumed epoch: 0, iter: (\d+)', done.output)[1])
    assert resumed >= 2
    assert iterations(done.output) == list(range(resumed + 1, 13))
    steps = read_checkpoint(tmp_path / 'run' / 'iter_12.pth')['optimizer']['state'][0]['step']
    assert steps == 12


def test_weights_alone_are_not_resumed(trained, ade20k, tmp_path):
    state = read_checkpoint(trained / 'iter_2.pth')['state_dict']
    torch.save({'state_dict': state}, tmp_path / 'weights.pth')
    options = short_run(ade20k, tmp_path / 'run')
    said = refuse_in_run('train.py', CONFIG, '--resume', tmp_path / 'weights.pth', *options)
    assert 'holds weights only' in said
    assert 'load_from=' in said


def test_a_deterministic_run_repeats_itself(ade20k, tmp_path):
    options = ['--deterministic', '--seed', '7', '--no-validate', '--auto-scale-lr']
    for name in ('a', 'b'):
        more = [*short_run(ade20k, tmp_path / name, 3), 'default_hooks.logger.interval=1']
        done = run_tool('train.py', CONFIG, *options, *[m for m in more if 'seed' not in str(m)])
        assert done.returncode == 0, done.tail
    assert len(losses(tmp_path / 'a')) == 3
    assert losses(tmp_path / 'a') == losses(tmp_path / 'b')
    # the config's rate is meant for 8 pictures, and 2 are trained on: a quarter
    assert ' lr: 2.5000e-04 ' in done.output


def test_resume_without_a_checkpoint_starts_anew(ade20k, tmp_path):
    done = run_tool('train.py', CONFIG, '--resume', *short_run(ade20k, tmp_path / 'new', 1))
    assert done.returncode == 0, done.tail
    assert 'starting at iteration 0' in done.output
    assert 'random weights' in done.output


def test_original_weights_start_the_backbone(ade20k, tmp_path):
    """--pretrained takes a file in the authors' layout; the first checkpoint holds its numbers."""
    state = {k: torch.full_like(v, 0.01) for k, v in VAN('b0').state_dict().items()}
    state |= {'head.weight': torch.zeros(1000, 256), 'head.bias': torch.zeros(1000)}
    torch.save({'state_dict': state}, tmp_path / 'van_b0.pth')
    frozen = 'model.backbone.frozen_stages=3'
    done = run_tool(
        'train.py', CONFIG, '--pretrained', tmp_path / 'van_b0.pth', '--no-validate',
        *short_run(ade20k, tmp_path / 'run', 1), frozen,
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert 'random weights' not in done.output
    trained = read_checkpoint(tmp_path / 'run' / 'iter_1.pth')['state_dict']
    assert all(
        torch.equal(trained[f'backbone.{k}'], v)
        for k, v in state.items()
        if not k.startswith('head')
    )


def test_compile_compiles_the_backbone(ade20k, tmp_path):
    done = run_tool(
        'train.py', CONFIG, '--compile', '--no-validate', *short_run(ade20k, tmp_path / 'run', 1),
        'model.backbone.with_cp=True',
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert 'backbone will be compiled' in done.output
    keys = read_checkpoint(tmp_path / 'run' / 'iter_1.pth')['state_dict']
    assert not [key for key in keys if '_orig_mod' in key]


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', ['fp16', 'bf16'])
def test_mixed_precision_trains(ade20k, tmp_path, dtype):
    options = short_run(ade20k, tmp_path / 'run', 3)
    done = run_tool('train.py', CONFIG, '--amp', dtype, *options)
    assert done.returncode == 0, done.tail
    assert all(np.isfinite(losses(tmp_path / 'run')))


def test_a_head_for_other_classes_is_fine_tuned(trained, ade20k, tmp_path):
    options = short_run(ade20k, tmp_path / 'run', 1)
    options += [f'load_from={trained / "iter_2.pth"}', 'classes=[sky,tree]']
    done = run_tool('train.py', CONFIG, '--no-validate', *options)
    assert done.returncode == 0, done.tail
    assert re.search(r'4 wrong shape +decode_head.conv_seg.weight, decode_head.conv', done.output)


def refuse(command, *args):
    """What the tool says of bad input; nothing may have been written."""
    parser, function = {'train': (train_parser, train), 'test': (parser_of_test, run_test)}[command]
    with pytest.raises(UserError) as error:
        function(parser().parse_args([str(a) for a in args]))
    return str(error.value)


def test_bad_input_is_refused_before_anything_is_written(ade20k, tmp_path):
    work_dir = tmp_path / 'run'
    options = short_run(ade20k, work_dir)
    torch.save({'state_dict': {'conv.weight': torch.zeros(1)}}, tmp_path / 'other.pth')
    (tmp_path / 'broken.pth').write_bytes(b'x')
    (tmp_path / 'half' / 'images' / 'training').mkdir(parents=True)

    assert 'no such config' in refuse('train', 'configs/nothing.py', *options)
    said = refuse('train', CONFIG, *short_run(tmp_path / 'nowhere', work_dir))
    assert f'no folder {tmp_path}/nowhere/images/training' in said
    said = refuse('train', CONFIG, *short_run(tmp_path / 'half', work_dir))
    assert 'annotations/training' in said
    assert 'images/validation' in said
    assert "no architecture 'b9'" in refuse('train', CONFIG, *options, 'model.backbone.arch=b9')
    assert "did you mean 'arch'" in refuse('train', CONFIG, *options, 'model.backbone.arhc=b1')
    assert 'no such checkpoint' in refuse('train', CONFIG, '--resume', 'no.pth', *options)
    assert 'no such checkpoint' in refuse('train', CONFIG, '--pretrained', 'no.pth', *options)
    assert 'not a readable' in refuse('test', CONFIG, tmp_path / 'broken.pth', *options)
    assert 'no readable checkpoint' in refuse('test', CONFIG, tmp_path, *options)
    if not torch.cuda.is_available():
        assert 'needs a GPU' in refuse('train', CONFIG, '--amp', *options)
    torch.save({'state_dict': VAN('b1').state_dict()}, tmp_path / 'van_b1.pth')
    said = refuse('train', CONFIG, '--pretrained', tmp_path / 'van_b1.pth', *options)
    assert 'not a checkpoint of this network' in said
    assert 'wrong shape' in said
    assert not work_dir.exists()


def refuse_in_run(tool, *args):
    """What a running tool says of bad input: one message, no traceback."""
    done = run_tool(tool, *args)
    assert done.returncode == 2, done.tail
    assert 'Traceback' not in done.output
    return done.output[done.output.index('\nerror: ') :]


def test_a_checkpoint_with_one_key_renamed_is_refused(trained, ade20k, tmp_path):
    state = read_checkpoint(trained / 'iter_2.pth')['state_dict']
    state['backbone.norm1.wieght'] = state.pop('backbone.norm1.weight')
    torch.save({'state_dict': state}, tmp_path / 'renamed.pth')
    said = refuse_in_run('test.py', CONFIG, tmp_path / 'renamed.pth', *short_run(ade20k, tmp_path))
    assert 'backbone.norm1.weight' in said
    assert 'backbone.norm1.wieght' in said


def test_a_checkpoint_of_another_network_is_refused(ade20k, tmp_path):
    torch.save({'state_dict': VAN('b1').state_dict()}, tmp_path / 'van_b1.pth')
    said = refuse_in_run('test.py', CONFIG, tmp_path / 'van_b1.pth', *short_run(ade20k, tmp_path))
    assert 'not a checkpoint of this network' in said
    assert 'missing' in said


def test_pictures_with_another_ending_are_found(ade20k, tmp_path):
    """BaseSegDataset with .png pictures and classes of one's own."""
    root = shutil.copytree(ade20k, tmp_path / 'data')
    for path in root.glob('images/*/*.jpg'):
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()
    config = tmp_path / 'mine.py'
    plain = "dict(type='BaseSegDataset', img_suffix='.png', reduce_zero_label=True)"
    config.write_text(
        f'_base_ = {str(CONFIG)!r}\nclasses = {[f"c{i}" for i in range(150)]}\n'
        f'train_dataloader = dict(dataset={plain})\nval_dataloader = dict(dataset={plain})\n'
        'test_dataloader = val_dataloader\n'
    )
    done = run_tool('train.py', config, *short_run(root, tmp_path / 'run', 1))
    assert done.returncode == 0, done.tail


def test_a_bad_picture_in_training_is_named(ade20k, tmp_path):
    broken = shutil.copytree(ade20k, tmp_path / 'data')
    victim = sorted(broken.glob('images/training/*.jpg'))[3]  # not among those opened at the start
    victim.write_bytes(b'no picture')
    options = [*short_run(broken, tmp_path / 'run', 9), 'train_dataloader.num_workers=1']
    said = refuse_in_run('train.py', CONFIG, *options)
    assert victim.name in said
    assert 'check_data.py' in said
    checked = run_tool('check_data.py', 'ade20k', broken)
    assert checked.returncode == 1
    assert victim.name in checked.output
    assert run_tool('check_data.py', 'ade20k', ade20k).returncode == 0


@pytest.mark.parametrize('tool', ['train.py', 'test.py', 'check_data.py', 'make_demo_data.py',
                                  'analysis_tools/draw_results.py',
                                  'analysis_tools/eval_results.py',
                                  'model_converters/convert.py'])  # fmt: skip
def test_help_fits_a_terminal(tool):
    done = run_tool(tool, '--help', env={'COLUMNS': '80'})
    assert done.returncode == 0
    assert max(map(len, done.output.splitlines())) <= 80
    assert '==SUPPRESS==' not in done.output
