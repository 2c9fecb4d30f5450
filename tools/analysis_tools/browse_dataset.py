#!/usr/bin/env python
"""Draw pictures of the training data, before and after augmentation.

python tools/analysis_tools/browse_dataset.py CONFIG data.png --augmented 3

Given a folder in place of a PNG, each picture becomes a file of its own.
"""

import argparse

from mmengine.runner import set_random_seed

from mmvisattn.analysis.browsing import write_browsed
from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('target', metavar='PNG|DIR', help='a file that ends in .png, or a folder')
    parser.add_argument('--num', type=int, default=5, help='how many pictures (default: 5)')
    parser.add_argument(
        '--augmented', type=int, default=2, metavar='N', help='times each is made (default: 2)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation (default: 0)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        cfg = load_config(args.config, args.cfg_options)
        set_random_seed(args.seed)
        count = write_browsed(cfg, args.target, args.num, args.augmented)
        print(f'{args.target}: {count} pictures')
