"""Static int8 quantisation by onnxruntime, calibrated on a config's training pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.registry import DATASETS, init_default_scope

from ..atomic import written_whole
from ..engine.config import load_config
from ..engine.datasets_check import check_datasets
from ..errors import UserError
from .runtime import library, open_onnx

# What onnxruntime's kernels compute in int8; attention and normalisation stay in float32.
OPERATORS = ('Conv', 'MatMul', 'Gemm')


def quantize_file(
    config: str | Path,
    file: str | Path,
    out: str | Path | None = None,
    *,
    num: int = 32,
    options: dict | None = None,
    excluded: str = '',
) -> Path:
    """Write an int8 copy of an ONNX file: weights by channel, activations by their largest values.

    Args:
        config: Path of the config, whose training pictures, as its test loads them, calibrate.
        file: What `export_model` wrote.
        out: The file to write; None takes the name of the first with '_int8'.
        num: How many pictures.
        options: What changes in the config.
        excluded: Nodes that have this text in their names stay in float32.

    Raises:
        UserError: What cannot be read, or no pictures to calibrate on.
    """
    file = Path(file)
    session, notes = open_onnx(file)
    out = Path(out) if out else file.with_name(f'{file.stem}_int8.onnx')
    if not out.parent.is_dir():
        raise UserError(f'no folder {out.parent}', do='make it, or give --out another')
    quantization = library('onnxruntime.quantization')
    onnx = library('onnx')
    calibrate = library('onnxruntime.quantization.calibrate')
    pictures = calibration_pictures(config, num, options)

    class Reader(calibrate.CalibrationDataReader):
        def get_next(self) -> dict | None:
            picture = next(pictures, None)
            return None if picture is None else {'pictures': picture.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        prepared, written = Path(folder, 'prepared.onnx'), Path(folder, 'int8.onnx')
        # Shapes that depend on sizes are beyond the symbolic inference, and not needed.
        quantization.quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared).graph.node]
        quantization.quantize_static(
            str(prepared),
            str(written),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[name for name in names if excluded and excluded in name],
        )
        model = onnx.load(written)
    own = dict(int8=json.dumps(dict(config=Path(config).stem, pictures=num)))
    onnx.helper.set_model_props(model, {**notes, **own})
    with written_whole(out) as target:
        target.write(model.SerializeToString())
    return out


def calibration_pictures(
    config: str | Path, num: int, options: dict | None = None
) -> Iterator[torch.Tensor]:
    """The first training pictures of a config as its test loads them, (1, H, W, 3) RGB, uint8.

    Raises:
        UserError: Less than one picture is asked for, or there are none.
    """
    if num < 1:
        raise UserError('quantisation is calibrated on pictures', expected='1 or more', got=num)
    cfg = load_config(config, options)
    check_datasets(cfg, ('train_dataloader',))
    init_default_scope(cfg.default_scope)
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset or 'datasets' in dataset:  # repeated, balanced, one after another
        dataset = dataset.dataset if 'dataset' in dataset else dataset.datasets[0]
    dataset.pipeline = cfg.test_dataloader.dataset.pipeline
    if 'test_mode' in cfg.test_dataloader.dataset:
        dataset.test_mode = True
    dataset = DATASETS.build(dataset)

    def pictures() -> Iterator[torch.Tensor]:
        for i in range(min(num, len(dataset))):
            yield dataset[i]['inputs'].flip(0).permute(1, 2, 0)[None].contiguous()

    return pictures()
