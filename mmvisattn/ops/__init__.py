"""The operators of visual attention, as functions of tensors.

Each has a definition to trust ('naive') and faster backends that agree with it in value and in
every gradient; `explain` says which one a call takes, `counting` what it costs. `channel_fc` and
`spatial_fc`, which CycleFC is compared with, are single calls of PyTorch and have that alone.
"""

from .backends import counting, explain
from .cycle_fc import cycle_fc, cycle_offsets
from .cycle_mixing import cycle_mixing
from .dense import channel_fc, spatial_fc
from .depthwise import depthwise_conv2d
from .large_kernel import large_kernel_attention
from .local_attention import local_attention
from .relative_attention import relative_attention

__all__ = [
    'channel_fc',
    'counting',
    'cycle_fc',
    'cycle_mixing',
    'cycle_offsets',
    'depthwise_conv2d',
    'explain',
    'large_kernel_attention',
    'local_attention',
    'relative_attention',
    'spatial_fc',
]
