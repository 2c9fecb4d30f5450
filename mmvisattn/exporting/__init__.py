"""Networks as files that run without this package: ONNX, TorchScript and torch.export."""

from .evaluate import evaluate_file
from .export import FORMATS, Exported, export_model
from .load import load_model
from .quantize import quantize_file

__all__ = [
    'FORMATS',
    'Exported',
    'evaluate_file',
    'export_model',
    'load_model',
    'quantize_file',
]
