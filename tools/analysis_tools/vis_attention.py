#!/usr/bin/env python
"""Draw VAN's gate maps, or what CoAtNet, SASA or Swin attends to at a point, over the picture.

python tools/analysis_tools/vis_attention.py CONFIG CKPT PICTURE PNG
python tools/analysis_tools/vis_attention.py CONFIG CKPT PICTURE PNG --point 80 60 --heads 0 1 2
"""

from mmvisattn.errors import reported
from mmvisattn.outputs import save_figure
from mmvisattn.visualization.arguments import looking_parser, opened
from mmvisattn.visualization.attention import draw_attention

if __name__ == '__main__':
    parser = looking_parser(__doc__)
    parser.add_argument('--point', type=float, nargs=2, metavar=('X', 'Y'),
                        help='the query, in pixels of the picture (default: middle)')  # fmt: skip
    parser.add_argument('--layers', nargs='+', default=[], metavar='NAME',
                        help='attention layers (default: the last of each stage)')  # fmt: skip
    parser.add_argument('--heads', '--channels', nargs='+', type=int, default=[], metavar='N',
                        help="heads, or channels of VAN's gate, a column for each "
                        '(default: the mean of all)')  # fmt: skip
    args = parser.parse_args()
    with reported():
        network, view = opened(args)
        point = tuple(args.point) if args.point else None
        figure = draw_attention(network, view, point, args.layers, args.heads)
        save_figure(figure, args.figure, args.dpi)
        print(f'{args.figure}: {args.config}, {args.picture}')
