"""Benchmarks on public data: their trainings, the records of them, the page and the figures."""

import json
import re
import runpy
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import mmpretrain
import pytest
import torch
from conftest import ROOT, run_tool
from filelock import FileLock
from mmengine.registry import MODELS, init_default_scope
from small_configs import small_data

from mmvisattn.analysis import catalogue, launching, metafiles
from mmvisattn.analysis.results import figure, measured, page
from mmvisattn.analysis.results.benchmarks import (
    BENCHMARKS,
    NETWORKS,
    options_of,
    rows_named,
)
from mmvisattn.engine import run as run_module
from mmvisattn.engine.config import load_config
from mmvisattn.engine.record import NAME
from mmvisattn.errors import UserError
from mmvisattn.processes.launch import STOPPED

WRITE = 'run python tools/analysis_tools/write_pages.py'
ENTRIES = {entry.name: entry for entry in catalogue.entries()}
ROWS = rows_named(list(BENCHMARKS))
# What a grid of recipes has in common with the recipe of all networks.
COMMON = ('optim_wrapper.optimizer.lr=1e-3', 'train_dataloader.batch_size=64')
FIVE, TWENTY = rows_named(['imagenette/van_b0_5', 'imagenette/van_b0_20'])


def test_every_row_is_a_config_and_a_place_of_its_own():
    trainings = {}
    for row in (row for benchmark in BENCHMARKS.values() for row in benchmark.rows):
        assert row.config in ENTRIES
        assert row.name.partition('/')[0] in BENCHMARKS
        same = (row.config, row.options, row.data_set, row.start)
        assert trainings.setdefault(row.name, same) == same, 'one place for two trainings'
        assert row.start is None or rows_named([row.start])[0].options == ('max_epochs=80',)
    assert len(set(trainings.values())) == len(trainings), 'two places for one training'
    known = {path.parent.relative_to(measured.RECORDS).as_posix()
             for path in measured.RECORDS.rglob('*.json')}  # fmt: skip
    assert known <= set(trainings)


def put_back(cfg, plain, place):
    """Give a place such as 'optim_wrapper.optimizer.lr' what another config has there."""
    *parts, last = (int(part) if part.isdigit() else part for part in place.split('.'))
    for part in parts:
        cfg, plain = cfg[part], plain[part]
    assert cfg.get(last) != plain.get(last), place
    if last in plain:
        cfg[last] = plain[last]
    else:
        del cfg[last]


def test_the_networks_of_a_benchmark_share_a_recipe():
    """Whatever the backbone is: data, optimizer, schedule and length are the same.

    Rows with a recipe of their own differ in what their options say, and in nothing else.
    """
    recipes = {}
    for row in ROWS:
        own = [o for o in row.options if re.match('optim|train_dataloader', o)]
        assert not own or re.search('choices/|_fitted_|_muon_', row.name)
        cfg = load_config(ENTRIES[row.config].path, options_of(row))
        rest = tuple(option for option in row.options if option not in own)
        plain = load_config(ENTRIES[row.config].path, options_of(replace(row, options=rest)))
        for option in own:
            if option not in COMMON:
                put_back(cfg, plain, option.partition('=')[0])
        recipe = {
            key: cfg[key] for key in ('train_dataloader', 'val_dataloader', 'optim_wrapper',
                                      'param_scheduler', 'train_cfg', 'custom_hooks', 'test_cfg')
            if key in cfg
        }  # fmt: skip
        kind = re.sub('_[^_]*$', '', row.config.replace(ENTRIES[row.config].network, ''))
        length = cfg.train_cfg.get('max_epochs')
        assert recipes.setdefault((kind, length), recipe) == recipe, row.name
        assert cfg.model.backbone.get('drop_path_rate', 0.0) == 0.0
    assert {length for kind, length in recipes if kind.startswith('class')} == {5, 20, 80}


@pytest.mark.parametrize('row', BENCHMARKS['ablations'].rows, ids=lambda r: f'{r.name}')
def test_an_ablation_changes_its_network(row):
    """As its options say, and so in what it computes."""
    arch = load_config(ENTRIES[row.config].path, options_of(row)).model.backbone.arch
    if not row.name.startswith('ablations/'):
        assert isinstance(arch, str)
        return
    changes = {key: value for key, value in arch.items() if key != 'base'}
    assert [f'model.backbone.arch.{key}' for key in changes] == [
        option.partition('=')[0] for option in row.options[1:]
    ]
    outputs = []
    for options in (options_of(row), {}):
        torch.manual_seed(0)
        network = MODELS.build(dict(load_config(ENTRIES[row.config].path, options).model.backbone))
        with torch.inference_mode():
            outputs.append(network.eval()(torch.randn(1, 3, 64, 64))[0])
    assert not torch.equal(*outputs)


