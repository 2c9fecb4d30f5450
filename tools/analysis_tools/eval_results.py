"""Compute the metrics of predictions on disk, without the model that made them.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/eval_results.py CONFIG RESULTS
"""

import argparse

from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.engine.results import evaluate_results
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config that was tested')
    parser.add_argument('results', help='folder of predictions')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        metrics = evaluate_results(load_config(args.config, args.cfg_options), args.results)
        lines = (f'{name}: {value:.4f}' for name, value in metrics.items())
        print('\n'.join(lines) or 'no predictions in the results, so no metric')
