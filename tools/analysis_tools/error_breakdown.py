#!/usr/bin/env python
"""Draw what kinds of errors there are, and how much each costs.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/error_breakdown.py CONFIG RESULTS errors.png

docs/understand.md says what the kinds of each task mean.
"""

import argparse

from mmvisattn.analysis.figures import draw_errors
from mmvisattn.analysis.predicted import read_predicted
from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_name, save_figure

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config that was tested')
    parser.add_argument('results', help='folder of predictions (tools/test.py --out)')
    parser.add_argument('figure', help='the file to write: .png, .pdf or .svg')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        check_figure_name(args.figure)
        cfg = load_config(args.config, args.cfg_options)
        errors = read_predicted(cfg, args.results).errors()
        save_figure(draw_errors(errors), args.figure)
        print(f'{args.figure}: percent of the {errors.unit}, {errors.names[0]} ({errors.source})')
        for (kind, meaning), share in zip(errors.kinds.items(), errors.shares[0], strict=True):
            print(f'{kind:<16}{100 * share:6.1f}  {meaning}')