def written(row, **changes):
    """The config of a training of a row as its record holds it: elsewhere, in mixed precision."""
    options = {**options_of(row), 'data_root': f'/elsewhere/{row.data_set}', **changes}
    cfg = load_config(ENTRIES[row.config].path, options)
    cfg.optim_wrapper.update(type='mmvisattn.Bf16OptimWrapper')
    run_module._use_pretrained(cfg.model, 'none')
    path = f'configs/{row.config}.py'
    return {'path': path, 'sha256': 'a', 'text': cfg.pretty_text}


def record_of(row, seed, score, start='none', world_size=1, **changes):
    """That of a training that finished, as `keep` leaves it."""
    return {
        'schema': 1, 'weights': [], 'code': {}, 'packages': {}, 'environment': {},
        'machine': {'cpu': 'AMD EPYC', 'threads': 1, 'gpus': []},
        'run': {'task': 'train', 'seed': seed, 'start': '2026-01-01T00:00:00+00:00',
                'command': ['tools/train.py', '--pretrained', start], 'world_size': world_size},
        'config': changes.pop('config', None) or written(row),
        'data': {'train': {'sha256': 'd'}},
        'outcome': {'status': 'finished', 'metrics': {'accuracy/top1': score}, 'step': 5,
                    'all_seconds': 1800.0, 'all_timed': seed > 0, 'highest_memory': 2**31},
        **changes,
    }  # fmt: skip


def store(folder, row, seed, score, **changes):
    """Write the record of a training where `keep` does."""
    content = record_of(row, seed, score, **changes)
    path = folder / row.name / f'seed_{seed}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return content


def test_the_page_and_the_figures_are_current():
    assert (ROOT / 'docs' / 'results.md').read_text() == page.markdown(), WRITE
    parameters = {name: c['Parameters'] for name, c in metafiles.kept_counts().items()}
    drawn = {path.stem for path in measured.RECORDS.glob('*.svg')}
    for name, benchmark in BENCHMARKS.items():
        points = figure.points(measured.rows_of(benchmark), parameters)
        assert (bool(points) and benchmark.drawn) == (name in drawn), WRITE
        if name in drawn:
            text = (measured.RECORDS / f'{name}.svg').read_text()
            assert figure.digest_of(benchmark, points) in text, WRITE


def test_the_records_of_a_data_set_read_the_same_pictures():
    seen = {}
    for path in measured.RECORDS.glob('*/*/seed_*.json'):
        for name, data in json.loads(path.read_text())['data'].items():
            place = Path(data['path'])
            assert seen.setdefault((name, place), data['sha256']) == data['sha256'], path
    assert seen


def test_a_row_shows_its_records(tmp_path):
    for seed, score in enumerate((70.0, 71.0, 75.0)):
        store(tmp_path, FIVE, seed, score)
    text = page.markdown(tmp_path)
    line = next(li for li in text.splitlines() if f'`{FIVE.name}`' in li)
    assert [cell.strip() for cell in line.strip('|').split('|')] == [
        'VAN-B0', f'[72.00 ± 2.65](results/{FIVE.name}/seed_0.json)', '0, 1, 2', 'over 0.50', '2.0',
        'AMD EPYC, 1 thread, bf16', f'`{FIVE.name}`',
    ]  # fmt: skip
    assert 'The best of ours, VAN-B0 (mean of 3 seeds), is 13.77 below it.' in text
    assert '| ResNet-50 |  | no record |' in text
    assert '(results/imagenette.svg)' in text
    assert '(results/camvid.svg)' not in text


