"""A network of each task from pictures to what a user reads: one module, one graph.

Every module takes RGB pictures (N, H, W, 3), uint8, of any size, and holds the library's own
backbone, neck and head, between what it does to pictures and to outputs. `OUTPUTS` names what it
returns, and `difference` says how far another's outputs are from its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .boxes import best_boxes
from .pictures import Pictures


class Network(nn.Module):
    """What the tasks share.

    Args:
        model: The library's model, in evaluation mode.
        cfg: Its config.

    Attributes:
        outputs: Names of what it returns.
        onnx_alone: Whether only ONNX has a step for what it does.
    """

    task = ''
    onnx_alone = False

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__()
        self.pictures = Pictures(model.data_preprocessor)
        self.model = model
        self.outputs: tuple[str, ...] = ()

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """The largest difference of outputs, over the largest magnitude if that is above 1."""
        return max(_far(*pair) for pair in zip(self(pictures), others, strict=True))


def _far(expected: Tensor, other: Tensor) -> float:
    if expected.shape != other.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    unit = max(1.0, expected.abs().max().item())
    return (expected - other).abs().max().item() / unit


class Classification(Network):
    """Scores (N, classes), which add up to one."""

    task = 'classification'

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__(model, cfg)
        self.outputs = ('scores',)
        if 'MultiLabel' in type(model.head).__name__:
            raise UserError('a head of several labels is not exported', got=type(model.head))

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        maps = self.model.extract_feat(self.pictures(pictures))
        return (self.model.head(maps).softmax(1),)


class Segmentation(Network):
    """Labels (N, H, W) of the pixels of the picture, int64; logits (N, classes, H, W) if asked."""

    task = 'segmentation'

    def __init__(self, model: nn.Module, cfg: Config, logits: bool = False) -> None:
        super().__init__(model, cfg)
        if model.test_cfg.get('mode', 'whole') != 'whole':
            raise UserError(
                'a network that slides over pictures is not exported',
                expected="test_cfg=dict(mode='whole')",
                got=model.test_cfg.mode,
            )
        if model.out_channels == 1:
            raise UserError('a head of one class with a threshold is not exported')
        self.with_logits = logits
        self.outputs = ('labels', 'logits') if logits else ('labels',)

    def logits(self, pictures: Tensor) -> Tensor:
        """(N, classes, H, W)."""
        x = self.pictures(pictures)
        logits = self.model.decode_head(self.model.extract_feat(x))
        size, corners = x.shape[2:], self.model.align_corners
        logits = F.interpolate(logits, size, mode='bilinear', align_corners=corners)
        return logits[:, :, : pictures.shape[1], : pictures.shape[2]]

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        logits = self.logits(pictures)
        labels = logits.argmax(1)
        return (labels, logits) if self.with_logits else (labels,)

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """By how much another's label is less likely here than the best, at most.

        Two labels that are as likely as each other are the same to it.
        """
        logits = self.logits(pictures)
        if logits[:, 0].shape != others[0].shape:
            return math.inf
        best, chosen = logits.amax(1), logits.gather(1, others[0][:, None].long())[:, 0]
        far = (best - chosen).max().item() / max(1.0, logits.abs().max().item())
        return max(far, *(_far(logits, other) for other in others[1:]), 0.0)


class Pose(Network):
    """Keypoints (N, K, 2), x and y in pixels of the crop of a person, and scores (N, K)."""

    task = 'pose'

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__(model, cfg)
        self.outputs = ('keypoints', 'scores')
        decoder = getattr(model.head, 'decoder', None)
        if type(decoder).__name__ != 'MSRAHeatmap' or decoder.unbiased:
            raise UserError(
                'the keypoints of this head are not exported',
                expected='a decoder MSRAHeatmap with unbiased=False',
                got=type(decoder).__name__,
            )
        self.register_buffer('stride', torch.as_tensor(decoder.scale_factor).float())

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        maps = self.model.head(self.model.extract_feat(self.pictures(pictures)))
        height, width = maps.shape[2:]
        flat = maps.flatten(2)
        scores, place = flat.max(2)
        y, x = place // width, place % width

        def slope(step: int | Tensor, inside: Tensor) -> Tensor:
            """Which neighbour is the higher one: -1, 0 or 1."""
            after = (place + step).clamp(min=0)
            after = torch.where(inside, after, place)
            before = torch.where(inside, place - step, place)
            values = (flat.gather(2, p[..., None])[..., 0] for p in (after, before))
            return torch.sign(next(values) - next(values))

        dx = slope(1, (x > 1) & (x < width - 1) & (y > 0))
        dy = slope(width, (y > 1) & (y < height - 1) & (x > 0))
        keypoints = torch.stack([x + 0.25 * dx, y + 0.25 * dy], -1)
        nothing = (scores <= 0)[..., None]
        return torch.where(nothing, -torch.ones_like(keypoints), keypoints) * self.stride, scores

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """Of scores; a keypoint farther away than the step to a neighbour counts as infinite.

        Where two neighbours are as high as each other rounding decides which one it leans to.
        """
        keypoints, scores = self(pictures)
        steps = (keypoints - others[0]).abs() / self.stride
        return math.inf if steps.max() > 0.5 + 1e-3 else _far(scores, others[1])


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
                expected='RetinaHead, ATSSHead or GFLHead: one stage, anchors, sigmoid',
                got=f'{type(model).__name__} with {kind}' if head else type(model).__name__,
                do='--features exports its backbone and neck',
            )
        self.test_cfg = head.test_cfg
        nms = dict(self.test_cfg.nms)
        if nms.pop('type', 'nms') != 'nms' or set(nms) - {'iou_threshold'}:
            raise UserError('only plain NMS is exported', got=dict(self.test_cfg.nms))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        head, cfg = self.model.bbox_head, self.test_cfg
        size = pictures.shape[1:3]
        cls_scores, bbox_preds, *factors = head(self.model.extract_feat(self.pictures(pictures)))
        priors = head.prior_generator.grid_priors(
            [x.shape[2:] for x in cls_scores], cls_scores[0].dtype, cls_scores[0].device
        )
        strides = [stride[0] for stride in head.prior_generator.strides]
        factors = factors[0] if factors else [None] * len(priors)
        levels = [
            self._level(*level)
            for level in zip(cls_scores, bbox_preds, factors, priors, strides, strict=True)
        ]
        boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        limits = torch.stack([torch.as_tensor(size[i], device=boxes.device) for i in (1, 0)])
        limits = limits.to(boxes.dtype).repeat(2)
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        sides = boxes[..., 2:] - boxes[..., :2]
        least = cfg.get('min_bbox_size', -1)
        if least >= 0:
            scores = torch.where((sides > least).all(2), scores, -torch.ones_like(scores))
        # Boxes of another class lie elsewhere, as mmcv moves them.
        known = torch.where((scores > 0)[..., None], boxes, torch.zeros_like(boxes))
        apart = labels[..., None] * (known.amax((1, 2), keepdim=True) + 1)
        stays = best_boxes(boxes + apart, scores, float(cfg.nms.iou_threshold))
        scores = torch.where(stays, scores, -torch.ones_like(scores))
        scores, order = scores.topk(at_most(scores.shape[1], cfg.max_per_img), dim=1)
        labels = torch.where(scores > 0, labels.gather(1, order), -torch.ones_like(order))
        return boxes.gather(1, order[..., None].expand(-1, -1, 4)), scores, labels

    def _level(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        factor: Tensor | None,
        priors: Tensor,
        stride: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best boxes, scores and labels of a level, as `_predict_by_feat_single` takes them."""
        head, classes = self.model.bbox_head, self.model.bbox_head.cls_out_channels
        n = cls_score.shape[0]
        scores = cls_score.permute(0, 2, 3, 1).reshape(n, -1, classes).flatten(1).sigmoid()
        scores, place = scores.topk(at_most(scores.shape[1], self.test_cfg.nms_pre), dim=1)
        anchor, labels = place // classes, place % classes
        known = scores > self.test_cfg.score_thr
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

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """Of scores in their order, and of each box from the nearest of its label, in pictures."""
        boxes, scores, labels = self(pictures)
        if boxes.shape != others[0].shape:
            return math.inf
        far = _far(scores, others[1])
        side = max(pictures.shape[1:3])
        for i in range(len(boxes)):
            known = others[2][i] >= 0
            apart = (others[0][i, known][:, None] - boxes[i]).abs().amax(2) / side
            apart[others[2][i, known][:, None] != labels[i]] = math.inf
            far = max(far, apart.amin(1).max().item() if known.any() else 0.0)
        return far


