"""Errors that a user can mend, and how the tools print them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: says what is wrong, what was expected, what came and what to do.

    Args:
        problem: One sentence.
        expected: What would have been right.
        got: What came instead.
        do: The remedy, as the user would type it.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        got: object = None,
        do: str | None = None,
    ) -> None:
        lines = [problem]
        for label, text in (('expected', expected), ('got', got), ('do', do)):
            if text is not None:
                lines.append(f'  {label + ":":<10}' + str(text).replace('\n', '\n' + ' ' * 12))
        super().__init__('\n'.join(lines))


def did_you_mean(name: str, known: Iterator[str] | list[str]) -> str | None:
    """The closest of `known` as a remedy ("did you mean ...?"), or None if none is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else None


@contextmanager
def reported() -> Iterator[None]:
    """Print a `UserError` as itself and exit with status 2; leave every other error alone.

    A data loader's worker hands its error on as text, with its own traceback before it: only what
    follows the last "UserError: " is for the user. MMVISATTN_TRACEBACK=1 shows everything.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get('MMVISATTN_TRACEBACK'):
            raise
        message = str(error).rpartition(f'{UserError.__qualname__}: ')[2]
        sys.stdout.flush()
        print(f'\nerror: {message}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
