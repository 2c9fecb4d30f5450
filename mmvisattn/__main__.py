"""Run any tool from anywhere: python -m mmvisattn TOOL [its arguments]."""

from __future__ import annotations

import ast
import os
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

from . import __version__
from .errors import UserError, did_you_mean, reported
from .places import CONFIGS, PACKAGE, ROOT, TOOLS

HELP = """\
usage: python -m mmvisattn TOOL [its arguments]
       python -m mmvisattn TOOL --help
       python -m mmvisattn --configs [WORD ...]   the configs whose names hold these words
       python -m mmvisattn --where                the folder of configs/ and tools/
       python -m mmvisattn --version

A config may be given by its name alone: python -m mmvisattn train upernet_van_b2_ade20k
"""


def main(arguments: list[str] | None = None) -> None:
    """What `python -m mmvisattn` and the command `mmvisattn` do.

    Args:
        arguments: The words behind it; those of this process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    word, *rest = arguments or ['--help']
    with reported(), _while_read():
        if word in ('-h', '--help'):
            print(HELP, *_listing(), sep='\n')
        elif word == '--configs':
            print(*_configs(rest), sep='\n')
        elif word == '--where':
            print(ROOT)
        elif word == '--version':
            print(__version__)
        else:
            run(find_tool(word), rest)


def _configs(words: list[str]) -> list[str]:
    """The names of the configs that hold all these words.

    Raises:
        UserError: There is none.
    """
    names = sorted(path.stem for path in CONFIGS.glob('*.py'))
    found = [name for name in names if all(word in name for word in words)]
    if not found:
        raise UserError(
            f'no config has {" and ".join(words)} in its name', do='--configs lists all'
        )
    return found


def tools() -> dict[str, Path]:
    """The file of every tool by its name."""
    files = [p for ending in ('py', 'sh') for p in TOOLS.rglob(f'*.{ending}') if p.stem[0] != '_']
    return {path.stem: path for path in sorted([*files, PACKAGE / 'doctor.py'])}


def find_tool(word: str) -> Path:
    """The file of a tool, whose name may come with its folder and ending.

    Raises:
        UserError: There is no such tool.
    """
    found, path = tools(), Path(word)
    file = found.get(path.stem)
    ends_so = file and file.parts[-len(path.parts) :] == (*path.parts[:-1], file.name)
    if not ends_so or path.suffix not in ('', file.suffix):
        raise UserError(
            f"there is no tool '{word}'",
            expected='one of ' + ', '.join(found),
            do=did_you_mean(path.stem, list(found)) or 'python -m mmvisattn --help',
        )
    return file


def run(file: Path, arguments: list[str]) -> None:
    """Run a tool in this process, which ends as it does."""
    if file.suffix == '.sh':
        os.environ.setdefault('PYTHON', sys.executable)
        sys.stdout.flush()
        os.execvp('bash', ['bash', str(file), *arguments])
    sys.argv = [str(file), *arguments]
    if file.parent == PACKAGE:
        runpy.run_module(f'mmvisattn.{file.stem}', run_name='__main__')
    else:
        runpy.run_path(str(file), run_name='__main__')


def _listing() -> list[str]:
    """What each tool does, under the name of its folder; those of tools/ itself first."""
    found = tools()
    lines, folder = [], None
    width = max(map(len, found)) + 4
    for name, file in sorted(found.items(), key=lambda item: (_folder(item[1]), item[0])):
        if _folder(file) != folder:
            folder = _folder(file)
            lines += ['', f'{folder}:']
        head = f'  {name}'.ljust(width)
        lines += wrap(summary_of(file), 100, initial_indent=head, subsequent_indent=' ' * width)
    return lines[1:]


def _folder(file: Path) -> str:
    return 'tools' if file.parent in (TOOLS, PACKAGE) else f'tools/{file.parent.name}'


def summary_of(file: Path) -> str:
    """The first sentence of what a tool says of itself; of a launcher, its usage."""
    text = file.read_text()
    if file.suffix == '.sh':  # in the comment below the first line
        lines = (line.strip('#\\ ') for line in text.split('\n#\n')[0].splitlines()[1:])
    else:
        lines = (ast.get_docstring(ast.parse(text)) or '').split('\n\n')[0].splitlines()
    return re.split(r': python |\. |: docs/|\.$', ' '.join(lines))[0]


@contextmanager
def _while_read() -> Iterator[None]:
    """End quietly where what reads the output, such as `head`, has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == '__main__':
    main()
