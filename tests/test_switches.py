"""The switches of tools/train.py, on one small network for each task and made-up batches."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmdet.structures.mask import BitmapMasks
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import PixelData
from mmpose.testing import get_packed_inputs
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils import checkpoint as checkpointing

from mmvisattn.engine import compiling
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.batch import Batch
from mmvisattn.engine.compiling import CompilationHook, compile_parts
from mmvisattn.engine.config import load_config
from mmvisattn.engine.runner import Runner
from mmvisattn.engine.switches import apply_switches
from mmvisattn.errors import UserError
from mmvisattn.weights import read_checkpoint

# A recipe of each task.
TASKS = {
    'detection': 'retinanet_van_b0_coco',
    'panoptic': 'panoptic_fpn_van_b0_coco',
    'segmentation': 'fpn_van_b0_ade20k',
    'pose': 'simple_baseline_256x192_van_b0_coco',
    'classification': 'classifier_van_b0_imagenet',
}
SMALL = dict(base='b0', embed_dims=[16, 32, 32, 32], depths=[1, 1, 1, 1])
NETWORKS = {
    'van': dict(type='mmvisattn.VAN', arch=dict(base='b0', depths=[1, 2, 1, 1])),
    'coatnet': dict(type='mmvisattn.CoAtNet', arch=dict(base='0', depths=[1, 1, 2, 1])),
    'cyclemlp': dict(
        type='mmvisattn.CycleMLP',
        arch=dict(base='b1', embed_dims=[16, 32, 32, 48], depths=[1, 1, 2, 1]),
    ),
    'sasa': dict(type='mmvisattn.SASAResNet', arch=dict(base='r26', depths=[1, 1, 2, 1])),
}


@DATASETS.register_module()
class MadeUp:
    """Four samples of a task, the same in every run."""

    metainfo = {}

    def __init__(self, task):
        self.samples = getattr(self, task)()

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]

    def detection(self):
        # 64 pixels would leave one for the coarsest level, and on a CPU PyTorch 2.12's gradient in
        # bf16 of a convolution of stride 2 over one pixel is undefined.
        batch = demo_mm_inputs(4, (3, 128, 128), num_items=[2] * 4, use_box_type=True)
        return self.taken_apart(batch)

    def panoptic(self):
        batch = demo_mm_inputs(4, (3, 64, 64), num_items=[2] * 4, with_semantic=True)
        for sample in batch['data_samples']:
            masks = np.zeros((2, 64, 64), np.uint8)
            for mask, (x, y, right, bottom) in zip(
                masks, sample.gt_instances.bboxes.int().tolist(), strict=True
            ):
                mask[y:bottom, x:right] = 1
            sample.gt_instances.masks = BitmapMasks(masks, 64, 64)
        return self.taken_apart(batch)

    def pose(self):
        return self.taken_apart(get_packed_inputs(4))

    def segmentation(self):
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.arange(64 * 64).view(1, 64, 64) % 150)
        return [dict(inputs=picture, data_samples=sample) for picture in self.pictures()]

    def classification(self):
        return [
            dict(inputs=picture, data_samples=DataSample().set_gt_label(label))
            for label, picture in enumerate(self.pictures())
        ]

    def pictures(self):
        chance = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (4, 3, 64, 64), generator=chance, dtype=torch.uint8)

    def taken_apart(self, batch):
        pairs = zip(batch['inputs'], batch['data_samples'], strict=True)
        return [dict(inputs=inputs, data_samples=sample) for inputs, sample in pairs]


def config_of(task, work_dir, *switches, batch_size=2, iterations=2, saving=None, **options):
    """The recipe of a task with these switches, a small backbone and made-up samples."""
    name = str(ROOT / f'configs/{TASKS[task]}.py')
    options = {'max_iters': iterations, **options}
    cfg = load_config(name, options)
    cfg.model.backbone.update(arch=SMALL, drop_path_rate=0.0, init_cfg=None)
    channels = SMALL['embed_dims']
    if 'neck' in cfg.model and 'in_channels' in cfg.model.neck:
        cfg.model.neck.in_channels = channels[-len(cfg.model.neck.in_channels) :]
    else:
        cfg.model['head'].in_channels = channels[-1]
    if task == 'segmentation':
        cfg.model.data_preprocessor.size = (64, 64)
    cfg.train_dataloader = dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=False),
        dataset=dict(type='MadeUp', _scope_='mmengine', task=task),
    )
    cfg.train_dataloader.collate_fn = dict(
        type='default_collate' if task == 'classification' else 'pseudo_collate'
    )
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.interval = saving or iterations
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}'
    args = train_parser().parse_args([name, '--no-validate', '--seed', '0', *switches])
    apply_switches(cfg, args)
    return cfg


def trained(cfg):
    """A runner that has trained."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def saved(work_dir, iteration):
    return read_checkpoint(work_dir / f'iter_{iteration}.pth')


