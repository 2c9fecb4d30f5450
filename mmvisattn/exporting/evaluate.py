"""An ONNX file under the metric of its config: the library's data, metric and batches, our graph.

The library's own model is built without weights and keeps its place in the test; what it would
predict comes from the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.config import load_config
from ..engine.datasets_check import check_datasets
from ..engine.runner import Runner
from ..errors import UserError
from .runtime import open_onnx


def evaluate_file(
    config: str | Path, file: str | Path, options: dict | None = None, num: int | None = None
) -> dict[str, float]:
    """The metrics of an ONNX file on the test data of a config.

    Args:
        config: Path of the config.
        file: What `export_model` wrote, whole or quantised.
        options: What changes in the config.
        num: Take the first pictures alone; None takes all.

    Raises:
        UserError: What cannot be read, or a file of another task.
    """
    session, notes = open_onnx(file)
    cfg = load_config(config, options)
    if notes['task'] not in PREDICT:
        raise UserError(f'{file} has no metric', expected=', '.join(PREDICT), got=notes['task'])
    if SCOPES[notes['task']] != cfg.get('default_scope'):
        raise UserError(
            f'{file} is of another task than the config',
            expected=cfg.default_scope,
            got=notes['task'],
        )
    if num is not None and (num < 1 or notes['task'] not in PARTIAL):
        raise UserError(
            f'--num {num} cannot be evaluated',
            expected=f'1 or more, and one of {", ".join(PARTIAL)}: others count what is left out',
            got=notes['task'],
        )
    check_datasets(cfg, ('test_dataloader',))
    init_default_scope(cfg.default_scope)
    cfg.test_dataloader.batch_size = 1  # pictures of any size
    if num is not None:
        cfg.test_dataloader.dataset.indices = num
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Runner.build_evaluator(None, cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    require_classes(json.loads(notes['classes']), loader.dataset.metainfo, file)
    if num is not None:
        for metric in evaluator.metrics:
            if hasattr(metric, 'img_ids'):  # mmdet's; it counts all annotated pictures else
                metric.img_ids = [loader.dataset[i]['data_samples'].img_id for i in range(num)]
    cfg.model.get('backbone', {}).pop('init_cfg', None)
    model = MODELS.build(cfg.model).eval()
    require_outputs(model, json.loads(notes['outputs']), file)
    run = partial(_run, session)
    predict = PREDICT[notes['task']](model, run)
    with torch.no_grad():
        for batch in loader:
            evaluator.process(data_samples=predict(batch), data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))


def require_classes(classes: Sequence[str], meta: dict, file: str | Path) -> None:
    """Raises:
    UserError: A file of other classes than the data: its labels mean something else.
    """
    known = list(meta.get('classes') or ())
    if classes and known and list(classes) != known:
        raise UserError(
            f'{file} is of other classes than the data of the config',
            expected=', '.join(known),
            got=', '.join(classes),
        )


def require_outputs(model: nn.Module, outputs: Sequence[str], file: str | Path) -> None:
    """Refuse a file of another kind of model, whose metric would look for what is not there.

    Raises:
        UserError: It is one.
    """
    needed = {
        'masks': hasattr(model, 'roi_head') and model.roi_head.with_mask,
        'semantic': hasattr(model, 'panoptic_fusion_head'),
    }
    if any(is_needed != (name in outputs) for name, is_needed in needed.items()):
        raise UserError(
            f'{file} is of another kind of model than the config',
            expected=f'a file of {type(model).__name__}',
            got=f'one that returns {", ".join(outputs)}',
        )


def _run(session, picture: Tensor) -> list[Tensor]:
    """A picture (3, H, W) of a loader, BGR, to the outputs of the file without their batch."""
    pictures = picture.flip(0).permute(1, 2, 0)[None].contiguous().numpy()
    return [torch.from_numpy(x)[0] for x in session.run(None, {'pictures': pictures})]


Predict = Callable[[dict], list]


def _segmentation(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        sample = batch['data_samples'][0]
        labels, *logits = run(batch['inputs'][0])
        # Of the picture as the test resized it; the annotation has the size of the file.
        size = sample.ori_shape
        if logits:
            logits = F.interpolate(logits[0][None], size, mode='bilinear')
            labels = logits.argmax(1, keepdim=True)
        else:
            labels = F.interpolate(labels[None, None].float(), size, mode='nearest-exact')
        sample.pred_sem_seg = PixelData(data=labels[0].long())
        return [sample]

    return predict


def _classification(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        sample = batch['data_samples'][0]
        scores = run(batch['inputs'][0])[0]
        return [sample.set_pred_score(scores).set_pred_label(scores.argmax(keepdim=True))]

    return predict


def _pose(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        keypoints, scores = (x[None].numpy() for x in run(batch['inputs'][0]))
        found = InstanceData(keypoints=keypoints, keypoint_scores=scores)
        return model.add_pred_to_datasample([found], None, batch['data_samples'])

    return predict


def _detection(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        sample = batch['data_samples'][0]
        sample.pred_instances = _instances(model, sample, run(batch['inputs'][0]))
        return [sample]

    return predict


def _panoptic(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        sample = batch['data_samples'][0]
        *outputs, semantic = run(batch['inputs'][0])
        fusion = model.panoptic_fusion_head
        semantic = F.interpolate(
            semantic[None, None].float(), sample.ori_shape, mode='nearest-exact'
        )
        # The fusion takes the likeliest class of each pixel.
        likely = F.one_hot(
            semantic[0, 0].long() - fusion.num_things_classes, fusion.num_stuff_classes + 1
        )
        found = _instances(model, sample, outputs)
        (sample.pred_panoptic_seg,) = fusion.predict([found], [likely.permute(2, 0, 1)])
        return [sample]

    return predict


def _instances(
    model: nn.Module, sample: BaseDataElement, outputs: Sequence[Tensor]
) -> InstanceData:
    """Boxes, scores, labels and, if there are, masks in the picture as its file holds it."""
    boxes, scores, labels, *masks = outputs
    known = labels >= 0
    found = InstanceData(bboxes=boxes[known], scores=scores[known], labels=labels[known])
    if not masks:
        found.bboxes /= found.bboxes.new_tensor(sample.scale_factor).repeat(2)
        return found
    heads = model.roi_head
    head = heads.mask_head[-1] if isinstance(heads.mask_head, nn.ModuleList) else heads.mask_head
    # The library's own pasting picks the class of each box; here all have the same mask.
    classes = 1 if head.class_agnostic else head.num_classes
    of_classes = masks[0][known][:, None].expand(-1, classes, -1, -1)
    (found,) = head.predict_by_feat(
        [of_classes],
        [found],
        [sample.metainfo],
        rcnn_test_cfg=heads.test_cfg,
        rescale=True,
        activate_map=True,
    )
    return found


# Tasks whose metrics can be taken of some pictures alone.
PARTIAL = ('segmentation', 'classification', 'detection')
PREDICT: dict[str, Callable[[nn.Module, Callable], Predict]] = {
    'segmentation': _segmentation,
    'classification': _classification,
    'pose': _pose,
    'detection': _detection,
    'panoptic': _panoptic,
}
SCOPES = {
    'segmentation': 'mmseg',
    'classification': 'mmpretrain',
    'pose': 'mmpose',
    'detection': 'mmdet',
    'panoptic': 'mmdet',
}
