"""The truth with known kinds of errors in it, written as a test writes its predictions."""

import json
import shutil

import numpy as np
from PIL import Image
from pycocotools import mask as run_lengths

from mmvisattn.datasets.demo.layouts import ADE20K


def write_guess(task, data, out, classes, seed=0):
    """Write what a network might have said of the validation pictures of `make_data`.

    Args:
        task: As `make demo TASK=` names it.
        data: The data set.
        out: The folder to make.
        classes: Of the config.
        seed: Of the errors.
    """
    out.mkdir(parents=True)
    GUESSES[task](data, out, classes, np.random.default_rng(seed))


def _segmentation(data, out, classes, rng):
    """Shifted by two pixels, and in every third picture the first two classes exchanged."""
    numbers = np.zeros(256, np.uint8)  # from 1 on, in the order of the config
    numbers[[ADE20K[name] for name in classes]] = range(1, len(classes) + 1)
    exchanged = np.arange(256, dtype=np.uint8)
    exchanged[[1, 2]] = 2, 1
    for i, file in enumerate(sorted((data / 'annotations/validation').glob('*.png'))):
        labels = np.roll(numbers[Image.open(file)], 2, axis=1)
        labels = exchanged[labels] if i % 3 == 0 else labels
        Image.fromarray(np.maximum(labels, 1)).save(out / file.name)


def _panoptic(data, out, classes, rng):
    """Every fifth segment is of another class."""
    notes = data / 'annotations'
    content = json.loads((notes / 'panoptic_val2017.json').read_text())
    segments = [s for a in content['annotations'] for s in a['segments_info']]
    ids = sorted({segment['category_id'] for segment in segments})
    for i, segment in enumerate(segments):
        if i % 5 == 0:
            segment['category_id'] = ids[(ids.index(segment['category_id']) + 1) % len(ids)]
    (out / 'results.panoptic.json').write_text(json.dumps(content))
    shutil.copytree(notes / 'panoptic_val2017', out / 'results.panoptic')


def _boxes(data, out, classes, rng):
    """Moved boxes; a tenth missed, a tenth of another class, a fifth in excess."""
    content = json.loads((data / 'annotations/instances_val2017.json').read_text())
    ids = [c['id'] for c in content['categories'] if c['name'] in classes]
    found = []
    for truth in content['annotations']:
        kind = rng.random()
        if truth['category_id'] not in ids or kind < 0.1:
            continue
        box = np.array(truth['bbox'], float)
        box += rng.normal(0, 0.06, 4) * box[[2, 3, 2, 3]]
        number = truth['category_id']
        if kind > 0.9:
            number = ids[(ids.index(number) + 1) % len(ids)]
        one = dict(image_id=truth['image_id'], bbox=box.tolist(), score=float(rng.random()))
        one['segmentation'] = truth['segmentation']
        found.append(dict(one, category_id=number))
        if 0.5 < kind < 0.7:  # where something else is, or nothing
            found.append(dict(one, category_id=number, bbox=[0, 0, 20, 20], score=0.4))
    rows = [{k: v for k, v in one.items() if k != 'segmentation'} for one in found]
    (out / 'results.bbox.json').write_text(json.dumps(rows))
    return found


def _instances(data, out, classes, rng):
    """The boxes above, with the true masks."""
    found = _boxes(data, out, classes, rng)
    content = json.loads((data / 'annotations/instances_val2017.json').read_text())
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    for one in found:
        parts = run_lengths.frPyObjects(one['segmentation'], *sizes[one['image_id']])
        whole = run_lengths.merge(parts)
        one['segmentation'] = dict(whole, counts=whole['counts'].decode())
    (out / 'results.segm.json').write_text(json.dumps(found))


def _pose(data, out, classes, rng):
    """Moved keypoints, left and right exchanged in every fifth person, every tenth missed."""
    content = json.loads((data / 'annotations/person_keypoints_val2017.json').read_text())
    found = []
    for i, truth in enumerate(content['annotations']):
        points = np.array(truth['keypoints'], float).reshape(-1, 3)
        points[:, :2] += rng.normal(0, 0.02 * truth['area'] ** 0.5, (len(points), 2))
        points[:, 2] = 0.9
        if i % 5 == 0:
            points[5:] = points[5:].reshape(-1, 2, 3)[:, ::-1].reshape(-1, 3)
        if i % 10 != 3:
            one = {key: truth[key] for key in ('image_id', 'category_id')}
            found.append(dict(one, keypoints=points.ravel().tolist(), score=float(rng.random())))
    (out / 'results.keypoints.json').write_text(json.dumps(found))


def _classification(data, out, classes, rng):
    """Scores by chance, with some favour for what is true."""
    names = sorted(folder.name for folder in (data / 'val').iterdir())
    rows = []
    for picture in sorted((data / 'val').rglob('*.JPEG')):
        scores = rng.random(len(names))
        scores[names.index(picture.parent.name)] += rng.random()
        scores /= scores.sum()
        name = picture.relative_to(data / 'val').as_posix()
        rows.append(dict(file=name, label=int(scores.argmax()), scores=scores.tolist()))
    (out / 'results.json').write_text(json.dumps(rows))


GUESSES = {
    'segmentation': _segmentation,
    'detection': _boxes,
    'instance': _instances,
    'panoptic': _panoptic,
    'pose': _pose,
    'classification': _classification,
}
