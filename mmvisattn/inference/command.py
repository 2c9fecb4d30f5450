"""tools/predict.py: pictures in, painted pictures and predictions out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ..atomic import write_text
from ..engine.arguments import Options
from ..errors import UserError
from .export import exported
from .film import written_film
from .inferencer import PRECISIONS, Inferencer
from .painting import SURE
from .results import Result
from .sources import Item, Names, opened_film, pictures_and_films
from .window import Window

# What --format writes, by the tasks that have it.
FORMATS = {
    'coco': ('detection', 'instance', 'panoptic', 'pose'),
    'ade': ('segmentation',),
    'json': ('detection', 'instance', 'panoptic', 'segmentation', 'pose', 'classification'),
}
PREDICTIONS = 'predictions'  # the folder of them below --out
NAMED = 5  # of pictures that cannot be read, so many are named in an error


def parser() -> argparse.ArgumentParser:
    """Arguments of tools/predict.py."""
    parser = argparse.ArgumentParser(
        description='Predict on pictures, videos or a camera.', allow_abbrev=False
    )
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file, or the work dir')
    add(
        'paths',
        nargs='+',
        metavar='PATH',
        help="picture or video, folder or pattern ('val/*.jpg') of them, number of a camera (0)",
    )
    add('--out', metavar='DIR', help='write painted pictures and videos here')
    add(
        '--format',
        choices=FORMATS,
        help=f'write predictions, too, into DIR/{PREDICTIONS}: as COCO or ADE20K has them, or json',
    )
    add('--batch-size', type=int, default=1, metavar='N', help='pictures at a time (default: 1)')
    add('--precision', choices=PRECISIONS, default='fp32', help='fp16 needs a GPU (default: fp32)')
    add(
        '--detector',
        nargs=2,
        metavar=('CONFIG', 'CKPT'),
        help='for poses: a detector that finds the persons; without it a picture is one person',
    )
    add(
        '--score-thr',
        type=float,
        default=SURE,
        metavar='S',
        help=f'paint what has this score, look for poses of persons that have it (default: {SURE})',
    )
    add('--show', action='store_true', help='show painted pictures in a window')
    add('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    add(
        '--deploy',
        action='store_true',
        help='fold BatchNorm and scales into convolutions: faster, the same but for rounding',
    )
    add(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='change the config, as in tools/test.py',
    )
    return parser


def predict(args: argparse.Namespace) -> int:
    """Run tools/predict.py.

    Returns:
        The exit status: 1 if a picture could not be read, else 0.

    Raises:
        UserError: Bad input, no picture, or none that can be read.
    """
    if args.format and not args.out:
        raise UserError('--format writes files', do='say where: --out DIR')
    cameras = (path.isdecimal() and not Path(path).exists() for path in args.paths)
    sources = [int(p) if camera else p for p, camera in zip(args.paths, cameras, strict=True)]
    items, films = pictures_and_films(sources)
    if args.out:
        _check_out(args.out, items, films)
    inferencer = Inferencer(
        args.config,
        args.checkpoint,
        args.device,
        args.precision,
        args.batch_size,
        args.detector,
        detector_thr=args.score_thr,
        deploy=args.deploy,
        cfg_options=args.cfg_options,
    )
    _check_format(args.format, inferencer.task)
    skipped: list[str] = []
    names = Names()
    with _predictions(args, inferencer) as keep:
        results = inferencer(items, skipped=skipped) if items else ()
        for result in _tracked(results, len(items)):
            print(f'{result.name}: {result.summary(args.score_thr)}')
            keep(result)
            if args.out:
                name = names.own(Path(result.name).stem)
                result.save(Path(args.out, f'{name}.png'), args.score_thr)
            if args.show:
                result.show(args.score_thr)
        for film in films:
            _predict_film(film, inferencer, keep, names, args)
        if items and len(skipped) == len(items) and not films:
            raise UserError('no picture can be read', got=', '.join(skipped[:NAMED]))
    for name in skipped:
        print(f'skipped, since it cannot be read: {name}', file=sys.stderr)
    if skipped:
        print(f'{len(skipped)} of {len(items)} pictures were skipped', file=sys.stderr)
    return 1 if skipped else 0


def _predict_film(
    source: str | int,
    inferencer: Inferencer,
    keep: Callable[[Result], None],
    names: Names,
    args: argparse.Namespace,
) -> None:
    """Predict on a video, or on a camera's pictures until Ctrl-C or its window is closed."""
    stem = names.own(f'camera{source}' if isinstance(source, int) else Path(source).stem)
    window = Window(stem) if args.show else None
    with opened_film(source) as film:
        out = written_film(Path(args.out, f'{stem}.mp4'), film.fps) if args.out else nullcontext()
        with out as writer:
            count = 0
            try:
                for result in _tracked(inferencer(film.frames), film.count):
                    painted = result.draw(args.score_thr) if writer or window else None
                    keep(result)
                    if writer:
                        writer.add(painted)
                    count += 1
                    if window and not window.show(painted, wait=False):
                        break
            except KeyboardInterrupt:  # which is how a camera's pictures end
                if not isinstance(source, int):
                    raise
    print(f'{source}: {count} frames')


def _check_out(out: str, items: Sequence[Item], films: Sequence[str | int]) -> None:
    """Stop if what is painted could replace what it is painted on."""
    for source in [item.path for item in items] + [film for film in films if isinstance(film, str)]:
        path = Path(source).resolve()
        if path.parent == Path(out).resolve() and path.suffix in ('.png', '.mp4'):
            raise UserError(
                f'--out {out} is the folder of {source}, which could be overwritten',
                do='name another folder',
            )


@contextmanager
def _predictions(
    args: argparse.Namespace, inferencer: Inferencer
) -> Iterator[Callable[[Result], None]]:
    """What takes each result, and writes them all in the end as --format says."""
    folder = Path(args.out or '', PREDICTIONS)
    if args.format is None:
        yield lambda result: None
    elif args.format != 'json' or inferencer.task == 'classification':
        with exported(inferencer, folder) as export:
            yield export.add
    else:
        rows = []
        yield lambda result: rows.append(json.dumps(result.to_dict()))
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / 'results.json', '[' + ',\n'.join(rows) + ']\n')


def _check_format(form: str | None, task: str) -> None:
    if form is not None and task not in FORMATS[form]:
        fitting = [name for name, tasks in FORMATS.items() if task in tasks]
        raise UserError(
            f'--format {form} has no place for the task {task}', expected=' or '.join(fitting)
        )


def _tracked(results: Iterable[Result], count: int | None) -> Iterable[Result]:
    """The results, with a bar on the terminal if there is one."""
    console = Console(stderr=True)
    return track(results, 'predict', total=count, console=console, disable=not console.is_terminal)
