"""A run that is interrupted ends with the weights it would have had, bit for bit."""

import os
import signal

import pytest
import torch
from conftest import ROOT, forget_visualizers
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from small_configs import layout_of, scalars, small_config, small_data
from test_switches import config_of

from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.run import train
from mmvisattn.engine.runner import Runner
from mmvisattn.errors import UserError
from mmvisattn.processes.launch import STOPPED
from mmvisattn.survival.checkpoints import latest_checkpoint
from mmvisattn.survival.resuming import EXACT, choose_checkpoint, has_saved_since
from mmvisattn.survival.stopping import SIGNALS
from mmvisattn.weights import read_checkpoint

# Every task, loops that count epochs and iterations, MMEngine's averages and mmpretrain's, an
# optimizer of timm's.
RECIPES = {
    'upernet_van_b0_ade20k': ('--amp', 'bf16'),
    'retinanet_cyclemlp_b1_coco': ('--ema', '0.1'),
    'mask_rcnn_van_b0_coco': ('--accumulate', '3'),
    'panoptic_fpn_van_b0_coco': (),
    'simple_baseline_256x192_van_b0_coco': ('--ema', '0.1', '--accumulate', '2'),
    'classifier_coatnet_0_imagenet': (),
}
SETTINGS = {'classifier_coatnet_0_imagenet': {'optim_wrapper.optimizer.type': 'timm.optim.Muon'}}
QUICK = ('upernet_van_b0_ade20k', 'simple_baseline_256x192_van_b0_coco')
ITERATIONS = 8


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends a signal to its own process in an iteration, before its step."""

    iteration = None

    def before_train_iter(self, runner, **_):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def interruptible(config):
    """Give a config the hook above."""
    cfg = Config.fromfile(config)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmengine.SignalAt')]
    cfg.dump(config)
    return cfg


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Eight pictures of each layout: an epoch of four batches."""
    return small_data(tmp_path_factory.mktemp('resuming'), num_train=8)


@pytest.fixture(autouse=True)
def plain_configs(monkeypatch):
    """Configs are written several times, and making them pretty takes longer than training."""
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))


