"""The number that a class activation map explains: what a network says of one class, by task.

| task | number | where |
|---|---|---|
| classification | the class's logit | the whole picture |
| segmentation | the mean logit of the class | over the region that is predicted to be the class |
| detection, instance | the class's scores, summed | of the boxes that are found of the class |
| panoptic | as in detection (things, queries) or in segmentation (stuff of Panoptic FPN) | |
| pose | the value of a keypoint's heat map | at its peak |

What is chosen (region, boxes, peak) is chosen once, on the picture itself, so that methods which
change the picture or a layer compare like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError, did_you_mean
from ..inference import Inferencer
from .view import View

SURE = 0.3  # boxes of this score are explained, and the best one in any case
MOST_BOXES = 20
SHOWN = 8


@dataclass(frozen=True)
class Target:
    """What is explained.

    Attributes:
        name: The class or keypoint.
        said: What the network says of it, for a title.
        score: Takes inputs (N, 3, h, w) to the number of each, (N,).
        marks: Polygons or boxes in the picture, each (points, 2) as (x, y); a point is one point.
    """

    name: str
    said: str
    score: Callable[[Tensor], Tensor]
    marks: tuple[NDArray[np.float64], ...] = ()


@dataclass(frozen=True)
class Found:
    """A class that a network found in a picture: how sure or how large, and what explains it."""

    rank: float
    target: Callable[[], Target]


def choose_targets(
    network: Inferencer, view: View, names: Sequence[str] = (), count: int = 1
) -> list[Target]:
    """The targets of these classes; without names, of the `count` that are found most.

    Raises:
        UserError: A class that does not exist, or that the network does not find in the picture.
    """
    known = names_of(network)
    for name in names:
        if name not in known:
            raise UserError(
                f'the network knows no class {name!r}',
                expected=', '.join(known[:SHOWN]) + (', ...' if len(known) > SHOWN else ''),
                do=did_you_mean(name, known),
            )
    with torch.no_grad():
        found = FINDERS[network.task](network, view)
    ranked = sorted(found, key=lambda index: -found[index].rank)
    if not ranked:
        raise UserError('the network finds nothing in this picture, so nothing is explained')
    wanted = [known.index(name) for name in names] or ranked[:count]
    for index in wanted:
        if index not in found:
            raise UserError(
                f'the network finds no {known[index]} in this picture',
                expected='one of what it finds: ' + ', '.join(known[i] for i in ranked[:SHOWN]),
                got=known[index],
            )
    return [found[index].target() for index in wanted]


def names_of(network: Inferencer) -> list[str]:
    """The classes of a network by number; of poses, the keypoints."""
    if network.task != 'pose':
        return network.classes
    names = network.meta['keypoint_id2name']
    return [names[i] for i in range(len(names))]


def _in_classification(network: Inferencer, view: View) -> dict[int, Found]:
    model = network.model

    def logits(inputs: Tensor) -> Tensor:
        return model(inputs, None, mode='tensor')

    shares = logits(view.inputs)[0].softmax(0)

    def target(index: int) -> Target:
        said = f'{shares[index]:.0%}'
        return Target(names_of(network)[index], said, lambda x: logits(x)[:, index])

    return {i: Found(float(p), lambda i=i: target(i)) for i, p in enumerate(shares)}


def _in_segmentation(network: Inferencer, view: View) -> dict[int, Found]:
    def logits(inputs: Tensor) -> Tensor:
        own = network.model(inputs, None, mode='tensor')
        if own.shape[1] > 1:
            return own
        # One channel says how much of class 1 there is, from a threshold on.
        own = own - torch.logit(torch.tensor(network.model.decode_head.threshold))
        return torch.cat([-own, own], 1)

    return _regions(network, view, logits, 0)


def _regions(
    network: Inferencer, view: View, logits: Callable[[Tensor], Tensor], first: int
) -> dict[int, Found]:
    """Classes by the region that is predicted to be theirs; channel 0 is the class `first`."""
    own = logits(view.inputs)[0]  # (C, h', w')
    labels = own.argmax(0)
    scale = [n / size for n, size in zip(labels.shape, view.inputs.shape[-2:], strict=True)]
    height, width = (
        max(1, round(n * s)) for n, s in zip(view.content, scale, strict=True)
    )  # padding is nobody's region
    labels[height:], labels[:, width:] = -1, -1

    def target(channel: int) -> Target:
        region = labels == channel
        said = f'{region.sum() / (height * width):.0%} of the picture'
        name = names_of(network)[first + channel]
        return Target(name, said, lambda x: logits(x)[:, channel, region].mean(1))

    present = [int(channel) for channel in labels.unique() if channel >= 0]
    present = [channel for channel in present if first + channel < len(names_of(network))]
    return {
        first + channel: Found(
            float((labels == channel).float().mean()), lambda c=channel: target(c)
        )
        for channel in present
    }


def _in_detection(network: Inferencer, view: View) -> dict[int, Found]:
    model = network.model
    if hasattr(model, 'panoptic_head'):
        return _queries(network, view)
    samples = view.samples_for(1)
    features = model.extract_feat(view.inputs)
    if hasattr(model, 'roi_head'):
        boxes = model.rpn_head.predict(features, samples, rescale=False)
        found = model.roi_head.predict(features, boxes, samples, rescale=False)[0]
        score_of = _of_boxes
    else:
        found = model.bbox_head.predict(features, samples, rescale=False)[0]
        score_of = _of_anchors

    def target(index: int) -> Target:
        boxes = _sure(found[found.labels == index])
        corners = boxes.bboxes.double().cpu().numpy()[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        return Target(
            names_of(network)[index],
            _scores_text(boxes.scores, 'box', 'boxes'),
            score_of(network, view, boxes, index),
            tuple(view.points_on_picture(box) for box in corners),
        )

    classes = found.labels.unique().tolist()
    return {
        i: Found(float(found.scores[found.labels == i].max()), lambda i=i: target(i))
        for i in classes
    }


def _sure(boxes: InstanceData) -> InstanceData:
    """Those that are sure; at least one, and not too many."""
    best = boxes[boxes.scores.argsort(descending=True)[:MOST_BOXES]]
    sure = best[best.scores >= SURE]
    return sure if len(sure) else best[:1]


def _scores_text(scores: Tensor, one: str, many: str) -> str:
    if len(scores) == 1:
        return f'{one}, score {scores[0]:.2f}'
    return f'{len(scores)} {many}, best {scores.max():.2f}'


def _of_boxes(network: Inferencer, view: View, boxes: InstanceData, index: int) -> Callable:
    """The second stage's scores of a class in these boxes."""
    model = network.model

    def score(inputs: Tensor) -> Tensor:
        count = len(inputs)
        proposals = [InstanceData(bboxes=boxes.bboxes) for _ in range(count)]
        samples = view.samples_for(count)
        logits = model.roi_head(model.extract_feat(inputs), proposals, samples)[0]
        logits = torch.cat(tuple(logits)) if isinstance(logits, (list, tuple)) else logits
        return logits.softmax(1)[:, index].view(count, -1).sum(1)

    return score


