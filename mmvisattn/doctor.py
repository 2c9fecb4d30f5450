"""Check the installation: python -m mmvisattn.doctor.

Prints what is installed and tries what breaks in practice, each failure with its remedy. Ends with
status 0 only if training can start.
"""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from . import __version__

# import name: distributions that provide it, the one we install first
DISTRIBUTIONS = {
    'torch': ['torch'],
    'torchvision': ['torchvision'],
    'numpy': ['numpy'],
    'timm': ['timm'],
    'mmengine': ['onedl-mmengine', 'mmengine', 'mmengine-lite'],
    'mmcv': ['onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'],
    'mmdet': ['onedl-mmdetection', 'mmdet'],
    'mmseg': ['onedl-mmsegmentation', 'mmsegmentation'],
    'mmpretrain': ['onedl-mmpretrain', 'mmpretrain', 'mmcls'],
    'mmpose': ['mmpose'],
    'xtcocotools': ['xtcocotools'],
    'faster_coco_eval': ['faster-coco-eval'],
}
# The first version of the MMEngine generation; anything older is the mmcv 1.x one.
FIRST_VERSION = {'mmcv': 2, 'mmdet': 3, 'mmseg': 1, 'mmpretrain': 1, 'mmpose': 1}
INSTALL = f'rm -f {sys.prefix}/installed; make install'
REINSTALL_MMCV = (
    'pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps onedl-mmcv==2.3.6'
)


@dataclass
class Finding:
    """One line of the report: what was looked at, how it stands, the remedy if it is not well.

    A failure is fatal if training cannot start with it.
    """

    name: str
    state: str
    fix: str | None = None
    fatal: bool = True


def installed(name: str) -> dict[str, str]:
    """The distributions that provide an import name, with their versions."""
    return versions_of(DISTRIBUTIONS[name])


def versions_of(distributions: Iterable[str]) -> dict[str, str]:
    """Those of these distributions that are installed, with their versions."""
    found = {}
    for distribution in distributions:
        try:
            found[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> str:
    """Versions of Python and the stack, the devices and the revision, as lines of text."""
    lines = [f'{"python":<18}{platform.python_version()} on {platform.platform()}']
    for name in DISTRIBUTIONS:
        versions = ', '.join(f'{v} ({d})' for d, v in installed(name).items())
        lines.append(f'{name:<18}{versions or "not installed"}')
    lines.append(f'{"mmvisattn":<18}{__version__} {_revision()}'.rstrip())
    lines.append(f'{"GPU":<18}{check_cuda().state}')
    return '\n'.join(lines)


def check_python() -> Finding:
    """Python 3.10 to 3.12: what the stack's wheels and sources are made for."""
    version = platform.python_version()
    good = (3, 10) <= sys.version_info < (3, 13)
    return Finding('Python', version, None if good else 'PYTHON=python3.11 make install')


def check_distributions() -> list[Finding]:
    """Every package once, from the MMEngine generation, and torch in the range that compiles."""
    findings = []
    for name, distributions in DISTRIBUTIONS.items():
        found = installed(name)
        state = ', '.join(f'{d} {v}' for d, v in found.items()) or 'not installed'
        fix = None
        if not found:
            fix = INSTALL
        elif len(found) > 1:
            fix = f'both write the folder {name}: pip uninstall -y {" ".join(found)}; {INSTALL}'
        elif int(next(iter(found.values())).split('.')[0]) < FIRST_VERSION.get(name, 0):
            fix = f'too old for MMEngine: pip uninstall -y {next(iter(found))}; {INSTALL}'
        elif name == 'torch' and not _in_range(found['torch'], (2, 7), (2, 13)):
            fix = f"mmcv or torchvision break outside 2.7 to 2.12: pip install '{name}==2.12.1'"
        findings.append(Finding(distributions[0], state, fix))
    return findings


def check_mmcv_operators() -> Finding:
    """`mmcv.ops` is compiled, for this torch, and runs."""

    def run() -> str:
        import torch
        from mmcv.ops import get_compiling_cuda_version, nms

        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4.1]])
        nms(boxes, torch.tensor([0.9, 0.8]), iou_threshold=0.5)
        return f'run on CPU; compiled for CUDA: {get_compiling_cuda_version()}'

    return _try('mmcv.ops', run, REINSTALL_MMCV)


def check_opencv() -> Finding:
    """OpenCV imports: on a server it may lack the libraries of a screen."""

    def run() -> str:
        import cv2

        return f'cv2 {cv2.__version__}'

    fix = 'apt-get install libgl1 libglib2.0-0, or: pip install --no-deps --force-reinstall '
    return _try('OpenCV', run, fix + "'opencv-python-headless<4.13'")


