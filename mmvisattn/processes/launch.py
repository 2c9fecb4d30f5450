"""Join the process group of a launcher: torchrun, SLURM or MPI, on GPUs (NCCL) or CPUs (gloo).

MMEngine's own start asks for a GPU in every case; with the group already joined it uses ours.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import ProcessGroup, TCPStore
from torch.distributed.elastic.multiprocessing.errors import record

from ..errors import UserError, reported
from .failure import Watch, end_with_launcher
from .rendezvous import Place, await_all, connect, keep_store, start_seconds, unreachable

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# A process that ends with this was stopped by a signal and lost nothing: EX_TEMPFAIL of sysexits.h,
# a temporary failure, to be tried again.
STOPPED = 75
# Seconds that a process waits for the others, where the config does not say.
PATIENCE = 1800.0
# Seconds in which one that fails before it has met the others tries to tell them.
FAREWELL = 10.0


@dataclass
class Membership:
    """What this process holds as long as it is one of several.

    Attributes:
        watch: Ends it when another fails.
        timeout: Seconds that it waits for the others.
        store: What process 0 keeps for all of them.
        control: The group for words about the run.
    """

    watch: Watch
    timeout: float
    store: TCPStore | None
    control: ProcessGroup | None = None


_membership: Membership | None = None


def init_distributed(
    launcher: str, *, backend: str = 'nccl', timeout: float = PATIENCE, port: int | None = None
) -> None:
    """Join the process group; with launcher 'none' do nothing.

    All processes must have come within `start_seconds()`, and then meet in a first collective call
    within as long.

    Args:
        launcher: One of `LAUNCHERS`.
        backend: The backend on GPUs. On CPUs it is gloo.
        timeout: Seconds after which a later collective call that waits for another process fails.
        port: Where process 0 listens, if neither MASTER_PORT nor the launcher says.

    Raises:
        UserError: The launcher's environment variables are not there, processes are missing or
            cannot reach each other, or a node has fewer GPUs than processes.
    """
    global _membership
    if launcher == 'none' or distributed.is_initialized():
        return
    place = _find_place(launcher, port)
    backend = _choose_device(launcher, backend)
    within = start_seconds()
    kept = keep_store(place) if place.keeps_store else None
    store = connect(place, within, timeout)
    watch = Watch(connect(place, within, timeout), place)
    _membership = Membership(watch, timeout, kept)
    await_all(store, place, within)
    with _limited(within, unreachable(place, within)):
        distributed.init_process_group(
            backend,
            store=store,
            rank=place.rank,
            world_size=place.world_size,
            timeout=timedelta(seconds=timeout),
        )
        _membership.control = _new_control_group(timeout)
        one = torch.ones(1, device='cpu' if backend == 'gloo' else 'cuda')
        distributed.all_reduce(one)
        one.item()  # waits for the GPU


def control_group() -> ProcessGroup | None:
    """A group of all processes for words about the run, on CPUs; None with one process."""
    if _membership is not None:
        return _membership.control
    return _new_control_group(PATIENCE) if distributed.is_initialized() else None


def restarted(env: Mapping[str, str] = os.environ) -> bool:
    """Whether this run was started again: by torchrun after a failure, or re-queued by SLURM."""
    counts = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT')
    return any(int(env.get(name) or 0) > 0 for name in counts)


def ending_together(run: Callable[[argparse.Namespace], None]) -> Callable[..., None]:
    """Decorate what a process does from start to end: if it fails, so do the others, and at once.

    All end with the status of the first that failed, which process 0 names. A run that a signal
    stopped ends with `STOPPED`. Without a launcher nothing changes.
    """

    @functools.wraps(run)
    def to_its_end(args: argparse.Namespace) -> None:
        if args.launcher == 'none':
            run(args)
            return
        with reported():  # a process that outlived its run has nothing to tell the next one
            end_with_launcher()
        try:
            with reported():
                record(run)(args)
            status, error = 0, None
        except SystemExit as end:
            # `reported` has said what the user is to mend.
            status, error = end.code or 0, end.__context__ or end
        except BaseException as failure:
            status, error = 1, failure
            sys.excepthook(type(failure), failure, failure.__traceback__)
        if status in (0, STOPPED):
            _leave(status)
        else:
            _fail(args.launcher, error, status)

    return to_its_end


def _leave(status: int) -> None:
    if _membership is not None:
        _membership.watch.leave(status, _membership.timeout)
    sys.exit(status)


def _fail(launcher: str, error: BaseException, status: int) -> None:
    watch = _membership.watch if _membership else _late_watch(launcher)
    if watch is not None:
        watch.fail(error, status)
    sys.exit(status)


def _late_watch(launcher: str) -> Watch | None:
    """For a process that failed before it met the others, which wait for it.

    Process 0 leaves none behind where it would have kept the store: the launcher ends them.
    """
    try:
        place = _find_place(launcher)
        if place.keeps_store:
            return None
        return Watch(connect(place, FAREWELL, FAREWELL), place)
    except UserError:
        return None


@contextmanager
def _limited(seconds: float, error: UserError) -> Iterator[None]:
    """Fail with an error if what is in the context takes longer: PyTorch may wait for ever."""

    def fail() -> None:
        print(f'\nerror: {error}', file=sys.stderr, flush=True)
        _membership.watch.fail(error, 2)

    timer = threading.Timer(seconds, fail)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@functools.cache
def _new_control_group(timeout: float) -> ProcessGroup:
    return distributed.new_group(backend='gloo', timeout=timedelta(seconds=timeout))


def _find_place(launcher: str, port: int | None = None) -> Place:
    """Write the launcher's variables as torchrun would, for PyTorch and MMEngine."""
    if port is not None:
        os.environ.setdefault('MASTER_PORT', str(port))
    read = {'pytorch': _torchrun, 'slurm': _slurm, 'mpi': _mpi}[launcher]
    try:
        os.environ.update(read(os.environ))
    except KeyError as error:
        raise UserError(
            f'--launcher {launcher}, but this process was not started by it',
            expected=f'the environment variable {error}',
            do='start with tools/dist_train.sh, tools/slurm_train.sh or, over several nodes,\n'
            'mpirun -x MASTER_ADDR=HOST; or leave --launcher out',
        ) from error
    place = Place.of(os.environ)
    if place.one_node and 'lo' in (name for _, name in socket.if_nameindex()):
        for library in ('GLOO', 'NCCL'):  # they listen, too
            os.environ.setdefault(f'{library}_SOCKET_IFNAME', 'lo')
    return place


