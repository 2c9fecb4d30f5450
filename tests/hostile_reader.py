"""A process that reads hostile files with the package's readers, and tells what became of each.

Started by test_hostile.py in a folder of its own. A line of stdin is a kind and a path, split by a
tab; the answer is a line of json: 'accepted', 'refused: REASON', or what should never be: 'raised',
'executed' (an audit hook saw the reader start, load or write something).
"""

import json
import os
import resource
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import mmcv.transforms
import mmengine
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.utils.data import DataLoader

from mmvisattn.datasets.checks import check_class_folder, check_coco_file, check_panoptic_file
from mmvisattn.datasets.checks.pictures import check_picture
from mmvisattn.datasets.checks.predictions import check_predictions
from mmvisattn.datasets.guard import GuardedPipeline
from mmvisattn.engine import results
from mmvisattn.engine.config import load_config
from mmvisattn.engine.runner import Runner
from mmvisattn.errors import UserError
from mmvisattn.weights import CheckedPretrained, convert, guard_libraries, read_checkpoint
from mmvisattn.weights.files import state_dict_of

MEMORY = 3 << 30  # bytes beside what the libraries take: a sound picture may have 0.5 GB
# What a reader never does, by Python's own audit events.
STARTS = {
    'os.system', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.spawn', 'pty.spawn',
    'subprocess.Popen', 'socket.connect', 'socket.getaddrinfo', 'socket.bind', 'urllib.Request',
    'pickle.find_class', 'ctypes.dlopen', 'code.__new__',
}  # fmt: skip
CHANGES = {'os.remove', 'os.rename', 'os.rmdir', 'os.mkdir', 'os.chmod', 'os.link', 'os.symlink'}
PICTURE, LABELS = (
    GuardedPipeline(mmcv.transforms.Compose([mmcv.transforms.LoadImageFromFile()]), None),
    GuardedPipeline(  # fmt: skip
        mmcv.transforms.Compose([mmcv.transforms.LoadAnnotations(False, False, with_seg=True)]),
        None,
    ),
)


TEMPORARY = tempfile.gettempdir() + '/tmp'  # how MMEngine's own folders begin


class Refused(Exception):
    """A reader that reports, and raises nothing, has found fault."""