def test_the_order_of_a_paper_is_counted(tmp_path):
    rows = [
        row for row in BENCHMARKS['ablations'].rows if 'Table 6' in row.group and 'VAN' in row.group
    ]
    assert 'too little was run' in page.markdown(tmp_path)
    for row, score in zip(rows, (80.0, 81.0, 83.0, 82.0), strict=True):
        store(tmp_path, row, 0, score)
    section = page.markdown(tmp_path).partition('kernel and dilation')[2].partition('###')[0]
    # 74.8, 75.3, 75.4, 75.4: of six pairs the paper tells five apart
    assert 'in 5 of the 5 pairs' in section


def test_a_record_of_another_training_is_refused(tmp_path):
    wrong = {
        'another train_cfg|another param_scheduler': dict(config=written(FIVE, max_epochs=20)),
        'another model': dict(config=written(FIVE, **{'model.backbone.arch.gate': 'add'})),
        'another optim_wrapper': dict(config=written(FIVE, **{'optim_wrapper.optimizer.lr': 1.0})),
        'another custom_hooks': dict(config=written(FIVE, custom_hooks=[dict(type='EMAHook')])),
        'another train_dataloader': dict(world_size=8),
        'another data set, tenth': dict(config=written(FIVE, data_root='data/tenth')),
        '--pretrained van.pth': dict(start='van.pth'),
        'classifier_r50_imagenette': dict(
            config={**written(FIVE), 'path': 'configs/classifier_r50_imagenette.py'}
        ),
        'more than data': dict(config={**written(FIVE), 'text': 'model = __import__("os")'}),
    }
    for what, changes in wrong.items():
        store(tmp_path, FIVE, 0, 70.0, **changes)
        with pytest.raises(UserError, match=what):
            page.markdown(tmp_path)


def test_a_record_of_several_gpus_shares_the_batch(tmp_path):
    gpus = {'cpu': 'AMD EPYC', 'threads': 1, 'gpus': ['NVIDIA H200'] * 2}
    config = written(FIVE, **{'train_dataloader.batch_size': 32})
    store(tmp_path, FIVE, 0, 70.0, world_size=2, machine=gpus, config=config)
    assert '2 x NVIDIA H200, bf16' in page.markdown(tmp_path)


def test_a_row_says_what_it_starts_from(tmp_path):
    (row,) = rows_named(['pennfudan/retinanet_van_b0_imagenette'])
    metrics = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.7}
    outcome = {'status': 'finished', 'metrics': metrics, 'step': 120, 'all_seconds': 1.0,
               'all_timed': True, 'highest_memory': 1}  # fmt: skip
    store(tmp_path, row, 0, 0, start=f'work_dirs/{row.start}/seed_0', outcome=outcome)
    assert '[50.00]' in page.markdown(tmp_path)
    store(tmp_path, row, 0, 0, outcome=outcome)
    with pytest.raises(UserError, match='--pretrained none'):
        page.markdown(tmp_path)


def test_a_figure_shows_every_row_that_was_run(tmp_path):
    store(tmp_path, FIVE, 0, 70.0)
    store(tmp_path, TWENTY, 0, 80.0)
    benchmark = BENCHMARKS['imagenette']
    found = measured.rows_of(benchmark, tmp_path)
    points = figure.points(found, {FIVE.config: 4_000_000})
    assert [(p.label, p.hours, p.millions, p.score) for p in points] == [
        ('VAN-B0', 0.5, 4.0, 70.0), ('VAN-B0', 0.5, 4.0, 80.0),
    ]  # fmt: skip
    drawn = figure.draw(benchmark, points)
    left, right = drawn.axes
    for axis, place in ((left, 0.5), (right, 4.0)):
        shown = [tuple(line.get_xydata()[0]) for line in axis.lines if len(line.get_xydata()) == 1]
        assert {(place, 70.0), (place, 80.0)} <= set(shown)
    assert '5 epochs' in figure.as_svg(drawn, benchmark, points)


def test_a_full_figure_tells_networks_apart(tmp_path):
    benchmark = BENCHMARKS['imagenette']
    points = [
        figure.Point(row.label, row.group, 'Top 1 Accuracy', 50.0, None, 1.0, 1.0)
        for row in benchmark.rows
    ]
    colours, marks = figure._keys(benchmark, points)
    assert len(set(colours.values())) == len(colours) == len(NETWORKS) + 6  # with own recipes
    assert len(set(marks.values())) == 3
    drawn = figure.draw(benchmark, points)
    (legend,) = drawn.legends
    assert {text.get_text() for text in legend.get_texts()} == {*colours, *marks}


