"""Launchers: how processes start, meet, stop and end together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import DEMO_CONFIG, ROOT, run, run_tool, short_run
from process_of_a_run import listening
from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mmvisattn.errors import UserError
from mmvisattn.processes import failure, launch, torchrun
from mmvisattn.processes.failure import LAUNCHER_VARIABLE, Process
from mmvisattn.processes.rendezvous import START_VARIABLE
from mmvisattn.weights import read_checkpoint

CONFIG = ROOT / DEMO_CONFIG
PROCESS = ROOT / 'tests' / 'process_of_a_run.py'
LOOPBACK = {'0100007F'}  # 127.0.0.1, as /proc writes it


@pytest.mark.parametrize(
    ('nodelist', 'host'),
    [
        ('n1', 'n1'), ('n1,n2', 'n1'), ('gpu[03-05,9],login', 'gpu03'), ('a[7]-ib', 'a7-ib'),
        ('rack-1-node[12,14]', 'rack-1-node12'), ('host.domain', 'host.domain'),
        ('10.0.1.[2-3]', '10.0.1.2'),
    ],
)  # fmt: skip
def test_first_host_of_a_slurm_nodelist(nodelist, host):
    assert launch.first_host(nodelist) == host


def test_slurm_environment_becomes_torchs():
    env = {
        'SLURM_PROCID': '3', 'SLURM_LOCALID': '1', 'SLURM_NTASKS': '4', 'SLURM_NNODES': '2',
        'SLURM_NODELIST': 'n[1-2]', 'SLURM_JOB_ID': '24007',
    }  # fmt: skip
    assert launch._slurm(env) == {
        'RANK': '3', 'LOCAL_RANK': '1', 'WORLD_SIZE': '4',
        'MASTER_ADDR': 'n1', 'MASTER_PORT': '20007',
    }  # fmt: skip
    assert launch._slurm({**env, 'MASTER_PORT': '5'})['MASTER_PORT'] == '5'
    assert launch._slurm({**env, 'SLURM_STEP_ID': '2'})['MASTER_PORT'] == '20209'
    assert launch._slurm({**env, 'SLURM_STEP_NODELIST': 'n2'})['MASTER_ADDR'] == 'n2'
    assert launch._slurm({**env, 'SLURM_NNODES': '1'})['MASTER_ADDR'] == '127.0.0.1'


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


def test_more_processes_than_gpus_are_refused(monkeypatch):
    chosen = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.set_device', chosen.append)
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    assert launch._choose_device('slurm', 'nccl') == 'nccl', 'a task that sees its own GPU'
    assert chosen == [0]
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(UserError, match='more processes than GPUs'):
        launch._choose_device('pytorch', 'nccl')
    monkeypatch.setenv('LOCAL_RANK', '2')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    with pytest.raises(UserError, match='at most 2'):
        launch._choose_device('slurm', 'nccl')


def test_a_restart_is_known():
    assert not launch.restarted({})
    assert not launch.restarted({'TORCHELASTIC_RESTART_COUNT': '0'})
    assert launch.restarted({'TORCHELASTIC_RESTART_COUNT': '1'})
    assert launch.restarted({'SLURM_RESTART_COUNT': '2'})


# -- torchrun


@pytest.fixture
def dist_train(tmp_path):
    """Run tools/dist_train.sh with a small process in the place of train.py."""
    stand_in = tmp_path / 'stand_in'
    stand_in.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {PROCESS} "$WHAT" "$@"\n')
    stand_in.chmod(0o755)

    def start(what, gpus=2, **env):
        return subprocess.Popen(
            ['bash', str(ROOT / 'tools' / 'dist_train.sh'), 'config.py', str(gpus)],
            env={**os.environ, 'PYTHON': sys.executable, 'PYTHON_EXEC': str(stand_in),
                 'WHAT': what, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    return start


def ended(process, within=60):
    """What a process printed."""
    try:
        output = process.communicate(timeout=within)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return output


def test_two_processes_train_and_test(ade20k, tmp_path):
    """Through torchrun and gloo, from another folder, with blanks in paths and options."""
    config = tmp_path / 'my configs' / 'mine.py'
    config.parent.mkdir()
    config.write_text(f'_base_ = {str(CONFIG)!r}\n')
    done = run(
        'bash', ROOT / 'tools/dist_train.sh', config, '2', *short_run(ade20k, tmp_path / 'a run'),
        cwd=tmp_path, env={'PYTHON': sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    assert 'GPU number: 2' in done.output
    keys = read_checkpoint(tmp_path / 'a run' / 'iter_2.pth')['state_dict']
    assert 'backbone.patch_embed1.proj.weight' in keys
    tested = run(
        'bash', 'tools/dist_test.sh', CONFIG, tmp_path / 'a run', '2',
        *short_run(ade20k, tmp_path / 'test'), env={'PYTHON': sys.executable},
    )  # fmt: skip
    assert tested.returncode == 0, tested.tail
    metric = r'Iter\(test\).*mIoU: +([\d.]+)'
    alone = run_tool('test.py', CONFIG, tmp_path / 'a run', *short_run(ade20k, tmp_path / 'test1'))
    assert re.search(metric, tested.output)[1] == re.search(metric, alone.output)[1]


@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_launcher_stops_all_and_nothing_listens_outside(dist_train, number):
    port = free_port()
    # One that is to be restarted: a stop is no failure.
    running = dist_train('stop', MASTER_PORT=str(port), MAX_RESTARTS='1')
    output = ''
    while output.count('READY') < 2:
        output += running.stdout.readline()
        assert running.poll() is None, output
    assert set(listening(running.pid)) == set(), 'torchrun itself'
    running.send_signal(number)
    output += ended(running)
    assert running.returncode == launch.STOPPED, output
    assert output.count(f'SAVED after {number.name}') == 2, output
    assert output.count(f'MEETS 127.0.0.1:{port}') == 2, output
    assert output.count('of 2') == 2
    listened = [line.split()[1:] for line in output.splitlines() if line.startswith('LISTENS')]
    assert len(listened) == 2
    assert all(listened), 'a process has at least the socket of gloo'
    assert {address for addresses in listened for address in addresses} == LOOPBACK


def test_the_first_failure_ends_all_and_rank_0_names_it(dist_train):
    started = time.monotonic()
    running = dist_train('raise')
    output = ended(running)
    assert running.returncode == 1, output
    host = socket.gethostname()
    assert f'error: rank 1 ({host}) failed first: RuntimeError: out of memory: 3 GiB' in output
    assert f'error: rank 1 on {host} ended first: status 1' in output, "torchrun's last line"
    assert time.monotonic() - started < 60


def test_a_failure_before_the_processes_meet_is_named(dist_train):
    running = dist_train('refuse')
    output = ended(running)
    assert running.returncode == 2, output
    assert re.search(r'error: rank 1 .* (failed first: no data on this node|ended first)', output)
    assert 'do:       mount it' in output


def test_the_first_of_failures_in_the_same_second_is_named(tmp_path, capsys):
    left = tmp_path / 'error.json'
    left.write_text(json.dumps({'message': {'message': 'no', 'extraInfo': {'timestamp': '5'}}}))
    followed, raised, killed, ended_by_torchrun = (
        ProcessFailure(rank, 1, status, file)
        for rank, (status, file) in enumerate(((1, ''), (1, str(left)), (-9, ''), (-15, '')))
    )
    for one in (followed, raised, killed):
        one.timestamp = 5
    ended_by_torchrun.timestamp = 4
    order = [ended_by_torchrun, followed, raised, killed]
    for first in (killed, raised, followed):
        failures = {one.local_rank: one for one in order}
        status = torchrun._report(ChildFailedError('train.py', failures))
        assert f'error: rank {first.local_rank} on' in capsys.readouterr().err
        assert status == (137 if first is killed else 1)
        order.remove(first)


@pytest.mark.slow
def test_a_killed_process_ends_the_others(dist_train):
    started = time.monotonic()
    running = dist_train('kill')
    output = ended(running)
    assert running.returncode == 128 + signal.SIGKILL, output
    assert 'rank 1' in output.splitlines()[-1]
    assert 'killed by SIGKILL' in output.splitlines()[-1]
    assert time.monotonic() - started < 60


def test_a_killed_launcher_takes_its_processes_along(dist_train):
    running = dist_train('sleep')
    output = ''
    while output.count('MEETS') < 2:
        output += running.stdout.readline()
        assert running.poll() is None, output
    running.kill()
    ended(running, within=20)  # they hold its output open as long as they live


def test_a_process_that_outlived_its_launcher_disturbs_no_other_run():
    """That may meet at the same port. Behind a script, which need not be dead, it joins."""
    launcher = subprocess.Popen(['sleep', '60'])
    dead = replace(Process.this(), number=launcher.pid, start=failure._start(launcher.pid))
    port = free_port()
    first = member('end', 0, port, **{LAUNCHER_VARIABLE: dead.to_json()})
    second = member('end', 1, port, **{LAUNCHER_VARIABLE: dead.to_json()})
    for process in (first, second):
        output = ended(process)
        assert process.returncode == 0, output
    launcher.kill()
    launcher.wait()
    store = TCPStore('127.0.0.1', free_port(), is_master=True, wait_for_workers=False)
    process = member('end', 1, store.port, **{LAUNCHER_VARIABLE: dead.to_json()})
    output = ended(process)
    assert process.returncode == 2, output
    assert 'the torchrun that started this process is dead' in output
    assert store.num_keys() == 0


def test_without_a_launcher_neighbours_miss_a_killed_process():
    """As under MPI or in a container, where nobody ends the others."""
    port = free_port()
    first, second = (member('kill', rank, port) for rank in (0, 1))
    output = ended(first)
    assert first.returncode == 1, output
    assert re.search(r'error: rank 1 .* failed first: it was killed', output), output
    ended(second)
    assert second.returncode == -signal.SIGKILL


def test_a_run_is_started_again_after_one_process_was_killed(dist_train):
    running = dist_train('kill', MAX_RESTARTS='1')
    output = ended(running, within=90)
    assert running.returncode == 0, output
    assert output.count("STARTED AGAIN ['config.py'") == 2, output


@pytest.mark.slow
def test_two_nodes_meet(dist_train):
    nodes = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=str(free_port()))
    running = [dist_train('end', 1, NODE_RANK=str(rank), **nodes) for rank in (0, 1)]
    for rank, process in enumerate(running):
        output = ended(process)
        assert process.returncode == 0, output
        assert f'rank {rank} of 2 on ' in output


@pytest.mark.slow
def test_an_elastic_run_goes_on_without_a_node(dist_train):
    nodes = dict(
        NNODES='1:2', MASTER_ADDR='127.0.0.1', PORT=str(free_port()), MAX_RESTARTS='1',
        TORCHRUN_ARGS='--rdzv_conf=last_call_timeout=8,keep_alive_interval=1',
    )  # fmt: skip
    stays, goes = dist_train('sleep', 1, **nodes), dist_train('sleep', 1, **nodes)
    # Whoever keeps the nodes' meeting point must stay: the one that has bound the port.
    output = ''
    while 'MEETS' not in output:
        output += goes.stdout.readline()
        assert goes.poll() is None, output
    if set(listening(goes.pid)):
        stays, goes = goes, stays
        while 'MEETS' not in (output := goes.stdout.readline()):
            assert goes.poll() is None
    time.sleep(2)
    goes.kill()
    ended(goes)
    output = ended(stays, within=120)
    assert stays.returncode == 0, output
    assert 'rank 0 of 1 on ' in output
    assert "STARTED AGAIN ['config.py', '--resume', 'auto'" in output


# -- what goes wrong before a run


def member(what, rank, port, size=2, **env):
    """Start a process of a run as a launcher does that is not there."""
    place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
    meeting = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    return subprocess.Popen(
        [sys.executable, str(PROCESS), what, 'pytorch'],
        env={**os.environ, **{k: str(v) for k, v in {**place, **meeting, **env}.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_missing_processes_are_named():
    port, lonely_port, taken = free_port(), free_port(), socket.create_server(('127.0.0.1', 0))
    env = {START_VARIABLE: 8, 'size': 3}  # more than starts differ in on a busy machine
    there = [member('end', rank, port, **env) for rank in (0, 2)]
    lonely = member('end', 1, lonely_port, **env)
    unlucky = member('end', 0, taken.getsockname()[1], **env)
    for rank, process in zip((0, 2), there, strict=True):
        output = ended(process)
        assert process.returncode == 2, output
        where = f'this is rank {rank} of 3 on .* store is at 127.0.0.1:{port}'
        assert re.search(f'not all processes of the run have started: {where}', output), output
        assert 'none of rank 1' in output
        assert START_VARIABLE in output
    output = ended(lonely)
    assert lonely.returncode == 2
    assert f'this is rank 1 of 3 on {socket.gethostname()}' in output
    assert 'nobody answers where the processes are to meet' in output
    output = ended(unlucky)
    assert unlucky.returncode == 2
    assert 'cannot listen for the processes' in output
    assert 'MASTER_PORT=' in output


def test_processes_that_do_not_reach_each_other_are_told_in_time():
    """As behind a firewall: all reach the store, and one answers nobody else."""
    port = free_port()
    running = [member('mute', rank, port, **{START_VARIABLE: 8}) for rank in (0, 1)]
    for rank, process in enumerate(running):
        output = ended(process)
        assert process.returncode == 2, output
        where = f'this is rank {rank} of 2 on .* store is at 127.0.0.1:{port}'
        assert re.search(f'first collective call did not end: {where}', output) or (
            'failed first: the first collective call did not end' in output
        )


FAILING_HOOKS = """
import multiprocessing
import os
import signal

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class OutOfMemory(Hook):
    def after_val_iter(self, *args, **kwargs):
        if get_rank() == 1:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.')


