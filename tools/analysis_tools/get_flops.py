#!/usr/bin/env python
"""Print parameters and multiply-adds of a config's model, or of a backbone by name.

python tools/analysis_tools/get_flops.py configs/upernet_van_b2_ade20k.py --shape 512 2048
python tools/analysis_tools/get_flops.py van_b2 --shape 224
"""

import argparse

from mmvisattn.analysis.complexity import complexity
from mmvisattn.analysis.models import has_second_stage, model_of
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', help='a config, or a backbone such as van_b2 or coatnet_0')
    parser.add_argument('--shape', type=int, nargs='+', default=[224], metavar='N',
                        help='height and width of the picture, or its side (224)')  # fmt: skip
    args = parser.parse_args()
    if len(args.shape) > 2:
        parser.error('--shape takes one or two numbers')
    height, width = args.shape[0], args.shape[-1]
    with reported():
        model, forward = model_of(args.model)
        print(f'{args.model} at {height} x {width}')
        print(complexity(model, (3, height, width), forward))
        if has_second_stage(model):
            print('without the second stage, whose cost depends on what the first one finds')
