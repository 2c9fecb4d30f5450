"""ImageNet's layouts: a folder for each class, or flat folders and lists in meta/."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from .pictures import check_picture, is_there
from .report import Finding, Report, spread

SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')  # that mmpretrain looks for


def check_imagenet(
    root: str | Path, sample: int | None = None, splits: Sequence[str] = ('train', 'val')
) -> Report:
    """Check a folder in one of ImageNet's layouts.

        train/CLASS/*.JPEG   or   train/*.JPEG   meta/train.txt: FILE LABEL in each line
        val/CLASS/*.JPEG          val/*.JPEG     meta/val.txt

    Args:
        root: The folder.
        sample: How many pictures of each split to open; None opens all.
        splits: The names of the splits, the one to train on first.
    """
    root = Path(root)
    lists = {split: root / 'meta' / f'{split}.txt' for split in splits}
    lists = {split: file for split, file in lists.items() if file.is_file()}
    findings, labels = [], {}
    for split in splits:
        report, found = _check_split(root / split, lists.get(split), None, sample)
        findings += report
        # Beside a list, which has numbers, folders count as mmpretrain numbers them: by name.
        labels[split] = set(range(len(found))) if lists and split not in lists else found
    train = labels[splits[0]]
    for split in splits[1:]:
        for label in sorted(labels[split] ^ train, key=str) if train and labels[split] else ():
            has, lacks = (split, splits[0]) if label in labels[split] else (splits[0], split)
            findings.append(Finding(f'classes of {root / has} that {root / lacks} lacks', label))
    return Report(findings)


def check_class_folder(
    folder: str | Path,
    *,
    listed: str | Path | None = None,
    classes: Iterable[str] | None = None,
    sample: int | None = None,
) -> Report:
    """Check the pictures of one split.

    Args:
        folder: The folder of a folder for each class, or of the files that `listed` names.
        listed: A file of lines "FILE LABEL", where there is one.
        classes: The names of the classes; None: those of the folders.
        sample: How many pictures to open; None opens all.
    """
    return Report(_check_split(Path(folder), listed and Path(listed), classes, sample)[0])


def _check_split(
    folder: Path, listed: Path | None, classes: Iterable[str] | None, sample: int | None
) -> tuple[list[Finding], set]:
    """What is wrong with a split, and the labels in it: class names, or numbers of a list."""
    if not folder.is_dir():
        return [Finding(f'no folder {folder}')], set()
    count = None if classes is None else len(list(classes))
    if listed is None:
        findings, pictures, labels = _of_folders(folder, count, sample)
    else:
        findings, pictures, labels = _of_list(folder, listed, count)
    if not pictures and not findings:
        findings.append(Finding(f'no pictures in folders of {folder}'))
    for path in spread(pictures, sample):
        findings += check_picture(path)
    return findings, labels


def _of_folders(
    folder: Path, count: int | None, sample: int | None
) -> tuple[list[Finding], list[Path], set[str]]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    of_each = None if sample is None else -(-sample // max(len(names), 1))
    findings, pictures = [], []
    if count is not None and len(names) != count:
        findings.append(
            Finding(
                f'{folder} has {len(names)} folders of classes, and the config {count} classes '
                '(`classes = [...]` names them)'
            )
        )
    for name in names:
        found = (p for p in (folder / name).rglob('*') if p.suffix.lower() in SUFFIXES)
        some = sorted(islice(found, of_each))
        if not some:
            findings.append(Finding(f'classes of {folder} without a picture', name))
        pictures += some
    return findings, pictures, set(names)


def _of_list(
    folder: Path, listed: Path, count: int | None
) -> tuple[list[Finding], list[Path], set[int]]:
    if not listed.is_file():
        return [Finding(f'no file {listed}')], [], set()
    findings, pictures, labels = [], [], set()
    try:
        lines = listed.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [Finding(f'{listed} cannot be read: {error}')], [], set()
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not re.fullmatch('[0-9]{1,9}', label) or (count is not None and int(label) >= count):
            top = 'a number' if count is None else f'0 to {count - 1}'
            kind = f'lines of {listed} that do not end in a label ({top})'
            findings.append(Finding(kind, f'line {number}'))
        elif not is_there(folder / name):
            findings.append(Finding(f'pictures of {listed} that are not in {folder}', name))
        else:
            pictures.append(folder / name)
            labels.add(int(label))
    return findings, pictures, labels
