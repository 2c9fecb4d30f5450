"""Files that are written whole, signals, places of samples and losses that are no numbers."""

import copy
import errno
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import DEMO_CONFIG, ROOT, run_tool, short_run
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor
from test_switches import config_of
from torch.utils.data import DataLoader

from mmvisattn import atomic
from mmvisattn.datasets import stream
from mmvisattn.datasets.stream import Stream, isolate, place_samples
from mmvisattn.engine.runner import Runner
from mmvisattn.errors import UserError
from mmvisattn.survival.checkpoints import EXTRA, KEPT, VALIDATED, latest_checkpoint, verifies
from mmvisattn.survival.nonfinite import NonFinite
from mmvisattn.weights import read_checkpoint, write_checkpoint


class FullDisk:
    """Stands in for `os.fsync` on a disk that is full for a while."""

    def __init__(self, monkeypatch, fails=lambda count: True):
        self.count, self.fails, self.sync = 0, fails, os.fsync
        monkeypatch.setattr(atomic.os, 'fsync', self)

    def __call__(self, descriptor):
        if Path(f'/proc/self/fd/{descriptor}').resolve().suffix == atomic.PARTIAL:
            self.count += 1
            if self.fails(self.count):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sync(descriptor)


# Files


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / 'weights.pth'
    write_checkpoint(path, {'a': torch.ones(3)})
    with atomic.written_whole(tmp_path / 'text') as file:
        file.write(b'half')
        assert not (tmp_path / 'text').exists()
    FullDisk(monkeypatch)
    with pytest.raises(OSError, match='No space left'):
        write_checkpoint(path, {'a': torch.zeros(3)})
    assert read_checkpoint(path)['a'].tolist() == [1, 1, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ['text', 'weights.pth']


def test_a_limit_of_the_system_is_a_full_disk(tmp_path):
    """Not a stand-in: the kernel itself cuts the file short."""
    code = (
        'import resource, sys, torch\n'
        'from mmvisattn.weights import write_checkpoint\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
        'write_checkpoint(sys.argv[1], {"a": torch.zeros(100_000)})\n'
    )
    path = tmp_path / 'weights.pth'
    write_checkpoint(path, {'a': torch.ones(2)})
    done = subprocess.run([sys.executable, '-c', code, path], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'File too large' in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['weights.pth']
    assert verifies(path)


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / 'iter_2.pth'
    torch.save({'state_dict': {'a': torch.zeros(1000)}}, path)
    assert verifies(path)
    whole = bytearray(path.read_bytes())
    for position in range(len(whole) - 600, len(whole), 3):  # the archive's list of contents
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert verifies(path) in (True, False)
    with zipfile.ZipFile(path) as archive:
        (record,) = [info for info in archive.infolist() if info.filename.endswith('/data/0')]
    whole[record.header_offset + 1000] ^= 1
    path.write_bytes(whole)
    assert read_checkpoint(path)['state_dict']['a'].any(), 'PyTorch does not look'
    assert not verifies(path)
    path.write_bytes(whole[:2000])
    assert not verifies(path)
    torch.save({'a': torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    assert verifies(path)


def test_the_newest_of_two_kinds_of_names_is_found(tmp_path):
    for name in ('epoch_2', 'epoch_2_iter_9', 'epoch_1', 'best_mIoU_epoch_3', 'other'):
        torch.save({}, tmp_path / f'{name}.pth')
    assert latest_checkpoint(tmp_path)[0].stem == 'epoch_2_iter_9'
    (tmp_path / 'last_checkpoint').write_text('/moved/since/epoch_1.pth')
    assert latest_checkpoint(tmp_path)[0].stem == 'epoch_1'
    os.mkfifo(tmp_path / 'epoch_9.pth')  # to open it would wait for ever
    for broken in (b'', b'\xff\xfe'):  # cut short by a kill, or by the disk
        (tmp_path / 'last_checkpoint').write_bytes(broken)
        assert latest_checkpoint(tmp_path)[0].stem == 'epoch_2_iter_9'


def test_a_run_that_begins_anew_is_not_continued_by_an_older_one(tmp_path):
    torch.save({}, tmp_path / 'iter_40000.pth')
    (tmp_path / 'last_checkpoint').write_text('none yet')
    os.utime(tmp_path / 'iter_40000.pth', (1, 1))
    os.utime(tmp_path / 'last_checkpoint', (2, 2))
    assert latest_checkpoint(tmp_path)[0].stem == 'iter_40000', 'whoever asks for it gets it'
    assert latest_checkpoint(tmp_path, own=True) == (None, [])
    torch.save({}, tmp_path / 'iter_10.pth')
    assert latest_checkpoint(tmp_path, own=True)[0].stem == 'iter_10'


def test_the_checkpoint_of_a_run_that_saves_elsewhere_is_found(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    torch.save({}, tmp_path / 'elsewhere' / 'mine-3.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'elsewhere' / 'mine-3.pth'))
    assert latest_checkpoint(tmp_path)[0].name == 'mine-3.pth'


def test_a_checkpoint_goes_once_its_successor_is_safe(tmp_path, monkeypatch):
    cfg = config_of('segmentation', tmp_path / 'run', iterations=4, saving=1)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    there = []
    monkeypatch.setattr(
        atomic.os, 'fsync',
        lambda _: there.append({p.stem for p in (tmp_path / 'run').glob('iter_*.pth')}),
    )  # fmt: skip
    Runner.from_cfg(cfg).train()
    assert {'iter_1'} in there
    assert all(there[there.index({'iter_1'}) :]), 'at no time there is none'
    assert [p.name for p in (tmp_path / 'run').glob('*.pth')] == ['iter_4.pth']


def test_what_a_run_remembers_stays_out_of_its_log():
    runner = SimpleNamespace(message_hub=MessageHub('a run'))
    for key in (KEPT, EXTRA, VALIDATED, 'val/shown'):
        runner.message_hub.update_info(key, 1)
    for mode in ('train', 'val', 'test'):
        found = LogProcessor()._collect_non_scalars(runner, mode)
        assert found == ({'shown': 1} if mode == 'val' else {})


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, caplog):
    cfg = config_of('segmentation', tmp_path / 'run', iterations=5, saving=1)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    # First the run says that it has none yet; then two files each, a checkpoint and one that points
    # to it: the second and third checkpoint cannot be written, nor that the fourth is there.
    FullDisk(monkeypatch, fails=lambda count: count in (4, 5, 7))
    runner = Runner.from_cfg(cfg)
    saved = []
    save = runner.save_checkpoint

    def note(*args, **kwargs):
        try:
            save(*args, **kwargs)
        finally:
            saved.append(sorted(path.stem for path in (tmp_path / 'run').glob('*.pth')))

    runner.save_checkpoint = note
    runner.train()
    assert saved == [['iter_1']] * 3 + [['iter_1', 'iter_4'], ['iter_4', 'iter_5']]
    assert [p.name for p in (tmp_path / 'run').glob('*.pth')] == ['iter_5.pth']
    log = (Path(runner.log_dir) / f'{runner.timestamp}.log').read_text()
    assert 'iter_2.pth could not be saved: [Errno 28] No space left on device' in log
    assert log.count('the training goes on') == 2


def test_a_run_whose_end_cannot_be_saved_fails(tmp_path, monkeypatch):
    cfg = config_of('segmentation', tmp_path / 'run', iterations=2, saving=1)
    FullDisk(monkeypatch, fails=lambda count: count > 3)
    with pytest.raises(UserError, match='could not be saved') as error:
        Runner.from_cfg(cfg).train()
    assert 'iter_1.pth' in str(error.value)
    assert latest_checkpoint(tmp_path / 'run')[0].name == 'iter_1.pth'


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    (tmp_path / 'run').mkdir()
    left = tmp_path / 'run' / f'iter_1.pth.0123{atomic.PARTIAL}'
    left.write_bytes(b'half')
    Runner.from_cfg(config_of('segmentation', tmp_path / 'run', iterations=1)).train()
    assert not left.exists()


def test_a_checkpoint_of_another_optimizer_is_explained(tmp_path):
    Runner.from_cfg(config_of('segmentation', tmp_path / 'run', iterations=1)).train()
    path = tmp_path / 'run' / 'iter_1.pth'
    checkpoint = read_checkpoint(path)
    for spoil in (
        lambda content: content['optimizer']['param_groups'].pop(),
        lambda content: content.update(message_hub=3),
        lambda content: content.update(param_schedulers=[None] * 9),
    ):
        spoilt = copy.deepcopy(checkpoint)
        spoil(spoilt)
        torch.save(spoilt, path)
        with pytest.raises(UserError, match='iter_1.pth cannot be resumed') as error:
            Runner.from_cfg(
                config_of('segmentation', tmp_path / 'run', '--resume', iterations=2)
            ).train()
        assert 'load_from=' in str(error.value)


def test_a_work_dir_that_cannot_be_made_is_explained(ade20k, tmp_path):
    (tmp_path / 'file').write_text('')
    done = run_tool('train.py', ROOT / DEMO_CONFIG, *short_run(ade20k, tmp_path / 'file' / 'run'))
    assert done.returncode == 2, done.tail
    assert 'cannot be made' in done.output
    assert 'Traceback' not in done.output


# Signals

SIGNALLED = """
import os, signal, sys, time
from mmvisattn.survival.stopping import stop_requests
try:
    with stop_requests() as request:
        request.unsaved = sys.argv[1] == 'busy'
        for name in sys.argv[2:]:
            os.kill(os.getpid(), getattr(signal, name))
        if request.unsaved:
            print('step finished after', request.name, flush=True)
            with request.nothing_unsaved():
                print('never')
finally:
    os.kill(os.getpid(), signal.SIGTERM)  # comes too late to change the status
"""


@pytest.mark.parametrize(
    ('arguments', 'status', 'said'),
    [
        (('busy', 'SIGTERM'), 75, 'step finished after SIGTERM'),
        (('busy', 'SIGUSR1'), 75, 'step finished after SIGUSR1'),
        (('busy', 'SIGINT'), 75, 'step finished after SIGINT'),
        (('idle', 'SIGTERM'), 75, 'SIGTERM: stopping'),
        (('busy', 'SIGTERM', 'SIGTERM'), 143, 'stopping at once'),
        (('busy', 'SIGUSR1', 'SIGINT'), 130, 'stopping at once'),
    ],
)
def test_signals(arguments, status, said):
    done = subprocess.run(
        [sys.executable, '-c', SIGNALLED, *arguments], capture_output=True, text=True
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert 'never' not in done.stdout


@pytest.mark.parametrize('launcher', ['TORCHELASTIC_RUN_ID', 'SLURM_JOB_ID'])
def test_a_launcher_hands_on_what_was_received_already(launcher):
    done = subprocess.run(
        [sys.executable, '-c', SIGNALLED, 'busy', 'SIGTERM', 'SIGTERM'], capture_output=True,
        text=True, env={**os.environ, launcher: '1'},
    )  # fmt: skip
    assert done.returncode == 75


# Places


class Noisy(torch.utils.data.Dataset):
    """Draws from all three generators, as transforms do."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def drawn(sampler, batches, skipped=0, workers=0, seed=3, batch_size=2, endless=True):
    """The first samples of a loader, as tuples."""
    loader = DataLoader(
        Noisy(), batch_size=batch_size, sampler=sampler, num_workers=workers, collate_fn=list
    )
    isolate(loader)
    place_samples(loader, seed)
    loader.batch_sampler.endless = endless
    loader.batch_sampler.start(0, skipped)
    return [sample for _, batch in zip(range(batches), loader, strict=False) for sample in batch]


@pytest.mark.parametrize('kind', [InfiniteSampler, DefaultSampler])
def test_samples_depend_on_their_place_alone(kind):
    def first(batches, **options):
        return drawn(kind(Noisy(), seed=1), batches, **options)

    whole = first(12)
    assert len(set(whole)) == 24, 'a sample that comes again is drawn anew'
    assert first(12, workers=2) == whole
    assert first(5, skipped=7) == whole[14:]
    assert first(3, skipped=9, workers=1) == whole[18:]
    assert first(6, batch_size=4) == whole
    assert first(12, seed=4) != whole


def test_processes_draw_what_one_would(monkeypatch):
    whole = drawn(InfiniteSampler(Noisy(), seed=1), 6)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(stream, 'get_rank', lambda rank=rank: rank)
        monkeypatch.setattr(stream, 'get_world_size', lambda: 2)
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(drawn(InfiniteSampler(Noisy(), seed=1), 6, batch_size=1))
    assert [sample for pair in zip(*parts, strict=True) for sample in pair] == whole


def test_loading_leaves_the_generators_of_the_process_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    drawn(DefaultSampler(Noisy(), seed=1), 3)
    drawn(DefaultSampler(Noisy(), seed=1), 3, workers=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_epochs_differ():
    loader = DataLoader(Noisy(), batch_size=5, collate_fn=list)
    place_samples(loader, 0)
    first, second = list(loader), list(loader)
    assert len(first) == len(second) == 3
    assert first != second


def test_data_that_make_no_batch_are_refused():
    batches = Stream(torch.utils.data.BatchSampler([], 2, drop_last=False), seed=0)
    assert list(batches) == []
    batches.endless = True
    with pytest.raises(UserError, match='make no batch'):
        next(iter(batches))


def test_a_worker_survives_the_signals_that_its_process_gets():
    """SLURM signals all processes of a job, and a terminal all of a command."""
    code = (
        'import os, signal, time, torch\n'
        'from torch.utils.data import DataLoader\n'
        'from mmvisattn.datasets.stream import isolate\n'
        'loader = DataLoader(range(100), num_workers=2)\n'
        'isolate(loader)\n'
        'batches = iter(loader)\n'
        'next(batches), next(batches)\n'
        'for worker in batches._workers:\n'
        '    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):\n'
        '        os.kill(worker.pid, getattr(signal, name))\n'
        'print(len(list(batches)), flush=True)\n'
        'loader = DataLoader(range(100), num_workers=2, persistent_workers=True)\n'
        'isolate(loader)\n'
        'kept = iter(loader)\n'
        'next(kept)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, '98\n'), done.stderr


# Losses that are no numbers


class Spoil(Hook):
    """Makes the pictures of some iterations infinite."""

    def __init__(self, *iterations):
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch):
        for number, sample in enumerate(data_batch['data_samples']):
            sample.set_metainfo({'img_path': f'picture_{number}.jpg'})
        if runner.iter + 1 in self.iterations:
            data_batch['inputs'] = [x.float() * float('inf') for x in data_batch['inputs']]


def spoiled(tmp_path, *iterations, **nonfinite):
    """A run of six iterations, some of them spoiled."""
    cfg = config_of('segmentation', tmp_path / 'run', iterations=6, saving=1)
    cfg.nonfinite = nonfinite
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Spoil(*iterations))
    return runner


def test_losses_that_are_not_finite_stop_the_run(tmp_path):
    runner = spoiled(tmp_path, 3)
    with pytest.raises(UserError, match='not finite 3 steps in a row') as error:
        runner.train()
    assert 'iteration 3' in str(error.value)
    assert 'picture_1.jpg' in str(error.value)
    written = json.loads((Path(runner.log_dir) / 'nonfinite_rank0.json').read_text())
    assert [(row['iter'], row['losses']['loss']) for row in written] == [
        (3, 'nan'), (4, 'nan'), (5, 'nan')
    ]  # fmt: skip
    newest, _ = latest_checkpoint(tmp_path / 'run')
    assert newest.name == 'iter_2.pth', 'weights that are no numbers replace none that are'
    assert all(v.isfinite().all() for v in read_checkpoint(newest)['state_dict'].values())


def test_steps_that_are_not_finite_are_left_out(tmp_path):
    runner = spoiled(tmp_path, 2, 4, 5, skip=True)
    runner.train()
    state = runner.optim_wrapper.optimizer.state
    assert {int(entry['step']) for entry in state.values()} == {3}
    assert all(v.isfinite().all() for v in runner.bare_model.state_dict().values())


def test_fp16s_scaler_leaves_steps_out_and_averages_are_kept(scaler_on_cpu, tmp_path):
    runner = spoiled(tmp_path, 2, 4, skip=True)
    runner.optim_wrapper.update(
        type='AmpOptimWrapper', dtype='bfloat16', loss_scale=dict(init_scale=4.0)
    )
    runner.train()
    assert runner.optim_wrapper.loss_scaler.get_scale() == 1.0, 'halved twice'
    assert all(v.isfinite().all() for v in runner.bare_model.state_dict().values())
    assert latest_checkpoint(tmp_path / 'run')[0].name == 'iter_6.pth'


@pytest.mark.parametrize('bad', [dict(steps=0), dict(skip=1), dict(patience=3), dict(steps='3')])
def test_bad_settings_are_explained(bad):
    with pytest.raises(UserError, match='nonfinite'):
        NonFinite.of(dict(nonfinite=bad))