def test_a_variant_has_parameters_of_its_own(tmp_path):
    full, *_ = rows_named(['ablations/van_b0_full'])
    store(tmp_path, full, 0, 80.0, outcome={
        'status': 'finished', 'metrics': {'accuracy/top1': 80.0}, 'step': 20, 'all_seconds': 1.0,
        'all_timed': True, 'highest_memory': 1})  # fmt: skip
    found = measured.rows_of(BENCHMARKS['ablations'], tmp_path)
    (point,) = figure.points(found, {full.config: 3_850_000})
    # Table 3: 124.7 M with 1000 classes of 256 features, here with 10
    assert point.millions == pytest.approx(124.7 - 0.257 + 0.003, abs=0.1)


# Standard deviations that a library's network starts with: Kaiming by fan-out; truncated normals.
DRAWN = {
    'r50': ('layer4.0.conv2.weight', (2 / (9 * 512)) ** 0.5),
    'convnext_t': ('stages.3.0.pointwise_conv1.weight', 0.02),
    'swin_t': ('stages.3.blocks.0.ffn.layers.0.0.weight', 0.02),
}


@pytest.mark.parametrize('network', DRAWN)
def test_random_weights_are_what_a_network_draws(network):
    """Not what PyTorch's layers draw, which the networks of the libraries would start with."""
    for name in ('classifier_{}_imagenette', 'fpn_{}_camvid', 'mask_rcnn_{}_coco'):
        cfg = load_config(ENTRIES[name.format(network)].path)
        run_module._use_pretrained(cfg.model, 'none')
        torch.manual_seed(0)
        backbone = MODELS.build(cfg.model.backbone)
        backbone.init_weights()
        state = backbone.state_dict()
        key, std = DRAWN[network]
        bias = state.get(key.replace('weight', 'bias'))
        assert bias is None or not bias.any(), name
        # millions of numbers; a library may cut their tails
        assert state[key].std().item() == pytest.approx(std, rel=0.02), name


@pytest.mark.parametrize('network', NETWORKS)
def test_a_backbone_starts_from_the_classifier_of_its_network(network, tmp_path):
    """Every tensor but the norms of outputs that a classifier has not, in the baselines too."""
    cfg = load_config(ENTRIES[f'classifier_{network}_imagenette'].path)
    init_default_scope(cfg.default_scope)
    classifier = mmpretrain.registry.MODELS.build(cfg.model)
    for parameter in classifier.parameters():
        parameter.data += 0.01  # what starts with a constant is told apart
    torch.save({'state_dict': classifier.state_dict(), 'meta': {}}, tmp_path / 'epoch_1.pth')
    trained = classifier.backbone.state_dict()
    for framework in ('fpn_{}_camvid', 'retinanet_{}_pennfudan'):
        cfg = load_config(ENTRIES[framework.format(network)].path)
        run_module._use_pretrained(cfg.model, str(tmp_path))  # the folder of a run
        run_module._check_backbone(cfg)
        backbone = MODELS.build(cfg.model.backbone)
        backbone.init_weights()
        missed = {key for key, value in backbone.state_dict().items()
                  if key not in trained or not torch.equal(value, trained[key])}  # fmt: skip
        assert {re.sub(r'\d.*', '', key) for key in missed} <= {'norm'}
        assert len(missed) <= 6


def saved_model(backbone, path):
    """The checkpoint of a model with this backbone."""
    state = MODELS.build({**backbone, 'init_cfg': None}).state_dict()
    state = {f'backbone.{key}': value + 1 for key, value in state.items()}
    torch.save({'state_dict': state, 'meta': {}}, path)
    return state


@pytest.mark.parametrize(
    ('config', 'other'),
    [
        ('fpn_convnext_t_camvid', dict(type='mmpretrain.ResNet', depth=50)),
        ('fpn_r50_camvid', dict(type='mmpretrain.ResNet', depth=101)),
        ('fpn_r50_camvid', dict(type='mmpretrain.ResNet', depth=34)),
        ('fpn_swin_t_camvid', dict(type='mmpretrain.SwinTransformer', arch='small')),
    ],
    ids=lambda value: value if isinstance(value, str) else str([*value.values()][-1]),
)
def test_a_baseline_refuses_the_weights_of_another(config, other, tmp_path):
    """MMEngine would load what fits of it, or nothing, and go on."""
    cfg = load_config(ENTRIES[config].path)
    init_default_scope(cfg.default_scope)
    saved_model(other, tmp_path / 'other.pth')
    run_module._use_pretrained(cfg.model, str(tmp_path / 'other.pth'))
    with pytest.raises(UserError, match='not a checkpoint of this network'):
        run_module._check_backbone(cfg)
    with pytest.raises(UserError, match='no such checkpoint'):
        run_module._use_pretrained(cfg.model, str(tmp_path / 'no.pth'))