def assert_equal(state, expected, **tolerance):
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, **tolerance, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize('task', TASKS)
def test_all_switches_together_train_every_task(task, tmp_path):
    dtypes = set()
    switches = ['--ema', '0.1', '--accumulate', '2', '--grad-checkpoint', '--amp', 'bf16']
    cfg = config_of(
        task, tmp_path / 'run', *switches, '--auto-scale-lr', iterations=4, layer_decay_rate=0.9
    )
    cfg.compile = dict(backend='aot_eager')  # without code generation, which takes minutes
    runner = Runner.from_cfg(cfg)
    model, rate = runner.model, cfg.optim_wrapper.optimizer.lr
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    body = model.backbone
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    head = next(m for m in layers if m not in set(body.modules()))
    head.register_forward_hook(lambda m, x, out: dtypes.add(out.dtype))
    runner.train()

    assert body.with_cp
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    optimizer = runner.optim_wrapper.optimizer
    base = cfg.auto_scale_lr.base_batch_size
    highest = max(group['initial_lr'] for group in optimizer.param_groups)
    assert highest == pytest.approx(rate * 2 * 2 / base)
    stem = next(p for p in body.parameters() if p.requires_grad)
    lowest = next(g for g in optimizer.param_groups if g['params'][0] is stem)
    num_layers = 2 + sum(SMALL['depths'])
    assert lowest['initial_lr'] == pytest.approx(highest * 0.9 ** (num_layers - 1))
    raw = {name: p.detach() for name, p in model.named_parameters()}
    moved = [name for name, p in raw.items() if not torch.equal(p, start[name])]
    assert any('backbone' in name for name in moved)
    assert not [name for name, p in raw.items() if not p.isfinite().all()]
    average = saved(tmp_path / 'run', 4)['state_dict']
    assert not any('_orig_mod' in name for name in average)
    assert any(not torch.equal(average[name], p) for name, p in raw.items())


def test_average_follows_its_definition_and_is_resumed(tmp_path):
    def run(folder, *switches, **options):
        options = {'optim_wrapper.optimizer.lr': 0.1, 'saving': 1, **options}
        cfg = config_of('segmentation', tmp_path / folder, '--ema', '0.25', *switches, **options)
        cfg.param_scheduler = None
        cfg.model.decode_head.dropout_ratio = 0.0  # a resumed run draws other numbers
        return cfg

    trained(run('whole', iterations=4))
    average = None
    for step in range(1, 5):
        checkpoint = saved(tmp_path / 'whole', step)
        ema = checkpoint['ema_state_dict'].items()
        raw = {name.removeprefix('module.'): v for name, v in ema if name != 'steps'}
        raw = {name: v for name, v in raw.items() if v.is_floating_point()}
        running = {name for name in raw if 'running_' in name}  # kept as the last step left them
        average = {
            name: v if average is None or name in running else average[name].lerp(v, 0.25)
            for name, v in raw.items()
        }
        assert_equal(checkpoint['state_dict'], average, rtol=1e-5, atol=1e-7)  # float32's rounding

    trained(run('parts', iterations=2))
    trained(run('parts', '--resume', iterations=4))
    for part in ('state_dict', 'ema_state_dict'):
        assert_equal(saved(tmp_path / 'parts', 4)[part], saved(tmp_path / 'whole', 4)[part])

    cfg = run('parts', '--resume', iterations=5)
    cfg.custom_hooks = []
    with pytest.raises(UserError, match='averaged weights') as error:
        trained(cfg)
    assert '--ema' in str(error.value)


