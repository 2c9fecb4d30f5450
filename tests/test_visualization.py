"""Looking inside: class activation maps, attention, receptive fields, feature maps."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, real_data
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from small_configs import layout_of, small_config, small_data
from torch import nn

from mmvisattn.backbones import SASAResNet
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError
from mmvisattn.inference import Inferencer
from mmvisattn.ops.backends import dispatch, recording
from mmvisattn.outputs import save_figure
from mmvisattn.visualization.attention import (
    attention_at,
    draw_attention,
    gate_map,
    inputs_of,
    last_layers,
)
from mmvisattn.visualization.cam import METHODS, activation_map, draw_cam
from mmvisattn.visualization.features import as_colours, feature_maps, principal_components
from mmvisattn.visualization.layers import as_map, find_layer, outputs_of, stage_ends
from mmvisattn.visualization.receptive_field import names_of, receptive_field
from mmvisattn.visualization.targets import MOST_BOXES, SURE, choose_targets
from mmvisattn.visualization.view import View, way_back

PICTURES = {
    'ade20k': 'images/validation',
    'coco': 'val2017',
    'pose': 'val2017',
    'imagenet': 'val',
}
# One network of each task, and all networks and baselines among them.
TASKS = [
    'classifier_van_b0_demo',
    'upernet_cyclemlp_b1_demo',
    'retinanet_van_b0_demo',
    'mask_rcnn_sasa_r26_coco',
    'panoptic_fpn_van_b0_demo',
    'simple_baseline_256x192_coatnet_0_coco',
]
OTHERS = [
    'atss_swin_t_coco',
    'gfl_convnext_t_coco',
    'cascade_mask_rcnn_r50_coco',
    'mask2former_swin_t_coco',
    'fpn_coatnet_0_ade20k',
    'classifier_swin_t_imagenet',
]


@pytest.fixture(scope='module')
def opened(tmp_path_factory):
    """A config's network, cut down, with random weights from a file, and a picture of its data."""
    folder = tmp_path_factory.mktemp('networks')
    data = small_data(folder, num_train=1)
    kept = {}

    def open_one(name):
        if name not in kept:
            layout = layout_of(name)
            config = small_config(ROOT / f'configs/{name}.py', layout, data[layout], folder)
            checkpoint = folder / f'{name}.pth'
            save_random(config, checkpoint)
            picture = sorted((data[layout] / PICTURES[layout]).rglob('*.*'))[0]
            network = Inferencer(config, checkpoint, device='cpu')
            kept[name] = (network, View.of(network, picture))
            open_one.files[name] = (config, checkpoint, picture)
        return kept[name]

    open_one.files = {}
    return open_one


def save_random(config, checkpoint):
    cfg = load_config(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)


def check_task(opened, name):
    network, view = opened(name)
    (target,) = choose_targets(network, view)
    layer = find_layer(network.model, stage_ends(network.model)[-1])[1]
    with outputs_of([layer]) as outputs:
        score = target.score(view.inputs)
    last = outputs[0]
    assert as_map(last, tuple(view.inputs.shape[-2:])).dim() == 4  # of tokens, too
    (gradient,) = torch.autograd.grad(score.sum(), last)
    assert score.shape == (1,)
    assert gradient.abs().sum() > 0
    # Methods that change the picture ask for several at a time, and get the same number of each.
    with torch.no_grad():
        both = target.score(view.inputs.repeat(2, 1, 1, 1))
    torch.testing.assert_close(both, score.detach().repeat(2), rtol=1e-3, atol=1e-4)  # float32
    heat = activation_map(network, view, target, stage_ends(network.model)[-1])
    assert heat.shape == view.inputs.shape[-2:]
    assert 0 <= heat.min() <= heat.max() <= 1
    assert all(parameter.grad is None for parameter in network.model.parameters())
    return network, view, target


@pytest.mark.parametrize('name', TASKS)
def test_every_task_has_a_number_to_explain(opened, name):
    check_task(opened, name)


