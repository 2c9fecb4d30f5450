"""Understanding a run: tables, confusion, errors, worst pictures, data, curves, trackers."""

import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO_CONFIG, ROOT, forget_visualizers, short_run
from guesses import write_guess
from matplotlib.figure import Figure
from PIL import ExifTags, Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmvisattn.analysis.browsing import browse
from mmvisattn.analysis.curves import (
    draw_curves,
    mean_line,
    read_group,
    read_groups,
    read_run,
)
from mmvisattn.analysis.figures import check_rows, svg
from mmvisattn.analysis.gallery import worst, write_worst
from mmvisattn.analysis.pictures import _enlarged, read_pictures
from mmvisattn.analysis.predicted import read_predicted
from mmvisattn.analysis.predicted.boxes import match
from mmvisattn.analysis.predicted.maps import KINDS, borders, confusion_of, kinds_of_pixels
from mmvisattn.datasets.demo import make_data
from mmvisattn.engine import tracking
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.arguments import train_parser
from mmvisattn.engine.config import load_config
from mmvisattn.engine.results import evaluate_results
from mmvisattn.engine.run import test as run_test
from mmvisattn.engine.run import train
from mmvisattn.errors import UserError
from mmvisattn.inference.pictures import read_picture
from mmvisattn.naming import distinct_names
from mmvisattn.outputs import save_figure, write_output

# Framework, layout, and the metric that the first row of the last table but one column holds.
TASKS = {
    'segmentation': ('upernet', 'ade20k', 'mIoU', 'IoU'),
    'detection': ('retinanet', 'coco', 'coco/bbox_mAP', 'AP'),
    'instance': ('mask_rcnn', 'coco', 'coco/segm_mAP', 'AP'),
    'panoptic': ('panoptic_fpn', 'coco', 'coco_panoptic/PQ', 'PQ'),
    'pose': ('simple_baseline', 'pose', 'coco/AP', 'AP'),
    'classification': ('classifier', 'imagenet', 'accuracy/top1', 'recall'),
}
IN_PROCESS = {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}


def config_of(task):
    return ROOT / f'configs/{TASKS[task][0]}_van_b0_demo.py'


class Guessed:
    """A config with data, and predictions that are wrong in known ways."""

    def __init__(self, task, folder):
        self.data = make_data(TASKS[task][1], folder / 'data', num_train=10, num_val=10)
        self.options = {'data_root': str(self.data), **IN_PROCESS}
        self.cfg = load_config(config_of(task), self.options)
        self.folder = folder / 'out'
        write_guess(task, self.data, self.folder, self.cfg.get('classes'))
        self.predicted = read_predicted(self.cfg, str(self.folder))


@pytest.fixture(scope='module')
def guessed(tmp_path_factory):
    """Of each task, made when it is first asked for."""
    made = {}

    def of(task):
        if task not in made:
            made[task] = Guessed(task, tmp_path_factory.mktemp(task))
        return made[task]

    return of


def tool(name, *args):
    """Run one of the analysis tools in this process."""
    before, sys.argv = sys.argv, [name, *map(str, args)]
    try:
        runpy.run_path(str(ROOT / 'tools/analysis_tools' / name), run_name='__main__')
    finally:
        sys.argv = before


@pytest.mark.parametrize('task', TASKS)
def test_tables_hold_the_metric_of_the_test(task, guessed):
    """The row of the whole is what the test reports, and the classes' mean where that is one."""
    one = guessed(task)
    reported = evaluate_results(one.cfg, str(one.folder))[TASKS[task][2]]
    reported *= 100 if task in ('detection', 'instance', 'pose') else 1
    tables = one.predicted.details()
    table = tables[0] if task == 'pose' else tables[-1]
    column = list(table.columns).index(TASKS[task][3])
    whole, *each = (numbers[column] for numbers in table.rows.values())
    assert 20 < reported < 100, 'neither right nor wrong throughout'
    assert whole == pytest.approx(reported, abs=0.051)  # metrics are rounded to a thousandth
    if task in ('segmentation', 'detection', 'instance', 'classification'):
        assert np.nanmean(each) == pytest.approx(whole, abs=1e-4)  # float32 of the libraries


@pytest.mark.parametrize('task', TASKS)
def test_errors_add_up(task, guessed):
    errors = guessed(task).predicted.errors()
    known = ~np.isnan(errors.shares[:, 0])
    assert errors.shares.shape == (len(errors.names), len(errors.kinds))
    assert known[0]
    assert np.allclose(errors.shares[known].sum(1), 1)
    assert (errors.shares[known] > -1e-12).all()
    assert 0.2 < errors.shares[0, 0] < 1


