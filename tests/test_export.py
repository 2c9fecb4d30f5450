"""Exported files: every network and task equals PyTorch, at any size."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import DEMO_CONFIG, ROOT, run_tool
from mmengine.registry import MODELS, init_default_scope
from mmseg.structures import SegDataSample
from small_configs import layout_of, small_config, small_data

from mmvisattn.deploy import fuse_for_inference
from mmvisattn.engine.config import load_config
from mmvisattn.engine.runner import Runner
from mmvisattn.errors import UserError
from mmvisattn.exporting import evaluate as evaluating
from mmvisattn.exporting import evaluate_file, export_model
from mmvisattn.exporting import export as module
from mmvisattn.exporting.boxes import best_boxes
from mmvisattn.exporting.evaluate import PREDICT, require_outputs
from mmvisattn.exporting.export import TOLERANCE, UnequalError, write_graph
from mmvisattn.exporting.load import load_model
from mmvisattn.exporting.network import far
from mmvisattn.exporting.parts import AnySizePool, for_any_size
from mmvisattn.exporting.pictures import Pictures
from mmvisattn.exporting.quantize import calibration_pictures
from mmvisattn.exporting.runtime import runner_of
from mmvisattn.exporting.tasks import network_of
from mmvisattn.exporting.two_stage import paste

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

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


def small_model(name, data, folder):
    """A small one with random weights and statistics, folded, and its config."""
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
    if name.startswith('retinanet'):
        model.bbox_head.retina_cls.weight.data *= 0.3  # else scores are 1.0, and ties have no order
    return fuse_for_inference(model), cfg


def network(name, data, folder, **options):
    """A small one, with what surrounds it."""
    return network_of(*small_model(name, data, folder), **options)


def pictures(sizes, seed=0):
    """Noise in two sizes of grain, RGB."""
    generator = torch.Generator().manual_seed(seed)
    for n, height, width in sizes:
        grain = torch.rand(n, 3, 7, 9, generator=generator)
        smooth = torch.nn.functional.interpolate(grain, (height, width), mode='bilinear')
        noise = torch.rand(n, 3, height, width, generator=generator)
        yield (200 * smooth + 55 * noise).byte().permute(0, 2, 3, 1).contiguous()


def assert_equal(net, format, sizes):
    """A file computes what PyTorch computes, within 1e-4 of the largest magnitude.

    Returns:
        What runs the file, and its outputs at the last size.
    """
    run = runner_of(format, write_graph(net, format, {'task': net.task}))
    for batch in pictures(sizes):
        outputs = run(batch)
        assert [len(x) for x in outputs] == [len(batch)] * len(net.outputs)
        with torch.no_grad():
            assert net.difference(batch, outputs) <= TOLERANCE, tuple(batch.shape)
    return run, outputs


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
    _, outputs = assert_equal(net, 'onnx', SIZES)
    if net.task == 'detection':
        boxes, scores, labels = outputs
        assert (labels >= 0).any()
        assert (scores[labels >= 0] > 0).all()
        assert (boxes[..., 2] <= SIZES[-1][2]).all(), 'boxes end where the picture does'


@pytest.mark.parametrize(
    ('config', 'name'),
    [
        ('mask_rcnn_{}_coco', 'van_b0'),
        *(
            pytest.param(config, name, marks=pytest.mark.slow)
            for config, names in {
                'mask_rcnn_{}_coco': NETWORKS[1:],
                'cascade_mask_rcnn_{}_coco': NETWORKS[:1],
                'panoptic_fpn_{}_coco': NETWORKS,
            }.items()
            for name in names
        ),
    ],
)
def test_two_stages_find_what_mmdet_finds(config, name, data, tmp_path):
    """A file equals PyTorch at any size, and mmdet's own test of a picture of its data."""
    model, cfg = small_model(config.format(name), data, tmp_path)
    net = network_of(model, cfg, pasted=True)
    run, (boxes, scores, labels, masks, pasted, *_) = assert_equal(net, 'onnx', SIZES)
    assert (labels >= 0).any()
    assert (boxes[..., 2] <= SIZES[-1][2]).all(), 'boxes end where the picture does'
    assert masks.shape[2:] == (28, 28)
    assert pasted.shape[2:] == SIZES[-1][1:]
    assert 0 < pasted.float().mean() < 1

    if net.task == 'panoptic':
        model.panoptic_fusion_head.test_cfg.stuff_area_limit = 1  # the picture is small
    cfg.test_dataloader.batch_size = 1
    (batch, *_) = Runner.build_dataloader(cfg.test_dataloader)
    with torch.no_grad():
        (expected,) = model.test_step(deepcopy(batch))
        predict = PREDICT[net.task](
            model, lambda x: [y[0] for y in run(x.flip(0).permute(1, 2, 0)[None])]
        )
        (found,) = predict(batch)
    if net.task == 'panoptic':
        expected, found = (x.pred_panoptic_seg.sem_seg for x in (expected, found))
        assert len(expected.unique()) > 2
        # The file's classes of pixels are resized, where mmdet resizes what they come from.
        assert (expected != found).float().mean() < 1e-2
        return
    with pytest.raises(UserError, match='another kind of model'):
        require_outputs(model, ('boxes', 'scores', 'labels'), 'gfl.onnx')
    expected, found = expected.pred_instances, found.pred_instances
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-4, atol=1e-2)
    assert expected.masks.any()
    # A pixel on the edge of a mask is on either side of it by rounding.
    assert (expected.masks != found.masks).float().mean() < 1e-3


