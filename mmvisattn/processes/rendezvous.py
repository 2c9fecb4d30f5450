"""Where the processes of a run meet: a store that one of them keeps, and all reach in time.

PyTorch's own rendezvous waits for half an hour and names nobody; its store listens on every
interface, also where all processes are on one node.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore

from ..errors import UserError

# Seconds within which all processes of a run have to find each other.
START_SECONDS = 60.0
START_VARIABLE = 'MMVISATTN_START_TIMEOUT'
_TOO_SHORT = f'{START_VARIABLE}=300 before the command waits longer, in seconds'


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its run, and where they meet.

    Attributes:
        rank: Its number.
        world_size: How many there are.
        address: The host of the store.
        port: The store's port there.
        one_node: Whether all of them are on one node.
        launcher_keeps_store: Whether torchrun keeps the store; else process 0 does.
    """

    rank: int
    world_size: int
    address: str
    port: int
    one_node: bool
    launcher_keeps_store: bool

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Place:
        """Read torchrun's variables."""
        return cls(
            rank=int(env['RANK']),
            world_size=int(env['WORLD_SIZE']),
            address=env['MASTER_ADDR'],
            port=int(env['MASTER_PORT']),
            one_node=env.get('LOCAL_WORLD_SIZE') == env['WORLD_SIZE'],
            launcher_keeps_store=env.get('TORCHELASTIC_USE_AGENT_STORE') == 'True',
        )

    @property
    def keeps_store(self) -> bool:
        """Whether this process keeps the store."""
        return self.rank == 0 and not self.launcher_keeps_store

    def __str__(self) -> str:
        return (
            f'this is rank {self.rank} of {self.world_size} on {host_name()}, '
            f'and the store is at {self.address}:{self.port}'
        )


def host_name() -> str:
    """The node's name, as SLURM knows it or else the system."""
    return os.environ.get('SLURMD_NODENAME') or socket.gethostname()


def start_seconds() -> float:
    """How long processes wait for each other when a run starts.

    Raises:
        UserError: The variable is no number.
    """
    text = os.environ.get(START_VARIABLE)
    try:
        seconds = float(text or START_SECONDS)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UserError(f'{START_VARIABLE} is in seconds', expected='a number above 0', got=text)
    return seconds


def keep_store(place: Place) -> TCPStore:
    """Keep the store for all processes; on one node it listens on the loopback interface alone.

    Raises:
        UserError: The port is taken.
    """
    try:
        if not (place.one_node and _is_loopback(place.address)):
            return TCPStore(place.address, place.port, is_master=True, wait_for_workers=False)
        listener = socket.create_server((place.address, place.port))
        return TCPStore(
            place.address,
            place.port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f'cannot listen for the processes of the run: {place}',
            got=str(error).splitlines()[0],
            do='MASTER_PORT=29511 before the command, or another that is free',
        ) from error


def connect(place: Place, within: float, timeout: float) -> Store:
    """Connect to the store.

    Args:
        place: Of this process.
        within: Seconds to wait for whoever keeps it.
        timeout: Seconds after which calls that wait for a key fail.

    Raises:
        UserError: Nobody listens.
    """
    try:
        await_listener(place.address, place.port, within)
    except OSError as error:
        keeper = 'torchrun of node 0' if place.launcher_keeps_store else 'rank 0'
        raise UserError(
            f'nobody answers where the processes are to meet: {place}',
            expected=f'{keeper}, listening there within {within:g} s',
            got=str(error),
            do=f'look for what {keeper} says; is {place.address} its address, and the port '
            f'open?\n{_TOO_SHORT}',
        ) from error
    wait = timedelta(seconds=timeout)
    store = TCPStore(place.address, place.port, wait_for_workers=False, timeout=wait)
    if place.launcher_keeps_store:  # also over restarts: what the last attempt left is not for us
        return PrefixStore(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0'), store)
    return store


def await_listener(address: str, port: int, within: float) -> None:
    """Wait until somebody listens: PyTorch does, too, but with pages of stack traces.

    Raises:
        OSError: Nobody does within that many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection((address, port), timeout=within).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def await_all(store: Store, place: Place, within: float) -> None:
    """Wait until every process has reached the store.

    Raises:
        UserError: Some have not within that many seconds; names them.
    """
    store.set(_arrival(place.rank), host_name())
    keys = [_arrival(rank) for rank in range(place.world_size)]
    deadline = time.monotonic() + within
    while not store.check(keys):
        if time.monotonic() > deadline:
            missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
            raise UserError(
                f'not all processes of the run have started: {place}',
                expected=f'{place.world_size} processes within {within:g} s',
                got='none of rank ' + ', '.join(map(str, missing)),
                do=f'look for what these say; if they are slow,\n{_TOO_SHORT}',
            )
        time.sleep(0.1)


def unreachable(place: Place, within: float) -> UserError:
    """All processes have reached the store, but not each other."""
    return UserError(
        f'the first collective call did not end: {place}',
        expected=f'processes that reach each other on every port, within {within:g} s',
        do='on several nodes, name the network between them: GLOO_SOCKET_IFNAME=eth0\n'
        f'NCCL_SOCKET_IFNAME=eth0 (ip addr lists them), and open its ports;\n{_TOO_SHORT}',
    )


def _arrival(rank: int) -> str:
    return f'arrived/{rank}'


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(address)).is_loopback
    except OSError:
        return False
