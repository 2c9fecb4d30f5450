#!/usr/bin/env python
"""Draw what was taken for what: pixels, objects or pictures by their classes.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/confusion_matrix.py CONFIG RESULTS confusion.png

Objects are matched by their overlap (IoU 0.5, score 0.3); what matches
nothing stands in the row or column "background".
"""

import argparse

from mmvisattn.analysis.figures import draw_confusion
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
        confusion = read_predicted(
            load_config(args.config, args.cfg_options), args.results
        ).confusion()
        save_figure(draw_confusion(confusion), args.figure)
        counted = f'{confusion.counts.sum()} {confusion.unit}'
        print(f'{args.figure}: {len(confusion.true)} classes, {counted}')
