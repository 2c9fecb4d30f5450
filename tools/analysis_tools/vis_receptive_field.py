#!/usr/bin/env python
"""Draw effective receptive fields side by side, and print their area figures.

CKPT may be 'pretrained', the ImageNet weights that a config starts from, or 'none', random ones.

python tools/analysis_tools/vis_receptive_field.py CONFIG CKPT [CONFIG CKPT ...] PNG
python tools/analysis_tools/vis_receptive_field.py configs/fpn_cyclemlp_b2_ade20k.py pretrained \\
    configs/fpn_swin_t_ade20k.py pretrained erf.png --pictures data/ade/images/validation
"""

import argparse

from mmvisattn.engine.arguments import at_least_one
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_name, save_figure
from mmvisattn.visualization.arguments import figure_options
from mmvisattn.visualization.receptive_field import draw_receptive_fields, measure_all, table

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('words', nargs='+', metavar='CONFIG CKPT ... PNG',
                        help='networks, then the figure to write: .png, .pdf or .svg')  # fmt: skip
    parser.add_argument('--pictures', metavar='DIR',
                        help='pictures to average over (default: normal noise)')  # fmt: skip
    parser.add_argument('--count', type=at_least_one, default=20, metavar='N',
                        help='how many pictures (20)')  # fmt: skip
    parser.add_argument('--size', type=at_least_one, nargs='+', default=[512], metavar='N',
                        help='height and width of the input, or its side (512)')  # fmt: skip
    figure_options(parser)
    args = parser.parse_args()
    *networks, figure = args.words
    if len(networks) < 2 or len(networks) % 2 or len(args.size) > 2:
        parser.error('give CONFIG CKPT, as often as there are networks, then the figure; '
                     '--size takes one or two numbers')  # fmt: skip
    with reported():
        check_figure_name(figure)
        pairs = list(zip(networks[::2], networks[1::2], strict=True))
        size = (args.size[0], args.size[-1])
        fields = measure_all(pairs, size, args.pictures, args.count, args.cfg_options)
        save_figure(draw_receptive_fields(fields), figure, args.dpi)
        print(table(fields))
        print(f'{figure}: of {len(fields)} networks at {size[0]} x {size[1]}')
