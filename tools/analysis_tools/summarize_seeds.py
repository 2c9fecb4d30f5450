#!/usr/bin/env python
"""Mean and standard deviation (n - 1) of each metric over several seeds.

python tools/analysis_tools/summarize_seeds.py DIR      # of DIR/seed_0, ...
python tools/analysis_tools/summarize_seeds.py A B C    # of these work dirs

Ends with status 0 if every seed has a result, 1 if one has none.
"""

import argparse
import json
import sys

from mmvisattn.analysis.seeds import as_json, describe_seeds, read_seeds
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folders', nargs='+', metavar='DIR', help='work dirs, or a folder of them')
    parser.add_argument(
        '--test', action='store_true', help='what tests found, not the last validation of training'
    )
    parser.add_argument('--json', action='store_true', help='print JSON, each value included')
    args = parser.parse_args()
    with reported():
        runs = read_seeds(args.folders, 'test' if args.test else 'train')
        if args.json:
            print(json.dumps(as_json(runs), indent=1))
        else:
            print(*describe_seeds(runs), sep='\n')
        sys.exit(int(any(run.problem for run in runs)))
