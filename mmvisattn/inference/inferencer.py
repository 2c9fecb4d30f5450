"""Predict with a network: from a config and a checkpoint to results, for every task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from mmengine.structures import BaseDataElement
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..engine.config import dataset_configs, load_config
from ..engine.loading import load_network
from ..engine.optim import lend_mmcv_float32
from ..errors import UserError
from .painting import PAINTERS, SURE, dataset_meta
from .results import RESULTS, Result
from .sources import Item, is_film, is_one, opened_film, pictures_in

PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}
# Tasks of the toolboxes that have one.
TASKS = {'mmseg': 'segmentation', 'mmpose': 'pose', 'mmpretrain': 'classification'}

Picture = str | Path | NDArray[np.uint8] | Image.Image


class Inferencer:
    """A network that takes pictures and gives results, each in pixels of its picture.

    Pictures go through the config's own test pipeline, weights are loaded as strictly as
    tools/test.py loads them, and predictions are those that it writes.

    Args:
        config: A config's path, or what `load_config` returned.
        checkpoint: A file, or the work dir of a run, whose newest checkpoint is taken.
        device: Such as 'cpu' or 'cuda:1' (default: a GPU if there is one).
        precision: 'fp32', 'bf16' or, on CUDA, 'fp16': the network's arithmetic; results are
            float32.
        batch_size: Pictures (for poses: persons) that the network sees at a time. Only pictures
            that are equally large for the network go together, so that no padding changes results.
        detector: For poses: (config, checkpoint) of a detector that knows persons, or an
            `Inferencer` of one. Without it, and without `boxes`, the whole picture is one box.
        detector_thr: The score from which on a person of the detector is taken.
        probabilities: For semantic segmentation: give the probability of each class, too.
        deploy: Fold BatchNorm and scales into convolutions (`mmvisattn.deploy`).
        cfg_options: Changes to the config, as `--cfg-options` makes them.

    Attributes:
        cfg: The config.
        task: 'detection', 'instance', 'panoptic', 'segmentation', 'pose' or 'classification'.
        model: The network, in evaluation mode.
        meta: What the data set says of its classes.
        dataset: The test data set, of which no file has been read.
        device: Where the network is.

    Raises:
        UserError: The config, the checkpoint or an argument is not what it has to be.

    Examples:
        >>> inferencer = Inferencer('configs/mask_rcnn_van_b2_coco.py', 'work_dirs/mine')
        >>> result = inferencer('street.jpg')
        >>> result.names, result.boxes.shape
        >>> result.save('painted.png')
        >>> for result in inferencer('pictures/'):
        ...     print(result.path, result.scores)
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
        precision: str = 'fp32',
        batch_size: int = 1,
        detector: tuple[str, str] | Inferencer | None = None,
        *,
        detector_thr: float = SURE,
        probabilities: bool = False,
        deploy: bool = False,
        cfg_options: dict | None = None,
    ) -> None:
        self.device = _device(device)
        self._dtype = _dtype(precision, self.device)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError('batch_size counts pictures', expected='1 or more', got=batch_size)
        self.batch_size = batch_size
        self.cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
        self.task = task_of(self.cfg)
        if probabilities and self.task != 'segmentation':
            raise UserError(
                "probabilities of each pixel are a semantic segmentor's", got=f'task {self.task}'
            )
        if detector is not None and self.task != 'pose':
            raise UserError('a detector finds boxes for poses', got=f'task {self.task}')
        with self.scope():
            self.dataset = _dataset(self.cfg)
            self.meta = dataset_meta(self.dataset)
            self._load, self._steps = _pipeline(self.cfg)
            self.painter = PAINTERS[self.task](self.meta)
        self.model = load_network(self.cfg, checkpoint, self.device, deploy=deploy)
        self._keep_logits = probabilities
        if self.task == 'segmentation':
            self.model.keep_logits = probabilities  # mmvisattn.EncoderDecoder's
        if self._dtype is not None:
            _predict_in_float32(self.model)
        self.detector = detector
        if isinstance(detector, (tuple, list)):
            self.detector = Inferencer(*detector, self.device, precision, batch_size, deploy=deploy)
        self._detector_thr = detector_thr
        self._person = None if detector is None else _person_of(self.detector)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return list(self.meta.get('classes') or ())

    def __call__(
        self,
        pictures: object,
        *,
        boxes: object = None,
        skipped: list[str] | None = None,
    ) -> Result | Iterator[Result]:
        """Predict.

        Args:
            pictures: One picture: a path, an array (H, W, 3) of uint8 in the order red, green,
                blue, or a PIL image. Or several: a folder (with those below it), a pattern such as
                'val/*.jpg', a list or any iterable of pictures, a video's path, or the number of a
                camera.
            boxes: For poses: (N, 4) of left, top, right, bottom in pixels, where the persons of the
                picture are; of several pictures, a list of such arrays.
            skipped: Of several pictures, those that cannot be read are named here and left out.
                Without it, the first one raises.

        Returns:
            The result of one picture; of several an iterator, which reads as it is asked, so that
            a video or a large folder takes no memory.

        Raises:
            UserError: A picture that is not there or cannot be read.
        """
        if boxes is not None and self.task != 'pose':
            raise UserError('boxes are where poses are looked for', got=f'task {self.task}')
        if is_one(pictures):
            boxes = None if boxes is None else [boxes]
            return next(self._predict(pictures_in(pictures), boxes))
        if is_film(pictures):
            return self._of_film(pictures, boxes)
        return self._predict(pictures_in(pictures), boxes, skipped)

    def prepare(
        self, picture: Picture, boxes: NDArray | None = None
    ) -> tuple[dict[str, list], list[BaseDataElement]]:
        """What the network takes for one picture: `model.test_step(inputs)` predicts it.

        Args:
            picture: A path, an array (H, W, 3) of RGB, or a PIL image.
            boxes: As in `__call__`.

        Returns:
            `{'inputs': [(C, H, W) uint8, ...], 'data_samples': [...]}`, and those data samples:
            one, and for poses one for each box.
        """
        if not is_one(picture):
            raise UserError('prepare takes one picture', got=repr(picture)[:80])
        item = pictures_in(picture)[0]
        loaded, _ = self._read(item)
        with self.scope():
            prepared = self._prepared(item, loaded, self._boxes(item, loaded, boxes)[0])
            inputs = pseudo_collate(prepared)
        return inputs, inputs['data_samples']

    def _of_film(
        self, source: str | Path | int, boxes: Iterable[NDArray] | None
    ) -> Iterator[Result]:
        with opened_film(source) as film:
            yield from self._predict(film.frames, boxes)

    def _predict(
        self,
        items: Iterable[Item],
        boxes: Iterable[NDArray] | None = None,
        skipped: list[str] | None = None,
    ) -> Iterator[Result]:
        """The results of pictures, `batch_size` of them read at a time."""
        items = iter(items)
        boxes = None if boxes is None else iter(boxes)
        while chunk := list(islice(items, self.batch_size)):
            read = []
            for item in chunk:
                given = None if boxes is None else _next_boxes(boxes)
                try:
                    read.append((item, *self._read(item), given))
                except UserError:
                    if skipped is None:
                        raise
                    skipped.append(item.name)
            yield from self._results(read)

    def _results(
        self, read: list[tuple[Item, NDArray, NDArray, NDArray | None]]
    ) -> Iterator[Result]:
        prepared, owners, where = [], [], []
        with self.scope():
            for number, (item, loaded, _, given) in enumerate(read):
                boxes, origin = self._boxes(item, loaded, given)
                where.append({} if origin is None else {'boxes_from': origin})
                for one in self._prepared(item, loaded, boxes):
                    prepared.append(one)
                    owners.append(number)
            samples = self._run(prepared)
        for number, (item, _, picture, _) in enumerate(read):
            yield RESULTS[self.task].of(
                [sample for sample, owner in zip(samples, owners, strict=True) if owner == number],
                picture=picture,
                name=item.name,
                path=item.path,
                painter=self.painter,
                **where[number],
            )

    def _run(self, prepared: list[dict]) -> list[BaseDataElement]:
        """Predictions, in batches of inputs that are equally large."""
        alike: dict[tuple, list[int]] = {}
        for number, one in enumerate(prepared):
            alike.setdefault(tuple(one['inputs'].shape), []).append(number)
        samples = [None] * len(prepared)
        for numbers in alike.values():
            for start in range(0, len(numbers), self.batch_size):
                batch = numbers[start : start + self.batch_size]
                with torch.no_grad(), self._autocast():
                    found = self.model.test_step(pseudo_collate([prepared[n] for n in batch]))
                for number, sample in zip(batch, found, strict=True):
                    samples[number] = self._kept(sample)
        return samples

    def _kept(self, sample: BaseDataElement) -> BaseDataElement:
        if 'seg_logits' in sample and not self._keep_logits:
            del sample.seg_logits  # of mmseg's own segmentor, as large as all classes
        return sample.cpu()

    def _read(self, item: Item) -> tuple[NDArray, NDArray[np.uint8]]:
        """A picture as the pipeline loads it, blue first, and as it is painted on, red first."""
        if item.picture is not None:
            loaded = np.ascontiguousarray(item.picture[..., ::-1])
            return (loaded.astype(np.float32) if self._load.to_float32 else loaded), item.picture
        try:
            loaded = self._load(dict(img_path=item.path))['img']
            picture = np.clip(loaded, 0, 255).astype(np.uint8)[..., ::-1]
        except Exception as error:  # broken files make OpenCV raise anything
            raise UserError(f'{item.path} cannot be read', expected='a picture') from error
        if min(picture.shape[:2]) < 2:
            raise UserError(f'{item.path} is too thin', expected='2 pixels or more a side')
        return loaded, picture

    def _prepared(self, item: Item, loaded: NDArray, boxes: NDArray | None) -> list[dict]:
        """What the pipeline makes of a picture: one input, or one for each box."""
        info = dict(
            img=loaded, img_path=item.path, img_shape=loaded.shape[:2], ori_shape=loaded.shape[:2]
        )
        if boxes is None:
            return [self._steps(info)]
        return [
            self._steps(
                {
                    **self.meta,
                    **info,
                    'bbox': box[None, :4],
                    'bbox_score': box[4:],
                }
            )
            for box in boxes
        ]

    def _boxes(
        self, item: Item, loaded: NDArray, given: NDArray | None
    ) -> tuple[NDArray[np.float32] | None, str | None]:
        """Where to look for poses, (N, 5) with scores, and who says so."""
        if self.task != 'pose':
            return None, None
        if given is not None:
            return _with_scores(_checked_boxes(given)), 'caller'
        if self.detector is None:
            height, width = loaded.shape[:2]
            return _with_scores(np.array([[0, 0, width, height]], np.float32)), 'picture'
        found = self.detector(item.path or item.picture)
        sure = (found.labels == self._person) & (found.scores >= self._detector_thr)
        return np.column_stack([found.boxes, found.scores])[sure].astype(np.float32), 'detector'

    def scope(self) -> AbstractContextManager:
        """Let short names be those of the config's toolbox, whatever another inferencer uses."""
        return DefaultScope.overwrite_default_scope(self.cfg.get('default_scope', 'mmengine'))

    def _autocast(self) -> AbstractContextManager:
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