@pytest.mark.parametrize(
    ('format', 'name', 'config', 'sizes'),
    [
        ('torchscript', 'van_b0', 'upernet_{}_ade20k', SIZES),
        ('torch-export', 'van_b0', 'upernet_{}_ade20k', EVEN),
        *(
            pytest.param(f, n, c, s, marks=pytest.mark.slow)
            for f, s in (('torchscript', SIZES), ('torch-export', EVEN))
            for n, c in (
                ('coatnet_0', 'classifier_{}_imagenet'),
                ('sasa_r26', 'simple_baseline_256x192_{}_coco'),
                ('cyclemlp_b1', 'fpn_{}_ade20k'),
            )
            if (f, n) != ('torch-export', 'sasa_r26')  # whose graph holds for some sizes alone
        ),
    ],
)
def test_files_of_pytorch_equal_it(format, name, config, sizes, data, tmp_path):
    assert_equal(network(config.format(name), data, tmp_path), format, sizes)


def test_detection_is_the_librarys(data, tmp_path):
    """The graph's module finds what mmdet's own prediction finds, in pictures of its own size."""
    net = network('gfl_van_b0_coco', data, tmp_path)
    from mmdet.structures import DetDataSample

    (picture,) = pictures([(1, 96, 128)])
    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)))
    bgr = picture[0].flip(2).permute(2, 0, 1)
    with torch.no_grad():
        batch = net.model.data_preprocessor(dict(inputs=[bgr], data_samples=[sample]))
        (found,) = net.model.predict(batch['inputs'], batch['data_samples'], rescale=False)
        boxes, scores, labels = (x[0] for x in net(picture))
    found, known = found.pred_instances, labels >= 0
    # The same steps in another order of sums.
    torch.testing.assert_close(scores[known], found.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(boxes[known], found.bboxes, rtol=1e-4, atol=1e-2)
    assert torch.equal(labels[known], found.labels)


def test_keypoints_are_the_librarys(data, tmp_path):
    net = network('simple_baseline_256x192_van_b0_coco', data, tmp_path)
    (picture,) = pictures([(2, 64, 32)])
    with torch.no_grad():
        keypoints, scores = net(picture)
        maps = net.model.head(net.model.extract_feat(net.pictures(picture)))
    for i, one in enumerate(net.model.head.decode(maps)):
        np.testing.assert_allclose(keypoints[i], one.keypoints[0], atol=1e-4)
        np.testing.assert_array_equal(scores[i], one.keypoint_scores[0])


def test_the_best_boxes_are_torchvisions():
    from torchvision.ops import nms

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 50, 2, generator=generator)
    sides = torch.rand(2, 50, 2, generator=generator)
    boxes, scores = torch.cat([corners, corners + sides], 2), torch.rand(2, 50) - 0.2
    keep = best_boxes(boxes, scores, 0.5)
    for i in range(2):
        known = scores[i] > 0
        expected = nms(boxes[i][known], scores[i][known], 0.5).sort().values
        assert torch.equal(keep[i][known].nonzero()[:, 0], expected)
        assert not keep[i][~known].any()


