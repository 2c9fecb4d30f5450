"""Test a network and print its metrics: python tools/test.py CONFIG CHECKPOINT [options]."""

import sys

try:
    from mmvisattn.engine.arguments import test_parser
    from mmvisattn.engine.run import test
    from mmvisattn.errors import reported
except ModuleNotFoundError as error:
    sys.exit(f'error: {error}\n  do: make install, then source .venv/bin/activate')

if __name__ == '__main__':
    with reported():
        test(test_parser().parse_args())
