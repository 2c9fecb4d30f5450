"""What a test does after the network, faster: the toolboxes' classes with the same results.

| `type=` | instead of | what differs |
|---|---|---|
| `mmvisattn.IoUMetric` | mmseg's | counts pairs of labels once |
| `mmvisattn.EncoderDecoder` | mmseg's | label maps without full-size logits |
| `mmvisattn.SegTTAModel` | mmseg's | asks the segmentor for those logits |
"""

from .iou import IoUMetric, count_areas
from .segmentor import EncoderDecoder, SegTTAModel

__all__ = ['EncoderDecoder', 'IoUMetric', 'SegTTAModel', 'count_areas']
