"""What training sees: pictures of a data set with their annotations, before and after augmentation.

The config's own visualizer paints, as it does in the toolboxes' tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from mmengine.visualization import Visualizer
from numpy.typing import NDArray

from ..datasets.checks.report import spread
from ..engine.config import dataset_configs
from ..errors import UserError
from ..inference.painting import SegmentationPainter, dataset_meta
from ..outputs import check_figure_or_folder, save_figure
from .figures import check_rows

LOADER = 'train_dataloader'
# What loads and packs, by the beginnings of names; the rest changes the picture.
KEPT = ('Load', 'Pack')
Shown = tuple[str, NDArray[np.uint8], list[NDArray[np.uint8]]]


def browse(cfg: Config, count: int, augmented: int) -> Iterator[Shown]:
    """Pictures of the training data, at even distances.

    Augmentation draws from the generators as they stand: seed them to see the same again.

    Args:
        cfg: A config, as `load_config` returns it; its data must be there.
        count: How many.
        augmented: How often the pipeline makes each of them.

    Yields:
        Name, the picture (H, W, 3) with its annotations, and what the pipeline made of it.

    Raises:
        UserError: The config has no training data.
    """
    if not cfg.get(LOADER):
        raise UserError(f'the config has no {LOADER}')
    init_default_scope(cfg.get('default_scope'))
    plain, whole = (_dataset(cfg, steps) for steps in (True, False))
    visualizer = _visualizer(cfg, plain)
    for number in spread(range(len(plain)), count):
        first = plain[number]
        name = Path(first['data_samples'].img_path).name
        made = (whole[number] for _ in range(augmented))
        yield name, _painted(visualizer, first), [_painted(visualizer, one) for one in made]


def draw_browsed(shown: list[Shown]) -> Figure:
    """A row for each picture: as it lies on disk, and what the pipeline made of it."""
    columns = 1 + max(len(made) for _, _, made in shown)
    figure = Figure(figsize=(3 * columns, 2.5 * len(shown) + 0.4), layout='constrained')
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (name, picture, made) in zip(axes, shown, strict=True):
        for axis, image in zip(row, [picture, *made], strict=True):
            axis.imshow(image)
            axis.set_xlabel(f'{image.shape[1]} x {image.shape[0]}', fontsize=7)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(name, fontsize=8)
    axes[0, 0].set_title('on disk', fontsize=10)
    for axis in axes[0, 1:]:
        axis.set_title('augmented', fontsize=10)
    return figure


def write_browsed(cfg: Config, target: str, count: int, augmented: int) -> int:
    """Write the pictures into one figure, or each into a folder; how many there were.

    Raises:
        UserError: The target cannot be written, or has more rows than can be drawn.
    """
    in_one, shown = check_figure_or_folder(target), []
    for one in browse(cfg, count, augmented):
        shown.append(one)
        check_rows(len(shown) if in_one else 1)
    if in_one:
        save_figure(draw_browsed(shown), target)
        return len(shown)
    for number, one in enumerate(shown, 1):
        save_figure(draw_browsed([one]), Path(target, f'{number:03d}_{Path(one[0]).stem}.png'))
    return len(shown)


def _dataset(cfg: Config, plain: bool) -> BaseDataset:
    """The first data set that is trained on; `plain`: without what changes its pictures."""
    config = deepcopy(next(dataset_configs(cfg, [LOADER])))
    steps = config.get('pipeline', [])
    if plain:
        steps = [step for step in steps if step['type'].rpartition('.')[2].startswith(KEPT)]
    elif steps and 'PackPoseInputs' in steps[-1]['type']:
        steps[-1].pack_transformed = True  # else mmpose keeps the places in the file
    config.pipeline = steps
    return DATASETS.build(config)


def _visualizer(cfg: Config, dataset: BaseDataset) -> Visualizer:
    config = {**(cfg.get('visualizer') or dict(type='Visualizer')), 'vis_backends': None}
    visualizer = VISUALIZERS.build({**config, 'name': f'browse_{id(dataset)}'})
    meta = dataset_meta(dataset)
    if 'skeleton_links' in meta:
        visualizer.set_dataset_meta(meta)
    else:
        visualizer.dataset_meta = meta
    return visualizer


def _painted(visualizer: Visualizer, item: dict) -> NDArray[np.uint8]:
    """A sample with its truth painted over it, (H, W, 3) in RGB."""
    picture = np.ascontiguousarray(item['inputs'].permute(1, 2, 0).numpy()[..., ::-1])
    sample, meta = item['data_samples'], visualizer.dataset_meta
    if hasattr(visualizer, 'visualize_cls'):  # mmpretrain's, of all tasks
        return visualizer.visualize_cls(picture, sample, meta['classes'], draw_pred=False)
    if 'gt_sem_seg' in sample and 'gt_instances' not in sample:
        return SegmentationPainter(meta).paint(picture, sample, true=True)
    boxes = sample.get('gt_instances', {}).get('bboxes')
    if boxes is not None and not isinstance(boxes, (torch.Tensor, np.ndarray)):
        sample.gt_instances.bboxes = boxes.tensor  # mmdet's own type of boxes
    visualizer.add_datasample('', picture, sample, draw_pred=False)
    return visualizer.get_image()
