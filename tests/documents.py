"""Documents as the tests read them: blocks of code with the comment above each, and commands."""

import argparse
import functools
import importlib.util
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

from mmvisattn.__main__ import find_tool

PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FENCE = re.compile(
    r'(?:^ *<!-- (?P<marker>[^\n]*?) -->\n)?'
    r'^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$',
    re.M | re.S,
)
INLINE = re.compile(r'`((?:python|bash|make|pip) [^`\n]+)`')


@dataclass(frozen=True)
class Block:
    """A block of code in a page, from its fence on `line`, and the comment right above it."""

    page: Path
    line: int
    language: str
    marker: str | None
    text: str

    def __str__(self):
        return f'{self.page.relative_to(ROOT)}:{self.line}'


def blocks(page, *languages):
    """The fenced blocks of a page; of these languages alone, if some are given."""
    content = page.read_text()
    for match in FENCE.finditer(content):
        if not languages or match['language'] in languages:
            line = content[: match.start('language')].count('\n') + 1
            text = re.sub(rf'^{match["indent"]}', '', match['text'], flags=re.M)
            yield Block(page, line, match['language'], match['marker'], text)


def prose(page):
    """A page without its blocks."""
    return FENCE.sub('', page.read_text())


def commands(text):
    """The commands of shell text as lists of words, without comments and settings before them.

    Words of a usage are made ones of a call: [options] go, N is a number, a|b is a.
    """
    for line in text.replace('\\\n', ' ').splitlines():
        line = re.sub(r'(?<=\s)\[(?!-)[^\]]*\]', '', line)
        command = []
        for word in [*shlex.split(line, comments=True), ';']:
            if word in ('&&', '||', '|', ';', '&', '>'):
                while command and re.match(r'\w+=', command[0]):
                    command.pop(0)
                if command:
                    yield command
                command = []
            else:
                command.append(_as_called(word))


def _as_called(word):
    word = word.removeprefix('[') if word.startswith('[-') else word
    word = word.removesuffix(']') if '[' not in word else word
    word = word.partition('|')[0]
    return '1' if re.fullmatch('[A-Z]', word) else word


class _Asked(BaseException):
    """A tool has made its parser and wants to read the command line."""


@functools.cache
def parser_of(tool):
    """The parser of a script, or of a module (by its dotted name); None if it takes no argument."""

    def give(parser, *_, **__):
        raise _Asked(parser)

    original, argv = argparse.ArgumentParser.parse_known_args, sys.argv
    argparse.ArgumentParser.parse_known_args, sys.argv = give, [tool]
    try:
        if tool.endswith('.py'):
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        else:
            source = Path(importlib.util.find_spec(tool).origin).read_text()
            if 'argparse' in source:
                runpy.run_module(tool, run_name='__main__', alter_sys=True)
    except _Asked as asked:
        return asked.args[0]
    finally:
        argparse.ArgumentParser.parse_known_args, sys.argv = original, argv
    return None


# How many words a launcher takes before those of the script that it starts, and which of them
# it hands on.
LAUNCHERS = {
    'dist_train.sh': ('train.py', 2, [0]),
    'dist_test.sh': ('test.py', 3, [0, 1]),
    'slurm_train.sh': ('train.py', 3, [2]),
    'slurm_test.sh': ('test.py', 4, [2, 3]),
    'slurm_batch.sh': ('train.py', 2, [0]),
}


def tool_call(command):
    """The tool of ours that a command starts, with its parser's words; (None, []) otherwise."""
    if command[0].startswith('python') and command[1:2] == ['-m'] and len(command) > 2:
        module, *words = command[2:]
        if module == 'mmvisattn':
            return tool_by_name(words)
        return (module, words) if module.partition('.')[0] == 'mmvisattn' else (None, [])
    place = next((i for i, word in enumerate(command) if word.startswith('tools/')), None)
    if place is None:
        return None, []
    tool, words = command[place], command[place + 1 :]
    launched = LAUNCHERS.get(Path(tool).name)
    if launched and len(words) >= launched[1]:
        script, taken, handed_on = launched
        return f'tools/{script}', [*(words[i] for i in handed_on), *words[taken:]]
    return tool, words


def tool_by_name(words):
    """The same of `python -m mmvisattn TOOL`; its own options have no parser."""
    if not words or words[0].startswith('-'):
        return None, []
    file = find_tool(words[0]).relative_to(ROOT)
    if file.parts[0] == 'mmvisattn':
        return '.'.join(file.with_suffix('').parts), words[1:]
    return str(file), words[1:]


def tools_of(text):
    """The scripts of tools/ that shell text starts."""
    return {word for command in commands(text) for word in command if word.startswith('tools/')}


def slug(heading):
    """The anchor of a heading, as GitHub and the site make it."""
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).replace('`', '').strip().lower()
    return re.sub(r'[^\w\- ]', '', text).replace(' ', '-')


def anchors(page):
    """The anchors of a page's headings."""
    return {slug(text) for text in re.findall(r'^#+ (.+)$', prose(page), re.M)}
