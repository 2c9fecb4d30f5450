"""Parameters and multiply-adds of a network, counted without computing or allocating anything.

Convolutions, matrix products and attention are counted (PyTorch's counter), our operators by their
definition (`mmvisattn.ops.counting`); normalisation, activation, pooling and sums are not, as is
the custom of the papers.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .. import ops


@dataclass(frozen=True)
class Complexity:
    """What a network costs on one picture.

    Args:
        parameters: Number of parameters.
        multiply_adds: Multiply-adds of one forward pass; "FLOPs" of most papers.
        by_operator: The multiply-adds of each operator.
        logits: How many numbers the softmax of our operators normalises.
    """

    parameters: int
    multiply_adds: int
    by_operator: Counter
    logits: int

    def __str__(self) -> str:
        lines = [
            f'parameters     {self.parameters / 1e6:10.3f} M',
            f'multiply-adds  {self.multiply_adds / 1e9:10.3f} G',
        ]
        return '\n'.join(
            lines
            + [f'  {name:<22} {n / 1e9:10.3f} G' for name, n in self.by_operator.most_common()]
        )


def complexity(
    network: nn.Module,
    shape: Sequence[int],
    forward: Callable[[nn.Module, torch.Tensor], object] = nn.Module.__call__,
) -> Complexity:
    """Count the parameters of a network, and its multiply-adds for a picture.

    Args:
        network: A module; it is left as it is.
        shape: Shape of the picture, (C, H, W).
        forward: How to run it, if not by calling it with a batch (1, C, H, W).
    """
    network = copy.deepcopy(network).to('meta')
    network.eval()  # mmpretrain's VAN returns None
    picture = torch.empty(1, *shape, device='meta')
    with torch.no_grad(), FlopCounterMode(display=False) as counter, ops.counting() as ours:
        forward(network, picture)
    theirs = {
        str(op): count // 2 for op, count in counter.get_flop_counts().get('Global', {}).items()
    }
    by_operator = Counter(theirs) + ours
    return Complexity(
        parameters=sum(p.numel() for p in network.parameters()),
        multiply_adds=sum(by_operator.values()),
        by_operator=by_operator,
        logits=ours.logits,
    )