class Tiny(BaseModel):
    """A network that trains in a moment."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.norm(self.layer(torch.stack(inputs))).square().mean())


class Samples(list):
    """A data set."""


def tiny_run(folder):
    """A run of two iterations; it writes iter_2.pth."""
    data = Samples(dict(inputs=torch.rand(3), data_samples=None) for _ in range(4))
    settings = dict(
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
    )
    loader = DataLoader(data, batch_size=2, collate_fn=mmengine.dataset.pseudo_collate)
    return Runner(
        model=Tiny(),
        work_dir=str(folder),
        train_dataloader=loader,
        cfg=Config(settings),
        **settings,
    )


def refuse_if(found):
    if found:
        raise Refused('; '.join(map(str, found)))


def read_weights(path):
    checkpoint = read_checkpoint(path)
    state = state_dict_of(checkpoint)
    convert(state)
    sizes = [tensor.numel() * tensor.element_size() for tensor in state.values()]
    assert max(sizes, default=0) <= path.stat().st_size
    network = Tiny()
    CheckedPretrained(path, min_coverage=0.0)(network)
    network.eval()([torch.zeros(3)])


def read_to_resume(path):
    RUN._resume = True
    checkpoint = RUN.load_checkpoint(str(path))
    assert 'config' not in checkpoint['meta']
    assert checkpoint['meta']['iter'] >= 0


def go_on_from(path):
    RUN._resume = False  # as where somebody's own code resumes
    RUN.resume(str(path))


def read_coco(path):
    pictures = path.parent
    glance = check_coco_file(path, pictures, first=4)
    refuse_if([*check_coco_file(path, pictures), *glance])
    COCO(str(path))


def read_panoptic(path):
    glance = check_panoptic_file(path, path.parent, path.parent, first=4)
    refuse_if([*check_panoptic_file(path, path.parent, path.parent), *glance])


def read_picture(path):
    sound = not any(not finding.legal for finding in check_picture(path))
    try:
        loaded = PICTURE(dict(img_path=str(path)))['img']
    except UserError as error:
        raise Refused(error) from error
    assert loaded.shape[2] == 3
    if not sound:
        raise Refused('by the check alone')


def read_labels(path):
    sound = not any(not finding.legal for finding in check_picture(path))
    loaded = LABELS(dict(seg_map_path=str(path)))
    if not sound:
        raise Refused('by the check alone')
    assert loaded['gt_seg_map'].size


def read_results(path):
    """Rows of predictions, and what pycocotools makes of those that pass."""
    kind = path.name.split('.')[-2]
    refuse_if(list(check_predictions(path, kind)))
    results._check_coco_results(path, kind, TRUTH.imgs)
    rows = json.loads(path.read_text())
    if rows:
        try:
            evaluation = COCOeval(TRUTH, TRUTH.loadRes(rows), kind)
            evaluation.evaluate()
            evaluation.accumulate()
        except ValueError as error:  # which `evaluate_results` turns into a UserError
            raise Refused(error) from error


def read_archive(path):
    """As mmpretrain unpacks what it downloads."""
    try:
        with tarfile.open(path) as archive:
            archive.extractall(Path('unpacked'))
    except tarfile.TarError as error:
        raise Refused(error) from error


READERS = {
    'weights': read_weights,
    'resume': read_to_resume,
    'go on': go_on_from,
    'config': load_config,
    'coco': read_coco,
    'panoptic': read_panoptic,
    'picture': read_picture,
    'labels': read_labels,
    'list': lambda path: refuse_if(check_class_folder(path.parent, listed=path)),
    'results': read_results,
    'pickle': lambda path: mmengine.load(path),
    'archive': read_archive,
}


def watch(folder: Path, seen: list[str]) -> None:
    """Note every start of code and every change outside of the folder, and forbid it."""

    def hook(event: str, arguments: tuple) -> None:
        if event in STARTS or event in CHANGES or event in ('open', 'exec'):
            forbidden = event in STARTS or any(_forbidden(event, arguments, folder))
            if forbidden and WATCHING[0]:
                seen.append(f'{event} {arguments!r:.200}')
                raise PermissionError(f'a reader may not {event}')

    sys.addaudithook(hook)


WATCHING = [False]


def _forbidden(event: str, arguments: tuple, folder: Path) -> Iterator[bool]:
    if event == 'exec':  # code of a file that is read
        yield arguments[0].co_filename.startswith(str(folder.parent))
    elif event == 'open':
        path, _, flags = arguments
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        yield bool(writes) and _outside(path, folder)
    else:
        yield _outside(arguments[0], folder)


def _outside(path: object, folder: Path) -> bool:
    if not isinstance(path, (str, bytes)):
        return False  # a number of what is open already
    absolute = os.path.abspath(os.fsdecode(path))
    return not absolute.startswith((str(folder), '/dev/null', TEMPORARY))


def outcome(kind: str, path: Path, seen: list[str]) -> str:
    seen.clear()
    WATCHING[0] = True
    try:
        READERS[kind](path)
        said = 'accepted'
    except (UserError, Refused) as error:
        said = f'refused: {error}'
    except BaseException:
        said = f'raised {traceback.format_exc(limit=-4)}'
    finally:
        WATCHING[0] = False
    return f'executed {seen}' if seen else said


if __name__ == '__main__':
    here = Path.cwd()
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what the libraries print is no answer
    guard_libraries()
    RUN = tiny_run(here / 'run')
    RUN.train()
    TRUTH = COCO('truth.json')
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found: list[str] = []
    watch(here, found)
    print('"ready"', file=answers, flush=True)
    for line in sys.stdin:
        which, _, name = line.rstrip('\n').partition('\t')
        print(json.dumps(outcome(which, Path(name), found)), file=answers, flush=True)
