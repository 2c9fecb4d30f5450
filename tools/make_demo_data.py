"""Write the embedded street scenes in ADE20K's layout: python tools/make_demo_data.py FOLDER."""

import argparse

from mmvisattn.datasets.scenes import make_ade20k
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='the folder to make')
    parser.add_argument('--num-train', type=int, default=240, help='pictures (default: 240)')
    parser.add_argument('--num-val', type=int, default=40, help='pictures (default: 40)')
    parser.add_argument('--seed', type=int, default=0, help='another seed, other scenes')
    args = parser.parse_args()
    with reported():
        root = make_ade20k(
            args.folder, num_train=args.num_train, num_val=args.num_val, seed=args.seed
        )
        print(f'{root}: {args.num_train} scenes to train on, {args.num_val} to validate on')
