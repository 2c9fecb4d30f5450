#!/usr/bin/env python
"""Draw losses and metrics of one or several trainings in one figure.

python tools/analysis_tools/plot_curves.py WORK_DIR... --out curves.png

A run that was resumed is one curve. A folder of seeds (tools/train_seeds.py)
is their mean, with a band of a standard deviation to both sides.
"""

import argparse

from mmvisattn.analysis.curves import draw_curves, read_groups
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_name, save_figure

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='of trainings')
    parser.add_argument('--out', required=True, metavar='FIGURE',
                        help='the file to write: .png, .pdf or .svg')  # fmt: skip
    parser.add_argument(
        '--keys', nargs='+', default=[], metavar='KEY',
        help='what to draw, such as loss lr mIoU (default: loss and the main metric)',
    )  # fmt: skip
    parser.add_argument('--log', action='store_true', help='losses on a logarithmic scale')
    args = parser.parse_args()
    with reported():
        check_figure_name(args.out)
        groups = read_groups(args.work_dirs)
        save_figure(draw_curves(groups, args.keys, args.log), args.out)
        print(f'{args.out}: {", ".join(group.name for group in groups)}')
