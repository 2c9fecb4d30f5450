"""Detectors of two stages: Faster, Mask and Cascade R-CNN, in steps of fixed counts.

As many boxes go through every step as the config allows; a score of -1 says that there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import UserError
from .boxes import clip, keep_best, limits_of, require_plain_nms
from .detection import compare_boxes, dense_boxes
from .network import Network
from .parts import reads_any_boxes

NO_LIMITS = dict(img_shape=None)  # mmdet's clipping is for one size


class TwoStageDetection(Network):
    """What `Detection` returns and, of a model that finds masks, `masks` (N, M, h, w).

    Masks are probabilities in a grid over their box, zero where there is no box.

    Args:
        model: mmdet's, in evaluation mode.
        cfg: Its config.
        pasted: Whether to return the masks of the whole picture, too: `pasted` (N, M, H, W), uint8,
            one where the probability reaches the config's threshold.
    """

    task = 'detection'
    onnx_alone = True

    def __init__(self, model: nn.Module, cfg: Config, pasted: bool = False) -> None:
        super().__init__(model, cfg)
        _require_known_parts(model)
        self.outputs = ('boxes', 'scores', 'labels')
        self.pasted = pasted and model.roi_head.with_mask
        self.outputs += ('masks',) * model.roi_head.with_mask + ('pasted',) * self.pasted

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        return self.instances(self.model.extract_feat(self.pictures(pictures)), pictures)

    def instances(self, maps: Sequence[Tensor], pictures: Tensor) -> tuple[Tensor, ...]:
        """Maps of backbone and neck, and the pictures that they are of, to `outputs`."""
        limits = limits_of(pictures)
        boxes, scores = self._proposals(maps, limits)
        boxes, scores, labels = self._detections(maps, boxes, scores, limits)
        if not self.model.roi_head.with_mask:
            return boxes, scores, labels
        masks = self._masks(maps, boxes, labels)
        if not self.pasted:
            return boxes, scores, labels, masks
        inside = paste(masks, boxes, pictures) >= self._threshold
        return boxes, scores, labels, masks, inside.to(torch.uint8)

    @property
    def _threshold(self) -> float:
        return self.model.roi_head.test_cfg.mask_thr_binary

    def _proposals(self, maps: Sequence[Tensor], limits: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, P, 4) and scores (N, P) of the first stage."""
        head = self.model.rpn_head
        boxes, scores, levels = [], [], []
        for i, (box, score, label) in enumerate(dense_boxes(head, maps)):
            boxes.append(clip(box, limits))
            scores.append(score)
            levels.append(torch.full_like(label, i))  # those of two levels do not cover each other
        found = (torch.cat(parts, 1) for parts in (boxes, scores, levels))
        return keep_best(*found, head.test_cfg)[:2]

    def _detections(
        self, maps: Sequence[Tensor], boxes: Tensor, known: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of proposals whose own score `known` is above zero."""
        heads, n = self.model.roi_head, boxes.shape[0]
        rois, logits = _rois(boxes), []
        stages = _stages(heads.bbox_roi_extractor, heads.bbox_head)
        for i, (extractor, head) in enumerate(stages):
            score, deltas = head(extractor(maps[: extractor.num_inputs], rois))
            logits.append(score)
            if i + 1 < len(stages):  # the next one reads what this one makes of its boxes
                labels = score[:, :-1].argmax(1)
                boxes = head.regress_by_class(rois[:, 1:], labels, deltas, NO_LIMITS)
                rois = torch.cat([rois[:, :1], clip(boxes, limits)], 1)
        scores = (sum(logits) / len(logits)).softmax(1)[:, :-1]
        classes = head.num_classes
        own = 1 if head.reg_class_agnostic else classes
        priors = rois[:, None, 1:].expand(-1, own, -1).reshape(-1, 4)
        boxes = head.bbox_coder.decode(priors, deltas.reshape(-1, 4), max_shape=None)
        boxes = clip(boxes, limits).reshape(-1, own, 4).expand(-1, classes, -1)
        cfg = heads.test_cfg
        likely = (scores > cfg.score_thr) & (known.reshape(-1, 1) > 0)
        scores = torch.where(likely, scores, -torch.ones_like(scores))
        labels = torch.arange(classes, device=scores.device).expand_as(scores)
        found = (boxes.reshape(n, -1, 4), scores.reshape(n, -1), labels.reshape(n, -1))
        return keep_best(*found, cfg)

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """(N, M, h, w), the mean of the stages' probabilities."""
        heads, rois, stages = self.model.roi_head, _rois(boxes), []
        for extractor, head in _stages(heads.mask_roi_extractor, heads.mask_head):
            of_classes = head(extractor(maps[: extractor.num_inputs], rois)).sigmoid()
            place = torch.zeros_like(labels) if head.class_agnostic else labels.clamp(min=0)
            size = [int(n) for n in of_classes.shape[2:]]  # the head's own, whatever the picture
            place = place.reshape(-1, 1, 1, 1).expand(-1, 1, *size)
            stages.append(of_classes.gather(1, place)[:, 0])
        masks = (sum(stages) / len(stages)).reshape(*boxes.shape[:2], *size)
        return masks * (labels >= 0)[..., None, None]

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """Of boxes as `compare_boxes` takes it, and of the masks of the boxes that are alike.

        A pasted pixel is wrong by how far the probability that the other's own mask and box give
        it is from the threshold.
        """
        own = self(pictures)
        worst, nearest = compare_boxes(own, others, max(pictures.shape[1:3]))
        if not math.isfinite(worst) or 'masks' not in self.outputs:
            return worst
        for i, places in enumerate(nearest):
            worst = max(worst, _largest(own[3][i, places] - others[3][i, others[2][i] >= 0]))
        if self.pasted:
            above = paste(others[3], others[0], pictures) - self._threshold
            worst = max(worst, _largest(above[(above >= 0) != others[4].bool()]))
        return worst


def _largest(differences: Tensor) -> float:
    return differences.abs().max().item() if differences.numel() else 0.0


def _require_known_parts(model: nn.Module) -> None:
    """Refuse other stages than those of Faster, Mask and Cascade R-CNN with RoIAlign.

    Raises:
        UserError: There is one.
    """
    heads = model.roi_head
    parts = {
        'rpn_head': [model.rpn_head],
        'roi_head': [heads],
        **({'mask_head': _parts(heads.mask_head)} if heads.with_mask else {}),
    }
    expected = {
        'rpn_head': ('RPNHead',),
        'roi_head': ('StandardRoIHead', 'CascadeRoIHead'),
        'mask_head': ('FCNMaskHead',),
    }
    for name, own in parts.items():
        for part in own:
            if type(part).__name__ not in expected[name]:
                raise UserError(
                    f'this {name} is not exported',
                    expected=' or '.join(expected[name]),
                    got=type(part).__name__,
                    do='--features exports backbone and neck',
                )
    extractors = _parts(heads.bbox_roi_extractor)
    extractors += _parts(heads.mask_roi_extractor) if heads.with_mask else []
    if heads.with_shared_head or not all(map(reads_any_boxes, extractors)):
        raise UserError('only boxes read by SingleRoIExtractor with RoIAlign are exported')
    if any(h.custom_activation for h in _parts(heads.bbox_head)):
        raise UserError('scores of another kind than softmax are not exported')
    for head in (model.rpn_head, heads):
        require_plain_nms(head.test_cfg.nms)


def _parts(part: nn.Module) -> list[nn.Module]:
    """Those of each stage; Mask R-CNN has one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _stages(extractor: nn.Module, head: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    return list(zip(_parts(extractor), _parts(head), strict=True))


def _rois(boxes: Tensor) -> Tensor:
    """Boxes (N, M, 4) to (N * M, 5), the first column the number of the picture."""
    number = torch.arange(boxes.shape[0], device=boxes.device).to(boxes.dtype)
    return torch.cat([number[:, None, None].expand_as(boxes[..., :1]), boxes], 2).flatten(0, 1)


def paste(masks: Tensor, boxes: Tensor, pictures: Tensor) -> Tensor:
    """Masks in their boxes (N, M, h, w) to (N, M, H, W) in pictures (N, H, W, 3).

    Bilinear, zero outside, as mmdet's `_do_paste_mask`: as a box has no angle, that is a product
    with weights of rows and one with weights of columns.
    """
    rows = _weights(boxes[..., 1], boxes[..., 3], pictures.shape[1], masks.shape[2])
    columns = _weights(boxes[..., 0], boxes[..., 2], pictures.shape[2], masks.shape[3])
    return rows @ masks @ columns.transpose(2, 3)


def _weights(first: Tensor, last: Tensor, length: int, count: int) -> Tensor:
    """(N, M, length, count): how much each of the cells of a box has of each pixel of an axis."""
    pixel = torch.arange(length, device=first.device).to(first.dtype) + 0.5
    side = (last - first).clamp(min=1e-6)[..., None]  # of a box without a side: no pixel
    place = (pixel - first[..., None]) / side * count - 0.5
    cell = torch.arange(count, device=first.device).to(first.dtype)
    return (1 - (place[..., None] - cell).abs()).clamp(min=0)
