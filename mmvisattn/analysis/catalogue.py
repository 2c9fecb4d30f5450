"""Every config with its size and what is published of it: `docs/configs.md`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .models import model_of
from .published import CONFIGS

INTRODUCTION = """\
Written by `python tools/analysis_tools/write_pages.py`; a test compares it with the configs. A name
is framework, network, data set. Parameters are in millions and counted; scores are **reported by
the papers** named, in their own settings. Nobody has trained these configs to the end here yet.
"""


def markdown() -> str:
    """The text of docs/configs.md."""
    return '\n'.join(['# Configs', '', INTRODUCTION, *_lines()])


def _lines() -> Iterator[str]:
    title = None
    described = {path: describe(path) for path in CONFIGS.glob('*.py')}
    for path in sorted(described, key=lambda p: (described[p][0], p.name)):
        base, summary, remark = described[path]
        if base != title:
            title = base
            yield f'\n## {base}\n\n{summary}\n'
            yield '| config | parameters | remark |\n| --- | --- | --- |'
        model, _ = model_of(str(path))
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        yield f'| [`{path.name}`](../configs/{path.name}) | {millions:.1f} | {remark} |'
    yield ''


def describe(path: Path) -> tuple[str, str, str]:
    """What the docstrings of a config and its base say.

    Args:
        path: A config of ours.

    Returns:
        The base's name, the first paragraph of its docstring, and the config's remark: what
        stands between the title and the command.
    """
    tree = ast.parse(path.read_text())
    (bases,) = (node.value for node in tree.body if getattr(node, 'targets', None) and
                node.targets[0].id == '_base_')  # fmt: skip
    base = Path(ast.literal_eval(bases)[0]).stem
    base_text = ast.get_docstring(ast.parse((CONFIGS / '_base_' / f'{base}.py').read_text()))
    _, *remarks, _ = ast.get_docstring(tree).split('\n\n')
    return base, _one_line(base_text.split('\n\n')[0]), _one_line(' '.join(remarks))


def _one_line(text: str) -> str:
    return ' '.join(text.split())
