"""Join the process group of a launcher: torchrun, SLURM or MPI, on GPUs (NCCL) or CPUs (gloo).

MMEngine's own start asks for a GPU in every case; with the group already joined it uses ours.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from datetime import timedelta

import torch
from torch import distributed

from ..errors import UserError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def init_distributed(
    launcher: str, *, backend: str = 'nccl', timeout: float = 1800, port: int | None = None
) -> None:
    """Join the process group; with launcher 'none' do nothing.

    Args:
        launcher: One of `LAUNCHERS`.
        backend: The backend on GPUs. On CPUs it is gloo.
        timeout: Seconds after which a collective call that waits for another process fails.
        port: Where process 0 listens, if neither MASTER_PORT nor the launcher says.

    Raises:
        UserError: The launcher's environment variables are not there.
    """
    if launcher == 'none' or distributed.is_initialized():
        return
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
    if torch.cuda.is_available():
        # A launcher may show each process its own GPU only: then that one is number 0.
        local_rank = int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()
        os.environ['LOCAL_RANK'] = str(local_rank)
        torch.cuda.set_device(local_rank)
    else:
        backend = 'gloo'
    distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))


def leave_distributed(status: int = 0) -> None:
    """End this process, with that exit status; all its work is written.

    With gloo it ends here: at the interpreter's own end gloo's threads now and then aborted a
    process that had succeeded ("terminate called without an active exception"), and with it the
    whole launch.
    """
    if not distributed.is_initialized() or distributed.get_backend() != 'gloo':
        if status:
            sys.exit(status)
        return
    if status == 0:
        distributed.barrier()  # process 0 may serve the others' store
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _torchrun(env: dict) -> dict[str, str]:
    names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
    return {name: env[name] for name in names}


def _slurm(env: dict) -> dict[str, str]:
    return {
        'RANK': env['SLURM_PROCID'],
        'LOCAL_RANK': env['SLURM_LOCALID'],
        'WORLD_SIZE': env['SLURM_NTASKS'],
        'MASTER_ADDR': env.get('MASTER_ADDR') or first_host(env['SLURM_NODELIST']),
        # Jobs that share a node differ in their id, so they differ in their port.
        'MASTER_PORT': env.get('MASTER_PORT') or str(20000 + int(env['SLURM_JOB_ID']) % 20000),
    }


def _mpi(env: dict) -> dict[str, str]:
    one_node = env['OMPI_COMM_WORLD_LOCAL_SIZE'] == env['OMPI_COMM_WORLD_SIZE']
    return {
        'RANK': env['OMPI_COMM_WORLD_RANK'],
        'LOCAL_RANK': env['OMPI_COMM_WORLD_LOCAL_RANK'],
        'WORLD_SIZE': env['OMPI_COMM_WORLD_SIZE'],
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


def control_group() -> distributed.ProcessGroup | None:
    """A group of all processes for words about the run, on CPUs; None with one process."""
    return _control_group() if distributed.is_initialized() else None


@functools.cache
def _control_group() -> distributed.ProcessGroup:
    return distributed.new_group(backend='gloo')