def test_average_counts_steps_not_batches(tmp_path):
    cfg = config_of('segmentation', tmp_path, '--ema', '--accumulate', '3')
    assert cfg.custom_hooks[-1] == dict(type='EMAHook', interval=3)
    recipe = config_of('classification', tmp_path, '--ema', '0.01', '--accumulate', '2')
    hooks = [hook for hook in recipe.custom_hooks if hook.type == 'EMAHook']
    assert len(hooks) == 1, 'a recipe that averages keeps its hook'
    assert (hooks[0].momentum, hooks[0].interval) == (0.01, 2)


@pytest.mark.parametrize('task', ['detection', 'classification'])  # MMEngine's hook, mmpretrain's
def test_averaged_weights_are_tested_and_fine_tuned_from(task, tmp_path):
    trained(config_of(task, tmp_path / 'run', '--ema', '0.1'))
    path = tmp_path / 'run' / 'iter_2.pth'
    average = saved(path.parent, 2)['state_dict']
    cfg = config_of(task, tmp_path / 'tuned', '--ema', '0.1', load_from=str(path), iterations=1)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.optim_wrapper.optimizer.weight_decay = 0.0
    runner = trained(cfg)
    learnt = dict(runner.model.named_parameters())
    assert_equal(learnt, {name: average[name] for name in learnt}, rtol=0, atol=0)

    tested = Runner(
        model=cfg.model, work_dir=str(tmp_path / 'test'), load_from=str(path),
        default_scope=cfg.default_scope, experiment_name=f'{tmp_path.name}_test',
    )  # fmt: skip
    tested.load_or_resume()
    assert_equal(tested.model.state_dict(), average, rtol=0, atol=0)


def test_accumulated_batches_equal_one(tmp_path):
    """Without BatchNorm, which sees every batch alone, and with a loss that is a mean."""
    weights = []
    for name, size, switches in (('one', 4, ()), ('parts', 1, ('--accumulate', '4'))):
        cfg = config_of(
            'classification', tmp_path / name, *switches,
            batch_size=size, iterations=2 * 4 // size,
        )  # fmt: skip
        cfg.model.backbone = dict(NETWORKS['cyclemlp'], out_indices=(3,), drop_path_rate=0.0)
        cfg.model['head'].in_channels = 48
        cfg.model.train_cfg = None  # mixup would draw other partners
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, weight_decay=0.0)
        cfg.optim_wrapper.clip_grad = None
        cfg.param_scheduler = None
        torch.manual_seed(0)
        weights.append(trained(cfg).model.state_dict())
    assert_equal(*weights, rtol=1e-4, atol=1e-6)  # sums in another order, float32


@pytest.mark.parametrize(
    ('network', 'arguments'),
    [
        ('mmdet.ResNet', dict(depth=18)),
        ('mmdet.SwinTransformer', dict(embed_dims=24, num_heads=[1, 2, 4, 8], depths=[2] * 4)),
        ('mmpretrain.ConvNeXt', dict(arch=dict(depths=[1] * 4, channels=[24, 32, 48, 64]))),
    ],
)
def test_backbones_of_the_libraries_are_checkpointed(network, arguments, monkeypatch):
    cfg = load_config(ROOT / 'configs/retinanet_van_b0_coco.py', {})
    cfg.model.backbone = dict(type=network, **arguments)
    args = train_parser().parse_args(['c.py', '--grad-checkpoint'])
    init_default_scope('mmdet')
    gradients, calls = [], []
    real = checkpointing.checkpoint
    monkeypatch.setattr(checkpointing, 'checkpoint', lambda *a: calls.append(a) or real(*a))
    for switched in (False, True):
        if switched:
            apply_switches(cfg, args)
        torch.manual_seed(0)
        body = MODELS.build(cfg.model.backbone)
        body.train()
        x = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
        torch.manual_seed(1)  # stochastic depth
        sum(m.square().mean() for m in body(x)).backward()
        gradients.append({n: p.grad for n, p in body.named_parameters() if p.grad is not None})
    assert calls
    assert_equal(*gradients, rtol=1e-4, atol=1e-6)  # computed twice, float32


def test_a_backbone_that_cannot_be_checkpointed_is_named(tmp_path):
    cfg = load_config(ROOT / 'configs/retinanet_van_b0_coco.py', {})
    cfg.model.backbone = dict(type='mmpretrain.VGG', depth=11)
    cfg.model.backbone.type = 'mmdet.Darknet'
    with pytest.raises(UserError, match='--grad-checkpoint'):
        apply_switches(cfg, train_parser().parse_args(['c.py', '--grad-checkpoint']))


