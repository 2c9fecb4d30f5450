"""The machine that measures: its name, and the speeds that nothing on it can exceed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from ...engine.surroundings import cpu_name
from ...ops.pointwise import pointwise_conv2d

PACKAGES = (
    'mmvisattn', 'torch', 'torchvision', 'triton', 'timm', 'onedl-mmengine', 'onedl-mmcv',
    'onedl-mmdetection', 'onedl-mmsegmentation', 'onedl-mmpretrain', 'faster-coco-eval',
)  # fmt: skip
DTYPES = dict(float32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


@dataclass(frozen=True)
class Limits:
    """What the machine reached at best.

    Attributes:
        bandwidth: Bytes per second of a copy, read and written.
        rate: Operations per second of a matrix product, as such or as a 1 x 1 convolution, which
            a CPU may compute faster; two for each multiply-add.
    """

    bandwidth: float
    rate: float

    def seconds(self, moved: int, operations: int) -> float:
        """The least time for so many bytes and operations, if both go on at once."""
        return max(moved / self.bandwidth, operations / self.rate)


def synchronized(device: torch.device, function: Callable[[], object], calls: int = 1) -> float:
    """Seconds that some calls take until the device has finished them."""
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return time.perf_counter() - start


@cache
def measured_limits(device: torch.device, dtype: torch.dtype, short: bool) -> Limits:
    """Measure a copy that no cache holds, and a large square matrix product."""
    on_gpu = device.type == 'cuda'
    numbers = 2**28 if on_gpu else 2**24 if short else 2**26
    side = 8192 if on_gpu else 1024 if short else 2048
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    copying = _best(device, lambda: target.copy_(source))
    pixels = a.view(1, 32, -1, side).permute(0, 3, 1, 2)
    multiplying = min(
        _best(device, lambda: a @ b),
        _best(device, lambda: pointwise_conv2d(pixels, b[:, :, None, None])),
    )
    return Limits(2 * source.nbytes / copying, 2 * side**3 / multiplying)


def _best(device: torch.device, function: Callable[[], object]) -> float:
    return min(synchronized(device, function) for _ in range(8))


def name_of(device: torch.device) -> str:
    """What the device is called: the GPU's name, or the processor's."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return cpu_name()


def versions() -> dict[str, str]:
    """Python and the packages that have a part in the speed, as far as they are installed."""
    found = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
