"""The configs as OpenMMLab's metafiles: `model-index.yml` and `configs/metafiles`.

They also keep what was counted of each config, so that pages are written without building hundreds
of networks again.
"""

from __future__ import annotations

import re

import yaml

from ..errors import UserError
from ..places import CONFIGS, ROOT
from ..weights import published
from .catalogue import Entry, entries
from .complexity import complexity
from .models import has_second_stage, model_of
from .scores import Scores, scores_of

FOLDER = CONFIGS / 'metafiles'
INDEX = ROOT / 'model-index.yml'
HEADER = """\
# Written by python tools/analysis_tools/write_pages.py; a test compares it with the configs.
"""
RULES = """\
# Parameters and FLOPs (multiply-adds) are counted; of a detector in two stages those of backbone,
# neck and RPN, since what is left to do varies. A result with "Reported By" is not ours; one with
# "Records" is, the mean over its seeds.
"""
COUNTS = ('Parameters', 'FLOPs', 'FLOPs of Backbone, Neck and RPN')
# The metrics of a published score, and what OpenMMLab calls them.
METRICS = {
    'Box AP': 'box AP',
    'mask AP': 'mask AP',
    'AP': 'AP',
    'PQ': 'PQ',
    'mIoU': 'mIoU',
    'Top-1': 'Top 1 Accuracy',
}
_SCORE = re.compile(rf'\b({"|".join(METRICS)}) (\d+\.\d+)')
# Collections by how the name of a network begins: name, title and address of the paper, and code.
COLLECTIONS = {
    'van': ('VAN', 'Visual Attention Network', '2202.09741', 'mmvisattn/backbones/van.py'),
    'coatnet': (
        'CoAtNet',
        'CoAtNet: Marrying Convolution and Attention for All Data Sizes',
        '2106.04803',
        'mmvisattn/backbones/coatnet.py',
    ),
    'cyclemlp': (
        'CycleMLP',
        'CycleMLP: A MLP-like Architecture for Dense Prediction',
        '2107.10224',
        'mmvisattn/backbones/cyclemlp.py',
    ),
    'sasa': (
        'SASA',
        'Stand-Alone Self-Attention in Vision Models',
        '1906.05909',
        'mmvisattn/backbones/sasa.py',
    ),
    'r50': (
        'ResNet',
        'Deep Residual Learning for Image Recognition',
        '1512.03385',
        'https://github.com/open-mmlab/mmdetection/blob/main/mmdet/models/backbones/resnet.py',
    ),
    'swin': (
        'Swin Transformer',
        'Swin Transformer: Hierarchical Vision Transformer using Shifted Windows',
        '2103.14030',
        'https://github.com/open-mmlab/mmdetection/blob/main/mmdet/models/backbones/swin.py',
    ),
    'convnext': (
        'ConvNeXt',
        'A ConvNet for the 2020s',
        '2201.03545',
        'https://github.com/open-mmlab/mmpretrain/blob/main/mmpretrain/models/backbones/convnext.py',
    ),
}


def count(entry: Entry) -> dict[str, int]:
    """Build the network of a config, and count its parameters and multiply-adds."""
    model, forward = model_of(str(entry.path))
    counts = {'Parameters': sum(p.numel() for p in model.parameters())}
    # Mask2Former's decoder computes with values, which a network without memory does not have.
    if entry.picture and not entry.framework.startswith('mask2former'):
        found = complexity(model, (3, *entry.picture), forward)
        counts[COUNTS[1 + has_second_stage(model)]] = found.multiply_adds
    return counts


def kept_counts() -> dict[str, dict[str, int]]:
    """What the metafiles on disk hold of each config, by its name.

    Raises:
        UserError: One of them is no metafile.
    """
    kept = {}
    for path in sorted(FOLDER.glob('*.yml')):
        try:
            for model in yaml.safe_load(path.read_text())['Models']:
                metadata = model['Metadata']
                kept[model['Name']] = {key: metadata[key] for key in COUNTS if key in metadata}
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise UserError(
                f'{path} is no metafile',
                got=f'{type(error).__name__}: {error}',
                do='delete it, then python tools/analysis_tools/write_pages.py',
            ) from error
    return kept


def texts(counts: dict[str, dict[str, int]]) -> dict[str, str]:
    """The text of each file, by its path from the root of the project.

    Args:
        counts: What `count` found of each config, by its name.
    """
    files = {}
    for prefix, (name, title, number, code) in COLLECTIONS.items():
        members = [entry for entry in entries() if entry.network.startswith(prefix)]
        collection = {
            'Name': name,
            'Metadata': {'Architecture': [name]},
            'Paper': {'Title': title, 'URL': f'https://arxiv.org/abs/{number}'},
            'README': 'docs/model_zoo.md',
            'Code': {'URL': code},
        }
        models = [_model(entry, name, counts[entry.name]) for entry in members]
        content = {'Collections': [collection], 'Models': models}
        files[f'configs/metafiles/{prefix}.yml'] = HEADER + RULES + _yaml(content)
    return {'model-index.yml': HEADER + _yaml({'Import': sorted(files)}), **files}


def _model(entry: Entry, collection: str, counts: dict[str, int]) -> dict:
    metadata = {'Training Data': entry.dataset, **counts}
    if entry.picture:
        metadata['Input Size'] = '{} x {}'.format(*entry.picture)
    model = {
        'Name': entry.name,
        'In Collection': collection,
        'Config': f'configs/{entry.path.name}',
        'Metadata': metadata,
    }
    results = [_reported(entry)] if entry.reported else []
    scores = scores_of(entry)
    if scores:
        results.append(_measured(entry, scores))
    if results:
        model['Results'] = results
    if entry.weights:
        known = published().get(entry.weights)
        model['Backbone Weights'] = known.urls[0] if known else entry.weights
    return model


def _reported(entry: Entry) -> dict:
    text, source = entry.reported
    ending = '(ms+flip)' if 'several scales and flipped' in text else ''
    metrics = {METRICS[name] + ending: float(value) for name, value in _SCORE.findall(text)}
    return {
        'Task': entry.task,
        'Dataset': entry.dataset,
        'Metrics': metrics,
        'Reported By': source,
    }


def _measured(entry: Entry, scores: Scores) -> dict:
    return {
        'Task': entry.task,
        'Dataset': entry.dataset,
        'Metrics': {name: round(spread.mean, 2) for name, spread in scores.metrics.items()},
        'Records': scores.folder,
    }


def _yaml(content: dict) -> str:
    return yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None
    )
