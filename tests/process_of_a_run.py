"""A process of a small run, for the tests of launchers: process_of_a_run.py WHAT ... LAUNCHER.

It joins the others and adds up their ranks. Then rank 1 does WHAT, while the others wait for it
in a collective call; after a restart nobody does.
"""

import argparse
import os
import signal
import sys
import time

import torch
from torch import distributed

from mmvisattn.errors import UserError
from mmvisattn.processes.launch import ending_together, init_distributed, restarted
from mmvisattn.processes.rendezvous import host_name


def listening(process='self'):
    """The addresses, as /proc writes them, at which a process listens."""
    sockets = set()
    for number in os.listdir(f'/proc/{process}/fd'):
        try:
            sockets.add(os.readlink(f'/proc/{process}/fd/{number}'))
        except OSError:
            continue
    for table in ('tcp', 'tcp6'):
        with open(f'/proc/{process}/net/{table}') as file:
            rows = [line.split() for line in file][1:]
        for row in rows:
            if row[3] == '0A' and f'socket:[{row[9]}]' in sockets:
                yield row[1].partition(':')[0]


def say(text):
    """A line in one write: several processes share the output, which may not be buffered."""
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


@ending_together
def main(args):
    if args.what == 'refuse' and os.environ['RANK'] == '1':
        raise UserError('no data on this node', do='mount it')
    if args.what == 'mute' and os.environ['RANK'] == '1':
        distributed.init_process_group = lambda *args, **kwargs: time.sleep(600)
    init_distributed(args.launcher)
    rank, total = distributed.get_rank(), torch.tensor(distributed.get_rank())
    distributed.all_reduce(total)
    say(f'rank {rank} of {distributed.get_world_size()} on {host_name()}: {total.item()}')
    say(f'LISTENS {" ".join(listening())}')
    say(f'MEETS {os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}')
    if args.what == 'end':
        return
    if restarted():
        say(f'STARTED AGAIN {sys.argv[2:-1]}')
        return
    if args.what == 'stop':
        _wait_for_a_signal()
    if rank == 1 and args.what == 'raise':
        raise RuntimeError('out of memory: 3 GiB')
    if rank == 1 and args.what == 'kill':
        time.sleep(2)  # its neighbours know it by then
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1 and args.what == 'sleep':
        time.sleep(600)
    distributed.barrier()


def _wait_for_a_signal():
    """Take a second to save, as training does, and end as it does; on each process another one."""
    came = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, lambda number, frame: came.append(number))
    say('READY')
    while not came:
        time.sleep(0.05)
    time.sleep(1 + distributed.get_rank())
    say(f'SAVED after {signal.Signals(came[0]).name}')
    if len(came) > 1:
        os._exit(9)
    sys.exit(75)


if __name__ == '__main__':
    main(argparse.Namespace(what=sys.argv[1], launcher=sys.argv[-1]))
