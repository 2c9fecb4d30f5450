"""Records of runs, their differences, and several seeds."""

import copy
import hashlib
import json
import os
import runpy
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import DEMO_CONFIG, ROOT, run_tool, short_run

from mmvisattn.analysis.records import describe_differences, differences, read_record, records_in
from mmvisattn.analysis.seeds import as_json, describe_seeds, read_seeds
from mmvisattn.backbones import VAN
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.config import load_config
from mmvisattn.engine.data_record import describe_data, describe_folder, places_of
from mmvisattn.engine.record import Record, RecordHook, config_sha256, plain
from mmvisattn.engine.run import test as run_test
from mmvisattn.engine.run import train
from mmvisattn.engine.surroundings import describe_code, describe_environment
from mmvisattn.errors import UserError

CONFIG = ROOT / DEMO_CONFIG


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def options(data_root, iterations=1):
    """Those of a short run, without --work-dir and without a seed."""
    return [o for o in short_run(data_root, '', iterations)[2:] if 'seed' not in o]


def start(function, parser, *args):
    """Train or test in this process."""
    function(parser().parse_args([str(arg) for arg in args]))


def tool(name, *args):
    """Run one of the tools in this process; its exit status."""
    before, sys.argv = sys.argv, [name, *map(str, args)]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
    finally:
        sys.argv = before
    return end.value.code


@pytest.mark.parametrize(
    'name', ['train_seeds', 'analysis_tools/diff_records', 'analysis_tools/summarize_seeds']
)
def test_help_fits_a_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    assert tool(f'{name}.py', '--help') == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (['--seeds', '1', '1'], '--seeds: each once'),
        (['--seeds', '1', '--seed', '2'], '--seed is given to each training'),
        (['--seeds', '1', '--resume'], '--resume is given to each training'),
        (['--seeds', '1', '--launcher', 'slurm'], 'started by --gpus N'),
        (['--seeds', '1', '--resum'], 'unrecognized arguments: --resum'),
    ],
)
def test_options_are_checked_before_the_first_training(wrong, said, capsys, tmp_path):
    assert tool('train_seeds.py', 'c.py', '--work-dir', tmp_path / 'new', *wrong) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """VAN-B0's weights in the authors' layout."""
    path = tmp_path_factory.mktemp('weights') / 'van_b0.pth'
    state = VAN('b0').state_dict()
    state |= {'head.weight': torch.zeros(1000, 256), 'head.bias': torch.zeros(1000)}
    torch.save({'state_dict': state}, path)
    return path


@pytest.fixture(scope='module')
def two_seeds(ade20k, weights, tmp_path_factory):
    """The command that trained two seeds, what it said, and the folder."""
    folder = tmp_path_factory.mktemp('seeds')
    command = [CONFIG, '--seeds', '3', '4', '--work-dir', folder, '--pretrained', weights]
    command += options(ade20k)
    done = run_tool('train_seeds.py', *command)
    assert done.returncode == 0, done.tail
    return command, done.output, folder


def test_a_record_says_what_a_run_started_from(two_seeds, ade20k, weights):
    record = read_record(two_seeds[2] / 'seed_3')
    assert record['run']['seed'] == 3
    assert record['run']['world_size'] == 1
    assert record['run']['task'] == 'train'
    assert '--pretrained' in record['run']['command']
    assert 'max_iters = 1' in record['config']['text']
    assert record['packages']['torch'] in torch.__version__
    assert record['machine']['threads'] >= 1
    assert len(record['code']['mmvisattn']['source_sha256']) == 64

    (load,) = record['weights']
    assert load['purpose'] == 'pretrained'
    assert load['sha256'] == sha256(weights)
    assert load['bytes'] == weights.stat().st_size
    report = load['report']
    assert report['matched'] == len(VAN('b0').state_dict())
    assert report['dropped'] == ['head.weight', 'head.bias']
    assert report['missing'] == report['unexpected'] == report['wrong_shape'] == []

    pictures = record['data']['train_dataloader.img_path']
    assert pictures['files'] == 8
    assert pictures['bytes'] == sum(
        path.stat().st_size for path in (ade20k / 'images/training').iterdir()
    )
    assert set(record['data']) == {
        f'{split}_dataloader.{part}'
        for split in ('train', 'val')
        for part in ('img_path', 'seg_map_path')
    }


