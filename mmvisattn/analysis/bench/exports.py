"""`export`: whole networks as exported files beside PyTorch, on pictures of noise."""

from __future__ import annotations

from functools import partial

import torch
from mmengine.registry import MODELS, init_default_scope

from ...deploy import fuse_for_inference
from ...engine.config import load_config
from ...exporting.export import write_graph
from ...exporting.runtime import runner_of
from ...exporting.tasks import network_of
from ..published import CONFIGS
from .measure import Bench, Contest, Peer
from .report import Report

# Config, and the sizes of a long and of a short benchmark.
NETWORKS = {
    'upernet_van_b0_ade20k': ((512, 512), (128, 128)),
    'upernet_coatnet_0_ade20k': ((512, 512), (128, 128)),
    'upernet_cyclemlp_b1_ade20k': ((512, 512), (128, 128)),
    'upernet_sasa_r26_ade20k': ((512, 512), (128, 128)),
    'retinanet_van_b0_coco': ((800, 1344), (192, 192)),
    'simple_baseline_256x192_van_b0_coco': ((256, 192), (256, 192)),
    'classifier_van_b0_imagenet': ((224, 224), (224, 224)),
}
SHORT = ('upernet_van_b0_ade20k', 'retinanet_van_b0_coco', 'classifier_van_b0_imagenet')


def report(bench: Bench) -> Report:
    """Measure networks folded in PyTorch and their ONNX files, a picture at a time.

    Raises:
        UserError: onnxruntime is not installed.
    """
    found = Report('export')
    for name, sizes in NETWORKS.items():
        size = bench.size or sizes[bench.short]
        title = f'{name} {size[0]}x{size[1]}'
        if bench.wanted(title) and (name in SHORT or not bench.short):
            found.rows.extend(
                bench.rows(Contest(title, 'inference', _peers(name, size), 1, in_torch=False))
            )
    found.notes.append(
        'From a uint8 picture to what a user reads, so with normalisation, NMS and the like. Both '
        'are folded for inference, float32, and have random weights.'
    )
    return found


def _peers(name: str, size: tuple[int, int]) -> list[Peer]:
    cfg = load_config(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    torch.manual_seed(0)
    network = network_of(fuse_for_inference(MODELS.build(cfg.model).eval()), cfg)
    run = runner_of('onnx', write_graph(network, 'onnx', {'task': network.task}))
    pictures = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    eager = torch.no_grad()(network)
    return [
        Peer('PyTorch, folded', partial(eager, pictures)),
        Peer('onnxruntime', partial(run, pictures), chosen=True),
    ]
