"""Bad files: named where they stop a run, and skipped, counted and reported in training."""

import re
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import run_tool, short_run
from mmdet.datasets import MultiImageMixDataset as MixedDetection
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmseg.datasets import ADE20KDataset, MultiImageMixDataset
from PIL import Image
from torch import nn
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader

from mmvisattn.datasets.demo import make_data
from mmvisattn.datasets.guard import guard, skip_bad_samples
from mmvisattn.engine.runner import Runner
from mmvisattn.engine.skipped import allowed_share
from mmvisattn.errors import UserError

PREFIX = dict(img_path='images/training', seg_map_path='annotations/training')
PIPELINE = [dict(type=t) for t in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')]
PICTURES = 30  # of which three may be bad, by the rule of a tenth

# A training set of each library: its layout, and how it is loaded.
LIBRARIES = {
    'mmseg': ('ade20k', dict(type='ADE20KDataset', data_prefix=PREFIX, pipeline=PIPELINE)),
    'mmdet': (
        'coco',
        dict(
            type='CocoDataset',
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs'),
            ],
        ),
    ),
    'mmpose': (
        'pose',
        dict(
            type='CocoDataset',
            ann_file='annotations/person_keypoints_train2017.json',
            data_prefix=dict(img='train2017/'),
            pipeline=[
                dict(type='LoadImage'),
                dict(type='GetBBoxCenterScale'),
                dict(type='TopdownAffine', input_size=(48, 64)),
                dict(type='PackPoseInputs'),
            ],
        ),
    ),
    'mmpretrain': (
        'imagenet',
        dict(
            type='CustomDataset',
            data_prefix='train',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=32),
                dict(type='PackInputs'),
            ],
        ),
    ),
}


@MODELS.register_module()
class MeanOfPictures(BaseModel):
    """A model that any picture trains."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = nn.Parameter(torch.zeros(1))
        self.trained_on = []

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.trained_on += [sample.img_path for sample in data_samples]
        return dict(loss=self.weight * torch.stack([x.float().mean() for x in inputs]).mean())


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    """A folder in each of the layouts, made when it is asked for."""
    root = tmp_path_factory.mktemp('layouts')
    return lambda layout: make_data(layout, root / layout, num_train=PICTURES, num_val=4)


@pytest.fixture
def copy(folders, tmp_path):
    """A segmentation data set of one's own to break."""
    return shutil.copytree(folders('ade20k'), tmp_path / 'broken')


def dataset(root, **kwargs):
    init_default_scope('mmseg')
    built = ADE20KDataset(data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE, **kwargs)
    guard(built)
    return built


def build(library, root):
    init_default_scope(library)
    with DATASETS.switch_scope_and_registry(library) as scoped:
        built = scoped.build(dict(LIBRARIES[library][1], data_root=str(root)))
    guard(built)
    return built


def spoil(root, *numbers, folder='images/training'):
    """Let these pictures, by name, be no pictures."""
    pictures = sorted(p for p in (root / folder).rglob('*') if p.is_file())
    for number in numbers:
        pictures[number].write_bytes(b'no picture')
    return [pictures[number] for number in numbers]


def through(data, workers, epochs=1):
    """Every sample that a data loader hands on."""
    loader = DataLoader(
        data, batch_size=2, num_workers=workers, collate_fn=list, persistent_workers=False
    )
    return [sample for _ in range(epochs) for batch in loader for sample in batch]


# Where a bad file stops a run


def test_a_picture_that_does_not_decode_is_named(copy):
    (victim,) = spoil(copy, 3)
    whole = dataset(copy)
    assert whole[2]['inputs'].shape == (3, 128, 160)
    with pytest.raises(UserError, match=victim.name):
        whole[3]


@pytest.mark.parametrize('library', LIBRARIES)
def test_every_librarys_errors_name_the_file(folders, tmp_path, library):
    layout, _ = LIBRARIES[library]
    root = shutil.copytree(folders(layout), tmp_path / 'broken')
    data = build(library, root)
    path = data.get_data_info(3)['img_path']
    open(path, 'wb').close()
    with pytest.raises(UserError, match=re.escape(path)):
        data[3]


