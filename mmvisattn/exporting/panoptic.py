"""Panoptic FPN up to the two maps that its fusion lays upon each other."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from .network import labels_far
from .two_stage import TwoStageDetection


class PanopticSegmentation(TwoStageDetection):
    """What `TwoStageDetection` returns, and `semantic` (N, H, W), int64, of the picture's pixels.

    Classes of stuff follow those of things, as mmdet numbers them; after the last one of stuff
    comes the one that says that a pixel is some thing's.
    """

    task = 'panoptic'

    def __init__(self, model: nn.Module, cfg: Config, pasted: bool = False) -> None:
        super().__init__(model, cfg, pasted)
        self.outputs += ('semantic',)
        self.things = model.semantic_head.num_things_classes

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures (N, H, W, 3), uint8, to `outputs`."""
        x = self.pictures(pictures)
        maps = self.model.extract_feat(x)
        semantic = self._logits(maps, x, pictures).argmax(1) + self.things
        return *self.instances(maps, pictures), semantic

    def _logits(self, maps: Sequence[Tensor], x: Tensor, pictures: Tensor) -> Tensor:
        """(N, stuff + 1, H, W)."""
        logits = self.model.semantic_head(maps)['seg_preds']
        logits = F.interpolate(logits, x.shape[2:], mode='bilinear', align_corners=False)
        return logits[:, :, : pictures.shape[1], : pictures.shape[2]]

    def difference(self, pictures: Tensor, others: Sequence[Tensor]) -> float:
        """Of instances as detectors compare them, and of `semantic` as `labels_far` takes it."""
        x = self.pictures(pictures)
        logits = self._logits(self.model.extract_feat(x), x, pictures)
        semantic = labels_far(logits, others[-1] - self.things)
        return max(semantic, super().difference(pictures, others))
