"""An ONNX file under the metric of its config: the library's data, metric and batches, our graph.

The library's own model is built without weights and keeps its place in the test; what it would
predict comes from the file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
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
    check_datasets(cfg, ('test_dataloader',))
    init_default_scope(cfg.default_scope)
    cfg.test_dataloader.batch_size = 1  # pictures of any size
    if num is not None:
        cfg.test_dataloader.dataset.indices = num
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Runner.build_evaluator(None, cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    cfg.model.get('backbone', {}).pop('init_cfg', None)
    model = MODELS.build(cfg.model).eval()
    run = partial(_run, session)
    predict = PREDICT[notes['task']](model, run)
    with torch.no_grad():
        for batch in loader:
            evaluator.process(data_samples=predict(batch), data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))


def _run(session, picture: Tensor) -> list[Tensor]:
    """A picture (3, H, W) of a loader, BGR, to the outputs of the file without their batch."""
    pictures = picture.flip(0).permute(1, 2, 0)[None].contiguous().numpy()
    return [torch.from_numpy(x)[0] for x in session.run(None, {'pictures': pictures})]


Predict = Callable[[dict], list]


def _segmentation(model: nn.Module, run: Callable) -> Predict:
    def predict(batch: dict) -> list:
        sample = batch['data_samples'][0]
        labels = run(batch['inputs'][0])[0]
        # Of the picture as the test resized it; the annotation has the size of the file.
        labels = F.interpolate(labels[None, None].float(), sample.ori_shape, mode='nearest')
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
        boxes, scores, labels = run(batch['inputs'][0])
        known = labels >= 0
        scale = boxes.new_tensor(sample.scale_factor).repeat(2)
        sample.pred_instances = InstanceData(
            bboxes=boxes[known] / scale, scores=scores[known], labels=labels[known]
        )
        return [sample]

    return predict


PREDICT: dict[str, Callable[[nn.Module, Callable], Predict]] = {
    'segmentation': _segmentation,
    'classification': _classification,
    'pose': _pose,
    'detection': _detection,
}
SCOPES = {
    'segmentation': 'mmseg',
    'classification': 'mmpretrain',
    'pose': 'mmpose',
    'detection': 'mmdet',
}
