"""Predictions: equal to a test's, in a picture's own pixels, from any source, painted, written."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, run_tool
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image
from pycocotools import mask as run_lengths
from small_configs import layout_of, small_config, small_data

import mmvisattn
from mmvisattn.engine import run as engine
from mmvisattn.engine.arguments import test_parser as parser_of_test
from mmvisattn.engine.config import load_config
from mmvisattn.engine.results import evaluate_results
from mmvisattn.errors import UserError
from mmvisattn.inference import Classification, task_of
from mmvisattn.inference.command import parser, predict
from mmvisattn.inference.export import COCO_IDS, exported
from mmvisattn.inference.sources import pictures_in

CONFIGS = {
    'segmentation': 'upernet_van_b0_demo',
    'detection': 'retinanet_van_b0_demo',
    'instance': 'mask_rcnn_van_b0_demo',
    'panoptic': 'panoptic_fpn_van_b0_demo',
    'pose': 'simple_baseline_van_b0_demo',
    'classification': 'classifier_van_b0_demo',
}
TASKS = pytest.mark.parametrize('task', CONFIGS)
PICTURES = {'ade20k': 'images/validation/*', 'imagenet': 'val/*/*', 'coco': 'val2017/*'}
# Sums of float32 in another order, over the depth of a small network: of values near 1.
ROUNDING = 1e-4


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """Config, checkpoint of random weights and pictures of a task, each made once."""
    folder = tmp_path_factory.mktemp('networks')
    data = small_data(folder, num_train=1)

    @cache
    def make(task):
        layout = layout_of(CONFIGS[task])
        path = ROOT / 'configs' / f'{CONFIGS[task]}.py'
        config = small_config(path, layout, data[layout], folder)
        checkpoint = folder / f'{task}.pth'
        weights = random_network(load_config(config)).state_dict()
        if task == 'pose':  # a heatmap that is nowhere above 0 has no peak
            weights['head.final_layer.bias'] += 1
        torch.save({'state_dict': weights}, checkpoint)
        pattern = PICTURES.get(layout, PICTURES['coco'])
        return str(config), str(checkpoint), sorted(map(str, data[layout].glob(pattern)))

    return make


@pytest.fixture(scope='module')
def inferencer(network):
    """An inferencer of a task, made once."""
    return cache(lambda task: mmvisattn.Inferencer(*network(task)[:2], 'cpu'))


def random_network(cfg):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def true_boxes(config):
    """{picture: the boxes of its persons, as a test takes them} in the order of the data set."""
    cfg = load_config(config)
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': []})
    boxes = {}
    for info in (dataset.get_data_info(i) for i in range(len(dataset))):
        boxes.setdefault(info['img_path'], []).append(info['bbox'][0])
    return boxes


def arrays_of(result):
    return {name: v for name, v in vars(result).items() if isinstance(v, np.ndarray)}


def files_in(folder):
    """{name: content} of predictions: json as values, PNG as arrays."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())
        if path.suffix == '.json'
        else np.asarray(Image.open(path)).tolist()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@TASKS
def test_predictions_are_those_that_a_test_writes(task, network, inferencer, tmp_path, monkeypatch):
    config, checkpoint, pictures = network(task)
    monkeypatch.setattr(
        engine, 'recording', lambda *_: nullcontext()
    )  # seconds, for what is not looked at
    engine.test(
        parser_of_test().parse_args(
            [config, checkpoint, '--out', str(tmp_path / 'test'), '--work-dir',
             str(tmp_path / 'work'), '--cfg-options', 'test_dataloader.batch_size=1']
        )
    )  # fmt: skip
    predictor = inferencer(task)
    assert (predictor.task, task_of(predictor.cfg)) == (task, task)
    boxes = None
    if task == 'pose':
        boxes = true_boxes(config)
        pictures, boxes = list(boxes), list(boxes.values())
    with exported(predictor, tmp_path / 'ours') as export:
        for result in predictor(pictures, boxes=boxes):
            assert isinstance(result.summary(), str)
            export.add(result)
    written, expected = files_in(tmp_path / 'ours'), files_in(tmp_path / 'test')
    assert len(written.pop('pictures.json')['images']) == len(pictures)
    assert written == expected
    assert all(expected.values())  # not one of them is empty
    assert evaluate_results(load_config(config), str(tmp_path / 'ours'))


