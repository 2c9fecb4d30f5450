"""What is predicted on one picture: a class for each task, in pixels of the picture itself.

Each has arrays of numpy, and `draw()`, `save(path)`, `show()` and `to_dict()`. `RESULTS` names the
class of each task.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths
from torch import Tensor

from ..atomic import written_whole
from ..errors import UserError
from .painting import INSTANCE_OFFSET, SURE, Painter, enlarged, times_larger
from .window import Window

SAID = 6  # classes that a line names


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a network says of a picture.

    Attributes:
        picture: (H, W, 3) uint8, RGB.
        name: The file's path, or what the picture is called if it is none.
        path: The file, if it is one.
        painter: Paints it; `painter.meta` is what the data set says of its classes.
        samples: The toolbox's own data samples, on the CPU: one, and for poses one for each box.
    """

    task: ClassVar[str]

    picture: NDArray[np.uint8]
    name: str
    path: str | None
    painter: Painter
    samples: tuple[BaseDataElement, ...]

    @classmethod
    def of(cls, samples: list[BaseDataElement], **common: object) -> Result:
        """The result that data samples of the toolbox hold; `common` are the fields above."""
        return cls(samples=tuple(samples), **common, **cls._arrays(samples, common['painter'].meta))

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        """The fields that a task adds."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """The picture's name, and the shapes of the arrays."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        shown = [
            f'{name}={value.shape}'
            for name, value in values.items()
            if isinstance(value, np.ndarray) and name != 'picture'
        ]
        return f'{type(self).__name__}({", ".join([repr(self.name), *shown])})'

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return list(self.painter.meta.get('classes') or ())

    def draw(self, score_thr: float = SURE, times: int | None = 1) -> NDArray[np.uint8]:
        """The picture with the prediction painted over it.

        Args:
            score_thr: The score from which on a box, mask or keypoint is painted.
            times: So many times as large; None: as much as a small picture needs for its lines and
                names to leave something to be seen.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        height, width = self.picture.shape[:2]
        times = times or times_larger(height, width)
        picture = np.ascontiguousarray(self.picture)
        if times > 1:
            picture = np.array(Image.fromarray(picture).resize((times * width, times * height)))
        return self.painter.paint(picture, self._painted(times), score_thr=score_thr)

    def _painted(self, times: int) -> BaseDataElement:
        """The data sample that the painter takes, so many times as large."""
        raise NotImplementedError

    def save(self, path: str | Path, score_thr: float = SURE, times: int | None = None) -> None:
        """Write the painted picture; its folder is made. For the arguments see `draw`.

        Raises:
            UserError: The name ends like no format of pictures.
        """
        path = Path(path)
        form = Image.registered_extensions().get(path.suffix.lower())
        if form not in Image.SAVE:
            raise UserError(f'{path} is no name of a picture', expected='.png, .jpg, ...')
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            Image.fromarray(self.draw(score_thr, times)).save(file, format=form)

    def show(self, score_thr: float = SURE) -> None:
        """Open a window with the painted picture, in a notebook show it there.

        Raises:
            UserError: There is no screen.
        """
        Window(self.name).show(self.draw(score_thr, None))

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        file = io.BytesIO()
        Image.fromarray(self.draw(times=None)).save(file, format='PNG')
        return file.getvalue()

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, lists and words, for json; masks are COCO's run lengths."""
        return {'file': self.name, 'size': list(self.picture.shape[:2]), **self._plain()}

    def _plain(self) -> dict[str, object]:
        raise NotImplementedError

    def summary(self, score_thr: float = SURE) -> str:
        """What is in the picture, in a line; boxes from this score on."""
        raise NotImplementedError

    def _name_of(self, label: int) -> str:
        return self.classes[label] if self.classes else str(label)


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Result):
    """Boxes, the surest first.

    Attributes:
        boxes: (N, 4) float32, left, top, right, bottom.
        scores: (N,) float32, 0 to 1.
        labels: (N,) int64, the places of their classes.
    """

    task: ClassVar[str] = 'detection'

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        found = samples[0].pred_instances
        arrays = dict(boxes=found.bboxes, scores=found.scores, labels=found.labels)
        return {name: _array(values) for name, values in arrays.items()}

    @property
    def names(self) -> list[str]:
        """The names of the N classes."""
        return [self._name_of(label) for label in self.labels]

    def summary(self, score_thr: float = SURE) -> str:
        """How many of each class."""
        sure = self.labels[self.scores >= score_thr]
        return _counted([self._name_of(label) for label in sure]) or 'nothing'

    def _painted(self, times: int) -> BaseDataElement:
        found = InstanceData(
            bboxes=torch.tensor(self.boxes) * times,
            scores=torch.tensor(self.scores),
            labels=torch.tensor(self.labels),
        )
        return BaseDataElement(pred_instances=found)

    def _plain(self) -> dict[str, object]:
        return {
            'boxes': self.boxes.tolist(),
            'scores': self.scores.tolist(),
            'labels': self.labels.tolist(),
            'names': self.names,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Instances(Detections):
    """Boxes and masks, the surest first.

    Attributes:
        masks: (N, H, W) bool.
    """

    task: ClassVar[str] = 'instance'

    masks: NDArray[np.bool_]

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        masks = _array(samples[0].pred_instances.masks).astype(bool, copy=False)
        return {**super()._arrays(samples, meta), 'masks': masks}

    def _painted(self, times: int) -> BaseDataElement:
        sample = super()._painted(times)
        masks = self.masks.repeat(times, 1).repeat(times, 2)
        sample.pred_instances.masks = torch.from_numpy(masks)
        return sample

    def _plain(self) -> dict[str, object]:
        return {**super()._plain(), 'masks': [_run_lengths(mask) for mask in self.masks]}


@dataclass(frozen=True)
class Segment:
    """A part of a panoptic map.

    Attributes:
        id: Its number in the map.
        label: The place of its class.
        name: Its class.
        is_thing: Whether it is one thing, and not all stuff of a kind.
        area: Its pixels.
    """

    id: int
    label: int
    name: str
    is_thing: bool
    area: int


@dataclass(frozen=True, eq=False, repr=False)
class Panoptic(Result):
    """Each pixel in one segment.

    Attributes:
        ids: (H, W) int64: the segment of each pixel, -1 where there is none.
        segments: What they are.
    """

    task: ClassVar[str] = 'panoptic'

    ids: NDArray[np.int64]
    segments: tuple[Segment, ...]

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        ids = _array(samples[0].pred_panoptic_seg.sem_seg)[0].astype(np.int64)  # a copy
        classes, things = meta['classes'], set(meta.get('thing_classes', ()))
        ids[ids % INSTANCE_OFFSET == len(classes)] = -1
        segments = [
            Segment(
                id=int(number),
                label=int(number % INSTANCE_OFFSET),
                name=classes[number % INSTANCE_OFFSET],
                is_thing=classes[number % INSTANCE_OFFSET] in things,
                area=int(area),
            )
            for number, area in zip(*np.unique(ids, return_counts=True), strict=True)
            if number >= 0
        ]
        return dict(ids=ids, segments=tuple(segments))

    def summary(self, score_thr: float = SURE) -> str:
        """How many things of each class, and the stuff."""
        return _counted([segment.name for segment in self.segments]) or 'nothing'

    def _painted(self, times: int) -> BaseDataElement:
        ids = np.where(self.ids < 0, len(self.classes), self.ids)
        segments = PixelData(sem_seg=torch.from_numpy(enlarged(ids, times))[None])
        return BaseDataElement(pred_panoptic_seg=segments)

    def _plain(self) -> dict[str, object]:
        return {
            'segments': [
                {**vars(segment), 'mask': _run_lengths(self.ids == segment.id)}
                for segment in self.segments
            ]
        }


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Result):
    """The class of each pixel.

    Attributes:
        labels: (H, W) uint8 (int64 with more than 255 classes).
        probabilities: (C, H, W) float32, if they were asked for.
    """

    task: ClassVar[str] = 'segmentation'

    labels: NDArray[np.integer]
    probabilities: NDArray[np.float32] | None = None

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        sample, probabilities = samples[0], None
        if 'seg_logits' in sample:
            logits = sample.seg_logits.data.float()
            del sample.seg_logits  # mmseg's sample has it as a property, which pop() does not find
            probabilities = (logits.softmax(0) if len(logits) > 1 else logits.sigmoid()).numpy()
        kind = np.uint8 if len(meta['classes']) <= 255 else np.int64
        labels = _array(sample.pred_sem_seg.data)[0].astype(kind)
        return dict(labels=labels, probabilities=probabilities)

    def summary(self, score_thr: float = SURE) -> str:
        """The classes, largest first, with their share of the picture."""
        labels, areas = np.unique(self.labels, return_counts=True)
        shares = sorted(zip(areas / self.labels.size, labels, strict=True), reverse=True)
        return ', '.join(f'{self._name_of(label)} {share:.0%}' for share, label in shares[:SAID])

    def _painted(self, times: int) -> BaseDataElement:
        return BaseDataElement(pred_sem_seg=PixelData(data=enlarged(self.labels, times)[None]))

    def _plain(self) -> dict[str, object]:
        return {
            'segments': [
                {
                    'label': int(label),
                    'name': self._name_of(label),
                    'area': int((self.labels == label).sum()),
                    'mask': _run_lengths(self.labels == label),
                }
                for label in np.unique(self.labels)
            ]
        }


