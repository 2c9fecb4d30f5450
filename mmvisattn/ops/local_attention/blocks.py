"""Local attention as plain steps of any size: what an exported graph holds.

As in `strips`, a block of queries shares one window of keys; all blocks are computed at once, and
windows are looked up by index, so that no step depends on the size of the map.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..tensors import as_products_take, memory_format
from .strips import BLOCK, Axis, position_biases


def local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    kernel_size: int,
    num_heads: int,
    scale: float,
) -> Tensor:
    """(N, C, H, W) and (N, Cv, H, W) to (N, Cv, H, W), in the memory format of the query."""
    layout = memory_format(query)
    query, key, value, *embeddings = as_products_take(
        query, key, value, row_embedding, column_embedding
    )
    height, width = query.shape[2:]
    rows, columns = (
        Axis(length, kernel_size // 2, BLOCK, (length + BLOCK - 1) // BLOCK)
        for length in (height, width)
    )
    queries = _windows(query, rows.without_halo(), columns.without_halo(), num_heads)
    of_rows, of_columns = position_biases(queries.flatten(3, 4), *embeddings, rows, columns, scale)
    logits = of_rows[..., :, None] + of_columns[..., None, :]  # (N, heads, J, I * y, x, a, b)
    logits = logits.unflatten(3, (-1, BLOCK)).flatten(6).flatten(4, 5)
    if key is not None:
        keys = _windows(key, rows, columns, num_heads).flatten(4, 5)
        logits = logits + scale * queries.flatten(4, 5) @ keys.transpose(4, 5)
    values = _windows(value, rows, columns, num_heads).flatten(4, 5)
    out = logits.softmax(5) @ values  # (N, heads, J, I, y * x, dv)
    out = out.unflatten(4, (BLOCK, BLOCK)).permute(0, 1, 6, 3, 4, 2, 5)
    out = out.flatten(5).flatten(3, 4).flatten(1, 2)[:, :, :height, :width]
    return out.contiguous(memory_format=layout)


def _windows(x: Tensor, rows: Axis, columns: Axis, num_heads: int) -> Tensor:
    """Cut a map (N, C, H, W) into windows (N, heads, J, I, rows, columns, d)."""
    x = F.pad(x, (*columns.padding, *rows.padding))
    for dim, axis in ((2, rows), (3, columns)):
        x = x.index_select(dim, axis.places(x.device).flatten())
    x = x.unflatten(3, (-1, columns.window)).unflatten(2, (-1, rows.window))
    return x.unflatten(1, (num_heads, -1)).permute(0, 1, 5, 3, 4, 6, 2)
