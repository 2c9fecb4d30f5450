"""What the tests share: small data sets, and the tools run as a user runs them."""

import functools
import gc
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from browser import browser, chromium  # noqa: F401  (fixtures)
from mmengine.config import utils as config_utils
from mmengine.visualization import Visualizer
from slurm import Slurm, why_not
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mmvisattn.datasets.demo import make_data

ROOT = Path(__file__).resolve().parents[1]
DEMO_CONFIG = 'configs/upernet_van_b0_demo.py'

# Beside others (pytest -n), a test and the tools it runs keep to one core.
THREADS = 1 if 'PYTEST_XDIST_WORKER' in os.environ else 2
os.environ['OMP_NUM_THREADS'] = str(THREADS)
torch.set_num_threads(THREADS)
# MMEngine reads all metafiles of a library for each of its configs: half a second.
config_utils._get_cfg_metainfo = functools.cache(config_utils._get_cfg_metainfo)


@pytest.fixture(autouse=True)
def no_loader_left():
    """Persistent workers end with their test: forks of this process, they would fill the memory."""
    yield
    if multiprocessing.active_children():
        for thing in gc.get_objects():
            if type(thing) is _MultiProcessingDataLoaderIter:
                thing._shutdown_workers()


@pytest.fixture(autouse=True)
def own_visualizer():
    """A run of a test writes into its own folder."""
    yield
    forget_visualizers()


@pytest.fixture
def scaler_on_cpu(monkeypatch):
    """Let fp16's scaler of gradients run on the CPU: MMEngine gives one to GPUs only."""
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', functools.partial(torch.amp.GradScaler, 'cpu'))


def forget_visualizers():
    """MMEngine keeps visualizers by the name of their run, those of one name in one folder."""
    classes = [Visualizer]
    for cls in classes:
        cls._instance_dict.clear()
        classes += cls.__subclasses__()


@pytest.fixture(scope='session')
def ade20k(tmp_path_factory):
    """Eight scenes to train on and four to validate on, in ADE20K's layout."""
    return make_data('ade20k', tmp_path_factory.mktemp('data') / 'ade20k', num_train=8, num_val=4)


@pytest.fixture(scope='session')
def coco(tmp_path_factory):
    """Sixteen traffic scenes to train on and four to validate on, in COCO's layout."""
    return make_data('coco', tmp_path_factory.mktemp('data') / 'coco', num_train=16, num_val=4)


@pytest.fixture(scope='session')
def slurm(tmp_path_factory):
    """A running cluster; a test that asks for it skips where there can be none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    cluster = Slurm(tmp_path_factory.mktemp('slurm'))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def real_data(name):
    """A folder of real pictures beside the project; a test that asks skips where it is not."""
    folder = ROOT.parent / 'shared' / 'data' / name
    if not folder.is_dir():
        pytest.skip(f'needs real pictures in ../shared/data/{name}')
    return folder


def run(*command, cwd=ROOT, env=None, timeout=600):
    """Run a command as a user would; it returns finished, with both streams in `output`."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    done.output = done.stdout
    done.tail = '\n'.join(done.stdout.splitlines()[-30:])
    return done


def run_tool(name, *args, **kwargs):
    """Run one of tools/ with this Python."""
    return run(sys.executable, ROOT / 'tools' / name, *args, **kwargs)


def short_run(data_root, work_dir, iterations=2):
    """Options that make the demo config train for a moment."""
    return [
        '--work-dir', work_dir, '--cfg-options', f'data_root={data_root}',
        f'max_iters={iterations}', 'train_dataloader.batch_size=2', 'randomness.seed=0',
        'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
    ]  # fmt: skip
