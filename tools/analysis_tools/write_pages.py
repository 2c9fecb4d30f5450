#!/usr/bin/env python
"""Write the pages that are counted or measured: docs/fidelity.md (every published size and cost of
the networks, beside ours), docs/configs.md (every config, its parameters and published score) and
docs/performance.md (the results of benchmarks in docs/performance).

python tools/analysis_tools/write_pages.py
"""

import argparse
from pathlib import Path

from mmvisattn.analysis import catalogue, fidelity
from mmvisattn.analysis.bench import page

PAGES = {
    'fidelity.md': fidelity.markdown,
    'configs.md': catalogue.markdown,
    'performance.md': page.markdown,
}

if __name__ == '__main__':
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, text in PAGES.items():
        file = Path(__file__).parents[2] / 'docs' / name
        file.write_text(text())
        print(f'wrote {file}')