@TASKS
def test_several_at_a_time_are_as_one_at_a_time(task, network, inferencer, monkeypatch):
    """Pictures of several sizes: only those that are equally large go together."""
    _, _, pictures = network(task)
    small = [np.asarray(Image.open(path).convert('RGB')) for path in pictures[:2]]
    small.insert(1, np.ascontiguousarray(small[0][:70, :90]))
    monkeypatch.setattr(inferencer(task), 'batch_size', 3)
    results = list(inferencer(task)(small))
    monkeypatch.undo()
    for one, picture in zip(results, small, strict=True):
        alone = inferencer(task)(picture)
        assert one.picture.shape == picture.shape
        for name, values in arrays_of(alone).items():
            found = getattr(one, name)
            assert found.shape == values.shape
            if name in ('ids', 'labels', 'masks'):  # where two are nearly equal, rounding decides
                assert (found == values).mean() > 0.99
            else:
                scale = max(1, np.abs(values).max(initial=1))
                assert np.allclose(found, values, atol=ROUNDING * scale)


@TASKS
def test_a_picture_is_the_same_however_it_comes(task, network, inferencer, tmp_path):
    """A file, an array, a PIL image; painted, saved, and as plain values."""
    _, _, pictures = network(task)
    picture = tmp_path / 'a.png'  # JPEG is decoded in other ways by other libraries
    Image.open(pictures[0]).convert('RGB').save(picture)
    predictor = inferencer(task)
    result = predictor(picture)
    image = Image.open(picture)
    for other in (predictor(np.asarray(image)), predictor(image)):
        for name, values in arrays_of(result).items():
            assert np.array_equal(values, getattr(other, name)), name
    painted = result.draw(score_thr=0.0)
    assert painted.shape == result.picture.shape == np.asarray(image).shape
    assert np.array_equal(result.picture, np.asarray(image))  # nothing is painted on it itself
    assert (painted != result.picture).any()
    result.save(tmp_path / 'painted.png')
    assert min(Image.open(tmp_path / 'painted.png').size) > max(image.size)  # it is small
    assert json.loads(json.dumps(result.to_dict()))['size'] == [image.height, image.width]
    inputs, samples = predictor.prepare(picture)
    assert inputs['data_samples'] is samples
    assert inputs['inputs'][0].dtype == torch.uint8
    with torch.no_grad():
        assert len(predictor.model.test_step(inputs)) == len(samples) == 1


@TASKS
def test_bf16_predicts_on_any_device(task, network, inferencer):
    config, checkpoint, pictures = network(task)
    with pytest.raises(UserError, match='fp16 needs a GPU'):
        mmvisattn.Inferencer(config, checkpoint, 'cpu', precision='fp16')
    exact = inferencer(task)(pictures[0])
    rounded = mmvisattn.Inferencer(config, checkpoint, 'cpu', precision='bf16')(pictures[0])
    kinds = {name: values.dtype for name, values in arrays_of(exact).items()}
    assert {name: values.dtype for name, values in arrays_of(rounded).items()} == kinds
    if task == 'classification':  # probabilities of bf16's 8 bits, through a few layers
        assert 0 < np.abs(exact.scores - rounded.scores).max() < 0.05
    if task == 'segmentation':
        assert (exact.labels == rounded.labels).mean() > 0.8


def test_probabilities_of_a_segmentor_on_request(network, inferencer):
    config, checkpoint, pictures = network('segmentation')
    result = mmvisattn.Inferencer(config, checkpoint, 'cpu', probabilities=True)(pictures[0])
    assert result.probabilities.shape == (len(result.classes), *result.labels.shape)
    assert np.allclose(result.probabilities.sum(0), 1, atol=1e-5)  # of float32
    assert (result.probabilities.argmax(0) == result.labels).mean() > 0.999  # but for ties
    assert inferencer('segmentation')(pictures[0]).probabilities is None