def test_swin_of_mmdet_starts_from_a_detector_of_its_own(tmp_path):
    """It would convert the names of its authors' release, which are not in there."""
    cfg = load_config(ENTRIES['mask_rcnn_swin_t_coco'].path)
    init_default_scope(cfg.default_scope)
    state = saved_model(cfg.model.backbone, tmp_path / 'swin.pth')
    run_module._use_pretrained(cfg.model, str(tmp_path / 'swin.pth'))
    run_module._check_backbone(cfg)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    found = backbone.state_dict()
    assert {f'backbone.{key}' for key in found} == set(state)
    assert all(torch.equal(found[key], state[f'backbone.{key}']) for key in found)


def test_unknown_rows_are_named():
    with pytest.raises(UserError, match='imagenette/van_b0_5'):
        rows_named(['imagenette/van_b0_6'])
    done = run_tool('reproduce.py', 'imagenet')
    assert done.returncode == 2
    assert 'no row imagenet' in done.output


def shortened(monkeypatch, name, **options):
    """Give rows of a benchmark other options, in this process."""
    benchmark = BENCHMARKS[name]
    rows = [replace(r, options=options.get(r.name.rpartition('/')[2], r.options))
            for r in benchmark.rows]  # fmt: skip
    monkeypatch.setitem(BENCHMARKS, name, replace(benchmark, rows=tuple(rows)))


def test_a_signal_reaches_the_test_of_a_row(tmp_path, monkeypatch):
    """As it reaches a training: the test of the last checkpoint is a process, too."""
    monkeypatch.setattr(launching, 'TOOLS', tmp_path)
    (tmp_path / 'test.py').write_text('import os, time\nopen("began", "w")\ntime.sleep(60)\n')
    monkeypatch.chdir(tmp_path)
    handlers = {}
    monkeypatch.setattr(launching.signal, 'signal', handlers.__setitem__)
    training = launching.Training(None)

    def interrupt():
        while not (tmp_path / 'began').is_file():
            time.sleep(0.01)
        handlers[signal.SIGTERM](signal.SIGTERM, None)

    threading.Thread(target=interrupt, daemon=True).start()
    assert training.test('config.py', tmp_path, []) == -signal.SIGTERM
    assert training.stopped


class Stub:
    """A training that another command may hold up."""

    gpus, stopped, ran = None, False, False

    def run(self, config, options):
        self.ran = True
        return 0


def test_a_training_that_another_command_runs_is_waited_for(tmp_path, capfd):
    said, found = '', []
    for stops in (False, True):
        training, lock = Stub(), FileLock(tmp_path / '.seed_0.lock')
        with lock:
            waiting = threading.Thread(target=lambda training=training: found.append(
                launching.train_all(training, 'config.py', [], [0], tmp_path)))  # fmt: skip
            waiting.start()
            while 'another command trains it' not in said:
                assert waiting.is_alive()
                time.sleep(0.05)
                said += capfd.readouterr().out
            assert not training.ran
            training.stopped = stops
            if stops:
                waiting.join(60)
        waiting.join(60)
        assert training.ran != stops
        said = ''
    assert found == [0, STOPPED]


def reproduce(monkeypatch, *words):
    """The exit status of the tool, in this process."""
    tool = ROOT / 'tools' / 'reproduce.py'
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, words)])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)  # this process keeps its own
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name='__main__')
    return end.value.code


def finish(work_dir, row, seed, **changes):
    """Leave in a work dir what a training does."""
    content = record_of(row, seed, 70.0, **changes)
    content['outcome'] |= {'peak_memory': {'gpu': None, 'process': 2**31}, 'wall_seconds': 1800.0}
    (work_dir / 'log').mkdir(parents=True)
    (work_dir / 'log' / NAME).write_text(json.dumps(content))