def test_masks_are_pasted_as_mmdet_pastes():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 5, 28, 28, generator=generator)
    corners = 30 * torch.rand(2, 5, 2, generator=generator) - 5  # some are outside of the picture
    boxes = torch.cat([corners, corners + 1 + 30 * torch.rand(2, 5, 2, generator=generator)], 2)
    ours = paste(masks, boxes, torch.zeros(2, 45, 61, 3))
    theirs, _ = _do_paste_mask(masks.flatten(0, 1)[:, None], boxes.flatten(0, 1), 45, 61, False)
    torch.testing.assert_close(ours.flatten(0, 1), theirs, rtol=0, atol=1e-4)  # places of pixels


@pytest.mark.parametrize('size', [1, 2, 3, (6, 5)])
def test_pooling_to_any_size_is_pytorchs(size):
    x = torch.randn(2, 3, 7, 11)
    expected = torch.nn.AdaptiveAvgPool2d(size)
    ours = for_any_size(torch.nn.Sequential(expected))[0]
    assert isinstance(ours, AnySizePool)
    torch.testing.assert_close(ours(x), torch.nn.AdaptiveAvgPool2d(size)(x))


def test_what_has_no_graph_is_refused(data, tmp_path):
    with pytest.raises(UserError, match='not exported as a whole'):
        network('mask2former_van_b0_coco', data, tmp_path)
    with pytest.raises(UserError, match='Swin'):
        network('upernet_swin_t_ade20k', data, tmp_path)
    model, cfg = small_model('mask_rcnn_van_b0_coco', data, tmp_path)
    model.roi_head.mask_roi_extractor.roi_layers[0].pool_mode = 'max'
    with pytest.raises(UserError, match='RoIAlign'):
        network_of(model, cfg)
    with pytest.raises(UserError, match='no masks'):
        network('retinanet_van_b0_coco', data, tmp_path, pasted=True)
    net = network('mask_rcnn_van_b0_coco', data, tmp_path, features=True)
    assert net.outputs == tuple(f'map{i}' for i in range(5))
    net.onnx_alone = True
    with pytest.raises(UserError, match='exported as ONNX'):
        write_graph(net, 'torchscript', {})


