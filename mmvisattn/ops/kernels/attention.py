"""What the kernels of all attentions share: the softmax that runs along, blocks, derivatives."""

import triton
import triton.language as tl
from torch import Tensor
from torch.library import CustomOpDef

from ...errors import UserError

LOG2_E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.4e38)


def block(size: int) -> int:
    """What `tl.dot` takes for so many rows or columns."""
    return max(16, triton.next_power_of_2(size))


@triton.jit
def attend(logits, v, largest, total, attended, PRECISION: tl.constexpr):
    """Take a block of keys into a softmax.

    Args:
        logits: (queries, keys), to base 2; minus infinity where a key takes no part.
        v: (keys, channels).
        largest: (queries,), the largest logit so far, at first `LOWEST`.
        total: (queries,), the sum of weights so far, relative to the largest.
        attended: (queries, channels), the sum of values so far, so weighted.
        PRECISION: Of `tl.dot`.

    Returns:
        The last three, with the block.
    """
    now = tl.maximum(largest, tl.max(logits, 1))
    weights = tl.exp2(logits - now[:, None])
    shrink = tl.exp2(largest - now)
    total = total * shrink + tl.sum(weights, 1)
    attended *= shrink[:, None]
    attended = tl.dot(weights.to(v.dtype), v, attended, input_precision=PRECISION)
    return now, total, attended


def refuse_second_derivatives(gradients: CustomOpDef, name: str, other: str) -> None:
    """Let autograd know that an operator's gradients have no gradients.

    Args:
        gradients: What computes the gradients.
        name: Of the operator.
        other: Its backend that has second derivatives.
    """

    def refuse(ctx: object, *gradients: Tensor) -> None:
        raise UserError(
            f"{name}'s Triton kernels have no second derivatives",
            do=f"take backend='{other}' for gradients of gradients",
        )

    gradients.register_autograd(refuse)
