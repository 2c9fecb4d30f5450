"""Pictures with what is in them painted over, for every task, by the toolboxes' visualizers.

A painter takes a picture and a data sample of its task, as networks predict it and data sets give
it: `pred_instances` or `gt_instances`, `pred_panoptic_seg`, `pred_sem_seg`, `pred_score`, ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from numpy.typing import NDArray

SURE = 0.3  # from this score on a box, mask or keypoint is painted
SHOWN = 480  # pixels that small pictures grow to, so that lines and names do not cover them
IGNORED = 255  # no class, in a label map
INSTANCE_OFFSET = 1000  # mmdet's: label + INSTANCE_OFFSET * number is a thing in a panoptic map


class Painter(ABC):
    """Paints what is in pictures.

    Args:
        meta: What the data set says of its classes: `classes` and `palette`, and for poses also
            `num_keypoints`, `skeleton_links` and their colours; see `dataset_meta`.
    """

    def __init__(self, meta: dict) -> None:
        self.meta = meta

    @abstractmethod
    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """The picture with what a sample holds painted over it.

        Args:
            picture: (H, W, 3), RGB. It is left as it is.
            sample: In pixels of the picture.
            true: Paint what is annotated in place of what is predicted.
            score_thr: The score from which on a box, mask or keypoint is painted.

        Returns:
            (H, W, 3), RGB.
        """


class SegmentationPainter(Painter):
    """Label maps in the classes' colours.

    Args:
        meta: See `Painter`.
        opacity: 1 covers the picture; below, it is seen through the colours, and classes have
            their names on them.
    """

    def __init__(self, meta: dict, opacity: float = 0.6) -> None:
        super().__init__(meta)
        self.opacity = opacity
        self.palette = np.zeros((256, 3), np.uint8)  # what is not labelled stays black
        self.palette[: len(meta['palette'])] = meta['palette']

    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """The colours of `pred_sem_seg` or `gt_sem_seg`, (1, H, W) both."""
        labels = np.asarray((sample.gt_sem_seg if true else sample.pred_sem_seg).data[0])
        colours = self.palette[labels]
        if self.opacity == 1:
            return colours
        seen = (1 - self.opacity) * picture + self.opacity * colours
        return self._with_names(seen.round().astype(np.uint8), labels)

    def _with_names(self, painted: NDArray[np.uint8], labels: NDArray) -> NDArray[np.uint8]:
        """The name of each class in the middle of its largest part, if that has room for it."""
        size = max(8, min(painted.shape[:2]) // 32)
        visualizer = Visualizer(image=painted)
        for label in np.unique(labels[labels < len(self.meta['classes'])]):
            place = _inside(labels == label)
            if place is not None:
                visualizer.draw_texts(
                    self.meta['classes'][label],
                    place,
                    font_sizes=size,
                    colors='w',
                    vertical_alignments='center',
                    horizontal_alignments='center',
                    bboxes=dict(facecolor='black', alpha=0.6, pad=1.5, edgecolor='none'),
                )
        return visualizer.get_image()


class InstancePainter(Painter):
    """Boxes with names and scores, and masks where a sample has them."""

    def __init__(self, meta: dict) -> None:
        super().__init__(meta)
        self.visualizer = VISUALIZERS.get('mmdet.DetLocalVisualizer')()
        self.visualizer.dataset_meta = meta

    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """The `bboxes`, `labels`, `scores` and `masks` of `pred_instances` or `gt_instances`."""
        self.visualizer.add_datasample(
            '', picture, sample, draw_gt=true, draw_pred=not true, pred_score_thr=score_thr
        )
        return self.visualizer.get_image()


class PanopticPainter(InstancePainter):
    """Every pixel in its segment's colour, things outlined."""

    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """The segments of `pred_panoptic_seg`, which holds the truth where that is painted."""
        segments = sample.pred_panoptic_seg.sem_seg
        if (segments == len(self.meta['classes'])).all():  # of none, mmdet cannot stack the places
            return picture.copy()
        return super().paint(picture, BaseDataElement(pred_panoptic_seg=sample.pred_panoptic_seg))


class PosePainter(Painter):
    """The limbs between the keypoints."""

    def __init__(self, meta: dict) -> None:
        super().__init__(meta)
        self.visualizer = VISUALIZERS.get('mmpose.PoseLocalVisualizer')()
        self.visualizer.set_dataset_meta(meta)

    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """Keypoints that are visible or sure: `keypoints` and `keypoints_visible` of the sample's
        `gt_instances` or `pred_instances`."""
        side = max(picture.shape)
        self.visualizer.line_width = max(1, side // 600)  # mmpose's, for pictures of COCO's size
        self.visualizer.radius = max(3, side // 200)
        return self.visualizer.add_datasample(
            '',
            picture,
            sample,
            draw_gt=true,
            draw_pred=not true,
            draw_bbox='bboxes' in sample.get('pred_instances', ()),
            kpt_thr=score_thr,
        )


class ClassificationPainter(Painter):
    """The class written on the picture, with its score where it is predicted."""

    def __init__(self, meta: dict) -> None:
        super().__init__(meta)
        self.visualizer = VISUALIZERS.get('mmpretrain.UniversalVisualizer')()

    def paint(
        self,
        picture: NDArray[np.uint8],
        sample: BaseDataElement,
        *,
        true: bool = False,
        score_thr: float = SURE,
    ) -> NDArray[np.uint8]:
        """The `gt_label`, or the `pred_label` with its `pred_score`."""
        return self.visualizer.visualize_cls(
            picture, sample, self.meta['classes'], draw_gt=true, draw_pred=not true
        )


PAINTERS = {
    'segmentation': SegmentationPainter,
    'detection': InstancePainter,
    'instance': InstancePainter,
    'panoptic': PanopticPainter,
    'pose': PosePainter,
    'classification': ClassificationPainter,
}


def dataset_meta(dataset: BaseDataset) -> dict:
    """What a painter has to know of a data set, with a colour for each of its classes.

    A part of the data set's own classes keeps their colours; others have those of their places.
    """
    meta, own = dict(dataset.metainfo), dataset.METAINFO
    classes, places = meta.get('classes'), meta.get('palette')
    if classes and isinstance(places, list):
        colours = dict(zip(own.get('classes', ()), own.get('palette', ()), strict=False))
        meta['palette'] = [
            colours.get(name, places[i % len(places)]) for i, name in enumerate(classes)
        ]
    return meta


def times_larger(height: int, width: int) -> int:
    """How many times as large a picture of this size is shown."""
    return max(1, SHOWN // max(height, width))


def enlarged(picture: NDArray, times: int) -> NDArray:
    """A mask or map (H, W), as many times as large."""
    return picture.repeat(times, 0).repeat(times, 1)


def _inside(mask: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """The place (x, y) within the largest part of a mask that is farthest from its edge.

    None if that part is smaller than a thousandth of the picture.
    """
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = int(stats[1:, cv2.CC_STAT_AREA].argmax()) + 1
    if stats[largest, cv2.CC_STAT_AREA] < mask.size / 1000:
        return None
    depth = cv2.distanceTransform(
        np.pad((parts == largest).astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_3
    )
    y, x = np.unravel_index(depth[1:-1, 1:-1].argmax(), mask.shape)
    return np.array([x, y])