@pytest.mark.slow
def test_the_tools_export_quantise_and_evaluate(ade20k, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = dict(data_root=str(ade20k))
    for key, value in (('num_workers', 0), ('persistent_workers', False)):
        options[f'test_dataloader.{key}'] = value
    cfg = load_config(DEMO_CONFIG, dict(options))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    checkpoint, out = tmp_path / 'random.pth', tmp_path / 'model.onnx'
    meta = dict(dataset_meta=dict(classes=cfg.classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)

    done = run_tool('deployment/export.py', DEMO_CONFIG, checkpoint, '--out', out)
    assert done.returncode == 0, done.tail
    assert 'largest difference from PyTorch' in done.output
    notes = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert json.loads(notes['classes']) == cfg.classes
    assert notes['task'] == 'segmentation'
    assert len(notes['checkpoint_sha256']) == 64

    scores = evaluate_file(DEMO_CONFIG, out, dict(options))
    given = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    small = tmp_path / 'int8.onnx'
    done = run_tool('deployment/quantize.py', DEMO_CONFIG, out, '--out', small, '--num', 2, *given)
    assert done.returncode == 0, done.tail
    assert small.stat().st_size < 0.5 * out.stat().st_size
    tested = run_tool('deployment/evaluate.py', DEMO_CONFIG, out, *given)
    assert f'mIoU: {scores["mIoU"]:.4f}' in tested.output, tested.tail
    # Eight bits of random weights move labels, but not most of them.
    assert evaluate_file(DEMO_CONFIG, small, dict(options))['aAcc'] == pytest.approx(
        scores['aAcc'], abs=10
    )
    sample = _mmseg_scores(cfg, model.eval())
    assert scores['mIoU'] == pytest.approx(sample['mIoU'], abs=0.02)  # of labels that are as likely

    def worse(network, run, pictures, any_size):
        raise UnequalError('outputs differ')

    monkeypatch.setattr(module, 'check', worse)
    out.unlink()
    with pytest.raises(UnequalError):
        export_model(DEMO_CONFIG, checkpoint, out)
    assert not list(tmp_path.glob('model.onnx*'))


def _mmseg_scores(cfg, model):
    """The metric of the library's own test."""
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Runner.build_evaluator(None, cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    for options, message in (
        (dict(out=tmp_path), 'is a folder'),
        (dict(out=tmp_path / 'none' / 'a.onnx'), 'no folder'),
        (dict(out=tmp_path / 'a.pt'), '--format torchscript'),
        (dict(out=tmp_path / 'a.onnx', size=(0, 8)), '--size of 1 or more'),
    ):
        with pytest.raises(UserError, match=message):
            export_model(DEMO_CONFIG, 'none.pth', **options)


def test_nothing_but_numbers_is_near():
    assert far(torch.zeros(2), torch.tensor([0.0, float('nan')])) == float('inf')


def test_some_pictures_alone_have_a_metric(coco, monkeypatch):
    """What finds everything that is annotated has an AP of 1, of however few pictures."""
    config = 'configs/retinanet_van_b0_demo.py'
    options = {'data_root': str(coco), 'test_dataloader.num_workers': 0,
               'test_dataloader.persistent_workers': False}  # fmt: skip
    monkeypatch.chdir(ROOT)
    cfg = load_config(config, dict(options))
    init_default_scope(cfg.default_scope)
    samples = [
        item['data_samples'] for item in Runner.build_dataloader(cfg.test_dataloader).dataset
    ]

    class Truth:
        def __init__(self):
            self.coming = iter(samples)

        def run(self, names, inputs):
            sample = next(self.coming)
            boxes = sample.gt_instances.bboxes.tensor * torch.tensor(sample.scale_factor).repeat(2)
            found = (boxes, torch.ones(len(boxes)), sample.gt_instances.labels)
            return [x.numpy()[None] for x in found]

    notes = dict(task='detection', classes='[]', outputs='["boxes", "scores", "labels"]')
    monkeypatch.setattr(evaluating, 'open_onnx', lambda file: (Truth(), notes))
    for num in (None, 1, 3):
        scores = evaluate_file(config, 'any.onnx', dict(options), num)
        assert scores['coco/bbox_mAP'] == 1.0, num
    with pytest.raises(UserError, match='1 or more'):
        evaluate_file(config, 'any.onnx', dict(options), 0)
    notes['classes'] = '["cat", "dog"]'
    with pytest.raises(UserError, match='other classes'):
        evaluate_file(config, 'any.onnx', dict(options))


def test_pictures_are_prepared_as_the_library_does(data, tmp_path):
    preprocessor = dict(
        type='mmseg.SegDataPreProcessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0],
        bgr_to_rgb=True,
        size_divisor=32, test_cfg=dict(size_divisor=64), pad_val=0,
    )  # fmt: skip
    own = MODELS.build(preprocessor)
    (batch,) = pictures([(1, 75, 150)])
    sample = SegDataSample(metainfo=dict(img_shape=(75, 150)))
    theirs = own({'inputs': [batch[0].permute(2, 0, 1).flip(0)], 'data_samples': [sample]})
    torch.testing.assert_close(Pictures(own)(batch), theirs['inputs'])
    assert theirs['inputs'].shape[2:] == (128, 192)
    with pytest.raises(UserError, match='fixed size'):
        Pictures(MODELS.build({**preprocessor, 'test_cfg': dict(size=(512, 512))}))


def test_a_models_preprocessor_may_stand_beside_it(data, tmp_path):
    """As mmpretrain's own configs have it; the weights come from the folder of a run."""
    path = ROOT / 'configs' / 'classifier_van_b0_imagenet.py'
    small = small_config(path, 'imagenet', data['imagenet'], tmp_path)
    cfg = load_config(small)
    init_default_scope(cfg.default_scope)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'iter_1.pth')
    inside, _ = load_model(small, tmp_path)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.dump(tmp_path / 'beside.py')
    beside, _ = load_model(tmp_path / 'beside.py', tmp_path)
    (batch,) = pictures([(1, 64, 64)])
    prepared = Pictures(inside.data_preprocessor)(batch)
    assert prepared.abs().max() < 10  # normalised
    torch.testing.assert_close(Pictures(beside.data_preprocessor)(batch), prepared)


def test_pictures_of_a_repeated_data_set_calibrate(ade20k, tmp_path):
    cfg = load_config(DEMO_CONFIG, dict(data_root=str(ade20k)))
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', dataset=inner, times=2)
    cfg.dump(tmp_path / 'repeated.py')
    found = list(calibration_pictures(tmp_path / 'repeated.py', 2))
    assert [picture.dtype for picture in found] == [torch.uint8] * 2
