"""Evaluation on top of mmseg's: the same counts, labels and files, of fewer operations."""

import pickle
from itertools import product

import numpy as np
import pytest
import torch
from conftest import DEMO_CONFIG, ROOT
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, MODELS
from mmseg.evaluation import IoUMetric as StockIoUMetric
from mmseg.structures import SegDataSample
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from mmvisattn.analysis.pipeline_speed import stage_rates
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError
from mmvisattn.evaluation import count_areas, iou
from mmvisattn.evaluation.labels import best_channel, channels, group_size
from mmvisattn.evaluation.toolbox import on_top_of
from mmvisattn.registry import MODELS as OUR_MODELS

# --- mIoU ----------------------------------------------------------------------------------------


def label_maps(num_classes, ignore_index, dtype=torch.int64):
    """Predictions and truth (37, 53), with ignored pixels, and numbers that are no class."""
    rng = torch.Generator().manual_seed(num_classes)
    label = torch.randint(0, num_classes, (37, 53), generator=rng)
    predicted = torch.where(
        torch.rand(label.shape, generator=rng) < 0.6,
        label,
        torch.randint(0, num_classes, label.shape, generator=rng),
    )
    for place, odd in enumerate([ignore_index, num_classes, 200, 254, -1, -7]):
        label[place::9, ::5] = odd
    predicted[3::8, ::3] = num_classes
    predicted[5::8, ::3] = 255
    predicted[7::8, ::3] = -3
    return predicted.to(dtype), label.to(dtype)


@pytest.mark.parametrize('dtype', [torch.int64, torch.int32, torch.float32])
@pytest.mark.parametrize(
    ('num_classes', 'ignore_index'), [(150, 255), (2, 255), (7, 0), (19, -1), (19, -100), (3, 3)]
)
def test_counts_are_those_of_mmseg(num_classes, ignore_index, dtype):
    maps = label_maps(num_classes, ignore_index, dtype)
    kept = [tensor.clone() for tensor in maps]
    theirs = StockIoUMetric.intersect_and_union(*maps, num_classes, ignore_index)
    ours = count_areas(*maps, num_classes, ignore_index)
    for expected, counted in zip(theirs, ours, strict=True):
        assert counted.dtype == torch.int64
        assert torch.equal(counted.float(), expected)
    assert theirs[0].sum() > 0
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(maps, kept, strict=True))


@pytest.mark.parametrize('block', [1, 100, 37 * 53])
def test_blocks_of_any_length_add_up(block, monkeypatch):
    """The last one may be shorter; a picture seen from the side lies in memory in no such order."""
    predicted, label = label_maps(19, 255)
    expected = count_areas(predicted, label, 19, 255)
    monkeypatch.setattr(iou, 'BLOCK', block)
    for maps in ((predicted, label), (predicted.mT.contiguous().mT, label)):
        assert all(map(torch.equal, count_areas(*maps, 19, 255), expected))


def test_maps_of_unlike_sizes_are_refused():
    with pytest.raises((RuntimeError, ValueError)):
        count_areas(torch.zeros(4, 5).long(), torch.zeros(4, 4).long(), 3, 255)


def test_counts_of_bytes_and_of_nothing():
    predicted, label = label_maps(19, 255)
    predicted, label = predicted.clamp(0).byte(), label.clamp(0).byte()
    expected = count_areas(predicted.long(), label.long(), 19, 255)
    assert all(map(torch.equal, count_areas(predicted, label, 19, 255), expected))
    nothing = torch.zeros(0, 5, dtype=torch.int64)
    assert all(area.tolist() == [0] * 3 for area in count_areas(nothing, nothing, 3, 255))


def samples(num_classes, count=3):
    for number in range(count):
        predicted, label = label_maps(num_classes, 255)
        predicted = predicted.roll(number, 0).clamp(0, num_classes - 1)
        yield dict(
            pred_sem_seg=dict(data=predicted[None]),
            gt_sem_seg=dict(data=label[None]),
            img_path=f'/x/{number}.jpg',
            reduce_zero_label=True,
        )


