"""A training that is killed at random moments ends with the weights it would have had.

SIGKILL at any time, in the middle of a save as well, of one process, of two, and of the tasks of a
job that SLURM starts again. Nothing of a run may be lost but the steps since its last checkpoint.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from mmengine.config import Config
from small_configs import small_config
from test_resuming import differences

from mmvisattn.atomic import PARTIAL
from mmvisattn.survival.checkpoints import latest_checkpoint
from mmvisattn.survival.resuming import EXACT
from mmvisattn.weights import read_checkpoint

pytestmark = pytest.mark.slow
RECIPE = ROOT / 'configs' / 'fpn_van_b0_ade20k.py'
# Kills of one process, of two, and of a job's tasks: twenty in sum.
KILLS = {1: 9, 2: 6, 'SLURM': 5}
LENGTH = 60
START = '=== start'
# Saves are frequent, so that many kills meet one; workers, averages and gathered gradients.
OPTIONS = [
    '--pretrained', 'none', '--deterministic', '--seed', '11', '--ema', '0.1', '--accumulate', '3',
    '--cfg-options', f'max_iters={LENGTH}', 'train_cfg.val_interval=20',
    'default_hooks.checkpoint.interval=2', 'default_hooks.checkpoint.max_keep_ckpts=2',
    'default_hooks.logger.interval=1', 'train_dataloader.num_workers=1',
    'train_dataloader.persistent_workers=True',
]  # fmt: skip


@pytest.fixture(scope='module')
def config(ade20k, tmp_path_factory):
    config = small_config(RECIPE, 'ade20k', ade20k, tmp_path_factory.mktemp('torture'))
    cfg = Config.fromfile(config)
    channels = [16, 32, 32, 32]
    cfg.model.backbone.arch.embed_dims = cfg.model.neck.in_channels = channels
    cfg.dump(config)
    return config


def command(config, work, processes):
    arguments = [str(part) for part in (config, *OPTIONS, '--work-dir', work)]
    if processes == 1:
        return [sys.executable, 'tools/train.py', *arguments, '--resume', 'auto']
    config, *options = arguments
    script = ['bash', 'tools/dist_train.sh', config, str(processes)]
    return [*script, *options, '--resume', 'auto']


class Started:
    """A training in a session of its own, to be killed; torchrun takes its processes along."""

    def __init__(self, config, work, processes, log):
        self.work, self.log = work, log
        mark_start(log)
        with log.open('a') as file:
            self.process = subprocess.Popen(
                command(config, work, processes), cwd=ROOT, stdout=file, stderr=file,
                start_new_session=True, env={**os.environ, 'PYTHON': sys.executable},
            )  # fmt: skip

    def has_ended(self):
        return self.process.poll() is not None

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + 20
        while self._is_running():
            assert time.monotonic() < deadline, 'processes of a killed run go on'
            time.sleep(0.05)

    def _is_running(self):
        found = subprocess.run(
            ['pgrep', '-f', f'tools/train.py.*{self.work}'], stdout=subprocess.DEVNULL
        )
        return found.returncode == 0


class Queued:
    """A start of a SLURM job, whose tasks can be killed; the first submits it."""

    job = None

    def __init__(self, slurm, config, work, log):
        self.slurm, self.work, self.log = slurm, work, log
        mark_start(log)
        if Queued.job is None:
            Queued.job = subprocess.run(
                ['sbatch', '--parsable', '--nodes=2', '--ntasks-per-node=1', '--cpus-per-task=1',
                 f'--output={log}', 'tools/slurm_batch.sh', config, work, *OPTIONS],
                cwd=ROOT, env={**os.environ, **slurm.env, 'PYTHON': sys.executable},
                stdout=subprocess.PIPE, text=True, check=True,
            ).stdout.strip()  # fmt: skip
        else:
            slurm.ask('scontrol', 'requeue', self.job)
            slurm.skip_delay(self.job)

    def has_ended(self):
        return self.slurm.state(self.job).startswith(('COMPLETED', 'FAILED', 'NODE_FAIL'))

    def kill(self):
        subprocess.run(['pkill', '-KILL', '-f', f'tools/train.py.*{self.work}'], check=True)
        deadline = time.monotonic() + 90
        while not self.has_ended():
            assert time.monotonic() < deadline, self.slurm.state(self.job)
            time.sleep(0.2)


def mark_start(log):
    with log.open('a') as file:
        file.write(f'\n{START}\n')


def iteration_of(work):
    """What a kill now would go on from; every file that is there must verify."""
    newest, broken = latest_checkpoint(work)
    assert broken == []
    return 0 if newest is None else read_checkpoint(newest)['meta']['iter']


def await_moment(started, work, chance):
    """Return at a moment to kill: at random, or, as often, when a file is being written."""
    deadline = time.monotonic() + 120
    while 'Iter(train)' not in started.log.read_text().rpartition(START)[2]:
        if started.has_ended():
            return
        assert time.monotonic() < deadline, started.log.read_text()[-3000:]
        time.sleep(0.02)
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 1.5))
        return
    deadline = time.monotonic() + 20
    while not any(work.glob(f'*.pth.*{PARTIAL}')) and time.monotonic() < deadline:
        if started.has_ended():
            return


def torture(start, work, kills, chance):
    """Kill so often; returns how often, and how many of them met a save."""
    done = met_save = 0
    reached = 0
    while done < kills:
        started = start()
        await_moment(started, work, chance)
        if started.has_ended():
            break
        started.kill()
        done += 1
        met_save += any(work.glob(f'*{PARTIAL}'))
        now = iteration_of(work)
        assert now >= reached, 'a checkpoint was lost'
        reached = now
    return done, met_save


def finished(start):
    started = start()
    deadline = time.monotonic() + 300
    while not started.has_ended():
        assert time.monotonic() < deadline, started.log.read_text()[-3000:]
        time.sleep(0.1)
    return started.log.read_text()


def assert_same_end(work, whole):
    ends = []
    for folder in (work, whole):
        checkpoint = read_checkpoint(latest_checkpoint(folder)[0])
        assert checkpoint.pop('meta')['iter'] == LENGTH
        checkpoint.pop('message_hub')  # holds times
        ends.append(checkpoint)
    assert {'state_dict', 'ema_state_dict', 'optimizer', EXACT} <= set(ends[0])
    assert differences(*ends) == []
    assert {p.name for p in work.glob('*.pth')} == {p.name for p in whole.glob('*.pth')}


def last_metric(log):
    return re.findall(r'Iter\(val\).*mIoU: ([\d.]+)', log)[-1]


def check(whole, start, folder, kills, record_property):
    """Kill a run so often and let it end; it must end as the one that nobody killed."""
    done, met_save = torture(start, folder / 'parts', kills, random.Random(kills))
    log = finished(start)
    assert done == kills, f'the run ended after {done} kills: it is too short'
    assert met_save, 'half of the kills wait for a save'
    assert_same_end(folder / 'parts', folder / 'whole')
    assert last_metric(log) == last_metric(whole)
    record_property('kills', done)
    record_property('kills that met a save', met_save)
    print(f'{done} kills, {met_save} in the middle of a save')


@pytest.mark.parametrize('processes', [1, 2])
def test_kills_leave_no_difference(config, tmp_path, processes, record_property):
    def starter(name):
        return lambda: Started(config, tmp_path / name, processes, tmp_path / f'{name}.log')

    check(finished(starter('whole')), starter('parts'), tmp_path, KILLS[processes], record_property)


def test_kills_of_a_slurm_job_leave_no_difference(slurm, config, tmp_path, record_property):
    """Two tasks on two nodes; the whole run is one of two processes on one."""
    whole = finished(lambda: Started(config, tmp_path / 'whole', 2, tmp_path / 'whole.log'))
    check(
        whole, lambda: Queued(slurm, config, tmp_path / 'parts', tmp_path / 'parts.log'), tmp_path,
        KILLS['SLURM'], record_property,
    )  # fmt: skip
