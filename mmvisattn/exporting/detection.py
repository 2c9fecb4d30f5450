"""Detectors of one stage, and what those of two have in common with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from ..errors import UserError
from .boxes import at_most, clip, keep_best, limits_of, require_plain_nms
from .network import Network, far


class Detection(Network):
    """Boxes (N, M, 4) x1, y1, x2, y2 in pixels, scores (N, M) and labels (N, M), the best first.

    M is the largest number of boxes of a picture; where there are fewer, labels and scores are -1.
    """

    task = 'detection'
    onnx_alone = True

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__(model, cfg)
        self.outputs = ('boxes', 'scores', 'labels')
        head = getattr(model, 'bbox_head', None)
        kind = type(head).__name__
        if kind not in ('RetinaHead', 'ATSSHead', 'GFLHead') or not head.use_sigmoid_cls:
            raise UserError(
                'this detector is not exported as a whole',
                expected='RetinaHead, ATSSHead or GFLHead (one stage, anchors, sigmoid), '
                'or two stages',
                got=f'{type(model).__name__} with {kind}' if head else type(model).__name__,
                do='--features exports its backbone and neck',
            )
        require_plain_nms(head.test_cfg.nms)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        head = self.model.bbox_head
        levels = dense_boxes(head, self.model.extract_feat(self.pictures(pictures)))
        boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        return keep_best(clip(boxes, limits_of(pictures)), scores, labels, head.test_cfg)

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """Of scores in their order, and of each box from the nearest of its label, in pictures."""
        return compare_boxes(self(pictures), others, max(pictures.shape[1:3]))[0]


def dense_boxes(head: nn.Module, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The best boxes, scores and labels of each level of a dense head, not yet in the picture."""
    cls_scores, bbox_preds, *factors = head(maps)
    priors = head.prior_generator.grid_priors(
        [x.shape[2:] for x in cls_scores], cls_scores[0].dtype, cls_scores[0].device
    )
    strides = [stride[0] for stride in head.prior_generator.strides]
    factors = factors[0] if factors else [None] * len(priors)
    levels = zip(cls_scores, bbox_preds, factors, priors, strides, strict=True)
    return [_level(head, head.test_cfg, *level) for level in levels]


def _level(
    head: nn.Module,
    cfg: ConfigDict,
    cls_score: Tensor,
    bbox_pred: Tensor,
    factor: Tensor | None,
    priors: Tensor,
    stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes, scores and labels of a level, as `_predict_by_feat_single` takes them."""
    n, classes = cls_score.shape[0], head.cls_out_channels
    scores = cls_score.permute(0, 2, 3, 1).reshape(n, -1, classes).flatten(1).sigmoid()
    scores, place = scores.topk(at_most(scores.shape[1], cfg.nms_pre), dim=1)
    anchor, labels = place // classes, place % classes
    known = scores > cfg.get('score_thr', -1)
    numbers = bbox_pred.shape[1] // head.num_base_priors
    pred = bbox_pred.permute(0, 2, 3, 1).reshape(n, -1, numbers)
    pred = pred.gather(1, anchor[..., None].expand(-1, -1, numbers)).flatten(0, 1)
    of_picture = priors[anchor.flatten()]
    if type(head).__name__ == 'GFLHead':
        pred = head.integral(pred) * stride
        of_picture = head.anchor_center(of_picture)
    boxes = head.bbox_coder.decode(of_picture, pred, max_shape=None).reshape(n, -1, 4)
    if factor is not None:
        weight = factor.permute(0, 2, 3, 1).reshape(n, -1).sigmoid()
        scores = scores * weight.gather(1, anchor)
    return boxes, torch.where(known, scores, -torch.ones_like(scores)), labels


def compare_boxes(
    own: Sequence[Tensor], others: Sequence[Tensor], side: int
) -> tuple[float, list[Tensor]]:
    """How far boxes, scores and labels (N, M) are from others.

    Args:
        own: What PyTorch found.
        others: What another found.
        side: Of the picture, in pixels.

    Returns:
        The largest difference of scores in their order and, in pictures, of each box from the
        nearest of its label; and for each picture which of our boxes the others' known ones are.
    """
    (boxes, scores, labels), (other_boxes, other_scores, other_labels) = own[:3], others[:3]
    if boxes.shape != other_boxes.shape:
        return math.inf, []
    worst, nearest = far(scores, other_scores), []
    for i in range(len(boxes)):
        known = other_labels[i] >= 0
        apart = (other_boxes[i, known][:, None] - boxes[i]).abs().amax(2) / side
        apart[other_labels[i, known][:, None] != labels[i]] = math.inf
        least, places = apart.min(1)
        worst = max(worst, least.max().item() if known.any() else 0.0)
        nearest.append(places)
    return worst, nearest