@pytest.mark.parametrize(
    'options',
    [
        dict(iou_metrics=['mIoU', 'mDice', 'mFscore']),
        dict(iou_metrics=['mIoU'], nan_to_num=0, prefix='val'),
        dict(ignore_index=3),
    ],
)
def test_miou_is_that_of_mmseg(options, tmp_path):
    reported = {}
    for scope in ('mmseg', 'mmvisattn'):
        out = tmp_path / scope
        metric = METRICS.build(dict(type=f'{scope}.IoUMetric', output_dir=str(out), **options))
        assert isinstance(metric, StockIoUMetric)
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = {'classes': tuple('abcdefg')}
        evaluator.process(list(samples(7)))
        assert len(metric.results) == 3, 'one for each picture: MMEngine drops repeated ones'
        reported[scope] = evaluator.evaluate(3)
        reported[scope, 'files'] = [np.array(Image.open(p)).tolist() for p in sorted(out.iterdir())]
    np.testing.assert_equal(dict(reported['mmvisattn']), dict(reported['mmseg']))
    assert reported['mmvisattn', 'files'] == reported['mmseg', 'files'] != []


def test_large_counts_stay_exact():
    """float32, in which mmseg sums, does not know 2 ** 24 + 1."""
    metric = METRICS.build(dict(type='mmvisattn.IoUMetric'))
    metric.dataset_meta = {'classes': ('a', 'b')}
    many, one = torch.tensor([2**24, 1]), torch.tensor([1, 0])
    seen = []
    metric.total_area_to_metrics = lambda *areas, **_: seen.extend(areas[:4]) or {'aAcc': 0.5}
    metric.compute_metrics([(many, many, many, many), (one, one, one, one)])
    assert [area.tolist() for area in seen] == [[2**24 + 1, 1]] * 4


# --- label maps ----------------------------------------------------------------------------------

THIN = dict(base='b0', embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))


def segmentor(scope, num_classes=19, test_cfg=None, align_corners=False, **more):
    """A tiny network; of the same seed, hence of the same weights in every scope."""
    torch.manual_seed(0)
    head = dict(
        type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=0, concat_input=False,
        num_classes=num_classes, align_corners=align_corners, norm_cfg=None,
    )  # fmt: skip
    config = dict(
        type=f'{scope}.EncoderDecoder', backbone=dict(type='mmvisattn.VAN', arch=THIN),
        decode_head=head, test_cfg=ConfigDict(test_cfg or dict(mode='whole')), **more,
    )  # fmt: skip
    with MODELS.switch_scope_and_registry('mmseg') as models:
        model = models.build(config).eval()
    for parameter in model.decode_head.parameters():
        torch.nn.init.normal_(parameter)  # starts so small that few classes would ever win
    return model


def predicted(model, inputs, metas):
    batch = [SegDataSample(metainfo=meta) for meta in metas]
    with torch.no_grad():
        return model.predict(inputs, batch)


def assert_same_labels(inputs, metas, **options):
    theirs = predicted(segmentor('mmseg', **options), inputs, metas)
    ours = predicted(segmentor('mmvisattn', **options), inputs, metas)
    for expected, sample in zip(theirs, ours, strict=True):
        labels = sample.pred_sem_seg.data
        assert labels.dtype == torch.int64
        assert torch.equal(labels, expected.pred_sem_seg.data)
        assert labels.unique().numel() > 3
        assert 'seg_logits' not in sample


def pictures(number, height, width):
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(1))


def meta_of(inputs, ori_shape, **more):
    shape = tuple(inputs.shape[2:])
    return dict(ori_shape=ori_shape, img_shape=shape, pad_shape=shape, **more)


SLIDE = dict(mode='slide', crop_size=(32, 48), stride=(21, 31))


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('mode', [dict(mode='whole'), SLIDE], ids=lambda mode: mode['mode'])
@pytest.mark.parametrize('ori_shape', [(64, 80), (63, 77), (128, 161), (20, 31)])
def test_labels_are_those_of_mmseg(ori_shape, mode, align_corners, layout):
    inputs = pictures(1, 64, 80).contiguous(memory_format=layout)
    assert_same_labels(
        inputs, [meta_of(inputs, ori_shape)], test_cfg=mode, align_corners=align_corners
    )


@pytest.mark.parametrize('num_classes', [2 + 2, 17, 150])
@pytest.mark.parametrize('size', [(31, 45), (96, 33), (20, 20)])
def test_labels_of_odd_sizes(size, num_classes):
    inputs = pictures(1, *size)
    for ori_shape, mode in product([size, (50, 51)], [dict(mode='whole'), SLIDE]):
        metas = [meta_of(inputs, ori_shape)]
        assert_same_labels(inputs, metas, test_cfg=mode, num_classes=num_classes)


