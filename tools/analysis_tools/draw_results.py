"""Draw pictures, truth and predictions of a test run, of any task, in one figure.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/draw_results.py CONFIG RESULTS drawn.png
"""

import argparse

from mmvisattn.analysis.figures import check_rows
from mmvisattn.analysis.gallery import draw_gallery
from mmvisattn.analysis.pictures import read_pictures
from mmvisattn.datasets.checks.report import spread
from mmvisattn.engine.arguments import Options, at_least_one
from mmvisattn.engine.config import load_config
from mmvisattn.errors import reported
from mmvisattn.outputs import check_figure_name, save_figure


def draw(config: str, results: str, figure: str, count: int, options: dict | None = None) -> None:
    """Write the figure.

    Args:
        config: The config that was tested.
        results: Folder of predictions (tools/test.py --out).
        figure: The file to write.
        count: How many pictures to draw, spread over the test set.
        options: Changes to the config.

    Raises:
        UserError: A prediction is missing.
    """
    check_figure_name(figure)
    task = read_pictures(load_config(config, options), results)
    paths = spread(task.paths, count)
    check_rows(len(paths))
    save_figure(draw_gallery(task, paths), figure)
    print(f'{figure}: {len(paths)} validation pictures, their truth and what {config} predicts')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('results', help='folder of predictions')
    parser.add_argument('figure', help='the file to write: .png, .pdf or .svg')
    parser.add_argument(
        '--num', type=at_least_one, default=5, help='how many pictures (default: 5)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE')
    args = parser.parse_args()
    with reported():
        draw(args.config, args.results, args.figure, args.num, args.cfg_options)
