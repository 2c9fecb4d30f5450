"""Convert a checkpoint to the names of another release.

python tools/model_converters/convert.py SRC DST --to hf

SRC is a file, a URL or a published name; its layout is recognised. DST ends
with .pth or .safetensors.
"""

import argparse

from mmvisattn.errors import reported
from mmvisattn.weights import convert_file

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', help='what to read')
    parser.add_argument('dst', help='the file to write')
    parser.add_argument(
        '--to',
        required=True,
        choices=['mmvisattn', 'official', 'timm', 'mmpretrain', 'hf'],
        help='whose names to write',
    )
    args = parser.parse_args()
    with reported():
        read = convert_file(args.src, args.dst, args.to)
        print(f'{args.src}: {read}')
        print(f'{len(read.state_dict)} tensors read, {len(read.dropped)} left out')
        print(f'{args.dst}: layout: {args.to}')
        if (read.network, args.to) == ('CycleMLP', 'official') and not read.constants:
            print('its offsets are those of the released networks (order, 1 x 3 and 3 x 1)')