def _choose_device(launcher: str, backend: str) -> str:
    """Take this process's GPU.

    Returns:
        The backend.
    """
    if not torch.cuda.is_available():
        return 'gloo'
    local_rank, gpus = int(os.environ['LOCAL_RANK']), torch.cuda.device_count()
    if gpus == 1 and launcher != 'pytorch':
        local_rank = 0  # SLURM and MPI may show each process its own GPU only
    if local_rank >= gpus:
        raise UserError(
            'more processes than GPUs on this node',
            expected=f'at most {gpus}, one for each GPU that PyTorch sees',
            got=f'a process of local rank {local_rank}',
            do='GPUS=, GPUS_PER_NODE= or the number after the config: one process for each GPU',
        )
    os.environ['LOCAL_RANK'] = str(local_rank)
    torch.cuda.set_device(local_rank)
    return backend


def _torchrun(env: Mapping[str, str]) -> dict[str, str]:
    names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
    return {name: env[name] for name in names}


def _slurm(env: Mapping[str, str]) -> dict[str, str]:
    tasks, nodes = env['SLURM_NTASKS'], env.get('SLURM_STEP_NODELIST') or env['SLURM_NODELIST']
    one_node = (env.get('SLURM_STEP_NUM_NODES') or env.get('SLURM_NNODES')) == '1'
    # Jobs that share a node differ in their id, steps in their number, and so in their port, which
    # is below those that a system gives to connections.
    number = int(env['SLURM_JOB_ID']) + 101 * int(env.get('SLURM_STEP_ID', 0))
    return {
        'RANK': env['SLURM_PROCID'],
        'LOCAL_RANK': env['SLURM_LOCALID'],
        'WORLD_SIZE': tasks,
        'MASTER_ADDR': env.get('MASTER_ADDR') or ('127.0.0.1' if one_node else first_host(nodes)),
        'MASTER_PORT': env.get('MASTER_PORT') or str(20000 + number % 12000),
        **({'LOCAL_WORLD_SIZE': tasks} if one_node else {}),
    }


def _mpi(env: Mapping[str, str]) -> dict[str, str]:
    local_size = env['OMPI_COMM_WORLD_LOCAL_SIZE']
    one_node = local_size == env['OMPI_COMM_WORLD_SIZE']
    return {
        'RANK': env['OMPI_COMM_WORLD_RANK'],
        'LOCAL_RANK': env['OMPI_COMM_WORLD_LOCAL_RANK'],
        'WORLD_SIZE': env['OMPI_COMM_WORLD_SIZE'],
        'LOCAL_WORLD_SIZE': local_size,
        'MASTER_ADDR': env.get('MASTER_ADDR', '127.0.0.1') if one_node else env['MASTER_ADDR'],
        'MASTER_PORT': env.get('MASTER_PORT', '29500'),
    }


def first_host(nodelist: str) -> str:
    """The first host of a SLURM node list, without `scontrol` (containers lack it).

    >>> first_host('gpu[03-05,9],login'), first_host('n1,n2')
    ('gpu03', 'n1')
    """
    name, number, suffix = re.match(r'([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,]*)', nodelist).groups()
    return name + (number or '') + suffix