def test_a_record_says_how_a_run_ended(two_seeds):
    outcome = read_record(two_seeds[2] / 'seed_3')['outcome']
    assert (outcome['status'], outcome['iter'], outcome['step']) == ('finished', 1, 1)
    (scalars,) = two_seeds[2].glob('seed_3/*/vis_data/scalars.json')
    logged = json.loads(scalars.read_text().splitlines()[-1])
    assert outcome['metrics'] == {key: logged[key] for key in ('aAcc', 'mIoU', 'mAcc')}
    assert 0 < outcome['wall_seconds'] < 600
    assert outcome['peak_memory']['process'] > 100e6  # torch alone takes more


def test_several_seeds_end_with_mean_and_std(two_seeds):
    command, said, folder = two_seeds
    scores = [read_record(folder / f'seed_{seed}')['outcome']['metrics']['mIoU'] for seed in (3, 4)]
    mean, std = statistics.mean(scores), statistics.stdev(scores)
    assert std > 0, 'two seeds, two results'
    (row,) = [line for line in said.splitlines() if line.startswith('mIoU ')]
    assert row.split()[1:5] == [f'{mean:.5g}', '+-', f'{std:.4g}', '2']
    assert tool('analysis_tools/summarize_seeds.py', folder) == 0

    before = set(folder.glob('seed_*/*'))
    again = run_tool('train_seeds.py', *command)
    assert again.returncode == 0, again.tail
    assert again.output.count('finished before') == 2
    assert row in again.output
    assert set(folder.glob('seed_*/*')) == before, 'a finished seed is not trained again'

    other = run_tool('train_seeds.py', *command, 'optim_wrapper.optimizer.lr=1')
    assert other.returncode == 2
    assert 'seeds of another command' in other.output


def test_two_seeds_differ_in_nothing_else(two_seeds, capsys):
    folder = two_seeds[2]
    assert tool('analysis_tools/diff_records.py', folder / 'seed_3', folder / 'seed_3') == 0
    assert tool('analysis_tools/diff_records.py', folder / 'seed_3', folder / 'seed_4') == 1
    said = capsys.readouterr().out
    assert '  seed: 3 | 4\n' in said
    assert '1 difference(s) that may change results.' in said
    assert tool('analysis_tools/diff_records.py', folder, folder / 'seed_4') == 2
    assert 'no record in' in capsys.readouterr().err
    assert tool('analysis_tools/diff_records.py', folder / 'seeds.json', folder / 'seed_4') == 2
    assert 'is no record' in capsys.readouterr().err


