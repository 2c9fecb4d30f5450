"""Write an int8 copy of an exported network, calibrated on the config's training pictures.

python tools/deployment/quantize.py CONFIG MODEL.onnx [--num 32] [--out FILE]
"""

import argparse

from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.errors import reported
from mmvisattn.exporting import quantize_file

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('file', help='what tools/deployment/export.py wrote')
    parser.add_argument('--out', metavar='FILE', help='(MODEL_int8.onnx)')
    parser.add_argument('--num', type=at_least_one, default=32, metavar='N', help='pictures (32)')
    parser.add_argument(
        '--exclude', dest='excluded', default='', metavar='TEXT',
        help='leave nodes with this in their names in float32, such as decode_head/conv_seg',
    )  # fmt: skip
    parser.add_argument(
        '--cfg-options', dest='options', nargs='+', action=Options, metavar='KEY=VALUE',
        help='change the config',
    )  # fmt: skip
    with reported():
        out = quantize_file(**vars(parser.parse_args()))
        print(f'{out}: {out.stat().st_size / 2**20:.1f} MiB')
