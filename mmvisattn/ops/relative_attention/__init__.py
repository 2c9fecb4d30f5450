"""Attention with a relative bias (CoAtNet, Dai et al., NeurIPS 2021, arXiv:2106.04803)."""

from __future__ import annotations

from torch import Tensor

from ...errors import UserError, did_you_mean
from .. import kernels
from ..backends import Backend, Call, dispatch, precisely
from ..tensors import expect_shape, exporting
from .chunks import relative_attention as by_chunks
from .naive import relative_attention as defined
from .whole import relative_attention as as_a_whole

__all__ = ['relative_attention']

BACKENDS = (
    Backend(
        'triton',
        kernels.relative_attention,
        kernels.why_not_relative_attention,
        kernels.BY_REQUEST,
    ),
    Backend('whole', as_a_whole, by_request=True),
    Backend('chunks', by_chunks),
    Backend('naive', precisely(defined), by_request=True),
)
POSITIONS = ('pre_softmax', 'post_softmax')


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias_table: Tensor | None = None,
    *,
    size: tuple[int, int],
    scale: float | None = None,
    position: str = 'pre_softmax',
    backend: str | None = None,
) -> Tensor:
    """Attend from each pixel to all, with a bias that depends on where they lie to each other.

        pre_softmax:   softmax(scale * q k^T + bias) v
        post_softmax:  (softmax(scale * q k^T) + bias) v

    These are the two forms of equation 3 (section 2.1); the paper takes the first.

    Args:
        query: Tokens (N, heads, H * W, d), row by row.
        key: Tokens (N, heads, H * W, d).
        value: Tokens (N, heads, H * W, dv).
        bias_table: (heads, 2H - 1, 2W - 1); [h, yi - yj + H - 1, xi - xj + W - 1] is the bias of
            query i for key j. None leaves the relative term out.
        size: (H, W).
        scale: Factor of q . k, not of the bias; None takes d ** -0.5.
        position: 'pre_softmax' or 'post_softmax'.
        backend: Name of the backend; None takes the best.

    Returns:
        Tokens (N, heads, H * W, dv).

    Raises:
        UserError: Shapes that do not fit together, another `position`, or a backend that does
            not exist or cannot run.
    """
    expect_shape('query', query, ('N', 'heads', 'H * W', 'd'))
    n, heads, tokens, d = query.shape
    height, width = size
    if height * width != tokens:
        raise UserError(
            'size does not fit the tokens', expected=f'H * W of {tokens}', got=tuple(size)
        )
    expect_shape('key', key, (n, heads, tokens, d))
    expect_shape('value', value, (n, heads, tokens, 'dv'))
    expect_shape('bias_table', bias_table, (heads, 2 * height - 1, 2 * width - 1))
    if position not in POSITIONS:
        raise UserError(
            'relative_attention has no such position of the bias',
            expected=', '.join(POSITIONS),
            got=position,
            do=did_you_mean(position, list(POSITIONS)),
        )
    if backend is None and exporting():
        backend = 'whole'
    channels_out = value.shape[3]
    biased = channels_out if bias_table is not None and position == 'post_softmax' else 0
    return dispatch(
        Call(
            'relative_attention',
            BACKENDS,
            backend,
            args=(
                query,
                key,
                value,
                bias_table,
                (height, width),
                d**-0.5 if scale is None else scale,
                position,
            ),
            shape=(n, heads, tokens, channels_out),
            multiply_adds=n * heads * tokens**2 * (d + channels_out + biased),
            logits=n * heads * tokens**2,
        )
    )
