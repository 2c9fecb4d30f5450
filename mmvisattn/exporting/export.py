"""Write a network into a file, and run the file beside PyTorch before it gets its name."""

from __future__ import annotations

import io
import json
import logging
import statistics
import time
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from .. import __version__
from ..atomic import written_whole
from ..backbones.sasa import LocalAttention
from ..engine.loading import newest_in
from ..errors import UserError
from ..weights import read_checkpoint, sha256_of
from .boxes import onnx_best_boxes
from .load import load_model
from .parts import for_any_size
from .runtime import Run, library, runner_of
from .tasks import Network, network_of

FORMATS = {'onnx': '.onnx', 'torchscript': '.pt', 'torch-export': '.pt2'}
OPSET = 17  # the first with LayerNormalization
OPSETS = (17, 18, 19, 20)  # that PyTorch's exporter writes and onnxruntime reads
# Of outputs, over their magnitude: float32 in another order of sums, through some 100 layers.
TOLERANCE = 1e-4
ROUNDS = 5  # of a latency
NOTES = 'mmvisattn.json'  # beside the graph, in a file of PyTorch
MULTIPLE = 32  # of which torch.export takes pictures; see docs/export.md
TRACED = (256, 320)  # a size; no step depends on it
FOUND = dict.fromkeys(('boxes', 'scores', 'labels', 'masks'), ('found',))
FOUND['pasted'] = ('found', 'height', 'width')
AXES = {
    'segmentation': {'labels': ('height', 'width'), 'logits': ('classes', 'height', 'width')},
    'detection': FOUND,
    'panoptic': {**FOUND, 'semantic': ('height', 'width')},
}


