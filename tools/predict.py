"""Predict on pictures: python tools/predict.py CONFIG CHECKPOINT PATH... [--out DIR] [options]."""

import sys

try:
    from mmvisattn.errors import reported
    from mmvisattn.inference.command import parser, predict
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

if __name__ == '__main__':
    with reported():
        sys.exit(predict(parser().parse_args()))