def test_records_name_the_checkpoint_that_a_run_goes_on_from(ade20k, tmp_path, monkeypatch):
    """The seed that a run drew is that of those that go on from it."""
    command = [CONFIG, '--work-dir', tmp_path, *options(ade20k, 2)]
    command += ['train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1']
    with monkeypatch.context() as patch:
        patch.setattr(RecordHook, 'before_val', interrupt, raising=False)
        with pytest.raises(KeyboardInterrupt):
            start(train, train_parser, *command)
    start(train, train_parser, '--resume', 'auto', *command)
    start(run_test, parser_of_test, CONFIG, tmp_path, '--deploy', '--work-dir', tmp_path,
          *options(ade20k))  # fmt: skip

    first, second, test = records_in(tmp_path)
    assert first['outcome']['status'] == 'stopped'
    assert first['outcome']['signal'] == 'SIGINT'
    assert first['outcome']['iter'] == 1
    assert 'metrics' not in first['outcome']

    (load,) = second['weights']
    assert load['purpose'] == 'resume'
    assert load['sha256'] == sha256(tmp_path / 'iter_1.pth')
    assert load['written_by']['experiment_name'].endswith(Path(first['run']['log_dir']).name)
    assert second['run']['first_iter'] == 1
    assert second['outcome']['iter'] == 2
    assert second['run']['seed'] == first['run']['seed']
    assert second['config']['sha256'] == first['config']['sha256']
    counting = [d.name for d in differences(first, second) if d.counts]
    assert {name.partition('.')[0] for name in counting} == {'weights'}

    assert (test['run']['task'], test['run']['folded']) == ('test', True)
    assert test['weights'][0]['purpose'] == 'test'
    assert test['weights'][0]['sha256'] == sha256(tmp_path / 'iter_2.pth')
    assert set(test['data']) == {'test_dataloader.img_path', 'test_dataloader.seg_map_path'}
    for task, record in (('train', second), ('test', test)):
        (run,) = read_seeds([tmp_path], task)
        assert run.metrics == record['outcome']['metrics']


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_interrupted_seeds_go_on(ade20k, tmp_path):
    """A kill leaves a whole record without an end; a signal stops all seeds."""
    command = [CONFIG, '--work-dir', tmp_path, '--no-validate', *options(ade20k, 12)]
    command += ['default_hooks.checkpoint.interval=2', '--seeds', '0']
    both = [sys.executable, ROOT / 'tools/train_seeds.py', *command, '1']
    with (tmp_path / 'log').open('w') as log:
        running = subprocess.Popen(list(map(str, both)), stdout=log, stderr=log)
    wait_for(tmp_path / 'seed_0' / 'iter_2.pth')
    os.kill(read_record(tmp_path / 'seed_0')['run']['pid'], signal.SIGKILL)
    wait_for(tmp_path / 'seed_1' / 'iter_2.pth')
    running.send_signal(signal.SIGTERM)
    said = f'seed 0: ended with status {-signal.SIGKILL}'
    assert running.wait(120) == 75, (tmp_path / 'log').read_text()[-2000:]
    assert said in (tmp_path / 'log').read_text()
    outcome = read_record(tmp_path / 'seed_1')['outcome']
    assert (outcome['status'], outcome['signal']) == ('stopped', 'SIGTERM')
    assert (tmp_path / 'seed_1' / f'iter_{outcome["iter"]}.pth').is_file()
    killed = read_record(tmp_path / 'seed_0')
    assert killed['outcome'] == {'status': 'running'}
    assert killed['data'], 'checksums were written meanwhile'
    lines = list(describe_seeds(read_seeds([tmp_path])))
    assert lines[1].startswith('without a result: seed_0: running, or killed')

    done = run_tool('train_seeds.py', *command)
    assert 'seed_0: it validated nothing' in done.output
    resumed = read_record(tmp_path / 'seed_0')
    assert (resumed['outcome']['status'], resumed['outcome']['iter']) == ('finished', 12)
    assert resumed['weights'][0]['purpose'] == 'resume'


def wait_for(path, seconds=120):
    deadline = time.time() + seconds
    while not path.is_file():
        assert time.time() < deadline, f'no {path}'
        time.sleep(0.02)