class UnequalError(RuntimeError):
    """The file computes something else than PyTorch."""


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: The file.
        size: Height and width of the picture that it was compared on.
        difference: The largest one from PyTorch, over the largest magnitude.
        milliseconds: Of PyTorch (folded, eager) and of the file, a picture each, on the CPU.
        notes: What the file says of itself.
    """

    path: Path
    size: tuple[int, int]
    difference: float
    milliseconds: tuple[float, float]
    notes: dict[str, str]

    def __str__(self) -> str:
        eager, other = self.milliseconds
        return (
            f'{self.path}: {self.path.stat().st_size / 2**20:.1f} MiB\n'
            f'  on a picture of {self.size[0]} x {self.size[1]}: largest difference from PyTorch '
            f'{self.difference:.1e}\n  PyTorch {eager:.1f} ms, the file {other:.1f} ms '
            f'({eager / other:.2f} times as fast), {torch.get_num_threads()} threads'
        )


def export_model(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path | None = None,
    *,
    format: str = 'onnx',
    options: dict | None = None,
    features: bool = False,
    logits: bool = False,
    pasted: bool = False,
    fold: bool = True,
    opset: int = OPSET,
    picture: str | Path | None = None,
    size: tuple[int, int] | None = None,
) -> Exported:
    """Write a model of a config, with what comes before and after it, into one file.

    Args:
        config: Path of the config.
        checkpoint: File of weights.
        out: The file to write; None takes the checkpoint's name with the format's ending.
        format: A key of `FORMATS`.
        options: What changes in the config.
        features: Whether to write backbone and neck alone.
        logits: Whether a segmentor returns its logits beside its labels.
        pasted: Whether a detector returns the masks of the whole picture beside those of its boxes.
        fold: Whether to fold BatchNorm and scales into convolutions.
        opset: Of ONNX, one of `OPSETS`.
        picture: A file to compare on; None takes a made-up one.
        size: Height and width that the picture is brought to; None takes the config's.

    Raises:
        UserError: What cannot be read or has no graph.
        UnequalError: The graph computes something else; nothing is written.
    """
    if format not in FORMATS:
        raise UserError('no such format', expected=', '.join(FORMATS), got=format)
    if opset not in OPSETS:
        raise UserError('no such opset is written', expected=f'one of {OPSETS}', got=opset)
    checkpoint = newest_in(str(checkpoint))
    out = Path(out or Path(checkpoint).with_suffix(FORMATS[format]))
    _check_out(out, format)
    if size and min(size) < 1:
        raise UserError('a picture has pixels', expected='--size of 1 or more', got=size)
    model, cfg = load_model(config, checkpoint, options, fold)
    network = network_of(model, cfg, features=features, logits=logits, pasted=pasted)
    notes = describe(network, cfg, config, checkpoint)
    content = write_graph(network, format, notes, opset)
    size = size or picture_size(cfg)
    if format == 'torch-export':
        size = tuple(max(MULTIPLE * _least(network), n // MULTIPLE * MULTIPLE) for n in size)
    pictures = read_picture(picture, size)
    run = runner_of(format, content)
    difference = check(network, run, pictures, any_size=format != 'torch-export')
    eager, other = latencies([network, run], pictures)
    with written_whole(out) as file:
        file.write(content)
    return Exported(out, size, difference, (eager, other), notes)


def _check_out(out: Path, format: str) -> None:
    """Stop before the work if the file cannot be written, or its name says another format.

    Raises:
        UserError: So it is.
    """
    if out.is_dir():
        raise UserError(f'{out} is a folder', expected='--out FILE')
    if not out.parent.is_dir():
        raise UserError(f'no folder {out.parent}', do='make it, or give --out another')
    others = {ending: name for name, ending in FORMATS.items() if name != format}
    if out.suffix in others:
        raise UserError(
            f'{out} ends as a file of --format {others[out.suffix]} does',
            expected=FORMATS[format],
            do=f'--format {others[out.suffix]}, or another name',
        )


def write_graph(network: Network, format: str, notes: dict[str, str], opset: int = OPSET) -> bytes:
    """The content of a file.

    Raises:
        UserError: A step that the format does not have.
    """
    if network.onnx_alone and format != 'onnx':
        raise UserError(
            'a detector is exported as ONNX, which has non-maximum suppression as a step',
            do='--format onnx, or --features',
        )
    network = for_any_size(deepcopy(network))
    pictures = torch.zeros(2, *TRACED, 3, dtype=torch.uint8)
    level = logging.getLogger('torch.onnx').level
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # of sizes in traces: `check` compares other sizes
            return WRITERS[format](network, pictures, notes, opset)
    finally:
        logging.getLogger('torch.onnx').setLevel(level)


def _write_onnx(network: Network, pictures: Tensor, notes: dict[str, str], opset: int) -> bytes:
    # The exporter of traces: its graph is of any size. That of torch.export reasons about sizes
    # with symbols, which takes minutes for these networks and fails where sizes round up.
    onnx = library('onnx')
    torch.onnx.register_custom_op_symbolic('mmvisattn::best_boxes', onnx_best_boxes, OPSET)
    axes = {'pictures': {0: 'batch', 1: 'height', 2: 'width'}}
    for name in network.outputs:
        names = AXES.get(network.task, {}).get(name, ())
        if network.task == 'features':
            names = ('channels', f'{name}_height', f'{name}_width')
        axes[name] = {0: 'batch', **dict(enumerate(names, 1))}
        axes[name] = {i: n for i, n in axes[name].items() if n not in ('channels', 'classes')}
    file = io.BytesIO()
    torch.onnx.export(
        network,
        (pictures,),
        file,
        dynamo=False,
        opset_version=opset,
        input_names=['pictures'],
        output_names=list(network.outputs),
        dynamic_axes=axes,
    )
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _write_torchscript(network: Network, pictures: Tensor, notes: dict[str, str], _: int) -> bytes:
    file = io.BytesIO()
    traced = torch.jit.trace(network, (pictures,), check_trace=False)
    torch.jit.save(traced, file, _extra_files={NOTES: json.dumps(notes)})
    return file.getvalue()


def _write_torch_export(network: Network, pictures: Tensor, notes: dict[str, str], _: int) -> bytes:
    dim, file = torch.export.Dim, io.BytesIO()
    least = _least(network)
    height, width = (MULTIPLE * dim(name, min=least) for name in ('rows', 'columns'))
    sizes = {0: dim('batch'), 1: height, 2: width}
    program = torch.export.export(network, (pictures,), dynamic_shapes=(sizes,), strict=False)
    torch.export.save(program, file, extra_files={NOTES: json.dumps(notes)})
    return file.getvalue()


WRITERS = {
    'onnx': _write_onnx,
    'torchscript': _write_torchscript,
    'torch-export': _write_torch_export,
}


def _least(network: Network) -> int:
    """How many multiples a side has at least: torch.export takes an axis of 1 for another case."""
    local = any(isinstance(part, LocalAttention) for part in network.modules())
    return 6 if local else 2  # blocks of 4 x 4 pixels of the last map


def describe(
    network: Network, cfg: Config, config: str | Path, checkpoint: str | Path
) -> dict[str, str]:
    """What a file says of itself, all of it text."""
    meta = read_checkpoint(checkpoint).get('meta') or {}
    data = meta.get('dataset_meta') or {}
    classes = data.get('classes') or data.get('CLASSES') or cfg.get('classes') or []
    pictures = network.pictures
    return {
        'task': network.task,
        'classes': json.dumps(list(classes)),
        'input': 'RGB pictures (batch, height, width, 3), uint8',
        'normalisation': json.dumps(
            dict(
                mean=pictures.mean.flatten().tolist(),
                std=pictures.std.flatten().tolist(),
                colours='RGB' if pictures.rgb else 'BGR',
                multiple=pictures.divisor,
            )
        ),
        'outputs': json.dumps(list(network.outputs)),
        'config': Path(config).stem,
        'checkpoint_sha256': sha256_of(Path(checkpoint)),
        'mmvisattn': __version__,
    }


def check(network: Network, run: Run, pictures: Tensor, any_size: bool = True) -> float:
    """The difference of a file from PyTorch, on one picture and on two of another, odd size.

    Args:
        network: In PyTorch.
        run: The file.
        pictures: One, (1, H, W, 3), uint8.
        any_size: Whether the file takes sizes that are no multiples of 32.

    Raises:
        UnequalError: It exceeds `TOLERANCE`.
    """
    height, width = pictures.shape[1:3]
    if any_size:
        smaller = pictures[:, : max(1, height - 5), : max(1, width - 3)]
    else:
        smaller = pictures[:, : height - MULTIPLE if height > 7 * MULTIPLE else height]
    two = torch.cat([smaller, smaller.flip(2)])
    worst = 0.0
    for batch in (pictures, two):
        with torch.no_grad():
            difference = network.difference(batch, run(batch))
        if not difference <= TOLERANCE:
            raise UnequalError(
                f'the graph computes something else than PyTorch: on pictures {tuple(batch.shape)} '
                f'outputs differ by {difference:.1e}, allowed are {TOLERANCE:.0e}. '
                'No file is written.'
            )
        worst = max(worst, difference)
    return worst


def latencies(runs: Sequence[Run], pictures: Tensor) -> list[float]:
    """Milliseconds of each, the median of turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, own in zip(runs, times, strict=True):
            with torch.no_grad():
                start = time.perf_counter()
                run(pictures)
            own.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]


def read_picture(file: str | Path | None, size: tuple[int, int]) -> Tensor:
    """A picture (1, H, W, 3), uint8, from a file or made up of colours that run into each other.

    Raises:
        UserError: No picture.
    """
    shape = (size[1], size[0])
    if file is None:
        coarse = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC)
    else:
        try:
            picture = Image.open(file).convert('RGB').resize(shape)
        except OSError as error:
            raise UserError(f'{file} is no picture', got=error) from error
    return torch.from_numpy(np.array(picture))[None]


def picture_size(cfg: Config) -> tuple[int, int]:
    """Height and width of a picture as the config's test brings it to the network."""
    steps = list(cfg.get('test_pipeline') or cfg.test_dataloader.dataset.pipeline)
    sizes = [step[key] for step in steps for key in ('scale', 'crop_size', 'input_size')
             if step.get(key)]  # fmt: skip
    if not sizes:
        return (512, 512)
    last = sizes[-1]
    width, height = (last, last) if isinstance(last, int) else tuple(last)[:2]
    return int(height), int(width)