def test_errors_are_of_the_kinds_that_were_made(guessed):
    """`guesses.py` exchanges classes in a third of the scenes, shifts the rest, ..."""
    seg, box, pose = (
        dict(zip(errors.kinds, errors.shares[0], strict=True))
        for errors in (guessed(task).predicted.errors() for task in ('segmentation', 'detection',
                                                                    'pose'))
    )  # fmt: skip
    assert seg['confusion'] > 10 * seg['interior']
    assert seg['boundary'] > 0.03
    assert box['inexact'] > 0.1
    assert box['missed'] > 0.03
    assert box['similar'] + box['other classes'] + box['background'] > 0.03
    assert pose['inversion'] > 0.05  # every fifth person
    assert 0.05 < pose['no person'] < 0.2  # every tenth
    assert pose['miss'] < 0.05


def test_what_is_found_is_the_average_precision(guessed):
    one = guessed('detection').predicted
    table, errors = one.details()[0], one.errors()
    found = 100 * errors.shares[:, 0]
    assert np.allclose(found, [row[2] for row in table.rows.values()], equal_nan=True)
    loose = found + 100 * errors.shares[:, 1]
    assert np.allclose(loose, [row[1] for row in table.rows.values()], equal_nan=True)


def test_pixels_have_the_kinds_that_a_drawing_shows():
    truth = np.zeros((60, 60), int)
    truth[:, 30:] = 1
    truth[:20, :20] = 2
    truth[59] = -1
    predicted = truth.copy()
    predicted[:, 30] = 0  # beside the border
    predicted[40:43, 10:13] = 1  # a hole
    predicted[:20, :20] = 0  # taken for its surroundings
    predicted[59] = 1
    kinds = kinds_of_pixels(truth, predicted, 3)
    names = np.array(list(KINDS))[kinds]
    assert (names[21:59, 30] == 'boundary').all()
    assert (names[40:43, 10:13] == 'interior').all()
    assert (names[5:15, 5:15] == 'confusion').all()
    assert (names[59] == 'right').all(), 'without truth there is no error'
    assert (names[kinds > 0] != 'right').all()
    assert borders(truth)[25, 28:32].all()
    assert not borders(truth)[40, 20]

    counts = confusion_of([(truth, np.where(predicted == 2, 9, predicted))], ['a', 'b', 'c'])
    assert counts.counts.sum() == 59 * 60
    assert counts.counts[2, 0] == 400
    assert list(counts.predicted) == ['a', 'b', 'c'], 'nothing was predicted outside the classes'


def test_objects_are_matched_with_their_own_class_first():
    overlaps = np.array([[0.9, 0.6], [0.8, 0.2], [0.4, 0.7]])
    same = np.array([[False, False], [True, False], [False, False]])
    assert match(overlaps, same) == {1: 0, 0: 1}
    assert match(np.zeros((2, 0)), np.zeros((2, 0), bool)) == {}


def test_every_object_and_pixel_is_in_the_confusion_once(guessed):
    boxes = guessed('detection')
    confusion = boxes.predicted.confusion()
    objects = boxes.predicted.details()[0].rows
    assert confusion.counts[:-1].sum() == objects['all'][-1]
    assert list(confusion.counts[:-1].sum(1)) == [objects[name][-1] for name in confusion.true[:-1]]
    assert confusion.counts[-1, -1] == 0
    assert np.trace(confusion.counts) > 0.4 * confusion.counts[:-1].sum()

    pixels = guessed('segmentation')
    counted = pixels.predicted.confusion().counts
    areas = [sum(areas) for areas in zip(*pixels.predicted.metric.results, strict=True)]
    assert list(counted.diagonal()) == areas[0].tolist()
    assert list(counted.sum(1)) == areas[3].tolist()

    pictures = guessed('classification').predicted.confusion()
    assert pictures.counts.sum() == 10
    with pytest.raises(UserError, match='no classes that could be confused'):
        guessed('pose').predicted.confusion()


def test_the_worst_pictures_are_those_that_were_spoilt(guessed):
    """Every third scene has its first two classes exchanged."""
    one = guessed('segmentation').predicted
    scores = worst(one, 4)
    numbers = sorted(int(score.path[-6:-4]) - 1 for score in scores)
    assert numbers == [0, 3, 6, 9]
    assert [s.value for s in scores] == sorted(s.value for s in scores)
    assert len(one.scores()) == 10
    for task in ('instance', 'panoptic', 'pose', 'classification'):
        values = [score.value for score in guessed(task).predicted.scores()]
        assert values
        assert all(0 <= value <= 100 for value in values)