def _of_anchors(network: Inferencer, view: View, boxes: InstanceData, index: int) -> Callable:
    """The scores of a class at the anchors, or points, that these boxes came from.

    Suppression keeps a box's score as it is, so that the score tells the anchor.
    """
    model = network.model

    def scores(inputs: Tensor) -> Tensor:
        """(N, anchors) of the class."""
        outputs = model.bbox_head(model.extract_feat(inputs))
        head = model.bbox_head
        logits = _by_anchor(outputs[0], head.cls_out_channels)
        sure = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(2)
        factors = _by_anchor(outputs[2], 1).sigmoid() if len(outputs) == 3 else 1.0
        return (sure * factors)[:, :, index]

    with torch.no_grad():
        own = scores(view.inputs)[0]
    anchors = torch.stack([(own - score).abs().argmin() for score in boxes.scores])
    return lambda inputs: scores(inputs)[:, anchors].sum(1)


def _by_anchor(levels: Sequence[Tensor], channels: int) -> Tensor:
    """Maps (N, anchors * channels, h, w) of several levels as (N, all anchors, channels)."""
    rows = [m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in levels]
    return torch.cat(rows, 1)


def _queries(network: Inferencer, view: View) -> dict[int, Found]:
    """Classes by the queries (Mask2Former) that call their mask that."""
    model = network.model

    def shares(inputs: Tensor) -> Tensor:
        """(N, queries, classes and nothing)."""
        samples = view.samples_for(len(inputs))
        return model.panoptic_head(model.extract_feat(inputs), samples)[0][-1].softmax(2)

    scores, labels = shares(view.inputs)[0][:, :-1].max(1)

    def target(index: int) -> Target:
        own = (labels == index).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True)][:MOST_BOXES]
        sure = own[scores[own] >= SURE]
        chosen = sure if len(sure) else own[:1]
        said = _scores_text(scores[chosen], 'mask', 'masks')
        return Target(names_of(network)[index], said, lambda x: shares(x)[:, chosen, index].sum(1))

    classes = labels.unique().tolist()
    return {i: Found(float(scores[labels == i].max()), lambda i=i: target(i)) for i in classes}


def _in_panoptic(network: Inferencer, view: View) -> dict[int, Found]:
    model = network.model
    if hasattr(model, 'panoptic_head'):
        return _queries(network, view)
    head = model.semantic_head
    things = _in_detection(network, view)
    stuff = _regions(
        network,
        view,
        lambda x: head(model.extract_feat(x))['seg_preds'],
        head.num_things_classes,
    )
    return things | stuff


def _in_pose(network: Inferencer, view: View) -> dict[int, Found]:
    def heat_maps(inputs: Tensor) -> Tensor:
        return network.model(inputs, None, mode='tensor')

    own = heat_maps(view.inputs)
    if not isinstance(own, Tensor) or own.dim() != 4:
        raise UserError(
            'the head of the network predicts no heat maps',
            got=type(network.model.head).__name__,
        )
    peaks, places = own[0].flatten(1).max(1)
    width = own.shape[3]

    def target(index: int) -> Target:
        row, column = divmod(int(places[index]), width)
        cell = view.cell_outline((row, column), tuple(own.shape[2:]))
        return Target(
            names_of(network)[index],
            f'peak {peaks[index]:.2f}',
            lambda x: heat_maps(x)[:, index, row, column],
            (cell.mean(0, keepdims=True),),
        )

    return {i: Found(float(peak), lambda i=i: target(i)) for i, peak in enumerate(peaks)}


FINDERS: dict[str, Callable[[Inferencer, View], dict[int, Found]]] = {
    'classification': _in_classification,
    'segmentation': _in_segmentation,
    'detection': _in_detection,
    'instance': _in_detection,
    'panoptic': _in_panoptic,
    'pose': _in_pose,
}


class Scored(nn.Module):
    """A model that returns a target's number for each input, as the grad-cam package asks."""

    def __init__(self, model: nn.Module, target: Target) -> None:
        super().__init__()
        self.model, self.target = model, target

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, 3, h, w) to numbers (N,)."""
        return self.target.score(inputs)
