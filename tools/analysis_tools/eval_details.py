#!/usr/bin/env python
"""Print the metrics of predictions by class, by size, by keypoint.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/eval_details.py CONFIG RESULTS [--csv FILE]
"""

import argparse
import json

from mmvisattn.analysis.predicted import read_predicted
from mmvisattn.analysis.tables import as_csv, as_json, as_text
from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported
from mmvisattn.outputs import check_output, write_output

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config that was tested')
    parser.add_argument('results', help='folder of predictions (tools/test.py --out)')
    parser.add_argument('--json', metavar='FILE', help='write them as json, too')
    parser.add_argument('--csv', metavar='FILE', help='write them as csv, too')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        for file in filter(None, (args.json, args.csv)):
            check_output(file)
        cfg = load_config(args.config, args.cfg_options)
        tables = read_predicted(cfg, args.results).details()
        print('\n\n'.join('\n'.join(as_text(table)) for table in tables))
        if args.json:
            write_output(args.json, json.dumps(as_json(tables), indent=1))
        if args.csv:
            write_output(args.csv, as_csv(tables))