@pytest.mark.slow
@pytest.mark.parametrize('name', OTHERS)
def test_other_heads_and_networks_have_a_number_too(opened, name):
    check_task(opened, name)


def test_boxes_are_explained_by_the_score_that_they_were_found_with(opened):
    network, view = opened('retinanet_van_b0_demo')
    found = network.model.bbox_head.predict(
        network.model.extract_feat(view.inputs), view.samples_for(1), rescale=False
    )[0]
    best = int(found.labels[found.scores.argmax()])
    boxes = found[(found.labels == best) & (found.scores >= SURE)]
    (target,) = choose_targets(network, view)
    assert target.name == network.classes[best]
    assert 1 <= len(target.marks) == len(boxes) < MOST_BOXES
    torch.testing.assert_close(target.score(view.inputs)[0], boxes.scores.sum())
    scale = view.picture.shape[1] / view.content[1]
    corners = np.stack([mark[[0, 2]].reshape(4) for mark in target.marks])
    np.testing.assert_allclose(corners, boxes.bboxes * scale, atol=1)  # half a pixel, and its place


def test_grad_cam_is_what_autograd_gives(opened):
    network, view = opened('upernet_cyclemlp_b1_demo')
    target = choose_targets(network, view)[0]
    layer = find_layer(network.model, 'stage3')[1]
    with outputs_of([layer]) as outputs:
        score = target.score(view.inputs)
    (gradient,) = torch.autograd.grad(score, outputs[0])
    weights = gradient.mean((2, 3), keepdim=True)
    expected = (weights * outputs[0]).sum(1)[0].relu().detach().numpy()
    height, width = view.inputs.shape[-2:]
    expected = cv2.resize(expected / expected.max(), (width, height))
    # The package's own scaling leaves out 1e-7 of the range.
    heat = activation_map(network, view, target, 'stage3')
    np.testing.assert_allclose(heat, expected / expected.max(), atol=1e-4)


