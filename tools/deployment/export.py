"""Write a network into a file for deployment, and compare it with PyTorch.

python tools/deployment/export.py CONFIG CHECKPOINT [--format onnx|torchscript|torch-export]
"""

import argparse
import sys

from mmvisattn.engine.arguments import Options
from mmvisattn.errors import reported
from mmvisattn.exporting.export import FORMATS, OPSET, OPSETS, UnequalError, export_model

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='(onnx)')
    parser.add_argument('--out', metavar='FILE', help='(beside the checkpoint, with its name)')
    parser.add_argument('--opset', type=int, choices=OPSETS, default=OPSET, help=f'({OPSET})')
    parser.add_argument(
        '--features', action='store_true', help='backbone and neck alone: of any model'
    )
    parser.add_argument(
        '--logits', action='store_true', help='of segmentation: logits beside the labels'
    )
    parser.add_argument(
        '--pasted', action='store_true', help='of masks: in the picture, beside those in boxes'
    )
    parser.add_argument(
        '--no-fold', dest='fold', action='store_false', help='leave BatchNorm layers as they are'
    )
    parser.add_argument('--picture', metavar='FILE', help='compare on this (one is made up)')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help="of that picture (the config's)"
    )
    parser.add_argument(
        '--cfg-options', dest='options', nargs='+', action=Options, metavar='KEY=VALUE',
        help='change the config',
    )  # fmt: skip
    with reported():
        try:
            print(export_model(**vars(parser.parse_args())))
        except UnequalError as error:
            sys.exit(f'error: {error}')
