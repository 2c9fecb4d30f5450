"""`data`: what one data-loading process makes of pictures, stage by stage."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from ...datasets.demo import make_data
from ...engine.config import load_config
from ..pipeline_speed import stage_rates
from ..published import CONFIGS
from .measure import Bench, quartiles
from .report import Report, Row

PIPELINES = {'upernet_van_b0_ade20k': 'ade20k', 'mask_rcnn_van_b0_coco': 'coco'}
PICTURES = {True: 8, False: 100}
NOTE = 'The pictures are the embedded ones, small and synthetic; --data DIR takes real ones.'


def report(bench: Bench) -> Report:
    """Measure the training pipelines of our configs.

    Raises:
        UserError: Data that cannot be read.
    """
    found = Report('data', notes=[] if bench.data else [NOTE])
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in PIPELINES.items():
            if bench.wanted(name):
                root = bench.data / layout if bench.data else Path(folder, layout)
                if not bench.data:
                    make_data(layout, root, num_train=8, num_val=1)
                found.rows.extend(_stages(name, root, bench))
    return found


def _stages(name: str, root: Path, bench: Bench) -> list[Row]:
    """A row for each stage of a config's pipeline, and one for all of them."""
    cfg = load_config(CONFIGS / f'{name}.py', dict(data_root=str(root)))
    rounds = []
    for seed in range(bench.effort.rounds):
        np.random.seed(seed)
        torch.manual_seed(seed)
        rounds.append(stage_rates(cfg, PICTURES[bench.short]))
    rows = []
    for turns in zip(*rounds, strict=True):
        stage, milliseconds = turns[0][0], quartiles([1e3 / rate for _, rate in turns])
        rows.append(
            Row(
                title=name,
                run='one worker',
                peer=stage,
                chosen=stage == 'all',
                milliseconds=[*milliseconds],
                rate=1e3 / milliseconds[0],
            )
        )
    return rows
