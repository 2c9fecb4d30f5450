"""Evaluate an exported network with the metric of its config.

python tools/deployment/evaluate.py CONFIG MODEL.onnx
"""

import argparse

from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.errors import reported
from mmvisattn.exporting import evaluate_file

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('file', help='what tools/deployment/export.py or quantize.py wrote')
    parser.add_argument('--num', type=at_least_one, metavar='N', help='the first N pictures alone')
    parser.add_argument(
        '--cfg-options', dest='options', nargs='+', action=Options, metavar='KEY=VALUE',
        help='change the config',
    )  # fmt: skip
    with reported():
        for name, value in evaluate_file(**vars(parser.parse_args())).items():
            print(f'{name}: {value:.4f}')