@pytest.mark.parametrize('classes', [None, ['sky', 'tree']])
def test_a_label_that_no_class_has_is_named(copy, classes):
    relabel(copy)
    metainfo = dict(classes=classes) if classes else None
    built = ConcatDataset([dataset(copy, metainfo=metainfo)])
    with pytest.raises(UserError, match=r'\[199\] in .*ADE_train_00000001.png'):
        built[0]
    assert built[1]['inputs'].shape == (3, 128, 160)


def test_data_sets_that_mix_pictures_are_guarded_inside(folders):
    mixed = MultiImageMixDataset(ConcatDataset([dataset(folders('ade20k'))]), pipeline=[])
    guard(mixed)
    assert mixed[0]['inputs'].shape == (3, 128, 160)


def test_a_test_stops_at_a_bad_file(copy):
    (victim,) = spoil(copy, 3)
    tested = dataset(copy, test_mode=True)
    assert skip_bad_samples(tested) == []
    with pytest.raises(UserError, match=victim.name):
        through(tested, workers=0)


# Where training goes on


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('library', LIBRARIES)
def test_training_goes_on_without_a_bad_file(folders, tmp_path, library, workers):
    layout, _ = LIBRARIES[library]
    root = shutil.copytree(folders(layout), tmp_path / 'broken')
    data = build(library, root)
    path = data.get_data_info(3)['img_path']
    bad = [i for i in range(len(data)) if data.get_data_info(i)['img_path'] == path]
    open(path, 'wb').close()
    (count,) = skip_bad_samples(data, share=0.2)
    samples = through(data, workers, epochs=2)
    assert len(samples) == 2 * len(data)  # another sample takes its place
    assert path not in {sample['data_samples'].img_path for sample in samples}
    assert count.gathered() == bad  # each once, over two epochs and all workers


@pytest.mark.parametrize('workers', [0, 2])
def test_wrappers_go_on_and_copies_count_together(copy, workers):
    spoil(copy, 3)
    init_default_scope('mmseg')
    one = dict(LIBRARIES['mmseg'][1], data_root=str(copy))
    both = dict(type='ConcatDataset', datasets=[one, one])
    wrapped = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=both))
    guard(wrapped)
    counts = skip_bad_samples(wrapped)
    assert len(counts) == 2
    assert len(through(wrapped, workers)) == 4 * PICTURES
    assert [count.gathered() for count in counts] == [[3], [3]]
    spoil(copy, 5)
    deepcopy(wrapped.dataset.datasets[0])[5]
    assert counts[0].gathered() == [3, 5]


def test_pictures_to_be_mixed_are_replaced_too(folders, tmp_path):
    root = shutil.copytree(folders('coco'), tmp_path / 'broken')
    spoil(root, *range(3), folder='train2017')
    inner = build('mmdet', root)
    inner.pipeline.pipeline.transforms.pop()  # mixing takes what is not packed
    mosaic = dict(type='Mosaic', img_scale=(64, 64), prob=1.0)
    mixed = MixedDetection(inner, pipeline=[mosaic])
    (count,) = skip_bad_samples(mixed)
    for i in range(PICTURES):
        assert mixed[i]['img'].shape == (128, 128, 3)
    assert count.gathered() == [0, 1, 2]


def test_bad_annotations_are_skipped_as_bad_pictures_are(copy):
    relabel(copy)
    data = dataset(copy)
    (count,) = skip_bad_samples(data)
    assert len(through(data, workers=0)) == PICTURES
    assert count.gathered() == [0]


# Where there are too many


@pytest.mark.parametrize('workers', [0, 2])
def test_too_many_bad_files_stop_the_run_and_are_listed(copy, workers):
    victims = spoil(copy, 3, 4, 5, 6)
    data = dataset(copy)
    skip_bad_samples(data)
    with pytest.raises(UserError, match='of them.*`bad_pictures` of the config') as raised:
        through(data, workers)
    # A worker may not yet have counted what the other one has just found.
    assert sum(victim.name in str(raised.value) for victim in victims) >= 3
    assert re.search('the first error: .*(\n.*)*failed to load image', str(raised.value))


def test_a_share_allows_more_and_0_allows_none(copy):
    spoil(copy, *range(10, 16))
    data = dataset(copy)
    skip_bad_samples(data, share=0.4)  # as 6 of the first 16, which are seen in order
    assert len(through(data, workers=0)) == PICTURES
    skip_bad_samples(data, share=0)
    with pytest.raises(UserError, match='1 of 11 samples fail'):
        through(data, workers=0)


