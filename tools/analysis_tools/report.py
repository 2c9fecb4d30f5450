#!/usr/bin/env python
"""Write one page about a run: record, curves, metrics, pictures, speed.

python tools/test.py CONFIG CHECKPOINT --out WORK_DIR/predictions
python tools/analysis_tools/report.py WORK_DIR

The page is one file that needs nothing else and asks no network: send it.
Without predictions it has no metrics by class and no pictures.
"""

import argparse

from mmvisattn.analysis.report import write_report
from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='of a training, or a folder of seeds')
    parser.add_argument('--out', metavar='HTML', help='default: WORK_DIR/report.html')
    parser.add_argument('--config', help='what was tested (default: the config in WORK_DIR)')
    parser.add_argument('--results', metavar='DIR', help='default: WORK_DIR/predictions')
    parser.add_argument(
        '--num', type=at_least_one, default=6, help='pictures of each kind (default: 6)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        page = write_report(
            args.work_dir, args.out, args.config, args.results, args.cfg_options, args.num
        )
        print(page)