def test_a_seed_that_crashed_leaves_the_others(tmp_path, monkeypatch):
    kept = tmp_path / 'kept'
    monkeypatch.setattr(measured.keep, '__defaults__', (kept,))

    def run(self, config, options):
        seed, work_dir = (options[options.index(f'--{key}') + 1] for key in ('seed', 'work-dir'))
        if seed == '0':
            return 1
        finish(Path(work_dir), FIVE, int(seed))
        return 0

    monkeypatch.setattr(launching.Training, 'run', run)
    assert reproduce(monkeypatch, FIVE.name, '--seeds', 0, 1, '--work-dir', tmp_path) == 1
    assert [path.name for path in kept.rglob('*.json')] == ['seed_1.json']


def test_a_trial_is_neither_kept_nor_started_from(tmp_path, monkeypatch, capfd):
    """A training of other options in the folder of a row, or of what rows start from."""
    good = tmp_path / 'kept'
    store(good, FIVE, 0, 70.0)
    before = (good / FIVE.name / 'seed_0.json').read_text()
    monkeypatch.setattr(measured.keep, '__defaults__', (good,))
    (start,) = rows_named(['imagenette/van_b0_80'])
    for row, asked in ((FIVE, FIVE.name), (start, 'pennfudan/retinanet_van_b0_imagenette')):
        finish(tmp_path / row.name / 'seed_0', row, 0, config=written(row, max_epochs=1))
        words = (asked, '--seeds', 0, '--work-dir', tmp_path)
        assert reproduce(monkeypatch, *words) == 2
        assert 'the record of another training than' in capfd.readouterr().err
    assert (good / FIVE.name / 'seed_0.json').read_text() == before


def test_pictures_of_a_test_are_looked_for_before_a_training(tmp_path, monkeypatch, capfd):
    data = small_data(tmp_path / 'data', num_train=2)
    shutil.rmtree(data['camvid'] / 'images' / 'test')
    monkeypatch.setattr(launching.Training, 'run', lambda *_: pytest.fail('it trains'))
    words = ('camvid/van_b0_scratch', '--data', tmp_path / 'data', '--work-dir', tmp_path / 'work')
    assert reproduce(monkeypatch, *words) == 2
    assert 'images/test' in capfd.readouterr().err


@pytest.mark.slow
def test_a_row_is_trained_tested_and_kept(tmp_path, monkeypatch, capfd):
    """And what it starts from, before; the second time nothing is left to do."""
    data = small_data(tmp_path / 'data', num_train=4)
    data['imagenet'].rename(tmp_path / 'data' / 'imagenette')
    shortened(monkeypatch, 'imagenette', van_b0_80=('max_epochs=1',))
    shortened(monkeypatch, 'camvid', van_b0_imagenette=('max_iters=2',))
    kept = tmp_path / 'kept'
    monkeypatch.setattr(measured.keep, '__defaults__', (kept,))
    words = ['camvid/van_b0_imagenette', '--seeds', 1, '--data', tmp_path / 'data',
             '--work-dir', tmp_path / 'work']  # fmt: skip
    words += ['--cfg-options', 'train_dataloader.num_workers=1']
    for again in (False, True):
        status = reproduce(monkeypatch, *words)
        said = capfd.readouterr()
        assert status == 0, said.out + said.err
        assert ('finished before' in said.out) == again
        assert {p.relative_to(kept).as_posix() for p in kept.rglob('*.json')} == {
            'imagenette/van_b0_80/seed_0.json',
            'camvid/van_b0_imagenette/seed_1.json',
            'camvid/van_b0_imagenette/test_1.json',
        }
    (row,) = rows_named(['camvid/van_b0_imagenette'])
    found = measured.rows_of(BENCHMARKS['camvid'], kept)[row]
    record = json.loads((kept / row.name / 'seed_1.json').read_text())
    (weights,) = record['weights']
    assert weights['purpose'] == 'pretrained'
    assert weights['report']['coverage'] == 1
    assert weights['path'].endswith('work/imagenette/van_b0_80/seed_0/epoch_1.pth')
    tested = json.loads((kept / row.name / 'test_1.json').read_text())
    assert 'images/test' in json.dumps(tested['data'])
    assert found.score.values == (tested['outcome']['metrics']['mIoU'],)
    assert found.seconds.mean > 0
    assert record['outcome']['starts'] == 1
