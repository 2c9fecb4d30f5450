#!/usr/bin/env python
"""Measure how fast operators, networks, training, data and evaluation are, beside their peers.

python tools/analysis_tools/benchmark.py op --short --only CycleFC
python tools/analysis_tools/benchmark.py train --device cuda --dtype bf16 --json FILE --plot PNG
"""

import argparse

from mmvisattn.analysis.bench.machine import DTYPES
from mmvisattn.analysis.bench.run import SUITES, run
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=SUITES)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--threads', type=int, default=1, metavar='N', help='of the CPU (1)')
    parser.add_argument(
        '--dtype', choices=DTYPES, default='float32', help='of operators; autocast of networks'
    )
    parser.add_argument('--short', action='store_true', help='small sizes: minutes, not an hour')
    parser.add_argument(
        '--only', default='', metavar='TEXT', help='measure what has this in its title'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='size of pictures (not for op)'
    )
    parser.add_argument(
        '--data', metavar='DIR', help='folder of the folders ade20k and coco, for data (embedded)'
    )
    parser.add_argument('--json', metavar='FILE', help='write the results here')
    parser.add_argument('--plot', dest='plot_to', metavar='PNG', help='draw them here')
    args = parser.parse_args()
    if args.threads < 1:
        parser.error('--threads takes 1 or more')
    with reported():
        run(**vars(args))