def test_masks_as_run_lengths(network, inferencer):
    result = inferencer('instance')(network('instance')[2][0])
    decoded = [run_lengths.decode(mask).astype(bool) for mask in result.to_dict()['masks']]
    assert np.array_equal(decoded, result.masks)
    assert len(result.names) == len(result.boxes) == len(decoded) > 0


def test_persons_of_a_detector_are_where_poses_are_looked_for(network, tmp_path):
    config, checkpoint, pictures = network('pose')
    detector, weights, _ = network('detection')
    with pytest.raises(UserError, match='poses need a detector of persons'):
        mmvisattn.Inferencer(config, checkpoint, 'cpu', detector=(detector, weights))
    names = load_config(detector).classes
    of_persons = load_config(detector, {'classes': ['person', *names[1:]]})
    finder = mmvisattn.Inferencer(of_persons, weights, 'cpu')
    inferencer = mmvisattn.Inferencer(
        config, checkpoint, 'cpu', batch_size=4, detector=finder, detector_thr=0.0
    )
    result, found = inferencer(pictures[0]), finder(pictures[0])
    persons = found.boxes[found.labels == 0]
    assert 0 < len(persons) < len(found.boxes)
    assert result.boxes_from == 'detector'
    assert np.array_equal(result.boxes, persons)
    given = inferencer(pictures[0], boxes=persons)
    assert given.boxes_from == 'caller'
    assert np.array_equal(given.keypoints, result.keypoints)
    with pytest.raises(UserError, match='one array of them for each picture'):
        list(inferencer(pictures[:2], boxes=[persons]))
    film_of(pictures[:2], tmp_path / 'film.mp4')
    frames = list(inferencer(tmp_path / 'film.mp4', boxes=[persons, persons[:1]]))
    assert [len(frame.keypoints) for frame in frames] == [len(persons), 1]
    inferencer = mmvisattn.Inferencer(config, checkpoint, 'cpu', detector=finder, detector_thr=1.1)
    nobody = inferencer(pictures[0])
    assert nobody.keypoints.shape == (0, 17, 2)
    assert np.array_equal(nobody.draw(), nobody.picture)
    with exported(inferencer, tmp_path / 'nobody') as export:
        export.add(nobody)
    assert files_in(tmp_path / 'nobody')['results.keypoints.json'] == []
    whole = mmvisattn.Inferencer(config, checkpoint, 'cpu')(pictures[0])
    assert whole.boxes_from == 'picture'
    assert whole.boxes.tolist() == [[0, 0, *whole.picture.shape[1::-1]]]


def film_of(pictures, path, fps=12.5):
    size = Image.open(pictures[0]).size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
    for picture in pictures:
        writer.write(cv2.imread(picture))
    writer.release()