def task_of(cfg: Config) -> str:
    """The task that a config is for.

    Raises:
        UserError: It is for none of the six, or for poses that are not looked for in boxes.
    """
    scope = cfg.get('default_scope')
    if scope == 'mmdet':
        names = _names_in(cfg.model)
        test_cfg = cfg.model.get('test_cfg') or {}
        if 'panoptic_fusion_head' in names and test_cfg.get('panoptic_on', True):
            return 'panoptic'
        return 'instance' if {'mask_head', 'panoptic_fusion_head'} & names else 'detection'
    if scope not in TASKS:
        raise UserError(
            'it cannot be told what this config predicts',
            expected="default_scope = 'mmdet', 'mmseg', 'mmpose' or 'mmpretrain'",
            got=scope,
        )
    if scope == 'mmpose' and 'Topdown' not in str(cfg.model.type):
        raise UserError(
            'poses are looked for in boxes', expected='TopdownPoseEstimator', got=cfg.model.type
        )
    return TASKS[scope]


def _names_in(part: object) -> set[str]:
    """The keys of a config, however deep."""
    if isinstance(part, dict):
        return {key for key, value in part.items() if value}.union(*map(_names_in, part.values()))
    return set().union(*map(_names_in, part)) if isinstance(part, (list, tuple)) else set()


