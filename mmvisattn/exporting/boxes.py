"""The best boxes of each picture: within it, one for each object, the best first."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from ..errors import UserError

ALL = 2**31 - 1  # more boxes than there are: all may stay


@torch.library.custom_op('mmvisattn::best_boxes', mutates_args=())
def best_boxes(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes stay: no better one of their picture covers them.

    Args:
        boxes: (N, M, 4): x1, y1, x2, y2.
        scores: (N, M); what has none above zero takes no part.
        iou_threshold: Of two boxes that overlap by more than this the better one stays.

    Returns:
        (N, M), true where a box stays.
    """
    from torchvision.ops import nms

    keep = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    for i in range(len(boxes)):
        (known,) = torch.where(scores[i] > 0)
        keep[i, known[nms(boxes[i, known], scores[i, known], iou_threshold)]] = True
    return keep


@best_boxes.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def onnx_best_boxes(g, boxes, scores, iou_threshold):
    """ONNX's NonMaxSuppression lists (picture, class, box); written into a map of zeros."""

    def constant(value: Tensor):
        return g.op('Constant', value_t=value)

    iou_threshold = (
        iou_threshold.node().t('value')
        if iou_threshold.node().hasAttribute('value')
        else torch.tensor(float(iou_threshold.node().output().toIValue()))
    )
    selected = g.op(
        'NonMaxSuppression',
        boxes,
        g.op('Unsqueeze', scores, constant(torch.tensor([1]))),
        constant(torch.tensor([ALL])),
        constant(iou_threshold.float().reshape(1)),
        constant(torch.tensor([0.0])),
    )
    places = g.op('Gather', selected, constant(torch.tensor([0, 2])), axis_i=1)
    count = g.op('Gather', g.op('Shape', selected), constant(torch.tensor([0])), axis_i=0)
    ones = g.op('ConstantOfShape', count, value_t=torch.tensor([1.0]))
    nothing = g.op('ConstantOfShape', g.op('Shape', scores), value_t=torch.tensor([0.0]))
    kept = g.op('ScatterND', nothing, places, ones)
    return g.op('Cast', kept, to_i=9).setType(scores.type().with_dtype(torch.bool))  # 9: BOOL


def require_plain_nms(nms: dict) -> None:
    """Refuse boxes that suppress each other in another way than in `best_boxes`.

    Raises:
        UserError: They do.
    """
    rest = set(nms) - {'type', 'iou_threshold', 'class_agnostic'}
    if nms.get('type', 'nms') != 'nms' or rest:
        raise UserError('only plain NMS is exported', got=dict(nms))


def limits_of(pictures: Tensor) -> Tensor:
    """The largest x1, y1, x2, y2 in pictures (N, H, W, 3)."""
    sides = [torch.as_tensor(pictures.shape[i], device=pictures.device) for i in (2, 1)]
    return torch.stack(sides).float().repeat(2)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes (..., 4) within pictures of these limits."""
    return torch.minimum(boxes.clamp(min=0), limits)


def keep_best(
    boxes: Tensor, scores: Tensor, labels: Tensor, cfg: ConfigDict
) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes that no better one of their label covers, the best first.

    Args:
        boxes: (N, M, 4): x1, y1, x2, y2, within the picture.
        scores: (N, M); what has none above zero takes no part.
        labels: (N, M): classes, or levels of a pyramid.
        cfg: A head's `test_cfg`: nms, max_per_img, min_bbox_size.

    Returns:
        The three of at most `max_per_img` boxes; scores and labels are -1 where there are fewer.
    """
    nothing = -torch.ones_like(scores)
    least = cfg.get('min_bbox_size', -1)
    if least >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = torch.where((sides > least).all(2), scores, nothing)
    apart = boxes
    if not cfg.nms.get('class_agnostic', False):
        # Boxes of another label lie elsewhere, as mmcv moves them.
        known = torch.where((scores > 0)[..., None], boxes, torch.zeros_like(boxes))
        apart = boxes + labels[..., None] * (known.amax((1, 2), keepdim=True) + 1)
    stays = best_boxes(apart, scores, float(cfg.nms.iou_threshold))
    scores = torch.where(stays, scores, nothing)
    scores, order = scores.topk(at_most(scores.shape[1], cfg.max_per_img), dim=1)
    labels = torch.where(scores > 0, labels.gather(1, order), -torch.ones_like(order))
    return boxes.gather(1, order[..., None].expand(-1, -1, 4)), scores, labels


def at_most(length: int | Tensor, limit: int) -> int | Tensor:
    """The smaller one; in a trace the length of an axis is a tensor."""
    if isinstance(length, Tensor):
        return torch.minimum(length, torch.tensor(limit))
    return min(length, limit)
