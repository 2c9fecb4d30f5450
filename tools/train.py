"""Train a network: python tools/train.py CONFIG [options]. See --help."""

import sys

try:
    from mmvisattn.engine.arguments import train_parser
    from mmvisattn.engine.run import train
    from mmvisattn.errors import reported
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

if __name__ == '__main__':
    with reported():
        train(train_parser().parse_args())