def _device(device: str | torch.device | None) -> torch.device:
    try:
        device = torch.device(device or get_device())
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'there is no device {device}', expected='cpu, cuda, cuda:1, ...', got=error
        ) from error
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision not in PRECISIONS:
        raise UserError('no such precision', expected=', '.join(PRECISIONS), got=precision)
    if precision == 'fp16' and device.type != 'cuda':
        raise UserError(
            'fp16 needs a GPU of NVIDIA',
            got=f'the device {device}',
            do="precision='bf16', which CPUs have too",
        )
    return PRECISIONS[precision]


def _dataset(cfg: Config) -> BaseDataset:
    """The test data set without its data: it knows the classes."""
    config = next(dataset_configs(cfg, ('test_dataloader',)), None)
    if config is None:
        raise UserError('the config has no test_dataloader, so that classes are not known')
    dataset = DATASETS.build({**config, 'pipeline': [], 'lazy_init': True})
    if cfg.get('default_scope') == 'mmpretrain' and not dataset.metainfo.get('classes'):
        try:
            dataset.full_init()  # names its classes as the folders are named
        except Exception as error:
            raise UserError(
                'the names of the classes are those of folders that are not there',
                got=error,
                do='name them in the config: test_dataloader.dataset.metainfo=dict(classes=[...])',
            ) from error
    return dataset


