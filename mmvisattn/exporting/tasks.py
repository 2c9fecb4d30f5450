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
from .detection import Detection
from .network import Network, far, labels_far
from .panoptic import PanopticSegmentation
from .two_stage import TwoStageDetection


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
        """Of labels as `labels_far` takes it, and of logits."""
        logits = self.logits(pictures)
        apart = labels_far(logits, others[0])
        return max(apart, *(far(logits, other) for other in others[1:]), 0.0)


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
        return math.inf if steps.max() > 0.5 + 1e-3 else far(scores, others[1])


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
    model: nn.Module,
    cfg: Config,
    *,
    features: bool = False,
    logits: bool = False,
    pasted: bool = False,
) -> Network:
    """A model with what comes before and after it.

    Args:
        model: The library's, in evaluation mode.
        cfg: Its config.
        features: Whether to end after backbone and neck.
        logits: Whether a segmentor returns its logits, too.
        pasted: Whether a detector returns the masks of the whole picture, too.

    Raises:
        UserError: What has no graph.
    """
    if type(getattr(model, 'backbone', None)).__name__.startswith('Swin'):
        raise UserError(
            'Swin has no graph of any size: the masks of its windows are made for one',
            expected='VAN, CoAtNet, CycleMLP, SASA, ResNet or ConvNeXt',
        )
    if features:
        return Features(model, cfg).eval()
    scope = cfg.get('default_scope')
    if scope not in NETWORKS:
        raise UserError('no such library is exported', expected=', '.join(NETWORKS), got=scope)
    kind, options = NETWORKS[scope], {}
    if scope == 'mmdet' and hasattr(model, 'roi_head'):
        kind = PanopticSegmentation if hasattr(model, 'semantic_head') else TwoStageDetection
        options = dict(pasted=pasted)
    elif scope == 'mmseg':
        options = dict(logits=logits)
    network = kind(model, cfg, **options).eval()
    if pasted and 'pasted' not in network.outputs:
        raise UserError('there are no masks to paste', got=type(model).__name__)
    return network