def check_torchvision_operators() -> Finding:
    """torchvision's compiled operators belong to this torch."""

    def run() -> str:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0.9]), 0.5)
        return 'run'

    return _try('torchvision.ops', run, "pip install 'torch==2.12.1' 'torchvision==0.27.1'")


def check_xtcocotools() -> Finding:
    """xtcocotools (COCO keypoints) is built for the numpy that is installed."""

    def run() -> str:
        import xtcocotools.mask  # noqa: F401

        return 'built for this numpy'

    return _try(
        'xtcocotools',
        run,
        'pip install --force-reinstall --no-deps --no-binary xtcocotools --no-build-isolation '
        'xtcocotools==1.14.3',
    )


def check_toolboxes() -> list[Finding]:
    """mmseg, mmdet, mmpose and mmpretrain import, and find our backbones by name."""

    def imports(name: str) -> Callable[[], str]:
        def run() -> str:
            # onedl packages print a line of their own on import
            importlib.import_module(f'{name}.models')
            return 'imports'

        return run

    def finds() -> str:
        from mmseg.registry import MODELS

        MODELS.build(dict(type='mmvisattn.VAN', arch='b0', out_indices=(0,)))
        return "type='mmvisattn.VAN' is found from mmseg"

    findings = [_try(name, imports(name), INSTALL) for name in FIRST_VERSION if name != 'mmcv']
    return [*findings, _try('registry', finds, 'pip install -e . (in the mmvisattn checkout)')]


def check_native_operators() -> Finding:
    """Our C++ operators are compiled; without them others compute the same, slower."""

    def run() -> str:
        from .ops import native

        return native.status()

    return _try('mmvisattn.ops.native', run, 'MMVISATTN_NATIVE=0 does without')


def check_cuda() -> Finding:
    """Whether torch sees a GPU; a machine without one trains on its CPU."""
    import torch

    if torch.cuda.is_available():
        from mmcv.ops import get_compiling_cuda_version

        state = f'{torch.cuda.device_count()} x {torch.cuda.get_device_name()}'
        if get_compiling_cuda_version() == 'not available':
            return Finding(
                'GPU',
                f'{state}, but mmcv has CPU operators only: no detection on the GPU',
                'install the CUDA toolkit, then: ' + REINSTALL_MMCV,
                fatal=False,
            )
        return Finding('GPU', state)
    if _nvidia_smi():
        return Finding(
            'GPU',
            'the driver sees one, torch does not',
            f'a driver for CUDA {torch.version.cuda}, or another torch; check CUDA_VISIBLE_DEVICES',
            fatal=False,
        )
    return Finding('GPU', 'none: training runs on the CPU')


def diagnose() -> list[Finding]:
    """All checks, in the order in which one failure causes the next."""
    findings = [check_python(), *check_distributions()]
    if any(f.state == 'not installed' for f in findings):
        return findings
    return [
        *findings,
        check_torchvision_operators(),
        check_opencv(),
        check_mmcv_operators(),
        check_xtcocotools(),
        *check_toolboxes(),
        check_native_operators(),
        check_cuda(),
    ]


def main() -> int:
    """Print the report; the exit status is 0 if training can start."""
    findings = diagnose()
    for finding in findings:
        mark = 'ok' if not finding.fix else 'FAIL' if finding.fatal else 'warn'
        print(f'{mark:<6}{finding.name:<22}{finding.state}')
        if finding.fix:
            print(f'{"":<28}fix: {finding.fix}')
    failures = sum(finding.fix is not None and finding.fatal for finding in findings)
    print(f'\n{failures} problem(s): training cannot start.' if failures else '\nReady to train.')
    return min(failures, 1)


def _try(name: str, run: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name, run())
    except Exception as error:  # an extension built for another numpy or torch may raise anything
        first = str(error).strip().splitlines() or ['']
        return Finding(name, f'{type(error).__name__}: {first[0]}', fix)


def _in_range(version: str, first: tuple[int, int], end: tuple[int, int]) -> bool:
    major, minor = version.split('.')[:2]
    return first <= (int(major), int(minor)) < end


def _nvidia_smi() -> bool:
    return bool(_said_by('nvidia-smi', '-L'))


def _revision() -> str:
    """The revision of the checkout the package lies in; empty elsewhere."""
    package = Path(__file__).resolve().parent
    if not (package.parent / '.git').exists():
        return ''
    return _said_by('git', '-C', str(package), 'describe', '--always', '--dirty')


def _said_by(*command: str) -> str:
    """What a command prints; empty if it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


if __name__ == '__main__':
    sys.exit(main())