def test_maps_depend_on_the_class_and_the_method(opened):
    network, view = opened('classifier_van_b0_demo')
    one, other = choose_targets(network, view, network.classes[:2])
    layer = stage_ends(network.model)[-2]  # the last has one cell here
    maps = [activation_map(network, view, target, layer) for target in (one, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.1
    assert set(METHODS) > {'gradcam', 'layercam', 'eigencam'}
    assert np.abs(maps[0] - activation_map(network, view, one, layer, 'eigencam')).max() > 0.1


def test_what_is_not_there_is_said(opened):
    network, view = opened('upernet_cyclemlp_b1_demo')
    found = choose_targets(network, view)[0].name
    missing = set(network.classes) - {t.name for t in choose_targets(network, view, (), 99)}
    with pytest.raises(UserError, match=f'finds no(.|\n)*{found}'):
        choose_targets(network, view, [sorted(missing)[0]])
    with pytest.raises(UserError, match="did you mean 'sky'"):
        choose_targets(network, view, ['skye'])
    with pytest.raises(UserError, match='stage1 to stage4'):
        find_layer(network.model, 'stage7')
    with pytest.raises(UserError, match=r'network\.0\.0'):  # the names that exist, one step up
        find_layer(network.model, 'network.0.9')
    with pytest.raises(UserError, match='gradcam'):
        draw_cam(network, view, method='gradcan')
    with pytest.raises(UserError, match='CycleMLP has no attention'):
        draw_attention(network, view)


def weights_by_definition(module, x, value, point):
    """Attention as the naive operator has it: values that tell each key apart."""
    with torch.no_grad(), recording() as calls:
        module(x)
    (call,) = calls
    args = (*call.args[:2], value, *call.args[3:])
    return point(dispatch(replace(call, args=args, forced='naive')))


def test_sasa_attends_as_the_definition_says(opened):
    network, view = opened('mask_rcnn_sasa_r26_coco')
    name = last_layers(network.model)[1]
    module = find_layer(network.model, name)[1]
    weights, (row, column) = attention_at(network, view, name, (50, 40))
    heads, height, width = weights.shape
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(heads))
    with torch.no_grad(), inputs_of([module]) as caught:
        network.model.extract_feat(view.inputs)
    keys = torch.eye(height * width).view(1, 1, -1, height, width)
    value = keys.expand(1, heads, -1, -1, -1).flatten(1, 2)  # every head tells all keys apart
    expected = weights_by_definition(
        module, caught[0][0], value, lambda out: out[0, :, row, column].view(heads, height, width)
    )
    torch.testing.assert_close(weights, expected)
    far = (torch.arange(height)[:, None] - row).abs() > module.kernel_size // 2
    assert weights[:, far.expand(height, width)].abs().sum() == 0
    assert (weights > 0).any(0).sum() > 9


def test_coatnet_attends_as_the_definition_says(opened):
    network, view = opened('simple_baseline_256x192_coatnet_0_coco')
    name = last_layers(network.model)[0]
    module = find_layer(network.model, name)[1]
    point = tuple(view.points_on_picture(np.array([[20.0, 40.0]]))[0])
    weights, cell = attention_at(network, view, name, point)
    heads, height, width = weights.shape
    assert cell == (40 // 16, 20 // 16)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(heads))
    with torch.no_grad(), inputs_of([module]) as caught:
        network.model.extract_feat(view.inputs)
    value = torch.eye(height * width).expand(1, heads, -1, -1)
    expected = weights_by_definition(
        module, caught[0][0], value, lambda out: out[0, :, cell[0] * width + cell[1]]
    )
    torch.testing.assert_close(weights, expected.view_as(weights))


@pytest.mark.slow
def test_swin_attends_within_its_window(opened):
    network, view = opened('atss_swin_t_coco')
    for name in last_layers(network.model)[:2]:
        weights, (row, column) = attention_at(network, view, name, (50, 40))
        side = find_layer(network.model, name)[1].window_size
        rows, columns = (weights.sum(0) > 0).nonzero().t()
        assert rows.max() - rows.min() < side > columns.max() - columns.min()
        assert rows.min() <= row <= rows.max()
        assert columns.min() <= column <= columns.max()
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(len(weights)))


def test_the_gate_is_what_multiplies_the_values(opened):
    network, view = opened('classifier_van_b0_demo')
    for name in last_layers(network.model)[:2]:
        module = find_layer(network.model, name)[1]
        with torch.no_grad(), inputs_of([module]) as caught, outputs_of([module]) as outputs:
            network.model.extract_feat(view.inputs)
        gate = gate_map(network, view, name)
        torch.testing.assert_close(caught[0][0][0] * gate, outputs[0][0])
    with pytest.raises(UserError, match=r'has no weights of attention'):
        attention_at(network, view, name, (10, 10))


def test_a_point_outside_is_refused(opened):
    network, view = opened('mask_rcnn_sasa_r26_coco')
    height, width = view.picture.shape[:2]
    with pytest.raises(UserError, match='outside the picture'):
        draw_attention(network, view, (width, 0))
    with pytest.raises(UserError, match='no head or channel 99'):
        draw_attention(network, view, (1, 1), parts=[99])


class Blur(nn.Sequential):
    """Means of 3 x 3 pixels, one after the other."""

    def __init__(self, count, stride=1):
        convs = [nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False) for _ in range(count)]
        super().__init__(*convs, nn.AvgPool2d(stride))
        for conv in convs:
            nn.init.constant_(conv.weight, 1 / 9)


def test_the_receptive_field_of_means_is_known():
    pictures = [torch.rand(1, 3, 15, 21) for _ in range(2)]
    field = receptive_field(Blur(2), pictures)
    line = np.convolve([1, 1, 1], [1, 1, 1])  # 1 2 3 2 1, of 9
    expected = np.zeros((15, 21))
    expected[5:10, 8:13] = np.outer(line, line) / 9
    np.testing.assert_allclose(field.contributions, expected, atol=1e-6)
    # Of 81: 9 in the middle, 49 in 3 x 3, all in 5 x 5.
    squares = {share: field.square(share) for share in (0.1, 0.2, 0.6, 0.61, 0.99)}
    assert [square.side for square in squares.values()] == [1, 3, 3, 5, 5]
    assert squares[0.99].area == pytest.approx(25 / (15 * 21))
    assert field.num_pictures == 2