@HOOKS.register_module()
class SignalledInValidation(Hook):
    def after_val_iter(self, *args, **kwargs):
        if get_rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@HOOKS.register_module()
class KilledWorker(Hook):
    def before_train_iter(self, runner, *args, **kwargs):
        if get_rank() == 1 and runner.iter == 1:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('hook', 'status', 'cause', 'saved'),
    [
        ('OutOfMemory', 1, 'error: rank 1 .* failed first: .*CUDA out of memory', 'iter_4.pth'),
        ('KilledWorker', 1, r'error: rank 1 .* failed first: .*DataLoader worker \(', 'iter_1.pth'),
        # The other is not told, and waits for it where no signal interrupts.
        ('SignalledInValidation', launch.STOPPED, 'SIGTERM: stopping', 'iter_4.pth'),
    ],
)
def test_what_ends_one_process_ends_the_run(ade20k, tmp_path, hook, status, cause, saved):
    (tmp_path / 'failing_hooks.py').write_text(FAILING_HOOKS)
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = {str(CONFIG)!r}\ncustom_imports = dict(imports='failing_hooks')\n"
        f"custom_hooks = [dict(type='{hook}')]\n"
    )
    started = time.monotonic()
    done = run(
        'bash', 'tools/dist_train.sh', config, '2', *short_run(ade20k, tmp_path / 'run', 4),
        'default_hooks.checkpoint.interval=1', 'train_dataloader.num_workers=1',
        env={'PYTHON': sys.executable, 'PYTHONPATH': str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == status, done.tail
    assert re.search(cause, done.output), done.tail
    assert (tmp_path / 'run' / saved).is_file()
    assert time.monotonic() - started < 120, 'a minute for the start on a busy machine'


def test_dist_script_refuses_what_cannot_start():
    def refused(gpus='2', **env):
        env = {'PYTHON': 'true', 'MASTER_ADDR': '', 'NODE_RANK': '', **env}
        done = run('bash', 'tools/dist_train.sh', CONFIG, gpus, env=env)
        assert done.returncode == 2
        return done.output

    assert "got '--amp'" in refused('--amp')
    assert 'NNODES=2 needs MASTER_ADDR' in refused(NNODES='2')
    assert 'NNODES=2 needs NODE_RANK' in refused(NNODES='2', MASTER_ADDR='n1')


# -- SLURM's scripts, without SLURM


def test_slurm_script_never_asks_for_gpus_it_does_not_use(tmp_path):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    command = ['bash', 'tools/slurm_test.sh', 'p', 'j', 'c.py', 'x.pth', '--tta']

    def asked(**env):
        return run(*command, env={'PATH': f'{tmp_path}:{os.environ["PATH"]}', **env}).output

    assert '--gres=gpu:8 --nodes=1 --ntasks=8 --ntasks-per-node=8' in asked()
    assert '--gres=gpu:1 --nodes=1 --ntasks=1 --ntasks-per-node=1' in asked(GPUS='1')
    assert '--gres=gpu:2 --nodes=1 --ntasks=2' in asked(GPUS='2', GPUS_PER_NODE='4')
    assert '--gres=gpu:4 --nodes=4 --ntasks=16' in asked(GPUS='16', GPUS_PER_NODE='4')
    assert 'would leave GPUs idle' in asked(GPUS='6', GPUS_PER_NODE='4')
    assert "GPUS must be a number, got 'all'" in asked(GPUS='all')
    assert '--gres' not in asked(GRES='')
    assert '--qos=low --time=1' in asked(SRUN_ARGS='--qos=low --time=1')
    assert asked().rstrip().endswith('tools/test.py c.py x.pth --tta --launcher slurm')


@pytest.mark.parametrize(
    'script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test', 'slurm_batch']
)
def test_scripts_explain_themselves(script):
    done = run('bash', f'tools/{script}.sh')
    assert done.returncode == 2
    assert f'tools/{script}.sh ' in done.output
    assert done.output.startswith(('bash ', 'sbatch '))
    assert run('bash', '-n', f'tools/{script}.sh').returncode == 0
