"""torchrun, with a few differences: python -m mmvisattn.processes.torchrun [its options] SCRIPT ...

- SIGTERM, SIGINT and SIGUSR1 are handed to the processes, which end when they have saved, and not
  thirty seconds later; a second signal is torchrun's own. The status is then theirs, `STOPPED`.
- Killed, it takes them along.
- On one node nothing listens outside of it. `--master-port 0` is a free port.
- The end is a line about the process that failed first, and its status.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from types import FrameType

from torch.distributed import DistError, run
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher import api

from ..errors import UserError, reported
from .failure import LAUNCHER_VARIABLE, Process
from .launch import STOPPED
from .rendezvous import START_VARIABLE, await_listener, host_name, start_seconds

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Processes that were stopped end together: the last ones get so many seconds more.
TOGETHER = 30.0
# Nodes may be started by hand, one after the other.
NODES_SECONDS = 300.0


def main() -> int:
    """Run torchrun.

    Returns:
        The status of the processes.
    """
    args = run.parse_args(None)
    with tempfile.TemporaryDirectory(prefix='torchrun-') as folder:
        os.environ[LAUNCHER_VARIABLE] = Process.this().to_json()
        api.LocalElasticAgent = Agent  # the name by which torchrun makes it
        try:
            if args.nnodes == '1':
                _stay_on_this_node(args, folder)
            else:
                _wait_for_nodes(args)
            run.run(args)
        except ChildFailedError as error:
            return _report(error)
        except SignalException as error:
            return 128 + error.sigval
        except (DistError, RendezvousError, OSError) as error:
            reason = str(error).partition('\n')[0] or type(error).__name__
            raise UserError(
                'the nodes have not found each other',
                expected=f'{args.nnodes} nodes at {_meeting_point(args)}',
                got=f'node {args.node_rank} on {host_name()}: {reason}',
                do='start the command on each node, with the same MASTER_ADDR and PORT, which\n'
                f'must be open; {START_VARIABLE}=900 waits longer, in seconds',
            ) from error
    return 0


def _stay_on_this_node(args: argparse.Namespace, folder: str) -> None:
    """Let torchrun meet in a file and open nothing; process 0 keeps the store, on loopback."""
    args.rdzv_backend, args.rdzv_conf = 'c10d', 'store_type=file'
    args.rdzv_endpoint, args.local_addr = os.path.join(folder, 'rendezvous'), '127.0.0.1'
    os.environ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
    Agent.port = args.master_port


def _wait_for_nodes(args: argparse.Namespace) -> None:
    seconds = start_seconds() if START_VARIABLE in os.environ else NODES_SECONDS
    if args.rdzv_backend == 'static':
        args.rdzv_conf = f'timeout={seconds:.0f}'
        if args.node_rank > 0:
            await_listener(args.master_addr, args.master_port, seconds)
    else:
        args.rdzv_conf = ','.join(filter(None, (f'join_timeout={seconds:.0f}', args.rdzv_conf)))
        # Process 0 keeps a store of its own: torchrun's outlives it, with what it held.
        os.environ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'


def _meeting_point(args: argparse.Namespace) -> str:
    return args.rdzv_endpoint or f'{args.master_addr}:{args.master_port}'


def _report(error: ChildFailedError) -> int:
    """Say which process failed first.

    Returns:
        Its status.
    """
    failures = error.failures
    if {failure.exitcode for failure in failures.values()} == {STOPPED}:
        return STOPPED
    rank, first = min(failures.items(), key=lambda item: _order(item[1]))
    print(f'\nerror: rank {rank} on {host_name()} ended first: {_end_of(first)}', file=sys.stderr)
    return first.exitcode if first.exitcode > 0 else 128 - first.exitcode


def _order(failure: ProcessFailure) -> tuple:
    """Sorts failures, the first cause to the front.

    torchrun ends the others by SIGTERM, and knows times in whole seconds. Within one, who was
    killed comes before who left an error, and both before who ended since another had.
    """
    was_killed, left_error = failure.exitcode < 0, os.path.isfile(failure.error_file)
    ended_by_torchrun = failure.exitcode == -signal.SIGTERM
    return ended_by_torchrun, failure.timestamp, not was_killed, not left_error


def _end_of(failure: ProcessFailure) -> str:
    if failure.exitcode < 0:
        return f'killed by {signal.Signals(-failure.exitcode).name}'
    return f'status {failure.exitcode}'


class Agent(LocalElasticAgent):
    """The part of torchrun that starts the processes of a node and looks after them."""

    port = 0  # where their process 0 listens, unless it is 0
    _asked: int | None = None
    _stopped_at: float | None = None

    def _start_workers(self, worker_group: WorkerGroup) -> dict:
        if self._asked is not None:
            raise SignalException('asked to stop before a restart', signal.Signals(self._asked))
        if self.port:
            worker_group.master_port = self.port
        workers = super()._start_workers(worker_group)
        for number in SIGNALS:
            signal.signal(number, self._hand_on)
        return workers

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            SignalException: It is the second: torchrun sends it again, and kills after 30 s.
        """
        if self._asked is not None:
            raise SignalException('a second signal', signal.Signals(number))
        self._asked = number
        self._remaining_restarts = 0
        for handler in self._pcontext.subprocess_handlers.values():
            handler.proc.send_signal(number)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        """Wait for all if one was stopped, and do not take it for a failure that asks for more."""
        ends = [handler.proc.poll() for handler in self._pcontext.subprocess_handlers.values()]
        if STOPPED in ends:
            self._remaining_restarts = 0
            self._stopped_at = self._stopped_at or time.monotonic()
            if None in ends and time.monotonic() < self._stopped_at + TOGETHER:
                return RunResult(state=WorkerState.HEALTHY)
        return super()._monitor_workers(worker_group)


if __name__ == '__main__':
    with reported():
        sys.exit(main())