def test_the_tool_takes_folders_patterns_and_videos(network, tmp_path, capsys):
    """One start of it: pictures of two folders of one name, a broken one, and a video."""
    config, checkpoint, pictures = network('detection')
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        Image.open(pictures[0]).save(tmp_path / folder / 'same.jpg')
    (tmp_path / 'b' / 'broken.jpg').write_bytes(b'\xff\xd8\xff no picture')
    (tmp_path / 'b' / 'notes.txt').write_text('left alone')
    (tmp_path / '2024').mkdir()
    film_of(pictures * 3, tmp_path / '2024' / 'film.mp4')
    out = tmp_path / 'out'
    done = run_tool(
        'predict.py', config, checkpoint, tmp_path / 'a', tmp_path / 'b/*.jpg',
        tmp_path / '2024', '--out', out, '--format', 'coco', '--batch-size', 2,
        '--device', 'cpu', '--score-thr', 0.01,
    )  # fmt: skip
    assert done.returncode == 1, done.tail
    assert f'skipped, since it cannot be read: {tmp_path}/b/broken.jpg' in done.output
    assert '1 of 3 pictures were skipped' in done.output
    assert {path.name for path in out.iterdir()} == {
        'same.png', 'same_2.png', 'film.mp4', 'predictions',
    }  # fmt: skip
    capture = cv2.VideoCapture(str(out / 'film.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == 12.5
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3 * len(pictures)
    written = files_in(out / 'predictions')
    images = written['pictures.json']['images']
    assert len(images) == len({image['id'] for image in images}) == 2 + 3 * len(pictures)
    assert {row['image_id'] for row in written['results.bbox.json']} <= {i['id'] for i in images}


def of_tool(*args):
    return predict(parser().parse_args([*map(str, args), '--device', 'cpu']))


@pytest.mark.parametrize('task', ['segmentation', 'classification'])
def test_the_tool_writes_other_formats(task, network, tmp_path):
    config, checkpoint, pictures = network(task)
    form = {'segmentation': 'ade', 'classification': 'json'}[task]
    assert of_tool(config, checkpoint, *pictures[:2], '--out', tmp_path, '--format', form) == 0
    written = files_in(tmp_path / 'predictions')
    if task == 'classification':
        assert [row['label'] for row in written['results.json']]
        return
    labels = np.asarray(mmvisattn.Inferencer(config, checkpoint, 'cpu')(pictures[0]).labels, int)
    name = f'{os.path.splitext(os.path.basename(pictures[0]))[0]}.png'
    assert np.array_equal(written[name], labels + 1)  # 0 is "not labelled"
    out = tmp_path / 'json'
    assert of_tool(config, checkpoint, pictures[0], '--out', out, '--format', 'json') == 0
    (row,) = files_in(out / 'predictions')['results.json']
    assert sum(segment['area'] for segment in row['segments']) == labels.size


def test_what_is_painted_on_is_not_overwritten(network, tmp_path):
    config, checkpoint, pictures = network('classification')
    film_of(pictures[:1], tmp_path / 'walk.mp4')
    Image.open(pictures[0]).save(tmp_path / 'walk.png')
    for source in (tmp_path, tmp_path / 'walk.png', tmp_path / '*.mp4'):
        with pytest.raises(UserError, match='could be overwritten'):
            of_tool(config, checkpoint, source, '--out', tmp_path)


def test_a_folder_named_by_a_number_is_no_camera(network, tmp_path, monkeypatch, capsys):
    config, checkpoint, pictures = network('classification')
    (tmp_path / '2024').mkdir()
    Image.open(pictures[0]).save(tmp_path / '2024' / 'a.png')
    monkeypatch.chdir(tmp_path)
    assert of_tool(config, checkpoint, '2024') == 0
    assert capsys.readouterr().out.startswith('2024/a.png: ')


def test_a_camera_ends_by_ctrl_c_and_keeps_its_film(network, tmp_path, monkeypatch, capsys):
    config, checkpoint, pictures = network('classification')
    film_of(pictures[:1] * 3, tmp_path / 'film.mp4')
    camera = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda source: camera(str(tmp_path / 'film.mp4')))
    draw, drawn = Classification.draw, []

    def interrupted(self, *args, **kwargs):
        drawn.append(self.name)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(Classification, 'draw', interrupted)
    assert of_tool(config, checkpoint, 0, '--out', tmp_path, '--format', 'json') == 0
    assert '0: 2 frames' in capsys.readouterr().out
    assert camera(str(tmp_path / 'camera0.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert len(files_in(tmp_path / 'predictions')['results.json']) == 2


def test_sixteen_bits_are_read_as_opencv_reads_them(network, inferencer, tmp_path):
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    predictor = inferencer('classification')
    from_file = predictor(tmp_path / 'deep.png').picture
    from_pillow = predictor(Image.open(tmp_path / 'deep.png')).picture
    assert np.abs(from_file.astype(int) - from_pillow).max() <= 1  # one rounds, one cuts off


def test_folders_name_the_classes_of_a_classifier(network, tmp_path):
    config, checkpoint, pictures = network('classification')
    cfg = load_config(config)
    for name in sorted(cfg.classes):
        (tmp_path / 'own' / name).mkdir(parents=True)
        Image.open(pictures[0]).save(tmp_path / 'own' / name / 'a.png')
    own = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path / 'own'))
    cfg.test_dataloader.dataset = {**own, 'pipeline': cfg.test_dataloader.dataset.pipeline}
    inferencer = mmvisattn.Inferencer(cfg, checkpoint, 'cpu')
    assert inferencer.classes == sorted(cfg.classes)
    assert inferencer(pictures[0]).draw().any()
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='name them in the config'):
        mmvisattn.Inferencer(cfg, checkpoint, 'cpu')