def test_half_precision_needs_a_gpu_where_bf16_does_not(monkeypatch):
    parse = train_parser().parse_args
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = load_config(ROOT / 'configs/retinanet_van_b0_coco.py', {})
    with pytest.raises(UserError, match='--amp fp16 needs a GPU'):
        apply_switches(cfg, parse(['c.py', '--amp']))
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16')
    apply_switches(cfg, parse(['c.py', '--amp', 'bf16']))
    assert cfg.optim_wrapper.type == 'mmvisattn.Bf16OptimWrapper'
    assert not {'loss_scale', 'dtype'} & set(cfg.optim_wrapper)


@pytest.mark.parametrize(
    ('gpu', 'launcher', 'synchronised'),
    [(True, 'pytorch', True), (True, 'none', False), (False, 'pytorch', False)],
)
def test_synchronised_norms_need_several_processes_and_gpus(
    gpu, launcher, synchronised, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')  # MMEngine's logger asks for its number
    whole = load_config(ROOT / 'configs/fpn_van_b0_ade20k.py', {}, launcher)
    assert whole.get('sync_bn') == ('torch' if synchronised else None)
    heads = load_config(ROOT / 'configs/cascade_mask_rcnn_van_b0_coco.py', {}, launcher)
    for head in heads.model.roi_head.bbox_head:
        assert head.norm_cfg.type == ('SyncBN' if synchronised else 'BN')


def compiled(model, image_sizes, limit, **options):
    """What a hook logs and warns of while a compiled model meets pictures of these sizes."""
    said = []
    logger = SimpleNamespace(info=said.append, warning=said.append)
    hook, runner = CompilationHook(), SimpleNamespace(logger=logger)
    with torch._dynamo.config.patch(recompile_limit=limit):
        compile_parts(model, dict(backend='eager', **options))
        for size in image_sizes:
            maps = model.neck(model.backbone(torch.rand(2, 3, size, size)))
            sum(m.mean() for m in maps).backward()
            hook.after_train_iter(runner, 0)
        hook.after_run(runner)
    return said


@pytest.fixture
def detector(monkeypatch):
    """A small network with a neck; what earlier tests compiled is forgotten."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, 'GRAPH_LIMIT', 0)
    init_default_scope('mmdet')
    model = nn.Module()
    model.backbone = MODELS.build(dict(NETWORKS['van'], arch=SMALL))
    model.neck = MODELS.build(
        dict(type='mmdet.FPN', in_channels=SMALL['embed_dims'], out_channels=8, num_outs=4)
    )
    yield model
    torch._dynamo.reset()


def test_compiled_parts_are_backbone_and_neck_and_counted(detector):
    names = set(detector.state_dict())
    (said,) = compiled(detector, (64, 64), limit=8)
    assert said == (
        'torch.compile: 2 graphs compiled, 0 graph breaks, 0 functions run without compiling.'
    )
    assert set(detector.state_dict()) == names
    with pytest.raises(UserError, match='this model has none'):
        compile_parts(nn.Linear(1, 1), {})


def test_it_is_said_once_that_compiling_was_given_up(detector):
    warning, said = compiled(detector, (64, 96, 128, 160), limit=2, dynamic=False)
    assert 'has given up compiling' in warning
    assert 'after 2 graphs' in warning
    assert said.startswith('torch.compile: 4 graphs compiled, 0 graph breaks')
    assert '0 functions' not in said


def test_sizes_are_few_where_a_compiled_detector_pads():
    for name, switches, expected in [
        ('retinanet_van_b0_coco', ['--compile'], 128),
        ('retinanet_van_b0_coco', [], 32),
        ('fpn_van_b0_ade20k', ['--compile'], None),
    ]:
        cfg = load_config(ROOT / f'configs/{name}.py', {})
        apply_switches(cfg, train_parser().parse_args(['c.py', *switches]))
        assert cfg.model.data_preprocessor.get('pad_size_divisor') == expected


def test_compile_keeps_the_options_of_a_config():
    cfg = load_config(ROOT / 'configs/fpn_van_b0_ade20k.py', dict(compile=dict(mode='default')))
    apply_switches(cfg, train_parser().parse_args(['c.py', '--compile']))
    assert cfg.compile == dict(mode='default')


@pytest.mark.parametrize(
    ('typed', 'said'),
    [
        (['--accumulate', '0'], "a whole number from 1 on, got '0'"),
        (['--accumulate', '2.5'], "got '2.5'"),
        (['--ema', '2'], "at most 0.5 (a decay of 0.9998 is 0.0002), got '2'"),
        (['--ema', '0.9998'], "got '0.9998'"),
        (['--ema', 'nan'], "got 'nan'"),
    ],
)
def test_values_that_mean_nothing_are_refused(typed, said, capsys):
    with pytest.raises(SystemExit):
        train_parser().parse_args(['c.py', *typed])
    assert said in capsys.readouterr().err


def test_a_learning_rate_for_another_batch_is_named():
    assert Batch(2, 8, 1).misfit(16, 1e-4) is None
    said = Batch(2, 1, 2).misfit(16, 1e-4)
    assert 'meant for 16 samples a step' in said
    assert 'sees 4 (2 samples x 2 accumulated batches)' in said
    assert '--auto-scale-lr, which makes it 2.5e-05, or --accumulate 8.' in said
    assert '--accumulate' not in Batch(3, 2).misfit(16, 1e-4)
    assert Batch(2, 1, 1).shortfall(100) is None
    assert 'max_iters=800' in Batch(2, 1, 8).shortfall(100)


@pytest.mark.parametrize('library', ['ours', 'stock'])
def test_a_misfit_is_said_once_at_the_start(library, tmp_path):
    cfg = config_of('detection', tmp_path / 'run', iterations=1)
    if library == 'stock':  # says its batch, and no more
        cfg.auto_scale_lr = dict(base_batch_size=16)
    runner = trained(cfg)
    (log,) = (tmp_path / 'run').rglob('*.log')
    assert log.read_text().count('meant for 16 samples a step') == 1
    assert runner.optim_wrapper.optimizer.param_groups[0]['initial_lr'] == 1e-4


def test_fused_optimizer_is_the_same_but_for_rounding(tmp_path):
    def run(folder, *switches, fused, **options):
        cfg = config_of('classification', tmp_path / folder, *switches, **options)
        assert cfg.optim_wrapper.optimizer.fused
        cfg.optim_wrapper.optimizer.fused = fused
        # A bias before BatchNorm has rounding for a gradient, which a small eps would make a step.
        cfg.optim_wrapper.optimizer.update(lr=1e-3, eps=1e-2)
        cfg.param_scheduler = cfg.model.train_cfg = None  # mixup draws other numbers when resumed
        return trained(cfg)

    plain = run('plain', fused=False, iterations=4)
    fused = run('fused', fused=True, iterations=4)
    # float32's rounding of updates of 1e-3, and what four steps make of it
    assert_equal(fused.model.state_dict(), plain.model.state_dict(), rtol=1e-4, atol=1e-5)
    assert all(group['fused'] for group in fused.optim_wrapper.optimizer.param_groups)

    run('resumed', fused=False, iterations=2)  # as older checkpoints are
    resumed = run('resumed', '--resume', fused=True, iterations=4)
    assert_equal(resumed.model.state_dict(), plain.model.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_config_says_itself_how_its_optimizer_steps():
    for change, expected in [
        ({'optim_wrapper.optimizer.foreach': True}, None),
        ({'optim_wrapper.optimizer.fused': False}, False),
        ({'optim_wrapper.optimizer': dict(type='SGD', lr=0.1)}, None),
    ]:
        cfg = load_config(ROOT / 'configs/retinanet_van_b0_coco.py', {})
        cfg.merge_from_dict(change)
        if 'optim_wrapper.optimizer' in change:
            cfg.optim_wrapper.optimizer = ConfigDict(change['optim_wrapper.optimizer'])
        apply_switches(cfg, train_parser().parse_args(['c.py']))
        assert cfg.optim_wrapper.optimizer.get('fused') is expected


def test_gradients_of_several_processes_are_kept_once(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg = config_of('classification', tmp_path / 'run', iterations=1)
    cfg.model.train_cfg = None  # mixup draws other numbers the second time
    runner = Runner.from_cfg(cfg)
    alone = copy.deepcopy(runner.model)
    loader = runner.build_dataloader(cfg.train_dataloader, seed=0)
    batch = alone.data_preprocessor(next(iter(loader)), True)
    meeting = f'file://{tmp_path}/meeting'
    torch.distributed.init_process_group('gloo', init_method=meeting, rank=0, world_size=1)
    try:
        runner._distributed = True
        wrapped = runner.wrap_model(None, runner.model)
        for model in (wrapped, alone):
            model(**batch, mode='loss')['loss'].backward()
    finally:
        torch.distributed.destroy_process_group()
    found = {name: p.grad for name, p in wrapped.module.named_parameters()}
    assert_equal(found, {name: p.grad for name, p in alone.named_parameters()})
    places = {gradient.untyped_storage().data_ptr() for gradient in found.values()}
    assert len(places) < len(found), 'gradients are not views of buckets'


def test_auto_scale_lr_needs_a_batch_size():
    cfg = load_config(ROOT / 'configs/fpn_van_b0_ade20k.py', {})
    cfg.auto_scale_lr = None
    with pytest.raises(UserError, match='for which batch size'):
        apply_switches(cfg, train_parser().parse_args(['c.py', '--auto-scale-lr']))


def groups_of(model, constructor, **paramwise):
    """{name of a parameter: (learning rate, weight decay)} under a constructor."""
    cfg = dict(
        constructor=constructor,
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        paramwise_cfg=dict(layer_decay_rate=0.7, **paramwise),
    )
    groups = build_optim_wrapper(model, ConfigDict(cfg)).optimizer.param_groups
    settings = {id(g['params'][0]): (g['lr'], g['weight_decay']) for g in groups}
    model = getattr(model, 'module', model)
    return {name: settings[id(p)] for name, p in model.named_parameters() if id(p) in settings}


def classifier(network):
    init_default_scope('mmpretrain')
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(network, out_indices=(3,)),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=8),
    )
    return MODELS.build(model)


OURS = 'mmvisattn.LayerDecayOptimWrapperConstructor'
THEIRS = 'mmpretrain.LearningRateDecayOptimWrapperConstructor'


@pytest.mark.parametrize('network', NETWORKS)
def test_layer_decay_is_mmpretrains(network):
    model = classifier(NETWORKS[network])
    rules = dict(norm_decay_mult=0.0, custom_keys={'fc': dict(decay_mult=0.5)})
    expected = groups_of(model, THEIRS, **rules)
    found = groups_of(model, OURS, **rules)
    assert set(found) == set(expected)
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair), name
    rates = {rate for rate, _ in found.values()}
    assert max(rates) == 1e-3
    assert len(rates) == 2 + sum(NETWORKS[network]['arch']['depths'])


def test_layer_decay_multiplies_the_other_options_and_sees_through_wrappers():
    model = classifier(NETWORKS['van'])
    plain = groups_of(model, OURS)
    wrapped = nn.Module()
    wrapped.module = model
    keys = {'patch_embed1': dict(lr_mult=10.0), 'head': dict(lr_mult=3.0)}
    found = groups_of(wrapped, OURS, custom_keys=keys)
    for name, (rate, _) in plain.items():
        factor = next((v['lr_mult'] for key, v in keys.items() if key in name), 1.0)
        assert found[name][0] == pytest.approx(rate * factor), name
    assert found['head.fc.weight'][0] == pytest.approx(3e-3)
    assert plain['backbone.patch_embed1.proj.weight'][0] == pytest.approx(1e-3 * 0.7**6)


def test_layer_decay_needs_depths_and_a_rate_below_one():
    with pytest.raises(UserError, match='depths of its layers'):
        groups_of(classifier(dict(type='mmpretrain.ResNet', depth=18)), OURS)
    for rate in (0, 1.5, '0.9', True, math.nan):
        with pytest.raises(UserError, match='above 0 and at most 1'):
            load_config(ROOT / 'configs/fpn_van_b0_ade20k.py', dict(layer_decay_rate=rate))
    cfg = load_config(ROOT / 'configs/fpn_van_b0_ade20k.py', dict(layer_decay_rate=0.8))
    assert cfg.optim_wrapper.constructor == OURS
