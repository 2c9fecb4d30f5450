"""Exported files: every network and task equals PyTorch, at any size."""

import pytest
import torch
from conftest import ROOT
from mmengine.registry import MODELS, init_default_scope
from small_configs import layout_of, small_config, small_data

from mmvisattn.deploy import fuse_for_inference
from mmvisattn.engine.config import load_config
from mmvisattn.exporting.export import TOLERANCE, write_graph
from mmvisattn.exporting.runtime import runner_of
from mmvisattn.exporting.tasks import network_of

NETWORKS = ('van_b0', 'coatnet_0', 'cyclemlp_b1', 'sasa_r26')
TASKS = {
    'upernet_{}_ade20k': 'segmentation',
    'fpn_{}_ade20k': 'segmentation',
    'simple_baseline_256x192_{}_coco': 'pose',
    'classifier_{}_imagenet': 'classification',
    'retinanet_{}_coco': 'detection',
    'atss_{}_coco': 'detection',
    'gfl_{}_coco': 'detection',
}
SIZES = ((1, 96, 64), (2, 133, 93), (1, 75, 150))  # one that strides divide, two odd ones
EVEN = ((1, 192, 224), (2, 256, 192), (1, 224, 320))  # what torch.export takes


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A few pictures of every layout."""
    return small_data(tmp_path_factory.mktemp('data'), 2)


def network(name, data, folder, **options):
    """A small one with random weights and statistics, folded, with what surrounds it."""
    path = ROOT / 'configs' / f'{name}.py'
    layout = layout_of(name)
    cfg = load_config(small_config(path, layout, data[layout], folder))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2.0)
    return network_of(fuse_for_inference(model), cfg, **options)


def pictures(sizes, seed=0):
    """Noise in two sizes of grain, RGB."""
    generator = torch.Generator().manual_seed(seed)
    for n, height, width in sizes:
        grain = torch.rand(n, 3, 7, 9, generator=generator)
        smooth = torch.nn.functional.interpolate(grain, (height, width), mode='bilinear')
        noise = torch.rand(n, 3, height, width, generator=generator)
        yield (200 * smooth + 55 * noise).byte().permute(0, 2, 3, 1).contiguous()


def assert_equal(net, format, sizes):
    """A file computes what PyTorch computes, within 1e-4 of the largest magnitude."""
    run = runner_of(format, write_graph(net, format, {'task': net.task}))
    for batch in pictures(sizes):
        outputs = run(batch)
        assert [len(x) for x in outputs] == [len(batch)] * len(net.outputs)
        with torch.no_grad():
            assert net.difference(batch, outputs) <= TOLERANCE, tuple(batch.shape)
    return outputs


QUICK = {('upernet_{}_ade20k', n) for n in NETWORKS} | {
    (task, 'van_b0') for task in ('simple_baseline_256x192_{}_coco', 'gfl_{}_coco')
}


@pytest.mark.parametrize(
    ('config', 'name'),
    [
        pytest.param(c, n, marks=() if (c, n) in QUICK else pytest.mark.slow)
        for c in TASKS
        for n in NETWORKS
    ],
)
def test_onnx_equals_pytorch(config, name, data, tmp_path):
    options = dict(logits=True) if TASKS[config] == 'segmentation' else {}
    net = network(config.format(name), data, tmp_path, **options)
    assert net.task == TASKS[config]
    outputs = assert_equal(net, 'onnx', SIZES)
    if net.task == 'detection':
        boxes, scores, labels = outputs
        assert (labels >= 0).any() and (scores[labels >= 0] > 0).all()
        assert (boxes[..., 2] <= SIZES[-1][2]).all(), 'boxes end where the picture does'
