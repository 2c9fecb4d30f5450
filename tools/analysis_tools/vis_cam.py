#!/usr/bin/env python
"""Draw where a network looks for a class: class activation maps (Grad-CAM) over the picture.

python tools/analysis_tools/vis_cam.py CONFIG CKPT PICTURE PNG
python tools/analysis_tools/vis_cam.py CONFIG CKPT PICTURE PNG --classes car --layers stage3 stage4
"""

from mmvisattn.engine.arguments import at_least_one
from mmvisattn.errors import reported
from mmvisattn.outputs import save_figure
from mmvisattn.visualization.arguments import looking_parser, opened
from mmvisattn.visualization.cam import METHODS, draw_cam

if __name__ == '__main__':
    parser = looking_parser(__doc__)
    parser.add_argument('--classes', nargs='+', default=[], metavar='NAME',
                        help='classes or keypoints, a column each (else: most found)')  # fmt: skip
    parser.add_argument('--count', type=at_least_one, default=1, metavar='N',
                        help='how many of the most found, without --classes (1)')  # fmt: skip
    parser.add_argument('--layers', nargs='+', default=[], metavar='NAME',
                        help='layers, a row for each: stage1, ... or a name in the network '
                        '(default: the end of the last stage)')  # fmt: skip
    parser.add_argument('--method', default='gradcam', metavar='NAME',
                        help=f'{", ".join(METHODS)} (gradcam)')  # fmt: skip
    args = parser.parse_args()
    with reported():
        network, view = opened(args)
        figure = draw_cam(network, view, args.classes, args.layers, args.method, args.count)
        save_figure(figure, args.figure, args.dpi)
        print(f'{args.figure}: {args.config}, {args.picture}')
