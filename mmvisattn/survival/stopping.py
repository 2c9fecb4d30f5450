"""Signals: finish the step, save, and end with a status that means "start me again"."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..processes.launch import STOPPED

# What a scheduler, a batch script or a person sends.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# A launcher hands on what its processes may have received themselves: no second request.
LAUNCHERS = ('TORCHELASTIC_RUN_ID', 'SLURM_JOB_ID')
ECHO_SECONDS = 2.0


class Stopped(SystemExit):
    """The run was asked to stop, and nothing is lost."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


class StopRequest:
    """Whether somebody asked this process to stop.

    Attributes:
        name: The first signal that came, None before.
        unsaved: Whether there is work that would be lost. While there is none, a signal ends the
            process at once; else the loop of training looks at `name` after each step.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.unsaved = False
        self._since = 0.0
        self._process = os.getpid()

    @contextmanager
    def nothing_unsaved(self) -> Iterator[None]:
        """Within the context a signal ends the process at once; so does one that came before.

        Raises:
            Stopped: See above.
        """
        self.unsaved = False
        if self.name is not None:
            raise Stopped
        yield
        self.unsaved = True

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; the second one stops at once.

        Raises:
            Stopped: Nothing would be lost.
        """
        if os.getpid() != self._process:
            return  # in a worker that was forked from this process, until it has its own handlers
        if self.name is not None:
            launched = any(name in os.environ for name in LAUNCHERS)
            if not (launched and time.monotonic() - self._since < ECHO_SECONDS):
                _say('A second signal: stopping at once, without saving.')
                os._exit(128 + number)
            return
        self.name = signal.Signals(number).name
        self._since = time.monotonic()
        if not self.unsaved:
            _say(f'{self.name}: stopping; what was saved is all there is.')
            raise Stopped
        _say(f'{self.name}: finishing the step and saving; a second signal stops at once.')


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Handle `SIGNALS` by a `StopRequest` within the context; who has stopped heeds none."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if request.name is None else signal.SIG_IGN)


def _say(text: str) -> None:
    """Write from a signal handler: a log that is being written to must not be entered again."""
    os.write(sys.stderr.fileno(), f'{text}\n'.encode())
