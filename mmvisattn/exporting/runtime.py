"""Exported files, run as a user runs them, whatever their format."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError

Run = Callable[[Tensor], Sequence[Tensor]]


def library(name: str) -> object:
    """An optional library.

    Raises:
        UserError: It is not installed.
    """
    try:
        return __import__(name, fromlist=['*'])
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed', do="pip install 'mmvisattn[export]'"
        ) from error


def session_of(content: bytes, threads: int = 0):
    """An onnxruntime session on the CPU; 0 threads are as many as PyTorch has."""
    ort = library('onnxruntime')
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=['CPUExecutionProvider'])


def runner_of(format: str, content: bytes) -> Run:
    """What takes pictures (N, H, W, 3) and returns the outputs of a file."""
    if format == 'onnx':
        session = session_of(content)
        return lambda x: [
            torch.from_numpy(y) for y in session.run(None, {'pictures': x.contiguous().numpy()})
        ]
    if format == 'torchscript':
        module = torch.jit.load(io.BytesIO(content))
    else:
        module = torch.export.load(io.BytesIO(content)).module()
    return torch.no_grad()(module)


def open_onnx(path: str | Path):
    """The session of an ONNX file of ours, and its metadata.

    Raises:
        UserError: No such file, or no file of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'no such file: {path}', expected='an ONNX file of tools/deployment/export.py'
        )
    try:
        session = session_of(path.read_bytes())
    except UserError:
        raise
    except Exception as error:  # onnxruntime's own kinds
        raise UserError(f'{path} cannot be run', got=error) from error
    notes = session.get_modelmeta().custom_metadata_map
    if 'task' not in notes:
        raise UserError(
            f'{path} does not say what it is', do='write it with tools/deployment/export.py'
        )
    return session, notes
