"""What a run's results depend on besides its config: code, packages, machine, environment."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import subprocess
from pathlib import Path

import torch

from .. import __version__, doctor
from ..places import CARRIED, PACKAGE

# What decodes and resizes pictures, or runs kernels, beside the stack that the doctor knows.
DISTRIBUTIONS = (
    'opencv-python', 'opencv-python-headless', 'pillow', 'pycocotools', 'safetensors', 'scipy',
    'triton',
)  # fmt: skip
# Variables that change results or say where a run was; no other is ever written down.
VARIABLES = re.compile(
    r'MMVISATTN_\w+|OMP_NUM_THREADS|MKL_NUM_THREADS|CUDA_VISIBLE_DEVICES|CUBLAS_WORKSPACE_CONFIG'
    r'|PYTORCH_\w+|NCCL_\w+|SLURM_JOB_ID|SLURM_RESTART_COUNT'
)


def describe_code(config: str | None) -> dict[str, dict]:
    """The revision of the package, and that of the config where it lies in another checkout.

    Args:
        config: The config file.
    """
    own = _checkout(PACKAGE) if (PACKAGE.parent / '.git').exists() else {}
    found = {'mmvisattn': {'version': __version__, 'source_sha256': _source_sha256(), **own}}
    folder = Path(config).resolve().parent if config else PACKAGE
    theirs = _checkout(folder)
    if theirs and theirs['root'] != own.get('root'):
        found['config'] = theirs
    for checkout in found.values():
        checkout.pop('root', None)
    return found


def describe_packages() -> dict[str, str]:
    """Python and the packages that have a part in results, as far as they are installed."""
    found = {'python': platform.python_version()}
    for name in doctor.DISTRIBUTIONS:
        found |= doctor.installed(name)
    return found | doctor.versions_of(DISTRIBUTIONS)


def describe_machine() -> dict:
    """The processor, the GPUs that this process sees, and what computes on them."""
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if cuda else []
    return {
        'host': socket.gethostname(),
        'platform': platform.platform(),
        'cpu': cpu_name(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'gpus': gpus,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version() if cuda else None,
    }


def describe_environment() -> dict[str, str]:
    """The environment variables of `VARIABLES` that are set."""
    return {k: v for k, v in sorted(os.environ.items()) if VARIABLES.fullmatch(k)}


def cpu_name() -> str:
    """What the processor is called."""
    information = Path('/proc/cpuinfo')
    lines = information.read_text().splitlines() if information.is_file() else []
    models = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(models, platform.processor() or platform.machine())


def _checkout(folder: Path) -> dict:
    """The git checkout that a folder lies in: its revision, and a sha256 of what was changed since.

    Empty outside of one, and without git.
    """
    root = _said_by_git(folder, 'rev-parse', '--show-toplevel')
    revision = _said_by_git(folder, 'rev-parse', 'HEAD')
    if not root or not revision:
        return {}
    changes = _said_by_git(folder, 'diff', '--no-ext-diff', '--no-textconv', '--binary', 'HEAD')
    return {
        'root': os.fsdecode(root.strip()),
        'revision': revision.decode().strip(),
        'dirty': None if changes is None else bool(changes),
        'changes_sha256': hashlib.sha256(changes).hexdigest() if changes else None,
    }


def _said_by_git(folder: Path, *command: str) -> bytes | None:
    """What git prints; None if it is missing, fails or hangs."""
    try:
        done = subprocess.run(['git', '-C', folder, *command], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _source_sha256() -> str:
    """Of the package's own files: what ran, in a checkout or not, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob('*')):
        if path.suffix in ('.py', '.cpp', '.h') and CARRIED not in path.parents:
            digest.update(str(path.relative_to(PACKAGE)).encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()
