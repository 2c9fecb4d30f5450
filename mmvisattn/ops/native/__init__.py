"""Operators in C++ for the CPU, compiled at first use where a compiler is found.

`MMVISATTN_NATIVE=0` switches them off; `MMVISATTN_CACHE` is the folder that keeps what was built
(~/.cache/mmvisattn). Without them other backends compute the same.
"""

from .build import status, why_not
from .depthwise import depthwise_conv2d
from .neighbours import neighbour_products, neighbour_sums

__all__ = ['depthwise_conv2d', 'neighbour_products', 'neighbour_sums', 'status', 'why_not']