@pytest.fixture(autouse=True)
def own_signals():
    """A run that was stopped heeds no more signals; the tests do."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def started(config, work, *options, length='max_epochs=2', at=None, **settings):
    """Train until the end, or until the signal in iteration `at`; returns the exit status."""
    settings = {
        'default_hooks.logger.interval': 1, 'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': True, **settings,
    }  # fmt: skip
    SignalAt.iteration = at
    forget_visualizers()
    arguments = [
        config, '--work-dir', work, '--pretrained', 'none', '--deterministic', *options,
        '--cfg-options', length, *(f'{key}={value}' for key, value in settings.items()),
    ]  # fmt: skip
    try:
        train(train_parser().parse_args([str(argument) for argument in arguments]))
    except SystemExit as stopped:
        return stopped.code
    return 0


def differences(one, other, place=''):
    """Where two nested values differ in a bit."""
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [place]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f'{place}: {one.keys() ^ other.keys()}']
        return [d for key in one for d in differences(one[key], other[key], f'{place}.{key}')]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f'{place}: {len(one)} and {len(other)}']
        return [
            d for i, pair in enumerate(zip(one, other, strict=True))
            for d in differences(*pair, f'{place}[{i}]')
        ]  # fmt: skip
    return [] if one == other else [f'{place}: {one!r} and {other!r}']


def assert_same_end(work, whole):
    """The last checkpoints and the last metrics of two runs are equal."""
    ends = []
    for folder in (work, whole):
        path, broken = latest_checkpoint(folder)
        assert not broken
        checkpoint = read_checkpoint(path)
        assert checkpoint.pop('meta')['iter'] >= ITERATIONS
        checkpoint.pop('message_hub')  # holds times
        ends.append(checkpoint)
    assert set(ends[0]) >= {'state_dict', 'optimizer', EXACT}
    assert differences(*ends) == []
    times = {'time', 'data_time', 'eta'}
    last = [
        [{k: v for k, v in row.items() if k not in times} for row in scalars(folder)][-1]
        for folder in (work, whole)
    ]
    assert last[0] == last[1], 'the metrics of the last validation'
    assert len(last[0]) > 1


@pytest.mark.parametrize(
    'recipe',
    [pytest.param(r, marks=[] if r in QUICK else pytest.mark.slow) for r in RECIPES],
)
def test_an_interrupted_run_ends_as_the_whole_one(recipe, data, tmp_path):
    layout, switches = layout_of(recipe), RECIPES[recipe]
    config = small_config(ROOT / f'configs/{recipe}.py', layout, data[layout], tmp_path)
    is_by_epoch = 'max_epochs' in interruptible(config).train_cfg
    length = 'max_epochs=2' if is_by_epoch else f'max_iters={ITERATIONS}'
    settings = {'length': length, **SETTINGS.get(recipe, {})}
    options = ('--seed', '5', *switches)
    assert started(config, tmp_path / 'whole', *options, **settings) == 0

    work = tmp_path / 'parts'
    assert started(config, work, *options, **settings, at=3) == STOPPED
    saved, _ = latest_checkpoint(work)
    assert saved.name == ('epoch_0_iter_3.pth' if is_by_epoch else 'iter_3.pth')
    options = ('--resume', 'auto', *switches)  # the seed comes from the checkpoint
    if recipe in QUICK:
        assert started(config, work, *options, **settings, at=5) == STOPPED
    assert started(config, work, *options, **settings) == 0
    assert_same_end(work, tmp_path / 'whole')
    assert {p.name for p in work.glob('*.pth')} == {
        p.name for p in (tmp_path / 'whole').glob('*.pth')
    }, 'what a signal saved is removed'


def test_the_scale_of_a_mixed_precision_run_goes_on(scaler_on_cpu, tmp_path):
    def run(folder, iterations, *switches):
        cfg = config_of('segmentation', tmp_path / folder, *switches, iterations=iterations)
        cfg.param_scheduler = None
        cfg.optim_wrapper.update(
            type='AmpOptimWrapper',
            dtype='bfloat16',
            loss_scale=dict(init_scale=4.0, growth_interval=2),
        )
        Runner.from_cfg(cfg).train()
        return read_checkpoint(tmp_path / folder / f'iter_{iterations}.pth')

    whole = run('whole', 6)
    half = run('parts', 3)
    assert half['optimizer']['loss_scaler']['scale'] == 8.0
    assert half['optimizer']['loss_scaler']['_growth_tracker'] == 1, 'in the middle of an interval'
    parts = run('parts', 6, '--resume')
    assert parts['optimizer']['loss_scaler']['scale'] == 32.0
    for key in ('state_dict', 'optimizer', EXACT):
        assert differences(parts[key], whole[key]) == []


def test_a_run_that_is_started_again_does_not_repeat_itself(tmp_path):
    """A batch script asks for the same checkpoint each time."""
    start = tmp_path / 'elsewhere.pth'
    torch.save({'meta': {'iter': 5}}, start)
    assert not has_saved_since(tmp_path / 'run', str(start))
    (tmp_path / 'run').mkdir()
    torch.save({'meta': {'iter': 4}}, tmp_path / 'run' / 'iter_4.pth')  # of an older run
    assert not has_saved_since(tmp_path / 'run', str(start))
    torch.save({'meta': {'iter': 6}}, tmp_path / 'run' / 'iter_6.pth')
    assert has_saved_since(tmp_path / 'run', str(start))


def test_another_number_of_processes_shares_the_batch(tmp_path, monkeypatch):
    """Four processes of two samples each began; a step sees eight, whoever goes on."""

    def resumed(before, now, batch_size=2):
        exact = {'processes': [{}] * before, 'began': [4, 2]}
        meta = {'seed': 7, 'epoch': 0, 'iter': 5}
        torch.save({'meta': meta, EXACT: exact, 'optimizer': {}}, tmp_path / 'iter_5.pth')
        monkeypatch.setattr('mmvisattn.survival.resuming.get_world_size', lambda: now)
        loader = dict(batch_size=batch_size)
        cfg = Config(dict(resume=True, work_dir=str(tmp_path), train_dataloader=loader))
        return choose_checkpoint(cfg), cfg

    for before in (4, 2):  # went on with two meanwhile
        for now, batch_size in ((1, 8), (2, 4), (4, 2), (8, 1)):
            notes, cfg = resumed(before, now)
            assert cfg.train_dataloader.batch_size == batch_size
            assert cfg.randomness.seed == 7
            assert cfg.load_from.endswith('iter_5.pth')
            assert any('a step still sees 8' in note for note in notes) == (now != before)
    assert resumed(4, 2, batch_size=3)[1].train_dataloader.batch_size == 3, 'chosen by hand'
    with pytest.raises(UserError, match='cannot share'):
        resumed(4, 3)