def test_the_receptive_field_lies_around_the_cell_of_the_middle():
    field = receptive_field(Blur(1, stride=4), [torch.rand(1, 3, 36, 36)])
    rows, columns = np.nonzero(field.contributions)
    assert (rows.min(), rows.max()) == (4 * 4 - 1, 4 * 5)
    assert (columns.min(), columns.max()) == (4 * 4 - 1, 4 * 5)
    assert field.centre == (18, 18)
    with pytest.raises(UserError, match='depends on no pixel'):
        receptive_field(lambda x: x * 0, [torch.rand(1, 3, 8, 8)])


def test_attention_sees_as_far_as_its_windows():
    torch.manual_seed(0)
    network = SASAResNet(dict(depths=[1, 1, 1, 1], kernel_size=3), out_indices=(1,)).eval()
    field = receptive_field(network, [torch.randn(1, 3, 72, 72)])
    rows, columns = np.nonzero(field.contributions)
    # Back from one cell: a pool of 2 and two windows of 3, the pool of 3, the stem of 7 pixels.
    reach = ((2 + 2 + 2 - 1) * 2 + 3 - 1) * 2 + 7
    assert rows.max() - rows.min() + 1 == reach == columns.max() - columns.min() + 1


def test_pixels_find_their_way_back():
    def pipeline(picture):
        resized = cv2.resize(picture, (80, 60))  # a picture of 120 x 200
        return np.pad(resized[10:50, ::-1], ((3, 0), (2, 0), (0, 0))).transpose(2, 0, 1)

    matrix = way_back(pipeline, (120, 200))
    # Input (2, 3) is the corner of the content: column 79 and row 10 of 60 x 80.
    x, y = matrix @ (2, 3, 1)
    assert (x, y) == pytest.approx((79.5 * 2.5 - 0.5, 10.5 * 2 - 0.5), abs=0.5)
    x, y = matrix @ (2 + 79, 3 + 39, 1)
    assert (x, y) == pytest.approx((0.5 * 2.5 - 0.5, 49.5 * 2 - 0.5), abs=0.5)
    with pytest.raises(UserError, match='test pipeline that resizes'):
        way_back(lambda p: np.roll(p, 50, 1).transpose(2, 0, 1), (120, 200))


def test_maps_lie_on_the_picture_where_the_network_saw_it(opened):
    network, view = opened('classifier_van_b0_demo')
    height, width = view.picture.shape[:2]
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    seen = (view.inputs[0] * std + mean).numpy()
    back = np.stack([view.on_picture(channel, smooth=True) for channel in seen], 2)
    inside = ~np.isnan(back)
    assert 0.3 < inside.mean() < 1  # the pipeline crops the middle
    # Resized twice, it is less sharp: the mean error is a few grey values, a shift's would be 20.
    assert np.abs(back - view.picture)[inside].mean() < 8
    with pytest.raises(UserError, match='does not read this point'):
        view.cell_at((0, 0), (2, 2))