def test_the_tools_write_what_they_say(guessed, tmp_path, capsys):
    one = guessed('detection')
    given = [config_of('detection'), one.folder]
    options = ['--cfg-options', *(f'{k}={v}' for k, v in one.options.items())]
    for name in ('confusion_matrix.py', 'error_breakdown.py', 'worst_pictures.py'):
        png = tmp_path / f'{name}.png'
        tool(name, *given, png, *options)
        assert np.asarray(Image.open(png).convert('L')).std() > 5, 'it is not empty'
    files = tmp_path / 'a.json', tmp_path / 'a.csv'
    tool('eval_details.py', *given, '--json', files[0], '--csv', files[1], *options)
    (table,) = json.loads(files[0].read_text()).values()
    with files[1].open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == sum(map(len, table.values()))
    car = {row['column']: row['value'] for row in rows if row['row'] == 'car'}
    assert float(car['AP']) == table['car']['AP']
    assert f'car            {table["car"]["AP"]:7.1f}' in capsys.readouterr().out


def test_what_cannot_be_written_is_refused_before_the_work(guessed, tmp_path, capsys):
    one, config = guessed('detection'), config_of('detection')
    given = [config, one.folder]
    capsys.readouterr()
    for call in (
        ['worst_pictures.py', *given, tmp_path / 'w.jpg'],
        ['confusion_matrix.py', *given, tmp_path / 'c.txt'],
        ['worst_pictures.py', *given, tmp_path / 'w.png', '--num', 0],
        ['browse_dataset.py', config, tmp_path / 'b.png', '--num', -1],
        ['eval_details.py', *given, '--csv', tmp_path],
    ):
        with pytest.raises(SystemExit) as end:
            tool(*call)
        assert end.value.code == 2
    assert 'loading annotations' not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match='give a folder'):
        check_rows(151)
    with pytest.raises(UserError, match='cannot be drawn'):
        save_figure(Figure(figsize=(1, 700)), tmp_path / 'long.png', dpi=100)
    write_output(tmp_path / 'new/folder/a.csv', 'a')
    save_figure(Figure(), tmp_path / 'other/a.svg')
    assert (tmp_path / 'other/a.svg').read_text().startswith('<?xml')


@pytest.mark.parametrize('task', ['instance', 'pose'])
def test_a_network_that_finds_nothing_has_missed_everything(task, guessed, tmp_path):
    """As an early checkpoint does: its results are an empty list."""
    one, files = guessed(task), [p.name for p in guessed(task).folder.iterdir()]
    for name in files:
        (tmp_path / name).write_text('[]')
    predicted = read_predicted(one.cfg, str(tmp_path))
    assert all(row[0] == 0 for row in predicted.details()[0].rows.values() if row[0] == row[0])
    errors = predicted.errors()
    assert errors.shares[0, -1] == 1
    assert {score.value for score in predicted.scores()} == {0.0}
    if task != 'pose':
        counts = predicted.confusion().counts
        assert counts[:, -1].sum() == counts.sum() > 0, 'all in the column of the background'
    write_worst(one.cfg, predicted, str(tmp_path / 'worst.png'), 1)


@pytest.mark.parametrize('task', ['detection', 'panoptic'])
def test_a_part_of_the_test_set_has_scores(task, guessed):
    one = guessed(task)
    cfg = load_config(config_of(task), {**one.options, 'test_dataloader.dataset.indices': 3})
    predicted = read_predicted(cfg, str(one.folder))
    infos = map(predicted.loader.dataset.get_data_info, range(3))
    tested = {info['img_path'] for info in infos}
    assert {score.path for score in predicted.scores()} == tested
    assert set(read_pictures(cfg, one.folder).paths) == tested