def at_most(length: int | Tensor, limit: int) -> int | Tensor:
    """The smaller one; in a trace the length of an axis is a tensor."""
    if isinstance(length, Tensor):
        return torch.minimum(length, torch.tensor(limit))
    return min(length, limit)


class Features(Network):
    """The maps of backbone and neck, for what has no graph as a whole."""

    task = 'features'

    def __init__(self, model: nn.Module, cfg: Config) -> None:
        super().__init__(model, cfg)
        count = len(model.extract_feat(torch.zeros(1, 3, 64, 64)))
        self.outputs = tuple(f'map{i}' for i in range(count))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        return tuple(self.model.extract_feat(self.pictures(pictures)))


NETWORKS = {
    'mmpretrain': Classification,
    'mmseg': Segmentation,
    'mmpose': Pose,
    'mmdet': Detection,
}


def network_of(
    model: nn.Module, cfg: Config, *, features: bool = False, logits: bool = False
) -> Network:
    """A model with what comes before and after it.

    Args:
        model: The library's, in evaluation mode.
        cfg: Its config.
        features: Whether to end after backbone and neck.
        logits: Whether a segmentor returns its logits, too.

    Raises:
        UserError: What has no graph.
    """
    if features:
        return Features(model, cfg).eval()
    scope = cfg.get('default_scope')
    if scope not in NETWORKS:
        raise UserError('no such library is exported', expected=', '.join(NETWORKS), got=scope)
    options = dict(logits=True) if logits and scope == 'mmseg' else {}
    return NETWORKS[scope](model, cfg, **options).eval()
