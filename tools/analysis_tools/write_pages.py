#!/usr/bin/env python
"""Write the pages that are counted or measured: docs/fidelity.md (every published size and cost of
the networks, beside ours), docs/configs.md and docs/model_zoo.md (every config, its size, cost and
scores), model-index.yml and configs/metafiles (the same, for OpenMMLab's tools),
docs/performance.md (the results of benchmarks in docs/performance) and docs/results.md with its
figures (the records in docs/results).

python tools/analysis_tools/write_pages.py [--count WORD] [--keep DIR ...]

Sizes and costs stand in the metafiles; a config that they lack is counted. After a change of a
network or a base, count again what it changes: --count van_b2, or --count '' for all (minutes).
"""

import argparse
from pathlib import Path

from mmvisattn.analysis import catalogue, fidelity, metafiles, scores, zoo
from mmvisattn.analysis.bench import page
from mmvisattn.analysis.results import results_of
from mmvisattn.atomic import write_text
from mmvisattn.errors import reported
from mmvisattn.places import ROOT


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--count', metavar='WORD', help='count the configs with this in their names again'
    )
    parser.add_argument('--keep', nargs='+', default=[], metavar='DIR', type=Path,
                        help='first copy the records of these runs, work dirs of '
                        'tools/train_seeds.py, into docs/model_zoo')  # fmt: skip
    args = parser.parse_args()
    for folder in args.keep:
        for copy in scores.keep(folder):
            print(f'kept {copy}')
    counts = count(args.count)
    written = {
        **metafiles.texts(counts),
        'docs/fidelity.md': fidelity.markdown(),
        'docs/configs.md': catalogue.markdown(counts),
        'docs/model_zoo.md': zoo.markdown(counts),
        'docs/performance.md': page.markdown(),
        **results_of({name: kept['Parameters'] for name, kept in counts.items()}),
    }
    for name, text in written.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(ROOT / name, text)
        print(f'wrote {name}')


def count(again: str | None) -> dict[str, dict[str, int]]:
    """What the metafiles hold of each config, after counting what they lack or is asked for."""
    counts = metafiles.kept_counts()
    for entry in catalogue.entries():
        if entry.name not in counts or (again is not None and again in entry.name):
            counts[entry.name] = metafiles.count(entry)
            print(f'counted {entry.name}', flush=True)
    return counts


if __name__ == '__main__':
    with reported():
        main()