def test_principal_components_are_the_variance(opened):
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0][:3]
    truth = torch.randn(3, 8 * 9, generator=generator) * torch.tensor([9.0, 3, 1])[:, None]
    maps = (axes.t() @ truth).view(6, 8, 9)
    components, shares = principal_components(maps)
    assert shares.sum() == pytest.approx(1)  # there are three
    total = maps.flatten(1).var(1).sum().double()
    torch.testing.assert_close(components.flatten(1).var(1), shares * total, rtol=1e-4, atol=1e-5)
    assert shares[0] > shares[1] > shares[2]
    colours = as_colours(components)
    assert colours.shape == (8, 9, 3)
    assert (colours.min(), colours.max()) == (0, 1)
    network, view = opened('upernet_cyclemlp_b1_demo')
    (features,) = feature_maps(network, view, ['stage2'])
    assert features.shape == (128, *(-(-n // 8) for n in view.inputs.shape[-2:]))


def test_layers_may_return_tokens():
    tokens = torch.arange(2 * 6 * 4.0).view(2, 6, 4)
    assert torch.equal(as_map((tokens, (2, 3)), (30, 48))[1, :, 1, 2], tokens[1, 5])
    with pytest.raises(UserError, match='returns no map'):
        as_map(torch.zeros(1, 7), (32, 48))


def test_figures_are_checked_before_the_work_and_written_whole(opened, tmp_path):
    network, view = opened('upernet_cyclemlp_b1_demo')
    figure = draw_cam(network, view)
    for name in ('a.png', 'a.pdf', 'a.svg'):
        save_figure(figure, tmp_path / name, dpi=60)
    assert (tmp_path / 'a.pdf').read_bytes().startswith(b'%PDF')
    assert 'Grad-CAM' in (tmp_path / 'a.svg').read_text()  # text stays text
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written'):
        save_figure(figure, tmp_path / 'file' / 'a.png')


def test_networks_of_one_name_are_told_apart():
    networks = [('a/van.py', 'none'), ('b/van.py', 'none'), ('c.py', 'x/best.pth'),
                ('c.py', 'y/best.pth'), ('d.py', 'none')]  # fmt: skip
    names = ['a/van', 'b/van', 'c, x/best.pth', 'c, y/best.pth', 'd']
    assert names_of(networks) == names


TOOLS = {
    'vis_cam.py': ['--count', '2', '--layers', 'stage3'],
    'vis_attention.py': ['--point', '60', '50'],
    'vis_features.py': ['--channels', 'pca'],
}


@pytest.mark.parametrize('tool', TOOLS)
def test_tools_draw_what_is_inside(tool, opened, tmp_path, monkeypatch, capsys):
    name = 'mask_rcnn_sasa_r26_coco' if tool == 'vis_attention.py' else 'upernet_cyclemlp_b1_demo'
    opened(name)
    args = (*opened.files[name], tmp_path / 'a.png', '--dpi', '120', *TOOLS[tool])
    run_here(tool, *args, monkeypatch=monkeypatch)
    picture = np.array(Image.open(tmp_path / 'a.png').convert('RGB'))
    assert picture.shape[1] > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
    with pytest.raises(SystemExit) as end:
        run_here(tool, *opened.files[name], tmp_path / 'a.txt', monkeypatch=monkeypatch)
    assert end.value.code == 2
    assert 'error: ' in capsys.readouterr().err


def test_receptive_fields_of_two_networks_in_one_command(opened, tmp_path, monkeypatch, capsys):
    opened('upernet_cyclemlp_b1_demo')
    config, checkpoint, picture = opened.files['upernet_cyclemlp_b1_demo']
    run_here(
        'vis_receptive_field.py', config, checkpoint, ROOT / 'configs/fpn_swin_t_ade20k.py', 'none',
        tmp_path / 'erf.png', '--size', '64', '--count', '2', '--dpi', '100',
        '--pictures', Path(picture).parent, monkeypatch=monkeypatch,
    )  # fmt: skip
    out = capsys.readouterr().out
    assert 'fpn_swin_t_ade20k' in out
    assert ' 99%' in out
    assert Image.open(tmp_path / 'erf.png').size[0] > 400


def run_here(tool, *args, monkeypatch):
    """One of tools/, in this process."""
    path = ROOT / 'tools/analysis_tools' / tool
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, args)])
    runpy.run_path(str(path), run_name='__main__')


@pytest.mark.slow
def test_a_real_picture_is_looked_into(opened, tmp_path):
    network, _ = opened('upernet_cyclemlp_b1_demo')
    picture = sorted((real_data('ade20k') / 'images/validation').glob('*.jpg'))[0]
    view = View.of(network, picture)
    figure = draw_cam(network, view)
    save_figure(figure, tmp_path / 'real.png', dpi=60)
    seen = ~np.isnan(view.on_picture(np.zeros((2, 2))))
    assert seen.all()  # segmentation resizes, and crops nothing
