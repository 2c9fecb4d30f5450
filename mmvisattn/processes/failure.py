"""One process fails, all end: the first error is left in the store, where every process looks.

A process that fails by itself leaves its error. One that is killed leaves nothing: those beside it
on its node miss it, and the launcher ends the others. Those of a killed launcher are killed, too.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.distributed import DistError, PrefixStore, Store

from ..errors import UserError
from .rendezvous import Place, host_name

# Seconds between two looks into the store.
PERIOD = 1.0
# What looks like a death may be the end of a run: who ended well is gone after so many seconds.
GRACE = 3.0
# Who was stopped has saved; the others have so long to end by themselves.
STOP_GRACE = 10.0
# A process that failed waits so long for the others to have read why.
LINGER = 3.0
# Seconds between two looks at the end.
PAUSE = 0.05
# The torchrun that started this process, as `Process.to_json` writes it.
LAUNCHER_VARIABLE = 'MMVISATTN_LAUNCHER'
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_FAILURE, _SEEN, _GONE, _STOPPED = 'failure', 'seen', 'gone', 'stopped'
# What a process says whose peer has died; the peer's own words count more.
_LOST_CONTACT = re.compile(r'Connection (closed|reset)|Broken pipe|NCCL|gloo/')


@dataclass(frozen=True)
class Failure:
    """The first thing that went wrong in a run.

    Attributes:
        rank: Of the process that failed.
        host: Its node.
        text: One line about it.
        status: What the processes end with.
    """

    rank: int
    host: str
    text: str
    status: int = 1

    def __str__(self) -> str:
        return f'rank {self.rank} ({self.host}) failed first: {self.text}'


def end_with_launcher() -> None:
    """Let the system kill this process when the torchrun that started it is killed.

    torchrun gives each process a session of its own, so that nothing else would end it: it would
    train on, and write beside the run that takes its place. Linux alone can be asked for this.

    Raises:
        UserError: It is dead already.
    """
    launcher = os.environ.pop(LAUNCHER_VARIABLE, None)  # what this process starts is not torchrun's
    if launcher is None or sys.platform != 'linux':
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not Process.of_json(launcher).is_alive():  # killed before it was watched
        raise UserError('the torchrun that started this process is dead', do='start the run again')


class Watch:
    """Looks every second whether a process of the run has failed, and then ends this one.

    Args:
        store: A connection of its own: one that waits for a key keeps others from looking.
        place: Of this process.
    """

    def __init__(self, store: Store, place: Place) -> None:
        self._store = PrefixStore('end', store)
        self._place = place
        self._neighbours: dict[int, Process] | None = None
        self._ending = threading.Lock()  # this process ends once
        self._store.set(f'process/{place.rank}', Process.this().to_json())
        threading.Thread(target=self._look, name='first failure', daemon=True).start()

    def fail(self, error: BaseException, status: int) -> None:
        """End this process, which has failed and said so; the others follow."""
        if _lost_contact(error):
            time.sleep(PERIOD + 2 * GRACE)  # time to hear of the failure that it comes from
        self._end(self._leave(Failure(self._place.rank, host_name(), one_line(error), status)))

    def leave(self, status: int, within: float) -> None:
        """End this process when all have come here, at most so many seconds later.

        With a status, because a signal stopped it and nothing is lost: the others, which may wait
        for it in a call that no signal interrupts, end likewise some seconds later.
        """
        if status:
            self._store.set(_STOPPED, str(status))
        self._store.set(f'left/{self._place.rank}', '')
        self._exit(status, lambda: self._all('left'), within)

    def _look(self) -> None:
        stopped = 0  # looks since another process was stopped
        while True:
            time.sleep(PERIOD)
            try:
                failure = self._first() or self._missed()
                stopped += self._store.check([_STOPPED])
                if stopped * PERIOD > STOP_GRACE:
                    self.leave(int(self._store.get(_STOPPED)), LINGER)
            except RuntimeError as error:
                time.sleep(GRACE)
                self._say(f'lost contact to process 0 or its launcher: {error}')
                self._exit(1)
            if failure is not None:
                self._end(failure)

    def _leave(self, failure: Failure) -> Failure:
        """Leave a failure for the others.

        Returns:
            The first one, which may be another's.
        """
        try:
            first = self._store.compare_set(_FAILURE, '', json.dumps(asdict(failure)))
        except RuntimeError:  # the store is gone
            return failure
        return Failure(**json.loads(first))

    def _first(self) -> Failure | None:
        if not self._store.check([_FAILURE]):
            return None
        return Failure(**json.loads(self._store.get(_FAILURE)))

    def _missed(self) -> Failure | None:
        """A process of this node that is gone without a word."""
        if self._neighbours is None:
            if not self._all('process'):
                return None
            ranks = range(self._place.world_size)
            known = {rank: Process.of_json(self._store.get(f'process/{rank}')) for rank in ranks}
            self._neighbours = {r: process for r, process in known.items() if process.is_alive()}
        for rank, process in self._neighbours.items():
            if not process.is_alive():
                time.sleep(GRACE)
                return self._first() or self._leave(Failure(rank, process.host, _KILLED))
        return None

    def _end(self, failure: Failure) -> None:
        """Say what happened, if this is process 0, and end when all know."""
        self._ending.acquire()
        if self._place.rank == 0:
            self._say(str(failure))
        try:
            self._store.add(_SEEN, 1)
        except RuntimeError:  # the store is gone
            self._exit(failure.status)
        self._exit(failure.status, lambda: self._count(_SEEN) >= self._place.world_size, LINGER)

    def _exit(
        self, status: int, ready: Callable[[], bool] = lambda: True, within: float = 0
    ) -> None:
        """End at once when all are ready, the one that keeps the store last.

        At the interpreter's own end gloo's threads now and then abort a process.
        """
        try:
            _await(ready, within)
            if self._place.keeps_store:
                _await(lambda: self._count(_GONE) >= self._place.world_size - 1, LINGER)
                time.sleep(PAUSE)
            else:
                self._store.add(_GONE, 1)
        except RuntimeError:  # the store is gone: so are the others
            pass
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _count(self, key: str) -> int:
        return self._store.add(key, 0)

    def _say(self, text: str) -> None:
        sys.stdout.flush()
        print(f'\nerror: {text}', file=sys.stderr, flush=True)

    def _all(self, what: str) -> bool:
        return self._store.check([f'{what}/{rank}' for rank in range(self._place.world_size)])


_KILLED = 'it was killed, by a signal or by the kernel for want of memory'


@dataclass(frozen=True)
class Process:
    """A process that others on its node can look for.

    Attributes:
        host: Its node.
        boot: The running system: processes of another one cannot be looked for.
        number: Its process id.
        start: When it started, which tells it from a later one of the same number.
    """

    host: str
    boot: str
    number: int
    start: str

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        return cls(host_name(), _boot(), os.getpid(), _start(os.getpid()))

    def is_alive(self) -> bool:
        """Whether it runs on this node; False of any process where there is no /proc."""
        return bool(self.start) and self.boot == _boot() and self.start == _start(self.number)

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str | bytes) -> Process:
        """Read it again."""
        return cls(**json.loads(text))


def one_line(error: BaseException) -> str:
    """What an error says, in a line.

    An error of a data loader's worker ends with its own, after a traceback.
    """
    if isinstance(error, UserError):
        return str(error).rpartition(f'{UserError.__qualname__}: ')[2].splitlines()[0]
    text = ''.join(traceback.format_exception_only(error)).strip()
    last = text.splitlines()[-1].strip()
    name = type(error).__name__
    return last if name in last or 'Error' in last else f'{name}: {last}'


def _lost_contact(error: BaseException) -> bool:
    """Whether an error may come from another process's end."""
    return isinstance(error, DistError) or bool(_LOST_CONTACT.search(str(error)))


def _boot() -> str:
    try:
        return Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    except OSError:
        return ''


def _start(number: int) -> str:
    """A process's start, in ticks of the kernel; empty if it is gone or a zombie."""
    try:
        state, *fields = Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return ''
    return '' if state in 'ZX' else fields[18]


def _await(ready: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not ready() and time.monotonic() < deadline:
        time.sleep(PAUSE)
