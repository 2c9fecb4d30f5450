#!/usr/bin/env python
"""Draw what the maps of a network hold: channels side by side, or principal components as colours.

python tools/analysis_tools/vis_features.py CONFIG CKPT PICTURE PNG
python tools/analysis_tools/vis_features.py CONFIG CKPT PICTURE PNG --layers stage3 --channels 0 5 7
python tools/analysis_tools/vis_features.py CONFIG CKPT PICTURE PNG --channels pca
"""

from mmvisattn.engine.arguments import at_least_one
from mmvisattn.errors import reported
from mmvisattn.outputs import save_figure
from mmvisattn.visualization.arguments import looking_parser, opened
from mmvisattn.visualization.features import draw_features

if __name__ == '__main__':
    parser = looking_parser(__doc__)
    parser.add_argument('--layers', nargs='+', default=[], metavar='NAME',
                        help='stage1, ... or names in the network (default: stages)')  # fmt: skip
    parser.add_argument('--channels', nargs='+', default=['variance'], metavar='N',
                        help="numbers; 'variance': those that vary most over the picture; 'pca': "
                        'three principal components as red, green and blue')  # fmt: skip
    parser.add_argument('--count', type=at_least_one, default=6, metavar='N',
                        help='how many channels, where none is named (6)')  # fmt: skip
    args = parser.parse_args()
    channels = args.channels[0]
    if all(word.isdecimal() for word in args.channels):
        channels = [int(word) for word in args.channels]
    elif len(args.channels) > 1:
        parser.error("--channels takes numbers, or 'variance', or 'pca'")
    with reported():
        network, view = opened(args)
        figure = draw_features(network, view, args.layers, channels, args.count)
        save_figure(figure, args.figure, args.dpi)
        print(f'{args.figure}: {args.config}, {args.picture}')
