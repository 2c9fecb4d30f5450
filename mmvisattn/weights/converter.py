"""Convert a checkpoint file from any known layout to another."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .files import read_checkpoint, state_dict_of, write_checkpoint
from .layouts import Converted, convert, export, target
from .zoo import locate


def convert_file(source: str | Path, destination: str | Path, to: str) -> Converted:
    """Read a checkpoint and write its network in the layout `to`.

    Args:
        source: A path, a URL or a published name.
        destination: The file to write; its ending says whether as safetensors or by `torch.save`.
        to: The layout to write; see `layouts.TARGETS`.

    Returns:
        What was read.

    Raises:
        UserError: The source cannot be read or is of no known network, there is no such layout of
            it, or the destination is the source.
    """
    path, destination = locate(source), Path(destination)
    if destination.exists() and destination.samefile(path):
        raise UserError(
            f'{destination} is the file that is read', do='give the new file another name'
        )
    weights = convert(state_dict_of(read_checkpoint(path)))
    layout = target(weights.network, to)
    write_checkpoint(destination, export(weights.state_dict, to), layout.wrapping)
    return weights
