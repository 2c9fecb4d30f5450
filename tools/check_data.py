"""Check a data set's folder before training.

python tools/check_data.py ade20k|coco|coco_panoptic|imagenet FOLDER

Opens every picture and annotation, says what is missing or wrong, and ends with
status 1 if anything is. The layouts are described in docs/data.md.
"""

import argparse
import inspect
import sys

from mmvisattn.datasets.checks import CHECKS
from mmvisattn.datasets.checks.report import SHOWN

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('layout', choices=CHECKS)
    parser.add_argument('folder')
    parser.add_argument(
        '--sample', type=int, metavar='N', help='open N pictures of each split instead of all'
    )
    parser.add_argument(
        '--splits', nargs='+', metavar='SPLIT', help='their names, where they are not the usual'
    )
    parser.add_argument('--all', action='store_true', help='name every file and id, not the first')
    args = parser.parse_args()
    check = CHECKS[args.layout]
    if args.splits and 'splits' not in inspect.signature(check).parameters:
        parser.error(f'--splits: those of {args.layout} are fixed')
    splits = {'splits': args.splits} if args.splits else {}
    report = check(args.folder, sample=args.sample, **splits)
    shown = None if args.all else SHOWN
    for note in report.sentences(legal=True, shown=shown):
        print('note:', note)
    print('\n'.join(report.sentences(shown=shown)) or f'{args.folder}: all is well')
    sys.exit(bool(report))