def test_of_a_large_set_ten_may_be_bad_in_any_case():
    class Large(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=f'{i}.jpg') for i in range(20000)]

    def load(info):
        if info['sample_idx'] in bad:
            raise OSError('cut off')
        return info

    def first_stop():
        data = Large()
        data.pipeline = load
        guard(data)
        skip_bad_samples(data)
        for i in range(20000):
            try:
                data[i]
            except UserError:
                return i
        return None

    bad = range(10)
    assert first_stop() is None
    bad = range(11)
    assert first_stop() == 10
    bad = range(500, 20000, 1100)  # 18, at no time more than one in a thousand, but ten
    assert first_stop() is None


def test_a_mistake_in_the_pipeline_stops_at_once_and_shows_itself(copy):
    data = dataset(copy)
    skip_bad_samples(data)
    data.pipeline.pipeline.transforms.insert(1, lambda sample: sample['img'] + None)
    with pytest.raises(UserError, match='TypeError: unsupported operand'):
        data[0]


# Runs


LOOPS = {
    'epochs': dict(by_epoch=True, max_epochs=2, val_interval=3),
    'iterations': dict(by_epoch=False, max_iters=30, val_interval=100),
}


def toy_runner(root, work_dir, loop, workers, **cfg):
    by_epoch = LOOPS[loop]['by_epoch']
    settings = dict(
        model=dict(type='MeanOfPictures'),
        work_dir=str(work_dir),
        default_scope='mmseg',
        train_dataloader=dict(
            batch_size=2,
            num_workers=workers,
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
            dataset=dict(LIBRARIES['mmseg'][1], data_root=str(root)),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=LOOPS[loop],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=f'{work_dir.parent.name}_{loop}_{workers}_{len(cfg)}',
        **cfg,
    )
    return Runner.from_cfg(Config(settings))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('loop', LOOPS)
def test_a_run_logs_what_it_skips_and_a_summary(copy, tmp_path, loop, workers):
    victim, other = spoil(copy, 3, 17)
    runner = toy_runner(copy, tmp_path / 'run', loop, workers)
    runner.train()
    assert runner.iter == 30
    assert {victim.as_posix(), other.as_posix()}.isdisjoint(runner.model.trained_on)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    lines = log.read_text().splitlines()
    skipped = [line for line in lines if 'Skipped ' in line]
    assert len(skipped) == 2
    assert all('AssertionError: failed to load image' in line for line in skipped)
    (summary,) = [line for line in lines if 'were skipped' in line]
    assert f'2 of {PICTURES} training samples' in summary
    assert victim.name in summary
    assert other.name in summary


def test_a_share_in_the_config_is_used(copy, tmp_path):
    spoil(copy, 3)
    with pytest.raises(UserError, match='at most 0.00% of them'):
        toy_runner(copy, tmp_path, 'epochs', 0, bad_pictures=0).train()
    for wrong in (2, '1%', True):
        with pytest.raises(UserError, match='share of pictures that training may skip'):
            allowed_share(Config(dict(bad_pictures=wrong)))


def test_processes_report_together(copy, tmp_path):
    spoil(copy, 3, 17)
    start_processes(
        _one_process, (copy, tmp_path / 'store', tmp_path), nprocs=2, start_method='fork'
    )
    found = [(tmp_path / f'{rank}.txt').read_text() for rank in (0, 1)]
    assert found == ['[3, 17]', '[3, 17]']


def _one_process(rank, root, store, out):
    torch.set_num_threads(1)  # a forked process has lost the threads of its parent
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    data = dataset(root)
    (count,) = skip_bad_samples(data)
    data[(3, 17)[rank]]
    (out / f'{rank}.txt').write_text(str(count.gathered()))
    dist.destroy_process_group()


def test_the_tool_goes_on_without_a_bad_picture(copy, tmp_path):
    victim = spoil(copy, 13)[0]  # not one of the few that are opened before the start
    config, options = 'configs/upernet_van_b0_demo.py', short_run(copy, tmp_path / 'run', 16)
    done = run_tool('train.py', config, *options, '--no-validate')
    assert done.returncode == 0, done.tail
    assert re.search(f'Skipped .*{victim.name}', done.output)
    assert f'1 of {PICTURES} training samples were skipped' in done.output


def relabel(root):
    path = min(root.glob('annotations/training/*.png'))
    labels = np.asarray(Image.open(path)).copy()
    labels[:4] = 200
    Image.fromarray(labels).save(path)
