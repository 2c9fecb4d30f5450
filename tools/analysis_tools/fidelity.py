#!/usr/bin/env python
"""Write docs/fidelity.md: every published size and cost of the networks, beside ours.

python tools/analysis_tools/fidelity.py
"""

import argparse
from pathlib import Path

from mmvisattn.analysis.fidelity import markdown

PAGE = Path(__file__).parents[2] / 'docs' / 'fidelity.md'

if __name__ == '__main__':
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    PAGE.write_text(markdown())
    print(f'wrote {PAGE}')
