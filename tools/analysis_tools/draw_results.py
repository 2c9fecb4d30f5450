"""Draw pictures, truth and predictions of a test run, of any task, as one PNG.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/draw_results.py CONFIG RESULTS PNG
"""

import argparse

from mmvisattn.analysis.figures import save_png
from mmvisattn.analysis.gallery import draw_gallery
from mmvisattn.analysis.pictures import read_pictures
from mmvisattn.datasets.checks.report import spread
from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported


def draw(config: str, results: str, png: str, count: int, options: dict | None = None) -> None:
    """Write the PNG.

    Args:
        config: The config that was tested.
        results: Folder of predictions (tools/test.py --out).
        png: The file to write.
        count: How many pictures to draw, spread over the test set.
        options: Changes to the config.

    Raises:
        UserError: A prediction is missing.
    """
    task = read_pictures(load_config(config, options), results)
    paths = spread(task.paths, count)
    save_png(draw_gallery(task, paths), png)
    print(f'{png}: {len(paths)} validation pictures, their truth and what {config} predicts')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('results', help='folder of predictions')
    parser.add_argument('png', help='file to write')
    parser.add_argument('--num', type=int, default=5, help='how many pictures (default: 5)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        draw(args.config, args.results, args.png, args.num, args.cfg_options)