@pytest.mark.parametrize('mode', [dict(mode='whole'), SLIDE], ids=lambda mode: mode['mode'])
def test_labels_of_a_batch_that_was_padded_and_flipped(mode):
    inputs = pictures(4, 64, 80)
    metas = [
        meta_of(inputs, (50, 60), img_padding_size=(0, 5, 0, 9)),
        meta_of(inputs, (128, 160), padding_size=(3, 0, 2, 1)),
        meta_of(inputs, (64, 80), flip=True, flip_direction='horizontal'),
        meta_of(inputs, (33, 44), flip=True, flip_direction='vertical', padding_size=(0, 8, 0, 8)),
    ]
    assert_same_labels(inputs, metas, test_cfg=mode)


def test_logits_in_any_order_give_the_same_labels(monkeypatch):
    """Of a head whose logits are a view: turned, or every second row and column."""
    inputs = pictures(2, 64, 80)
    head = type(segmentor('mmseg').decode_head)
    stock, metas = head.forward, [meta_of(inputs, (70, 90))] * 2
    views = [lambda x: x.mT.contiguous().mT, lambda x: x[..., ::2, ::2]]
    for layout, view in product([torch.contiguous_format, torch.channels_last], views):
        monkeypatch.setattr(head, 'forward', lambda self, x, view=view: view(stock(self, x)))
        assert_same_labels(inputs.contiguous(memory_format=layout), metas)


def test_windows_with_gaps_are_refused():
    inputs = pictures(1, 64, 80)
    gaps = dict(mode='slide', crop_size=(16, 16), stride=(16, 20))
    with pytest.raises(UserError, match='do not cover'):
        predicted(segmentor('mmvisattn', test_cfg=gaps), inputs, [meta_of(inputs, (64, 80))])


def test_labels_under_autocast():
    inputs = pictures(1, 64, 80)
    with torch.autocast('cpu', torch.bfloat16):
        assert_same_labels(inputs, [meta_of(inputs, (100, 120))])


def test_a_head_that_does_more_than_resize_is_asked_for_all_of_it(monkeypatch):
    inputs = pictures(2, 64, 80)
    head = type(segmentor('mmseg').decode_head)
    stock = head.predict_by_feat
    monkeypatch.setattr(
        head, 'predict_by_feat', lambda self, logits, metas: stock(self, logits, metas).cumsum(1)
    )
    metas = [meta_of(inputs, (70, 90)), meta_of(inputs, (64, 80))]
    for mode in (dict(mode='whole'), SLIDE):
        assert_same_labels(inputs, metas, test_cfg=mode)


@pytest.mark.parametrize(('options', 'with_samples'), [(dict(keep_logits=True), True), ({}, False)])
def test_logits_are_handed_out_where_asked_for(options, with_samples):
    inputs = pictures(1, 64, 80)
    results = []
    for scope, more in (('mmseg', {}), ('mmvisattn', options)):
        model = segmentor(scope, **more)
        if with_samples:
            results.append(predicted(model, inputs, [meta_of(inputs, (70, 90))])[0])
        else:
            with torch.no_grad():
                results.append(model.predict(inputs)[0])
    for field in ('seg_logits', 'pred_sem_seg'):
        assert torch.equal(*(getattr(result, field).data for result in results))


def test_binary_segmentation_is_left_to_mmseg():
    inputs, results = pictures(1, 64, 80), []
    for scope in ('mmseg', 'mmvisattn'):
        model = segmentor(scope, num_classes=2)
        model.out_channels = model.decode_head.out_channels = 1
        model.decode_head.conv_seg = torch.nn.Conv2d(8, 1, 1).requires_grad_(False)
        model.decode_head.conv_seg.weight.fill_(0.3)
        model.decode_head.conv_seg.bias.fill_(0.0)
        model.decode_head.threshold = 0.5
        results.append(predicted(model, inputs, [meta_of(inputs, (70, 90))])[0].pred_sem_seg.data)
    assert torch.equal(*results)
    assert results[0].unique().tolist() == [0, 1]


