"""Recipes cut down to what two cores train in seconds: sizes, depths and lengths, nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mmvisattn.datasets.demo.layouts import make_data
from mmvisattn.datasets.demo.objects import OBJECTS
from mmvisattn.engine.config import load_config

LAYOUTS = {'ade20k': 'ade20k', 'imagenet': 'imagenet', 'simple_baseline': 'pose', 'coco': 'coco'}
# Public data sets that are laid out otherwise, and what they are made of here.
MADE_OF = {'camvid': 'ade20k', 'pennfudan': 'coco'}


def layout_of(name):
    """The embedded data set that a config is cut down to."""
    name = name.replace('upernet', 'ade20k') if name.endswith('_demo') else name
    name = name.replace('classifier', 'imagenet')
    public = next((layout for layout in MADE_OF if name.endswith(layout)), None)
    return public or next((layout for part, layout in LAYOUTS.items() if part in name), 'coco')


def small_data(root, num_train):
    """A folder for each layout: a few pictures to train on, two or more to validate on."""
    counts = dict.fromkeys(LAYOUTS.values(), dict(num_train=num_train, num_val=2))
    counts['imagenet'] = dict(num_train=10, num_val=10)  # one of each class
    made = {layout: make_data(layout, root / layout, **count) for layout, count in counts.items()}
    _as_camvid(made['ade20k'], root / 'camvid')
    _as_pennfudan(made['coco'], root / 'pennfudan')
    return made | {layout: root / layout for layout in MADE_OF}


def _as_camvid(ade20k, root):
    """Three splits; labels of eleven classes and of none."""
    for split, source in (('train', 'training'), ('val', 'validation'), ('test', 'validation')):
        shutil.copytree(ade20k / 'images' / source, root / 'images' / split)
        (root / 'annotations' / split).mkdir(parents=True)
        for path in (ade20k / 'annotations' / source).iterdir():
            labels = np.asarray(Image.open(path)) % 12
            Image.fromarray(labels).save(root / 'annotations' / split / path.name)


def _as_pennfudan(coco, root):
    """One class, which everything is of."""
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).symlink_to(coco / f'{split}2017')
        content = json.loads((coco / f'annotations/instances_{split}2017.json').read_text())
        content['categories'] = [{'id': 1, 'name': 'person'}]
        for annotation in content['annotations']:
            annotation['category_id'] = 1
        target = root / 'annotations' / f'instances_{split}.json'
        target.write_text(json.dumps(content))


def small_config(path, layout, data_root, folder):
    """Write the recipe in a file, cut down and on a folder of embedded data, into another file."""
    options = dict(data_root=str(data_root))
    if layout == 'imagenet':
        options['classes'] = list(OBJECTS)  # mmpretrain wants a folder for each class
    cfg = load_config(path, options)
    cut(cfg)
    # MMEngine names a run by its config and the second; two of one name share a scope.
    config = folder / f'{path.stem}_{layout}.py'
    cfg.dump(config)
    return config


def cut(cfg):
    """Make pictures, networks and batches small, in place."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg[name].dataset.serialize_data = False  # it collects garbage for half a second
        replace(cfg[name], SMALL)
    replace(cfg.model.get('data_preprocessor', {}), SMALL)
    replace(cfg.model.get('head', {}).get('decoder', {}), SMALL)
    replace(cfg.model, FEW)
    if (cfg.model.get('neck') or {}).get('type', '').endswith('FPN'):
        thin(cfg.model)
    for head in ('decode_head', 'auxiliary_head'):
        replace(cfg.model.get(head) or {}, THIN)
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if backbone.type.startswith('mmvisattn.'):
        backbone.update(arch=dict(base=backbone.arch, depths=[1, 1, 1, 1]), drop_path_rate=0.0)
    elif backbone.type == 'mmdet.SwinTransformer':
        backbone.depths = [1, 1, 1, 1]
    elif backbone.type == 'mmpretrain.SwinTransformer':
        backbone.window_size = 2  # of the last map
    elif backbone.type == 'mmpretrain.ConvNeXt':
        backbone.arch = dict(depths=[1, 1, 1, 1], channels=[96, 192, 384, 768])


def replace(part, values):
    """Put these values wherever their keys stand; of a pair, its second where a number stood."""
    if isinstance(part, (list, tuple)):
        for child in part:
            replace(child, values)
    elif isinstance(part, dict):
        if values is SMALL and 'heatmap_size' in part:
            stride = part['input_size'][0] // part['heatmap_size'][0]
            part['heatmap_size'] = tuple(side // stride for side in SMALL['input_size'])
        for key, value in part.items():
            if key in values and value is not None:
                pair = isinstance(values[key], tuple)
                part[key] = values[key][1] if pair and isinstance(value, int) else values[key]
            else:
                replace(value, values)


WIDTHS = ('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'inner_channels')


def thin(part):
    """Give a pyramid of 256 channels, and the heads that read it, a quarter."""
    if isinstance(part, (list, tuple)):
        for child in part:
            thin(child)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in WIDTHS and value in (256, [256] * 4):
                part[key] = 64 if value == 256 else [64] * 4
            elif key != 'backbone':
                thin(value)


# Nothing is found with much confidence after a step, so take a little of anything.
FEW = {
    'score_thr': 0.0, 'nms_pre': 20, 'max_per_img': 10, 'fc_out_channels': 64,
    'num_layers': 2, 'num_queries': 20, 'num_points': 256,
}  # fmt: skip
THIN = {'channels': 64}  # of segmentation
SMALL = {
    'scale': (96, 64),
    'scales': [(96, 64), (64, 64)],
    'crop_size': (64, 64),
    'size': (64, 64),
    'input_size': (32, 64),
}


def scalars(work_dir):
    """What the runs in a folder wrote, a dict for each time."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
