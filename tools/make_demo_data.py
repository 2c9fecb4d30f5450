"""Write an embedded data set: python tools/make_demo_data.py FOLDER [--layout LAYOUT]."""

import argparse

from mmvisattn.datasets.demo import LAYOUTS, make_data
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='the folder to make')
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        default='ade20k',
        help='ade20k: street scenes with label maps (default); coco: street scenes with boxes, '
        'masks and panoptic maps; pose: people with keypoints, as COCO; imagenet: things by class',
    )
    defaults = '; '.join(f'{name} {x.num_train} + {x.num_val}' for name, x in LAYOUTS.items())
    parser.add_argument('--num-train', type=int, metavar='N', help=f'pictures ({defaults})')
    parser.add_argument('--num-val', type=int, metavar='N', help='pictures held out')
    parser.add_argument('--seed', type=int, default=0, help='another seed, other pictures')
    args = parser.parse_args()
    with reported():
        root = make_data(
            args.layout,
            args.folder,
            num_train=args.num_train,
            num_val=args.num_val,
            seed=args.seed,
        )
        print(f'{root}: an embedded data set in the layout {args.layout}')
