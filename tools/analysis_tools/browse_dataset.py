#!/usr/bin/env python
"""Draw pictures of the training data, before and after augmentation.

python tools/analysis_tools/browse_dataset.py CONFIG data.png --augmented 3

Given a folder in place of a file, each picture becomes a file of its own.
"""

import argparse

from mmengine.runner import set_random_seed

from mmvisattn.analysis.browsing import write_browsed
from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_or_folder

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('target', metavar='FIGURE|DIR',
                        help='a file (.png, .pdf or .svg) or a folder')  # fmt: skip
    parser.add_argument(
        '--num', type=at_least_one, default=5, help='how many pictures (default: 5)'
    )
    parser.add_argument(
        '--augmented', type=int, default=2, metavar='N', help='times each is made (default: 2)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation (default: 0)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        check_figure_or_folder(args.target)
        cfg = load_config(args.config, args.cfg_options)
        set_random_seed(args.seed)
        count = write_browsed(cfg, args.target, args.num, args.augmented)
        print(f'{args.target}: {count} pictures')