def test_pictures_are_shown_as_networks_read_them(guessed, tmp_path):
    """Turned by their EXIF orientation; of 16 bits the upper 8."""
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[:, :15] = 200
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the left of the file is the top
    Image.fromarray(colours).save(tmp_path / 'turned.png', exif=exif)
    turned = read_picture(tmp_path / 'turned.png')
    assert turned.shape == (30, 20, 3)
    assert (turned[:15] == 200).all()
    deep = np.full((20, 30), 0x4012, np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    assert (read_picture(tmp_path / 'deep.png') == 0x40).all()
    shown, times = _enlarged(tmp_path / 'turned.png')
    assert shown.shape == (30 * times, 20 * times, 3)


def test_worst_pictures_fill_a_folder(guessed, tmp_path):
    one = guessed('segmentation')
    scores = write_worst(one.cfg, one.predicted, str(tmp_path / 'worst'), 2)
    assert [path.name for path in sorted((tmp_path / 'worst').iterdir())] == [
        f'{rank:03d}_{Path(score.path).stem}.png' for rank, score in enumerate(scores, 1)
    ]


@pytest.mark.parametrize('task', TASKS)
def test_data_are_shown_before_and_after_augmentation(task, guessed):
    names, changed = [], []
    for name, picture, made in browse(guessed(task).cfg, 2, 2):
        names.append(name)
        assert picture.ndim == 3
        assert len(made) == 2
        changed += [one.shape != picture.shape or (one != picture).any() for one in made]
        (file,) = guessed(task).data.rglob(name)
        assert picture.shape[1::-1] == Image.open(file).size
        assert (picture != np.asarray(Image.open(file).convert('RGB'))).any(), 'annotated'
    assert len(set(names)) == 2
    assert any(changed)


def test_data_fill_a_figure(guessed, tmp_path, capsys):
    one, png = guessed('detection'), tmp_path / 'data.png'
    options = ['--cfg-options', f'data_root={one.data}']
    tool('browse_dataset.py', config_of('detection'), png, '--num', 2, '--augmented', 3, *options)
    assert f'{png}: 2 pictures' in capsys.readouterr().out
    assert Image.open(png).width == 150 * 3 * 4, 'one on disk, three augmented'


def log(work_dir, start, rows):
    """A log folder with these lines."""
    file = work_dir / start / 'vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def steps(numbers, loss):
    return [dict(lr=0.1, loss=loss + n / 100, time=0.5, iter=n, step=n) for n in numbers]


def test_a_resumed_run_is_one_curve(tmp_path):
    log(tmp_path, '20260101_000000', [*steps([1, 2, 3], 5), dict(mIoU=1.0, step=3)])
    log(tmp_path, '20260102_000000', [*steps([3, 4], 7), dict(mIoU=2.0, time=0.2, step=4)])
    (tmp_path / '20260103_000000').mkdir()  # a test
    run = read_run(tmp_path)
    assert run.metrics == ('mIoU',)
    assert [line.tolist() for line in run.lines['loss']] == [[1, 2, 3, 4], [5.01, 5.02, 7.03, 7.04]]
    assert run.lines['mIoU'][1].tolist() == [2.0], 'the validation at step 3 was done again'
    assert run.lines['val/time'][1].tolist() == [0.2]


def test_epochs_stand_at_their_iterations(tmp_path):
    rows = [dict(lr=1, loss=n, epoch=1 + n // 40, iter=n, step=n) for n in (20, 40, 60, 80)]
    log(tmp_path, '20260101_000000', [*rows[:2], {'accuracy/top1': 1.0, 'step': 1}, *rows[2:],
                                      {'accuracy/top1': 3.0, 'step': 2}])  # fmt: skip
    assert read_run(tmp_path).lines['accuracy/top1'][0].tolist() == [40, 80]


def test_validations_that_were_logged_at_step_0_stand_where_they_were(tmp_path):
    """A loop that counts iterations has no epochs, and `LoggerHook` logs them by default."""
    rows = [*steps([20, 40], 1), dict(PQ=1.0, step=0), *steps([60, 80], 1), dict(PQ=2.0, step=0)]
    log(tmp_path, '20260101_000000', rows)
    assert read_run(tmp_path).lines['PQ'][0].tolist() == [40, 80]


def test_every_run_has_a_name_of_its_own_in_the_legend(tmp_path):
    folders = [tmp_path / name for name in ('A/seed_0', 'B/seed_0', '_old', r'costs $\x$')]
    for folder in folders:
        log(folder, '1', steps([1, 2], 4))
    names = ['A/seed_0', 'B/seed_0', '_old', r'costs $\x$']
    assert distinct_names(folders) == names
    assert distinct_names([*folders[2:3], 'x', *folders[2:3]]) == ['_old', 'x', '_old (2)']
    figure = draw_curves(read_groups(folders), log=True)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    for name in ('a.png', 'a.pdf', 'a.svg'):
        save_figure(figure, tmp_path / name)  # "$" is no formula
    words = (tmp_path / 'a.svg').read_text()
    assert r'costs $\x$' in words
    assert '>$\\mathdefault' not in words, 'powers of ten are'


def test_seeds_are_a_mean_and_a_band(tmp_path, capsys):
    for seed, loss in ((0, 1.0), (1, 3.0)):
        log(tmp_path / f'many/seed_{seed}', '1', [*steps([10, 20, 30][: 3 - seed], loss)])
    log(tmp_path / 'one', '1', steps([10, 20], 4))
    groups = [read_group(tmp_path / name) for name in ('many', 'one')]
    assert [len(group.runs) for group in groups] == [2, 1]
    at, mean, std = mean_line([run.lines['loss'] for run in groups[0].runs])
    assert at.tolist() == [10, 20], 'where both have a value'
    assert mean == pytest.approx([2.1, 2.2])
    assert std == pytest.approx([2**0.5, 2**0.5])
    figure = draw_curves(groups, ['loss', 'lr'])
    assert len(figure.axes[0].collections) == 1, 'the band of the seeds'
    assert len(figure.axes[0].lines) == 2
    tool(
        'plot_curves.py', tmp_path / 'many', tmp_path / 'one', '--log', '--out', tmp_path / 'c.png'
    )
    assert 'many, one' in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean 'loss'"):
        draw_curves(groups, ['los'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no training has logged'):
        read_group(tmp_path / 'empty')


def test_a_drawing_of_a_page_takes_its_colours(tmp_path):
    log(tmp_path / 'run', '1', steps([1, 2], 4))
    drawn = svg(draw_curves([read_group(tmp_path / 'run')]), 'a "loss" < 5')
    assert 'aria-label="a &quot;loss&quot; &lt; 5"' in drawn
    assert 'currentColor' in drawn
    assert '#000000' not in drawn
    assert '<script' not in drawn


def test_a_run_is_shown_in_tensorboard(ade20k, tmp_path):
    """By tools/train.py, and by tools/test.py after it."""
    options = short_run(ade20k, tmp_path, 2)
    options = [*options, 'default_hooks.logger.interval=1']
    given = [str(ROOT / DEMO_CONFIG), *map(str, options), '--track', 'tensorboard']
    train(train_parser().parse_args(given))
    forget_visualizers()
    run_test(parser_of_test().parse_args([given[0], str(tmp_path), *given[1:]]))
    trained, tested = sorted(tmp_path.glob('*/vis_data/events.out.tfevents.*'))
    events = EventAccumulator(str(trained.parent)).Reload()
    assert [event.step for event in events.Scalars('loss')] == [1, 2]
    logged = read_run(tmp_path).lines
    assert [e.value for e in events.Scalars('loss')] == pytest.approx(logged['loss'][1].tolist())
    (score,) = events.Scalars('mIoU')
    (again,) = EventAccumulator(str(tested.parent)).Reload().Scalars('test/mIoU')
    assert again.value == pytest.approx(score.value) == pytest.approx(logged['mIoU'][1][0])


def test_a_tracker_without_its_library_stops_before_anything_is_written(
    ade20k, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracking.importlib.util, 'find_spec', lambda name: None)
    given = [str(ROOT / DEMO_CONFIG), *map(str, short_run(ade20k, tmp_path / 'run'))]
    for name, command in (('mlflow', 'pip install mlflow'), ('tensorboard', 'mmvisattn[track]')):
        with pytest.raises(UserError) as error:
            train(train_parser().parse_args([*given, '--track', name]))
        assert command in str(error.value)
    assert not (tmp_path / 'run').exists()
    with pytest.raises(SystemExit):
        train_parser().parse_args([*given, '--track', 'wand'])


def test_trackers_are_told_where_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    cfg = load_config(ROOT / DEMO_CONFIG)
    cfg.work_dir = str(tmp_path / 'run')
    tracking.use_trackers(cfg, ['mlflow', 'wandb', 'wandb'])
    local, mlflow, wandb = cfg.visualizer.vis_backends
    assert (local['type'], wandb['type']) == ('LocalVisBackend', 'WandbVisBackend')
    assert wandb['init_kwargs'] == {'name': 'run'}
    assert mlflow['tracking_uri'] == f'sqlite:///{tmp_path}/run/mlflow.db'
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:5000')
    tracking.use_trackers(cfg, ['mlflow', 'tensorboard'])
    assert len(cfg.visualizer.vis_backends) == 4, 'none twice'
    cfg.visualizer = None
    tracking.use_trackers(cfg, ['mlflow'])
    assert cfg.visualizer.vis_backends[1]['tracking_uri'] == 'http://127.0.0.1:5000'
