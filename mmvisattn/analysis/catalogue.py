"""Every config: what it trains, what is published of it, and `docs/configs.md`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..places import CONFIGS

INTRODUCTION = """\
Written by `python tools/analysis_tools/write_pages.py`; a test compares it with the configs. A name
is framework, network, data set. Parameters are in millions and counted; scores are **reported by
the papers** named, in their own settings. Nobody has trained these configs to the end here yet.
"""

# The task of a framework, by how its base's name begins.
TASKS = {
    'fpn': 'Semantic Segmentation',
    'upernet': 'Semantic Segmentation',
    'retinanet': 'Object Detection',
    'atss': 'Object Detection',
    'gfl': 'Object Detection',
    'mask_rcnn': 'Instance Segmentation',
    'cascade_mask_rcnn': 'Instance Segmentation',
    'panoptic_fpn': 'Panoptic Segmentation',
    'mask2former': 'Panoptic Segmentation',
    'simple_baseline': 'Body 2D Keypoint',
    'classifier': 'Image Classification',
}
# What a config trains on, by a part of its base's name.
DATASETS = {
    'demo': 'embedded scenes',
    'camvid': 'CamVid',
    'pennfudan': 'PennFudanPed',
    'imagenette': 'Imagenette',
    'ade20k': 'ADE20K',
    'imagenet': 'ImageNet-1k',
    'coco': 'COCO',
}
# The picture that costs are given for, by a part of a config's name: that of the papers.
PICTURES = {
    '384x288': (384, 288),
    '256x192': (256, 192),
    'ade20k': (512, 512),
    'finetune_384': (384, 384),
    'imagenette': (128, 128),
    'camvid': (360, 480),
    'pennfudan': (384, 512),
    'imagenet': (224, 224),
    'coco': (800, 1280),
}
# A score at the beginning of a remark, and whose it is.
_SCORE = re.compile(
    r'(?P<text>(?:Box AP|AP|PQ|mIoU|Top-1) \d[^()]*) \((?:reported|stated) by (?P<source>[^()]*)\)'
)


@dataclass(frozen=True)
class Entry:
    """A config of ours, by its name and what it says of itself.

    Attributes:
        path: The file.
        framework: The name of the base that is not the backbone's.
        about: The first paragraph of that base's docstring.
        network: Such as 'van_b2'.
        title: The first line of the config's docstring.
        remark: What stands between the title and the command.
        weights: The ImageNet weights that its backbone starts from: a published name or a URL.
    """

    path: Path
    framework: str
    about: str
    network: str
    title: str
    remark: str
    weights: str | None

    @property
    def name(self) -> str:
        """Of the config."""
        return self.path.stem

    @property
    def task(self) -> str:
        """As OpenMMLab calls it."""
        return next(t for start, t in TASKS.items() if self.framework.startswith(f'{start}_'))

    @property
    def dataset(self) -> str:
        """What it trains on."""
        return next(name for part, name in DATASETS.items() if part in self.framework)

    @property
    def picture(self) -> tuple[int, int] | None:
        """Height and width of the picture that its cost is given for; None for a demo."""
        return next((size for part, size in PICTURES.items() if part in self.name), None)

    @property
    def reported(self) -> tuple[str, str] | None:
        """The score that somebody published of this recipe, and who."""
        score = _SCORE.match(self.remark)
        return score and (score['text'], score['source'])


def entries() -> list[Entry]:
    """All configs, by framework and name."""
    return sorted(map(describe, CONFIGS.glob('*.py')), key=lambda e: (e.framework, e.path.name))


def markdown(counts: dict[str, dict[str, int]]) -> str:
    """The text of docs/configs.md.

    Args:
        counts: What was counted of each config, by its name.
    """
    return '\n'.join(['# Configs', '', INTRODUCTION, *_lines(counts)])


def _lines(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    framework = None
    for entry in entries():
        if entry.framework != framework:
            framework = entry.framework
            yield f'\n## {framework}\n\n{entry.about}\n'
            yield '| config | parameters | remark |\n| --- | --- | --- |'
        name, millions = entry.path.name, counts[entry.name]['Parameters'] / 1e6
        yield f'| [`{name}`](../configs/{name}) | {millions:.1f} | {entry.remark} |'
    yield ''


def describe(path: Path) -> Entry:
    """What a config of ours and its bases say."""
    text = path.read_text()
    tree = ast.parse(text)
    (bases,) = (node.value for node in tree.body if getattr(node, 'targets', None) and
                node.targets[0].id == '_base_')  # fmt: skip
    framework, network = (Path(base).stem for base in ast.literal_eval(bases))
    title, *remarks, _ = ast.get_docstring(tree).split('\n\n')
    starts = '_base_.backbone' in text and 'init_cfg=None' not in text
    return Entry(
        path=path,
        framework=framework,
        about=_about(framework),
        network=network,
        title=_one_line(title),
        remark=_one_line(' '.join(remarks)),
        weights=_weights(network) if starts else None,
    )


@cache
def _about(framework: str) -> str:
    text = ast.get_docstring(ast.parse((CONFIGS / '_base_' / f'{framework}.py').read_text()))
    return _one_line(text.split('\n\n')[0])


@cache
def _weights(network: str) -> str | None:
    """The checkpoint that a backbone's file names."""
    tree = ast.parse((CONFIGS / '_base_' / 'backbones' / f'{network}.py').read_text())
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return next((ast.literal_eval(k.value) for k in keywords if k.arg == 'checkpoint'), None)


def _one_line(text: str) -> str:
    return ' '.join(text.split())