def test_merged_views_are_those_of_mmseg():
    views = [pictures(1, 64, 80), pictures(1, 96, 120), pictures(1, 64, 80)]
    more = [{}, {}, dict(flip=True, flip_direction='horizontal')]
    merged = []
    for scope in ('mmseg', 'mmvisattn'):
        model = MODELS.build(dict(type=f'{scope}.SegTTAModel', module=segmentor(scope)))
        found = [
            predicted(model.module, view, [meta_of(view, (70, 90), img_path='x', **extra)])
            for view, extra in zip(views, more, strict=True)
        ]
        merged.append(model.merge_preds([[samples[0] for samples in found]])[0])
    assert torch.equal(*(sample.pred_sem_seg.data for sample in merged))


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor made inside had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize('mode', [dict(mode='whole'), SLIDE], ids=lambda mode: mode['mode'])
def test_the_logits_never_are_there_at_full_size(mode):
    inputs, classes, largest = pictures(1, 64, 80), 150, {}
    for scope in ('mmseg', 'mmvisattn'):
        model = segmentor(scope, num_classes=classes, test_cfg=mode)
        with Largest() as watched:
            predicted(model, inputs, [meta_of(inputs, (128, 160))])
        largest[scope] = watched.numbers
    assert largest['mmseg'] == classes * 128 * 160
    # The head's own logits, at a quarter of the input's height and width.
    assert largest['mmvisattn'] <= classes * 16 * 20


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('num_channels', [1, 5, 16, 17, 35])
def test_the_best_channel_is_the_first_of_the_highest(num_channels, layout):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (1, num_channels, 9, 11), generator=rng).float()  # many are equal
    logits[torch.rand(logits.shape, generator=rng) < 0.1] = -torch.inf
    logits[..., 3] = -torch.inf
    logits[:, -1, 0] = torch.inf
    logits = logits.contiguous(memory_format=layout)
    for broken in (0.0, 0.1, 1.0):
        logits[torch.rand(logits.shape, generator=rng) < broken] = torch.nan
        for size in {group_size(logits), 4}:
            best = best_channel(lambda group: channels(logits, group)[0], num_channels, size)
            assert torch.equal(best, logits[0].argmax(0))


def test_the_classes_are_importable_and_pickled():
    from mmvisattn.evaluation import IoUMetric

    assert IoUMetric is METRICS.get('mmvisattn.IoUMetric')
    metric = pickle.loads(pickle.dumps(IoUMetric(iou_metrics=['mIoU'])))
    assert (type(metric), metric.metrics) == (IoUMetric, ['mIoU'])
    with pytest.raises(ImportError):
        from mmvisattn.evaluation import Nothing  # noqa: F401


def test_one_class_is_counted_as_any_other():
    """mmseg's histogram of one class has no range, and takes that of the labels."""
    predicted, label = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert [int(n) for n in count_areas(predicted, label, 1, 255)] == [2, 3, 3, 2]


def test_refining_what_is_not_installed_is_refused():
    on_top_of('nowhere.Network', OUR_MODELS)(type('Refined', (), {}))
    try:
        with pytest.raises(UserError, match='install nowhere'):
            MODELS.get('mmvisattn.Refined')
    finally:
        OUR_MODELS.module_dict.pop('Refined')


# --- speed of the data pipeline ------------------------------------------------------------------


def test_the_stages_of_a_pipeline_are_timed(ade20k):
    cfg = load_config(ROOT / DEMO_CONFIG, {'data_root': str(ade20k)})
    threads = torch.get_num_threads()
    rates = stage_rates(cfg, 10)
    names = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert [name for name, _ in rates] == [*names, 'all']
    *stages, (_, together) = rates
    # Times add up: the sum of 1 / rate of all stages is that of the whole.
    assert sum(1 / rate for _, rate in stages) == pytest.approx(1 / together)
    assert torch.get_num_threads() == threads
    names = [name for name, _ in stage_rates(cfg, 2, 'test_dataloader')]
    assert names == ['LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackSegInputs', 'all']


def test_a_stage_that_drops_pictures_is_timed_for_those_it_saw(coco):
    options = {'data_root': str(coco), 'train_dataloader.dataset.filter_cfg': None}
    cfg = load_config(ROOT / 'configs/retinanet_van_b0_demo.py', options)
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.insert(2, dict(type='FilterAnnotations', min_gt_bbox_wh=(10**6, 10**6)))
    names = [name for name, _ in stage_rates(cfg, 3)]
    assert names == ['LoadImageFromFile', 'LoadAnnotations', 'FilterAnnotations', 'all']


def test_what_cannot_be_timed_is_refused(ade20k):
    cfg = load_config(ROOT / DEMO_CONFIG, {'data_root': str(ade20k)})
    with pytest.raises(UserError, match='at least 1'):
        stage_rates(cfg, 0)
    with pytest.raises(UserError, match='no predict_dataloader'):
        stage_rates(cfg, 1, 'predict_dataloader')
