"""What a test does after the network, faster: the toolboxes' classes with the same results.

| `type=` | instead of | what differs |
|---|---|---|
| `mmvisattn.IoUMetric` | mmseg's | counts pairs of labels once |
| `mmvisattn.EncoderDecoder` | mmseg's | label maps without full-size logits |
| `mmvisattn.SegTTAModel` | mmseg's | asks the segmentor for those logits |

The classes are here by these names, too, where mmseg is installed.
"""

from . import segmentor  # noqa: F401  (registers its classes)
from .iou import count_areas
from .toolbox import REFINED

__all__ = ['count_areas']


def __getattr__(name: str) -> type:
    """A class on top of a toolbox's, made when it is first asked for."""
    if name in REFINED:
        return REFINED[name]()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