@dataclass(frozen=True, eq=False, repr=False)
class Poses(Result):
    """The keypoints of each person.

    Attributes:
        keypoints: (N, K, 2) float32, x and y.
        scores: (N, K) float32.
        boxes: (N, 4) float32, left, top, right, bottom: where each person was looked for.
        box_scores: (N,) float32: how sure the detector is; 1 without one.
        boxes_from: 'detector', 'caller' or 'picture' (all of it is the box).
    """

    task: ClassVar[str] = 'pose'

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    box_scores: NDArray[np.float32]
    boxes_from: str

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        count = meta['num_keypoints']
        fields = dict(
            keypoints=('keypoints', (-1, count, 2)),
            scores=('keypoint_scores', (-1, count)),
            boxes=('bboxes', (-1, 4)),
            box_scores=('bbox_scores', (-1,)),
        )
        persons = [sample.pred_instances for sample in samples]
        return {
            name: np.array([_array(person[key]) for person in persons], np.float32).reshape(shape)
            for name, (key, shape) in fields.items()
        }

    @property
    def keypoint_names(self) -> list[str]:
        """What the K keypoints are."""
        names = self.painter.meta['keypoint_id2name']
        return [names[number] for number in range(len(names))]

    def summary(self, score_thr: float = SURE) -> str:
        """How many persons, where they were looked for, and how many keypoints are sure."""
        sure = int((self.scores >= score_thr).sum())
        where = {
            'detector': 'in the boxes of the detector',
            'caller': 'in given boxes',
            'picture': 'in the whole picture',
        }[self.boxes_from]
        return f'{len(self.keypoints)} person(s) {where}, {sure} sure keypoints'

    def _painted(self, times: int) -> BaseDataElement:
        found = InstanceData(keypoints=self.keypoints * times, keypoints_visible=self.scores)
        if self.boxes_from == 'detector':
            found.bboxes = self.boxes * times
        return BaseDataElement(pred_instances=found)

    def _plain(self) -> dict[str, object]:
        return {
            'boxes_from': self.boxes_from,
            'keypoint_names': self.keypoint_names,
            'keypoints': self.keypoints.tolist(),
            'scores': self.scores.tolist(),
            'boxes': self.boxes.tolist(),
            'box_scores': self.box_scores.tolist(),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Classification(Result):
    """The class of the picture.

    Attributes:
        scores: (C,) float32: of each class.
    """

    task: ClassVar[str] = 'classification'

    scores: NDArray[np.float32]

    @classmethod
    def _arrays(cls, samples: list[BaseDataElement], meta: dict) -> dict[str, object]:
        return dict(scores=_array(samples[0].pred_score))

    @property
    def label(self) -> int:
        """The place of the class with the highest score."""
        return int(self.scores.argmax())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k classes of the highest scores, each with its score."""
        best = np.argsort(-self.scores, kind='stable')[:k]
        return [(self._name_of(label), float(self.scores[label])) for label in best]

    def summary(self, score_thr: float = SURE) -> str:
        """The three best classes."""
        return ', '.join(f'{name} {score:.2f}' for name, score in self.top(3))

    def _painted(self, times: int) -> BaseDataElement:
        return BaseDataElement(
            pred_label=torch.tensor([self.label]), pred_score=torch.tensor(self.scores)
        )

    def _plain(self) -> dict[str, object]:
        return {
            'label': self.label,
            'name': self._name_of(self.label),
            'scores': self.scores.tolist(),
        }


RESULTS: dict[str, type[Result]] = {
    cls.task: cls for cls in (Detections, Instances, Panoptic, Segmentation, Poses, Classification)
}


def _counted(names: list[str]) -> str:
    """How often each name is there: '3 car, 1 person'."""
    return ', '.join(f'{count} {name}' for name, count in Counter(names).most_common(SAID))


def _array(values: Tensor | NDArray) -> NDArray:
    """An array of the same values; numpy has no bfloat16, and float32 is what is promised."""
    if isinstance(values, Tensor):
        values = (values.float() if values.is_floating_point() else values).cpu().numpy()
    return values


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    """COCO's run lengths of a mask (H, W)."""
    encoded = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(mask.shape), 'counts': encoded['counts'].decode()}
