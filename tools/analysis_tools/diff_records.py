#!/usr/bin/env python
"""Say in what two runs differ that changes results.

Code, packages, machine, environment, config, seed, weights and data count.

python tools/analysis_tools/diff_records.py work_dirs/a work_dirs/b

Ends with status 0 if nothing does, 1 if something does.
"""

import argparse
import sys

from mmvisattn.analysis.records import describe_differences, differences, read_record
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('a', help='a record.json, or a work dir, whose newest record is taken')
    parser.add_argument('b', help='another')
    parser.add_argument(
        '--all', action='store_true', help='also times, hosts, folders: what equal runs differ in'
    )
    args = parser.parse_args()
    with reported():
        a, b = read_record(args.a), read_record(args.b)
        print(*describe_differences(a, b, everything=args.all), sep='\n')
        count = sum(difference.counts for difference in differences(a, b))
        print(f'{count} difference(s) that may change results.')
        sys.exit(min(count, 1))