@pytest.mark.slow
def test_one_of_several_processes_writes_the_record(ade20k, tmp_path):
    done = run_tool(
        'train_seeds.py', CONFIG, '--seeds', '7', '--gpus', '2', '--work-dir', tmp_path,
        *options(ade20k), env={'PYTHON': sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.tail
    (record,) = records_in(tmp_path / 'seed_7')
    assert record['run']['world_size'] == 2
    assert record['run']['seed'] == 7
    assert record['outcome']['status'] == 'finished'


def test_a_record_is_whole_at_every_moment(tmp_path, monkeypatch):
    """A write that fails leaves the record before, warns once, and stops nothing."""
    warnings = []
    record = Record(tmp_path / 'record.json', {'run': {}}, warnings.append)

    def on_disk():
        return json.loads(record.path.read_text())

    record.update('run', seed=1)
    assert on_disk()['run'] == {'seed': 1}
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', no_space)
        record.update('run', seed=2)
        record.update('run', seed=3)
    assert on_disk()['run'] == {'seed': 1}
    assert len(warnings) == 1
    assert 'No space left' in warnings[0]
    record.fill_later('data', lambda: {'a': float('nan')})
    record.finish('finished')
    record.finish('failed', error='what comes later')
    assert on_disk()['data'] == {'a': None}, 'JSON has no nan'
    assert on_disk()['outcome']['status'] == 'finished'


def no_space(_):
    raise OSError(28, 'No space left on device')


def test_a_hash_names_the_experiment_not_the_run():
    first = load_config(CONFIG)
    other = copy.deepcopy(first)
    other.update(work_dir='elsewhere', launcher='slurm', resume=True, load_from='iter_2.pth')
    other.randomness = dict(seed=5)
    assert config_sha256(other) == config_sha256(first)
    other.optim_wrapper.optimizer.lr = 0.5
    assert config_sha256(other) != config_sha256(first)


@pytest.mark.parametrize(
    ('secret', 'shown'),
    [
        ('https://me:pass@host/a.pth', 'https://***@host/a.pth'),
        ('x=https://host/a.pth?sig=abc&b=1', 'x=https://host/a.pth?***'),
        ("dict(api_key='abc', b=1)", "dict(api_key='***', b=1)"),
        ('init_kwargs.password=abc', 'init_kwargs.password=***'),
        ("dict(with_cls_token=True, out_type='cls_token')",) * 2,
        ('https://host/van_b0.pth',) * 2,
    ],
)
def test_secrets_are_not_written_down(secret, shown):
    assert plain({'a': [secret]}) == {'a': [shown]}


def test_only_named_variables_are_written_down(monkeypatch):
    monkeypatch.setenv('MMVISATTN_NATIVE', '0')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'abc')
    monkeypatch.setenv('XNCCL_DEBUG', 'abc')
    found = describe_environment()
    assert found['MMVISATTN_NATIVE'] == '0'
    assert 'abc' not in found.values()


def test_the_revision_of_a_config_in_another_checkout(tmp_path):
    """Outside of any there is none."""
    config = tmp_path / 'mine.py'
    config.write_text('a = 1\n')
    assert 'config' not in describe_code(str(config))
    git = ['git', '-C', tmp_path, '-c', 'user.name=a', '-c', 'user.email=a@b']
    for command in (['init', '-q'], ['add', '.'], ['commit', '-qm', 'first']):
        subprocess.run([*git, *command], check=True)
    clean = describe_code(str(config))['config']
    assert clean['dirty'] is False
    assert len(clean['revision']) == 40
    config.write_text('a = 2\n')
    dirty = describe_code(str(config))['config']
    assert dirty['revision'] == clean['revision']
    assert dirty['dirty'] is True
    assert dirty['changes_sha256'] != clean['changes_sha256']


def test_a_folder_is_known_by_names_and_sizes(tmp_path):
    for root in (tmp_path / 'a', tmp_path / 'b'):
        (root / 'cats').mkdir(parents=True)
        (root / 'cats' / '1.jpg').write_bytes(b'123')
        (root / '2.jpg').write_bytes(b'12')
    first = describe_folder(tmp_path / 'a')
    assert (first['files'], first['bytes']) == (2, 5)
    assert describe_folder(tmp_path / 'b') == first
    (tmp_path / 'b' / '2.jpg').write_bytes(b'1')
    assert describe_folder(tmp_path / 'b')['sha256'] != first['sha256']
    (tmp_path / 'a' / '2.jpg').rename(tmp_path / 'a' / '3.jpg')
    assert describe_folder(tmp_path / 'a')['sha256'] != first['sha256']
    # Links are followed, but not round and round; one that leads nowhere is a file.
    (tmp_path / 'b' / 'round').symlink_to(tmp_path / 'b')
    (tmp_path / 'b' / 'nowhere').symlink_to(tmp_path / 'none')
    assert describe_folder(tmp_path / 'b')['files'] == 3
    assert 'error' in describe_data({'x': tmp_path / 'none'})['x']


@pytest.mark.parametrize(
    ('config', 'option', 'places'),
    [
        (
            'mask_rcnn_van_b2_coco',
            {},
            {
                'train_dataloader.ann_file': 'annotations/instances_train2017.json',
                'train_dataloader.img': 'train2017',
                'val_dataloader.ann_file': 'annotations/instances_val2017.json',
                'val_dataloader.img': 'val2017',
                'val_evaluator.FasterCocoMetric.ann_file': 'annotations/instances_val2017.json',
            },
        ),
        (
            'simple_baseline_256x192_van_b2_coco',
            {'bbox_file': 'boxes.json'},
            {
                'train_dataloader.ann_file': 'annotations/person_keypoints_train2017.json',
                'train_dataloader.img': 'train2017',
                'val_dataloader.ann_file': 'annotations/person_keypoints_val2017.json',
                'val_dataloader.img': 'val2017',
                'val_dataloader.bbox_file': '../boxes.json',
                'val_evaluator.CocoMetric.ann_file': 'annotations/person_keypoints_val2017.json',
            },
        ),
        (
            'classifier_van_b0_imagenet',
            {},
            {'train_dataloader.img_path': 'train', 'val_dataloader.img_path': 'val'},
        ),
    ],
)
def test_the_data_of_every_task_is_found(config, option, places):
    cfg = load_config(ROOT / f'configs/{config}.py', {'data_root': 'root', **option})
    found = places_of(cfg, ('train_dataloader', 'val_dataloader'))
    assert {k: os.path.relpath(path, 'root') for k, path in found.items()} == places


@pytest.fixture
def record():
    """A synthetic one."""
    return {
        'schema': 1,
        'run': {'task': 'train', 'start': '2024-05-01T10:00:00+00:00', 'seed': 0, 'pid': 1},
        'code': {'mmvisattn': {'source_sha256': 'a' * 64, 'revision': 'b' * 40}},
        'packages': {'torch': '2.12.1'},
        'machine': {'host': 'n1', 'cpu': 'AMD EPYC', 'gpus': []},
        'environment': {'MMVISATTN_CACHE': '/a'},
        'config': {'path': 'a.py', 'sha256': 'c' * 64, 'text': "lr = 1\nwork_dir = 'a'\n"},
        'weights': [],
        'data': {'train_dataloader.img': {'path': '/a', 'files': 2, 'sha256': 'd' * 64}},
        'outcome': {'status': 'finished', 'step': 2, 'metrics': {'mIoU': 1.0}},
    }


def changed(record, **changes):
    """A copy in which section__field=value."""
    record = copy.deepcopy(record)
    for name, value in changes.items():
        *path, last = name.split('__')
        place = record
        for key in path:
            place = place[key]
        place[last] = value
    return record


LOAD = {'purpose': 'resume', 'path': '/a/iter_1.pth', 'bytes': 9, 'sha256': 'e' * 64}


@pytest.mark.parametrize(
    ('change', 'counts', 'line'),
    [
        ({'packages__torch': '2.11.0'}, True, '  torch: 2.12.1 | 2.11.0'),
        ({'machine__gpus': ['H100'] * 2}, True, '  gpus: (none) | H100, H100'),
        ({'environment__MMVISATTN_NATIVE': '0'}, True, '  MMVISATTN_NATIVE: (none) | 0'),
        ({'weights': [LOAD]}, True, '  1.resume: (none) | eeeeeeeeeeeeeeee, 9 bytes'),
        ({'data': None}, True, '  train_dataloader.img: dddddddddddddddd, 2 files | (none)'),
        (
            {'code__mmvisattn__source_sha256': 'f' * 64},
            True,
            f'  mmvisattn.source_sha256: {"a" * 16} | {"f" * 16}',
        ),
        ({'code__mmvisattn__revision': 'f' * 40}, False, f'    B: {"f" * 40}'),
        ({'outcome__metrics': {'mIoU': 2.0}}, False, '  metrics.mIoU: 1.0 | 2.0'),
        ({'run__pid': 2}, False, None),
        ({'machine__host': 'n2'}, False, None),
        ({'environment__MMVISATTN_CACHE': '/b'}, False, None),
        ({'config__text': "lr = 1\nwork_dir = 'b'\n"}, False, None),
    ],
)
def test_what_counts_as_a_difference(record, change, counts, line):
    other = changed(record, **change)
    assert any(d.counts for d in differences(record, other)) == counts
    lines = list(describe_differences(record, other))
    assert (line in lines) if line else lines == []
    shown = list(describe_differences(record, other, everything=True))
    assert shown, 'with everything each change is seen'
    assert max(map(len, shown)) <= 80


def test_configs_differ_line_by_line(record):
    other = changed(record, config__text="lr = 2\nwork_dir = 'b'\n", config__sha256='f' * 64)
    lines = list(describe_differences(record, other))
    assert lines[-3:] == ['@@ -1 +1 @@', '-lr = 1', '+lr = 2']


def test_a_record_of_another_schema_is_refused(record, tmp_path):
    for text in ('{', '[]', json.dumps(changed(record, schema=9))):
        (tmp_path / 'record.json').write_text(text)
        with pytest.raises(UserError):
            read_record(tmp_path)


def written(folder, record=None, rows=()):
    """A work dir with a log folder."""
    log = folder / '20240501_100000'
    (log / 'vis_data').mkdir(parents=True)
    if record:
        (log / 'record.json').write_text(json.dumps(record))
    (log / 'vis_data/scalars.json').write_text('\n'.join(map(str, rows)))
    return folder


def test_mean_and_std_of_runs_with_records(record, tmp_path):
    for seed, score in ((9, 1.0), (10, 2.0), (11, 4.0)):
        outcome = {'status': 'finished', 'step': 2, 'metrics': {'mIoU': score, 'name': 'x'}}
        written(tmp_path / f'seed_{seed}', changed(record, run__seed=seed, outcome=outcome))
    error = {'status': 'failed', 'iter': 1, 'error': 'RuntimeError: out of memory'}
    written(tmp_path / 'seed_12', changed(record, outcome=error))
    runs = read_seeds([tmp_path])
    assert [run.name for run in runs] == ['seed_9', 'seed_10', 'seed_11', 'seed_12']
    lines = list(describe_seeds(runs))
    # by hand: 7/3, and the root of (16 + 1 + 25) / 9 / 2
    assert lines[1].split() == ['mIoU', '2.3333', '+-', '1.528', '3', '1', '4']
    assert lines[2:] == ['without a result: seed_12: failed at step 1: RuntimeError: out of memory']
    found = json.loads(json.dumps(as_json(runs)))['metrics']['mIoU']
    assert found['std'] == pytest.approx((7 / 3) ** 0.5)
    assert found['values'] == [1, 2, 4]
    assert tool('analysis_tools/summarize_seeds.py', tmp_path) == 1
    assert max(map(len, lines)) <= 80


def test_mean_and_std_of_runs_without_records(tmp_path):
    """As other tools left them: metrics are in MMEngine's log."""
    train_row = json.dumps({'lr': 0.1, 'loss': 1.0, 'iter': 2, 'step': 2})
    for name, score, step in (('a', 1.0, 2), ('b', 3.0, 2), ('c', 9.0, 1)):
        row = json.dumps({'mIoU': score, 'time': 1.0, 'data_time': 0.1, 'step': step})
        written(tmp_path / name, rows=[train_row, row, train_row, '{"mIo'])
    written(tmp_path / 'd', rows=[train_row])
    (tmp_path / 'e').mkdir()
    lines = list(describe_seeds(read_seeds(tmp_path / name for name in 'abcde')))
    assert lines[1].split() == ['mIoU', '2', '+-', '1.414', '2', '1', '3']
    assert lines[2:] == [
        'without a result: c: its last validation is of step 1, that of others of 2',
        'without a result: d: it validated nothing',
        'without a result: e: it never ran',
    ]
    with pytest.raises(UserError, match='no run in'):
        read_seeds([tmp_path / 'e'])
    with pytest.raises(UserError, match='no folder'):
        read_seeds([tmp_path / 'f'])


def test_runs_that_are_not_seeds_of_one_experiment_are_noted(record, tmp_path):
    written(tmp_path / 'a', record)
    written(tmp_path / 'b', changed(record, config__sha256='f' * 64))
    notes = [line for line in describe_seeds(read_seeds([tmp_path])) if 'note' in line]
    assert notes == [
        'note: not independent, the same seed 0: a, b',
        'note: the configs differ; tools/analysis_tools/diff_records.py says in what',
    ]
