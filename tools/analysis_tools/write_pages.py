#!/usr/bin/env python
"""Write the pages that are counted: docs/fidelity.md (every published size and cost of the
networks, beside ours) and docs/configs.md (every config, its parameters and published score).

python tools/analysis_tools/write_pages.py
"""

import argparse
from pathlib import Path

from mmvisattn.analysis import catalogue, fidelity

PAGES = {'fidelity.md': fidelity.markdown, 'configs.md': catalogue.markdown}

if __name__ == '__main__':
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, text in PAGES.items():
        page = Path(__file__).parents[2] / 'docs' / name
        page.write_text(text())
        print(f'wrote {page}')
