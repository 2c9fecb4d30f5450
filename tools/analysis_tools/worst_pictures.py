#!/usr/bin/env python
"""Draw the pictures that were predicted worst, with truth and prediction.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/worst_pictures.py CONFIG RESULTS worst.png

Given a folder in place of a file, each picture becomes a file of its own.
"""

import argparse

from mmvisattn.analysis.gallery import write_worst
from mmvisattn.analysis.predicted import read_predicted
from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_or_folder

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config that was tested')
    parser.add_argument('results', help='folder of predictions (tools/test.py --out)')
    parser.add_argument('target', metavar='FIGURE|DIR',
                        help='a file (.png, .pdf or .svg) or a folder')  # fmt: skip
    parser.add_argument(
        '--num', type=at_least_one, default=5, help='how many pictures (default: 5)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        check_figure_or_folder(args.target)
        cfg = load_config(args.config, args.cfg_options)
        predicted = read_predicted(cfg, args.results)
        for score in write_worst(cfg, predicted, args.target, args.num):
            print(f'{score.value:6.1f}  {score.path}')
        print(f'{args.target}: the lowest by {predicted.scored_by}')
