"""Class activation maps: where a network looks for a class (Selvaraju et al., ICCV 2017,
arXiv:1610.02391, as drawn in Figure 5 of the VAN paper, arXiv:2202.09741).

The maps are computed by the grad-cam package; here are the numbers that they explain (targets.py),
the layers, and the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import UserError, did_you_mean
from ..inference import Inferencer
from .figure import TEXT, colour_bar, draw_over, new_figure, outline, over, title
from .layers import as_map, find_layer, stage_ends
from .targets import Scored, Target, choose_targets
from .view import View

# As the package calls them, in the words of their papers.
METHODS = {
    'gradcam': ('GradCAM', 'Grad-CAM'),
    'gradcam++': ('GradCAMPlusPlus', 'Grad-CAM++'),
    'hirescam': ('HiResCAM', 'HiResCAM'),
    'xgradcam': ('XGradCAM', 'XGrad-CAM'),
    'layercam': ('LayerCAM', 'LayerCAM'),
    'elementwise': ('GradCAMElementWise', 'element-wise Grad-CAM'),
    'eigengradcam': ('EigenGradCAM', 'Eigen-Grad-CAM'),
    'eigencam': ('EigenCAM', 'Eigen-CAM'),
    'ablationcam': ('AblationCAM', 'Ablation-CAM'),
    'scorecam': ('ScoreCAM', 'Score-CAM'),
}


def activation_map(
    network: Inferencer, view: View, target: Target, layer: str, method: str = 'gradcam'
) -> NDArray[np.float32]:
    """The map of a target at a layer, 0 to 1, at the size of the network's input: (h, w).

    Args:
        network: The network.
        view: The picture.
        target: What is explained.
        layer: Name of a layer, as `find_layer` takes it.
        method: One of `METHODS`.

    Raises:
        UserError: No such layer or method, or no grad-cam package.
    """
    _, module = find_layer(network.model, layer)
    size = tuple(view.inputs.shape[-2:])
    cam = _method(method)(
        Scored(network.model, target),
        [module],
        reshape_transform=lambda output: as_map(output, size),
    )
    try:
        with torch.enable_grad():
            # From the picture on, so that a layer behind frozen ones has a gradient too.
            inputs = view.inputs.clone().requires_grad_()
            return cam(inputs, targets=[lambda score: score])[0].astype(np.float32)
    finally:
        cam.activations_and_grads.release()
        network.model.zero_grad()


def draw_cam(
    network: Inferencer,
    view: View,
    classes: Sequence[str] = (),
    layers: Sequence[str] = (),
    method: str = 'gradcam',
    count: int = 1,
) -> Figure:
    """A picture beside its maps: a column for each class, a row for each layer.

    Args:
        network: The network.
        view: The picture.
        classes: Names; without them, the `count` classes that the network finds most.
        layers: Names of layers; without them, the end of the last stage.
        method: One of `METHODS`.
        count: How many classes, where none is named.

    Raises:
        UserError: A class, layer or method that there is not.
    """
    _method(method)
    layers = list(layers) or [_last_stage(network)]
    for layer in layers:
        find_layer(network.model, layer)
    targets = choose_targets(network, view, classes, count)
    height, width = view.picture.shape[:2]
    with rc_context(TEXT):
        figure, axes = new_figure(
            len(layers), 1 + len(targets), height / width, extra=0.35 + 0.1 * len(layers)
        )
        title(axes[0, 0], 'picture')
        for axis, target in zip(axes[0, 1:], targets, strict=True):
            title(axis, f'{target.name}\n{target.said}')
        for row, layer in zip(axes, layers, strict=True):
            row[0].imshow(view.picture)
            row[0].set_ylabel(layer.replace('.', '.\n'))
            for axis, target in zip(row[1:], targets, strict=True):
                heat = view.on_picture(activation_map(network, view, target, layer, method), True)
                draw_over(axis, view.picture, heat, (0, 1))
                for points in target.marks:
                    outline(axis, points)
            colour_bar(row[-1], (0, 1), METHODS[method][1], words=True)
    return figure


def paint_cam(
    network: Inferencer, picture: str | Path | NDArray[np.uint8], name: str | None = None
) -> tuple[NDArray[np.uint8], str]:
    """The map of one class over its picture, as large as it, and what the network says of it.

    It is Grad-CAM of the end of the backbone, and of semantic segmentors of their head.

    Args:
        network: The network.
        picture: A path, or an array (H, W, 3), RGB.
        name: The class; None: the one that the network finds most.

    Raises:
        UserError: The network does not find the class, or nothing; or no grad-cam package.
    """
    view = View.of(network, picture)
    (target,) = choose_targets(network, view, [] if name is None else [name])
    # What a segmentor classifies pixels by tells more of a region than the backbone's end.
    head = getattr(network.model, 'decode_head', None)
    layer = 'decode_head.dropout' if hasattr(head, 'dropout') else _last_stage(network)
    heat = view.on_picture(activation_map(network, view, target, layer), True)
    return over(view.picture, heat, (0, 1)), f'{target.name}: {target.said}'


def _last_stage(network: Inferencer) -> str:
    return f'stage{len(stage_ends(network.model))}'


def _method(name: str) -> type:
    if name not in METHODS:
        raise UserError(
            f'no such method: {name}',
            expected=', '.join(METHODS),
            do=did_you_mean(name, list(METHODS)),
        )
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise UserError(
            'class activation maps take the grad-cam package',
            got=error,
            do='pip install mmvisattn[look]',
        ) from error
    return getattr(pytorch_grad_cam, METHODS[name][0])
