"""The launch scripts under a real SLURM: two nodes, jobs that are queued again."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from conftest import DEMO_CONFIG, ROOT, run, short_run

CONFIG = ROOT / DEMO_CONFIG
PROCESS = ROOT / 'tests' / 'process_of_a_run.py'
TWO_NODES = {'GPUS': '2', 'GPUS_PER_NODE': '1', 'CPUS_PER_TASK': '1', 'PYTHON': sys.executable}


@pytest.fixture
def stand_in(tmp_path):
    """A small process in the place of `python -u tools/train.py`."""
    script = tmp_path / 'stand_in'
    script.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {PROCESS} "$WHAT" "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_srun_trains_on_two_nodes_without_scontrol(slurm, ade20k, tmp_path):
    hidden = tmp_path / 'bin'
    hidden.mkdir()
    for name in (
        'bash',
        'srun',
        'sinfo',
        'dirname',
        'true',
        'git',
        'gcc',
        'c++',
        'g++',
        'as',
        'ld',
    ):
        if where := shutil.which(name):
            (hidden / name).symlink_to(where)
    work_dir, *options = short_run(ade20k, tmp_path / 'run')[1:]
    done = run(
        'bash', 'tools/slurm_train.sh', 'test', 'job', CONFIG, work_dir, *options,
        env={**slurm.env, **TWO_NODES, 'PATH': str(hidden)},
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert 'GPU number: 2' in done.output
    assert (work_dir / 'iter_2.pth').is_file()


def test_srun_gives_one_task_a_gpu_and_meets_by_the_jobs_number(slurm, stand_in):
    env = {**slurm.env, **TWO_NODES, 'GPUS': '4', 'GPUS_PER_NODE': '2', 'WHAT': 'end'}
    done = run(
        'bash', 'tools/slurm_train.sh', 'test', 'job', 'config.py', env={**env, 'PYTHON': stand_in}
    )
    assert done.returncode == 0, done.tail
    hosts = dict(re.findall(r'rank (\d) of 4 on ([\d.]+): 6', done.output))
    assert hosts == {'0': '127.0.0.2', '1': '127.0.0.2', '2': '127.0.0.3', '3': '127.0.0.3'}
    places = set(re.findall(r'MEETS 127.0.0.2:(\d+)', done.output))
    assert len(places) == 1
    assert 20000 <= int(places.pop()) < 32000


def test_srun_ends_all_tasks_with_the_first_cause(slurm, stand_in):
    started = time.monotonic()
    env = {**slurm.env, **TWO_NODES, 'WHAT': 'raise', 'PYTHON': stand_in}
    done = run('bash', 'tools/slurm_train.sh', 'test', 'job', 'config.py', env=env)
    assert done.returncode != 0
    first = r'error: rank 1 \(127.0.0.3\) failed first: RuntimeError: out of memory: 3 GiB'
    assert re.search(first, done.output), done.tail
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_srun_ends_all_tasks_when_one_is_killed(slurm, stand_in):
    started = time.monotonic()
    env = {**slurm.env, **TWO_NODES, 'WHAT': 'kill', 'PYTHON': stand_in}
    done = run('bash', 'tools/slurm_train.sh', 'test', 'job', 'config.py', env=env)
    assert done.returncode != 0
    assert re.search(r'srun: error: 127.0.0.3: task 1: Killed', done.output), done.tail
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ('partition', 'env', 'reason'),
    [
        ('nowhere', {}, 'invalid partition specified: nowhere'),
        ('test', {'GPUS': '3'}, 'Requested node configuration is not available'),
        ('test', {'CPUS_PER_TASK': '65'}, 'Requested node configuration is not available'),
        ('test', {'GRES': 'gpu:9'}, 'Requested node configuration is not available'),
    ],
)
def test_what_slurm_cannot_start_fails_at_once(slurm, partition, env, reason):
    """SLURM itself lets the second and the third wait for ever."""
    started = time.monotonic()
    done = run(
        'bash', 'tools/slurm_train.sh', partition, 'job', CONFIG,
        env={**slurm.env, **TWO_NODES, **env},
    )  # fmt: skip
    assert done.returncode == 2, done.tail
    assert reason in done.output
    assert 'with 64 CPUs and gpu:4 each' in done.output or partition == 'nowhere'
    assert time.monotonic() - started < 30


# -- sbatch


@pytest.fixture
def submit(slurm, tmp_path):
    """Submit tools/slurm_batch.sh; the job's number and its log."""

    def submit(*args, **env):
        log = tmp_path / 'log'
        job = subprocess.run(
            [
                'sbatch', '--parsable', '--nodes=2', '--ntasks-per-node=1', '--cpus-per-task=1',
                f'--output={log}', 'tools/slurm_batch.sh', *map(str, args),
            ],
            cwd=ROOT,
            env={**os.environ, **slurm.env, 'PYTHON': sys.executable, **env},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()  # fmt: skip
        return job, log

    return submit


def wait_for(log, pattern, seconds=90):
    """What a log says when a pattern is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = log.read_text() if log.is_file() else ''
        if re.search(pattern, text, re.DOTALL):
            return text
        time.sleep(0.1)
    raise AssertionError(f'no {pattern!r} in:\n{text}')


def wait_for_state(slurm, job, state, seconds=60):
    deadline = time.monotonic() + seconds
    while not slurm.state(job).startswith(state):
        assert time.monotonic() < deadline, slurm.state(job)
        time.sleep(0.1)


def test_a_job_near_its_time_limit_saves_and_goes_on(slurm, submit, stand_in, tmp_path):
    job, log = submit('config.py', tmp_path / 'run', PYTHON=stand_in, WHAT='stop')
    wait_for(log, 'READY.*READY')
    slurm.ask('scancel', '--batch', '--signal=USR1', job)  # as --signal=B:USR1@120 does
    text = wait_for(log, 'Queued again: this was start 1')
    assert text.count('SAVED after SIGUSR1') == 2
    slurm.skip_delay(job)
    text = wait_for(log, 'STARTED AGAIN.*STARTED AGAIN')
    assert f"['config.py', '--work-dir', '{tmp_path / 'run'}', '--launcher']" in text
    wait_for_state(slurm, job, 'COMPLETED')


@pytest.mark.slow
def test_preempted_and_cancelled_jobs_are_told_once(slurm, submit, stand_in, tmp_path):
    """SLURM itself tells the tasks; a second signal would stop them without saving."""
    job, log = submit('config.py', tmp_path / 'run', PYTHON=stand_in, WHAT='stop')
    wait_for(log, 'READY.*READY')
    slurm.ask('scontrol', 'requeue', job)  # what preemption does, too
    text = wait_for(log, 'Not queued again here')
    assert text.count('SAVED after SIGTERM') == 2, text
    slurm.skip_delay(job)
    wait_for(log, 'STARTED AGAIN')
    wait_for_state(slurm, job, 'COMPLETED')

    log.unlink()
    job, log = submit('config.py', tmp_path / 'run', PYTHON=stand_in, WHAT='stop')
    wait_for(log, 'READY.*READY')
    slurm.ask('scancel', job)
    assert wait_for(log, 'Not queued again here').count('SAVED after SIGTERM') == 2
    wait_for_state(slurm, job, 'CANCELLED')


def test_a_job_that_failed_or_came_back_too_often_is_not_queued_again(
    slurm,
    submit,
    stand_in,
    tmp_path,
):
    job, log = submit('config.py', tmp_path / 'run', PYTHON='false')
    wait_for_state(slurm, job, 'FAILED')
    assert 'Queued again' not in log.read_text()
    log.unlink()
    job, log = submit('c.py', tmp_path, PYTHON=stand_in, WHAT='stop', MAX_REQUEUES='0')
    wait_for(log, 'READY.*READY')
    slurm.ask('scancel', '--batch', '--signal=USR1', job)
    wait_for(log, 'Not queued again: this was start 1, and MAX_REQUEUES=0')
    wait_for_state(slurm, job, 'FAILED')


def test_batch_script_says_what_it_lacks(slurm, tmp_path):
    env = {**slurm.env, 'PYTHON': 'true'}

    def refused(*options, cwd=ROOT):
        log = tmp_path / 'log'
        script = ROOT / 'tools' / 'slurm_batch.sh'
        done = run(
            'sbatch', '--wait', *options, f'--output={log}', script, 'c', 'd', cwd=cwd, env=env
        )
        assert done.returncode == 2, done.output
        return log.read_text()

    assert 'no tools/_launch.sh in ' in refused(cwd=tmp_path)
    idle = refused('--gres=gpu:2', '--ntasks-per-node=1')
    assert '2 GPUs on each node for 1 tasks' in idle


@pytest.mark.slow
def test_a_training_is_queued_again_and_goes_on(slurm, submit, ade20k, tmp_path):
    pytest.importorskip('mmvisattn.survival.stopping')
    options = [
        *short_run(ade20k, tmp_path / 'run', iterations=300)[2:],
        'default_hooks.logger.interval=1', 'train_cfg.val_interval=300',
    ]  # fmt: skip
    job, log = submit(CONFIG, tmp_path / 'run', *options)
    wait_for(log, r'Iter\(train\) *\[ *3/300')
    slurm.ask('scancel', '--batch', '--signal=USR1', job)
    wait_for(log, 'Queued again: this was start 1')
    slurm.skip_delay(job)
    text = wait_for(log, 'The launcher started this run again.*Resuming from .*/300')
    saved = int(re.search(r'Resuming from \S*iter_(\d+).pth', text)[1])
    text = wait_for(log, rf'Resuming from.*Iter\(train\) *\[ *{saved + 1}/300')
    slurm.ask('scancel', job)
    trained = [int(n) for n in re.findall(r'Iter\(train\) *\[ *(\d+)/300', text)]
    assert trained[: saved + 1] == [*range(1, saved + 2)], 'each step once'