def test_bad_input_is_named(network, tmp_path):
    config, checkpoint, pictures = network('classification')
    inferencer = mmvisattn.Inferencer(config, checkpoint, 'cpu')
    picture = np.zeros((8, 8, 3), np.uint8)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no picture')
    empty = tmp_path / 'empty'
    empty.mkdir()
    cases = {
        'no such picture': tmp_path / 'none.png',
        'no picture in the folder': empty,
        'no picture in what': str(empty / '*.png'),
        'is not on this machine': 'https://example.org/a.png',
        'cannot be read': broken,
        'this array is no picture': picture.astype(float),
        'this is no picture': 1.5,
        'an empty list': [],
        'no such video': tmp_path / 'none.mp4',
    }
    for message, source in cases.items():
        with pytest.raises(UserError, match=message):
            list(inferencer(source))
    skipped = []
    assert len(list(inferencer([broken, pictures[0]], skipped=skipped))) == 1
    assert skipped == [str(broken)]
    with pytest.raises(UserError, match='boxes are where poses'):
        inferencer(picture, boxes=[[0, 0, 1, 1]])
    with pytest.raises(UserError, match='no name of a picture'):
        inferencer(picture).save(tmp_path / 'a.doc')
    with pytest.raises(UserError, match='there is no device'):
        mmvisattn.Inferencer(config, checkpoint, 'cuda:77')
    with pytest.raises(UserError, match='no such precision'):
        mmvisattn.Inferencer(config, checkpoint, 'cpu', precision='int3')
    with pytest.raises(UserError, match='--format coco has no place'):
        of_tool(config, checkpoint, pictures[0], '--out', tmp_path, '--format', 'coco')
    with pytest.raises(UserError, match='--format writes files'):
        of_tool(config, checkpoint, pictures[0], '--format', 'json')
    with pytest.raises(UserError, match='no picture can be read'):
        of_tool(config, checkpoint, broken)
    other, _, _ = network('segmentation')
    with pytest.raises(UserError, match='does not fit|missing|match'):
        mmvisattn.Inferencer(other, checkpoint, 'cpu')
    bad_boxes = mmvisattn.Inferencer(*network('pose')[:2], 'cpu')
    with pytest.raises(UserError, match='these are no boxes'):
        bad_boxes(picture, boxes=[1, 2, 3])


def test_without_a_screen_show_says_so(network, monkeypatch):
    config, checkpoint, pictures = network('classification')
    monkeypatch.setenv('MPLBACKEND', 'agg')
    from matplotlib import pyplot

    pyplot.switch_backend('agg')
    result = mmvisattn.Inferencer(config, checkpoint, 'cpu')(pictures[0])
    with pytest.raises(UserError, match='there is no screen'):
        result.show()
    assert result._repr_png_().startswith(b'\x89PNG')


def test_a_folder_is_read_as_it_is_asked_for(network):
    config, checkpoint, pictures = network('classification')
    asked = []

    def source():
        for picture in pictures * 3:
            asked.append(picture)
            yield picture

    results = mmvisattn.Inferencer(config, checkpoint, 'cpu', batch_size=2)(source())
    next(results)
    assert len(asked) == 2
    assert len(list(results)) == 3 * len(pictures) - 1


def test_pictures_of_a_folder_come_by_name(tmp_path):
    for name in ('b.png', 'sub/a.jpg', 'a.PNG', '[1].png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (4, 4)).save(tmp_path / name)
    names = [os.path.relpath(item.path, tmp_path) for item in pictures_in(tmp_path)]
    assert names == ['[1].png', 'a.PNG', 'b.png', 'sub/a.jpg']
    assert [item.path for item in pictures_in(tmp_path / '[1].png')] == [str(tmp_path / '[1].png')]
    assert len(pictures_in(str(tmp_path / '**/*.jpg'))) == 1


def test_coco_has_133_numbers():
    assert len(COCO_IDS) == len(set(COCO_IDS)) == 80 + 53


def test_the_package_stays_light():
    code = 'import sys, mmvisattn; assert not {"torch", "cv2", "mmengine"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match='no attribute'):
        mmvisattn.Inferencr  # noqa: B018
