"""The best boxes of each picture (non-maximum suppression), as one step of a graph."""

from __future__ import annotations

import torch
from torch import Tensor

INT64_ALL = 2**31 - 1  # more boxes than there are: all may stay


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
        constant(torch.tensor([INT64_ALL])),
        constant(iou_threshold.float().reshape(1)),
        constant(torch.tensor([0.0])),
    )
    places = g.op('Gather', selected, constant(torch.tensor([0, 2])), axis_i=1)
    count = g.op('Gather', g.op('Shape', selected), constant(torch.tensor([0])), axis_i=0)
    ones = g.op('ConstantOfShape', count, value_t=torch.tensor([1.0]))
    nothing = g.op('ConstantOfShape', g.op('Shape', scores), value_t=torch.tensor([0.0]))
    kept = g.op('ScatterND', nothing, places, ones)
    return g.op('Cast', kept, to_i=9).setType(scores.type().with_dtype(torch.bool))  # 9: BOOL
