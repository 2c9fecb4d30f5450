"""Check a data set's folder before training.

python tools/check_data.py ade20k|coco FOLDER

Opens every picture and label map, says what is missing or wrong, and ends with
status 1 if anything is. The layouts are described in docs/data.md.
"""

import argparse
import sys

from mmvisattn.datasets.checks import check_ade20k, check_coco

CHECKS = {'ade20k': check_ade20k, 'coco': check_coco}

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('layout', choices=CHECKS)
    parser.add_argument('folder')
    parser.add_argument(
        '--sample', type=int, metavar='N', help='open N pictures of each split instead of all'
    )
    args = parser.parse_args()
    problems = CHECKS[args.layout](args.folder, sample=args.sample)
    print('\n'.join(problems) or f'{args.folder}: all is well')
    sys.exit(bool(problems))