def _next_boxes(boxes: Iterator[NDArray]) -> NDArray:
    try:
        return next(boxes)
    except StopIteration:
        raise UserError('boxes=: one array of them for each picture', got='fewer') from None


def _pipeline(cfg: Config) -> tuple[Callable[[dict], dict], Compose]:
    """What loads a picture, and what the config does with it then; annotations are left out."""
    steps = next(dataset_configs(cfg, ('test_dataloader',))).pipeline
    load = TRANSFORMS.build(steps[0])
    if not hasattr(load, 'imdecode_backend'):
        raise UserError(
            'the test pipeline does not begin with a picture',
            expected='LoadImageFromFile or LoadImage first',
            got=steps[0].type,
        )
    return load, Compose([step for step in steps[1:] if 'Annotations' not in str(step.type)])


def _predict_in_float32(model: nn.Module) -> None:
    """Let heads give float32, which boxes, label maps and numpy need, whatever they compute in."""
    lend_mmcv_float32()
    for part in model.modules():
        if type(part).__name__.endswith('Head'):
            part.forward = _in_float32(part.forward)


def _in_float32(forward: Callable) -> Callable:
    @wraps(forward)
    def wider(*args: object, **kwargs: object) -> object:
        return _widened(forward(*args, **kwargs))

    return wider


def _widened(value: object) -> object:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _widened(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_widened, value))
    return value


def _person_of(detector: Inferencer) -> int:
    """The label of persons.

    Raises:
        UserError: The detector knows none, or finds no boxes.
    """
    if detector.task not in ('detection', 'instance') or 'person' not in detector.classes:
        raise UserError(
            'poses need a detector of persons',
            expected="a detector among whose classes is 'person'",
            got=f'task {detector.task}: {", ".join(detector.classes[:5])} ...',
        )
    return detector.classes.index('person')


def _checked_boxes(boxes: object) -> NDArray[np.float32]:
    boxes = np.asarray(boxes, np.float32)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise UserError(
            'these are no boxes',
            expected='(N, 4) numbers: left, top, right, bottom',
            got=f'an array of shape {boxes.shape}',
        )
    return boxes


def _with_scores(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.column_stack([boxes, np.ones(len(boxes), np.float32)])
