"""Draw pictures, truth and predictions of a segmentation run as one PNG.

python tools/test.py CONFIG CHECKPOINT --out RESULTS
python tools/analysis_tools/draw_results.py CONFIG RESULTS PNG
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from numpy.typing import NDArray
from PIL import Image

from mmvisattn.engine.arguments import Options
from mmvisattn.engine.config import load_config
from mmvisattn.errors import UserError, reported

IGNORED = 255


def draw(config: str, results: str, png: str, count: int, options: dict | None = None) -> None:
    """Write the PNG.

    Args:
        config: The config that was tested.
        results: Folder of predicted label maps (tools/test.py --out).
        png: The file to write.
        count: How many pictures to draw, spread over the test set.
        options: Changes to the config.

    Raises:
        UserError: A prediction is missing.
    """
    cfg = load_config(config, options)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    classes, palette = dataset.metainfo['classes'], np.array(dataset.metainfo['palette'])
    count = min(count, len(dataset))
    rows = [dataset[i * len(dataset) // count] for i in range(count)]

    figure = Figure(figsize=(9, 2.45 * len(rows) + 0.7), layout='constrained')
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, sample in zip(axes, rows, strict=True):
        info = sample['data_samples']
        picture = np.asarray(Image.open(info.img_path).convert('RGB'))
        prediction = Path(results) / f'{Path(info.img_path).stem}.png'
        if not prediction.is_file():
            raise UserError(
                f'no prediction {prediction}', do=f'tools/test.py {config} CKPT --out {results}'
            )
        predicted = np.asarray(Image.open(prediction)) - int(info.reduce_zero_label)
        truth = info.gt_sem_seg.data[0].numpy()
        predicted = np.where(truth == IGNORED, IGNORED, predicted)
        for axis, image in zip(
            row, (picture, _paint(truth, palette), _paint(predicted, palette)), strict=True
        ):
            axis.imshow(image)
            axis.set_axis_off()
    for axis, title in zip(axes[0], ('picture', 'truth', 'prediction'), strict=True):
        axis.set_title(title)
    figure.legend(
        handles=[Patch(color=c / 255, label=n) for n, c in zip(classes, palette, strict=True)]
        + [Patch(color='black', label='not labelled')],
        loc='outside lower center',
        ncols=5,
        frameon=False,
    )
    figure.savefig(png, dpi=100)
    print(f'{png}: {len(rows)} validation pictures, their truth and what {config} predicts')


def _paint(labels: NDArray, palette: NDArray) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of labels (H, W); what is not labelled stays black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[labels.astype(np.uint8)]


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
