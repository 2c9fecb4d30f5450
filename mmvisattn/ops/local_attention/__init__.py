"""Stand-alone self-attention (SASA, Ramachandran et al., NeurIPS 2019, arXiv:1906.05909)."""

from __future__ import annotations

from torch import Tensor

from ...errors import UserError
from .. import kernels
from ..backends import Backend, Call, dispatch, precisely
from ..tensors import expect_shape, exporting
from . import squares
from .blocks import local_attention as by_blocks
from .naive import local_attention as defined
from .strips import local_attention as by_strips

__all__ = ['local_attention']

BACKENDS = (
    Backend(
        'triton',
        kernels.local_attention,
        kernels.why_not_local_attention,
        kernels.BY_REQUEST,
    ),
    Backend('native', squares.local_attention, squares.why_not),
    Backend('blocks', by_blocks, by_request=True),
    Backend('strips', by_strips),
    Backend('naive', precisely(defined), by_request=True),
)


def local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None = None,
    column_embedding: Tensor | None = None,
    *,
    kernel_size: int,
    num_heads: int,
    scale: float = 1.0,
    backend: str | None = None,
) -> Tensor:
    """Attend from each pixel to the square around it (section 2.2).

    The logit of pixel p for its neighbour p + (a, b) is scale * (q . k + q . r), where r joins
    row_embedding[h, a + kernel_size // 2] and column_embedding[h, b + kernel_size // 2].
    Neighbours outside the picture take no part in the softmax. Without a key, positions alone
    decide (Table 6); without embeddings, contents alone do (Table 5).

    Args:
        query: Map (N, C, H, W); each head has C / num_heads = d consecutive channels.
        key: Map (N, C, H, W), or None.
        value: Map (N, Cv, H, W).
        row_embedding: (num_heads, kernel_size, d / 2), or (1, ...) to share it between heads, or
            None.
        column_embedding: As `row_embedding`; both or neither.
        kernel_size: Side of the square, odd; it may exceed the map.
        num_heads: Number of heads; it divides C and Cv.
        scale: Factor of the logits; the paper has none.
        backend: Name of the backend; None takes the best.

    Returns:
        Map (N, Cv, H, W).

    Raises:
        UserError: Shapes that do not fit together, an even kernel_size, one embedding without
            the other, neither key nor embeddings, or a backend that does not exist or cannot run.
    """
    expect_shape('query', query, 'NCHW')
    n, c, h, w = query.shape
    expect_shape('key', key, (n, c, h, w))
    expect_shape('value', value, (n, 'Cv', h, w))
    channels_out = value.shape[1]
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(
            'the square of local_attention has its pixel in the middle',
            expected='an odd kernel_size',
            got=kernel_size,
        )
    if num_heads < 1 or c % num_heads or channels_out % num_heads:
        raise UserError(
            'heads have equal shares of the channels',
            expected='a num_heads that divides the channels of query and value',
            got=f'num_heads {num_heads}, channels {c} and {channels_out}',
        )
    if (row_embedding is None) != (column_embedding is None):
        raise UserError('local_attention takes both embeddings or neither', got='one of them')
    if row_embedding is not None:
        row_embedding, column_embedding = (
            _per_head(name, embedding, (num_heads, kernel_size, c // num_heads))
            for name, embedding in (
                ('row_embedding', row_embedding),
                ('column_embedding', column_embedding),
            )
        )
    elif key is None:
        raise UserError(
            'local_attention has nothing to compare the query with',
            expected='a key, embeddings, or both',
            got='neither',
        )
    if backend is None and exporting():
        backend = 'blocks'
    contents = kernel_size**2 * (c if key is not None else 0)
    positions = kernel_size * c if row_embedding is not None else 0
    return dispatch(
        Call(
            'local_attention',
            BACKENDS,
            backend,
            args=(
                query,
                key,
                value,
                row_embedding,
                column_embedding,
                kernel_size,
                num_heads,
                scale,
            ),
            shape=(n, channels_out, h, w),
            multiply_adds=n * h * w * (contents + positions + kernel_size**2 * channels_out),
            logits=n * num_heads * h * w * kernel_size**2,
        )
    )


def _per_head(name: str, embedding: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The embedding (num_heads, kernel_size, d / 2), also where heads share it."""
    num_heads, kernel_size, d = size
    if d % 2:
        raise UserError(
            'row and column embedding have half of the channels of a head each',
            expected='an even number of channels per head',
            got=d,
        )
    shared = embedding.dim() == 3 and embedding.shape[0] == 1
    expect_shape(name, embedding, (1 if shared else num_heads, kernel_size, d // 2))
    return embedding.expand(num_heads, -1, -1)
