"""The command lines of tools/train.py and tools/test.py, one surface for every task."""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction

from ..processes.launch import LAUNCHERS
from .tracking import LIBRARIES


class Options(DictAction):
    """KEY=VALUE ..., as everywhere in OpenMMLab; a word without "=" is named."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Collect the pairs in a dict."""
        for word in values:
            if '=' not in word:
                parser.error(f"{option_string} takes KEY=VALUE, got '{word}'")
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError):
            parser.error(
                f'{option_string} takes words, numbers, lists "[a,b]" and tuples in them, got '
                f'{" ".join(values)}: dicts belong into a config'
            )


class Renamed(argparse.Action):
    """An option of older tools: ends with a line that says what to type today."""

    def __init__(self, option_strings: list[str], dest: str, today: str) -> None:
        super().__init__(option_strings, dest, nargs='*', help=argparse.SUPPRESS)
        self.today = today

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """End with the message, as argparse does for a bad value."""
        parser.error(f'{self.option_strings[0]} is now: {self.today}')


def at_least_one(text: str) -> int:
    """A whole number from 1 on, as the `type` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{text}'")
    return int(text)


def train_parser() -> argparse.ArgumentParser:
    """Arguments of tools/train.py."""
    parser = _parser('Train a network.')
    parser.add_argument(
        '--pretrained',
        metavar='CKPT',
        help='weights of the backbone: a file, the folder of a run, a URL or a published name such '
        "as van_b2_in1k; 'none' starts from random weights on purpose",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='continue from the newest checkpoint of the work dir, or from PATH',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='fp16',
        choices=['fp16', 'bf16'],
        help='mixed precision: fp16 (on a GPU), which --amp alone means, or bf16',
    )
    parser.add_argument(
        '--ema',
        nargs='?',
        const=True,
        type=_momentum,
        metavar='MOMENTUM',
        help='validate and save an average of the weights, of which the newest are this share '
        '(default 0.0002: a decay of 0.9998)',
    )
    parser.add_argument(
        '--accumulate',
        type=at_least_one,
        metavar='N',
        help='step after N batches, as if they were one',
    )
    parser.add_argument(
        '--grad-checkpoint',
        action='store_true',
        help='compute the activations of the backbone again instead of keeping them: less memory',
    )
    parser.add_argument(
        '--fsdp',
        action='store_true',
        help='cut weights, gradients and optimizer state into a share for each process (FSDP)',
    )
    _compile(parser)
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the number of pictures in a step',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not validate while training')
    parser.add_argument('--seed', type=int, help='random seed (default: a new one each run)')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms, somewhat slower'
    )
    _renamed(parser, '--resume-from', '--resume PATH')
    _renamed(parser, '--auto-resume', '--resume')
    _renamed(parser, '--load-from', '--cfg-options load_from=PATH')
    _renamed(parser, '--gpu-id', 'CUDA_VISIBLE_DEVICES=ID before the command')
    _renamed(parser, '--gpu-ids', 'CUDA_VISIBLE_DEVICES=IDS before tools/dist_train.sh')
    _renamed(parser, '--gpus', 'tools/dist_train.sh CONFIG GPUS')
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Arguments of tools/test.py."""
    parser = _parser('Test a network and print its metrics.')
    parser.add_argument('checkpoint', help='checkpoint file or URL, or the work dir')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: flipped, and at several scales (segmentation)',
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='fold BatchNorm and scales into convolutions: faster, the same but for rounding',
    )
    _compile(parser)
    parser.add_argument(
        '--out', metavar='DIR', help='write the predictions here, in the format of the data set'
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write painted pictures here')
    parser.add_argument('--show', action='store_true', help='show painted pictures in a window')
    parser.add_argument(
        '--wait-time', type=float, default=2, metavar='S', help='seconds between shown pictures'
    )
    _renamed(parser, '--eval', 'nothing: metrics come from the config (val_evaluator)')
    _renamed(parser, '--aug-test', '--tta')
    _renamed(parser, '--format-only', '--out DIR --cfg-options test_evaluator.format_only=True')
    _renamed(parser, '--dump', '--out DIR')
    _renamed(parser, '--gpu-collect', 'nothing: it is chosen by itself')
    return parser


def _momentum(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(
            'expected the share of the newest weights, above 0 and at most 0.5 '
            f"(a decay of 0.9998 is 0.0002), got '{text}'"
        )
    return value


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', metavar='DIR', help='where everything goes (default: work_dirs/CONFIG_NAME)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='change the config: data_root=DIR classes=a,b max_iters=N or any dotted.key=value; '
        'lists as key="[a,b]", tuples in lists as key="[(a,b),(c,d)]"',
    )
    parser.add_argument(
        '--track',
        nargs='+',
        choices=LIBRARIES,
        default=[],
        metavar='TRACKER',
        help=f'show the run in {", ".join(LIBRARIES)} (several may be given), too',
    )
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='what started the processes'
    )
    parser.add_argument(
        '--local-rank',
        '--local_rank',
        type=lambda rank: os.environ.setdefault('LOCAL_RANK', rank),
        help=argparse.SUPPRESS,  # given by torch.distributed.launch; torchrun sets LOCAL_RANK
    )
    _renamed(parser, '--options', '--cfg-options KEY=VALUE')
    return parser


def _compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--compile', action='store_true', help='compile backbone and neck')


def _renamed(parser: argparse.ArgumentParser, old: str, today: str) -> None:
    parser.add_argument(old, action=Renamed, today=today, dest=argparse.SUPPRESS)
