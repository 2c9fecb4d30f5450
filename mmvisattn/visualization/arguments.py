"""The command line that the tools of this room share."""

from __future__ import annotations

import argparse

from ..engine.arguments import Options, at_least_one
from ..errors import UserError
from ..inference import Inferencer
from ..outputs import check_figure_name
from .view import View


def figure_options(parser: argparse.ArgumentParser) -> None:
    """Add what every tool takes that draws."""
    parser.add_argument(
        '--dpi', type=at_least_one, default=300, help='pixels per inch, 300 as journals ask'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help='change the config'
    )


def looking_parser(description: str) -> argparse.ArgumentParser:
    """CONFIG CKPT PICTURE FIGURE, and options."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint, or the work dir of a run')
    parser.add_argument('picture', help='the picture to look at')
    parser.add_argument('figure', help='the figure to write: .png, .pdf or .svg')
    parser.add_argument(
        '--box', type=float, nargs=4, metavar=('X1', 'Y1', 'X2', 'Y2'),
        help='the person, where poses are looked for (default: the whole picture)',
    )  # fmt: skip
    figure_options(parser)
    return parser


def opened(args: argparse.Namespace) -> tuple[Inferencer, View]:
    """The network and the picture of a command line.

    Raises:
        UserError: One of the files cannot be read, or the figure not be written.
    """
    check_figure_name(args.figure)
    network = Inferencer(args.config, args.checkpoint, device='cpu', cfg_options=args.cfg_options)
    if args.box and network.task != 'pose':
        raise UserError('--box is where a pose is looked for', got=f'task {network.task}')
    return network, View.of(network, args.picture, args.box)
