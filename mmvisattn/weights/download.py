"""Get files by URL: from a folder where they lie already, or from the first mirror that has them.

Folders are looked at in this order: `$MMVISATTN_WEIGHTS`, which serves machines without network,
and PyTorch's own (`$TORCH_HOME/hub/checkpoints`), where downloads go.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from mmengine.logging import print_log

from ..atomic import written_whole
from ..errors import UserError

OFFLINE_FOLDER = 'MMVISATTN_WEIGHTS'
SILENCE = 30  # seconds after which a mirror that sends nothing is given up


def is_url(source: str | Path) -> bool:
    """Whether this names something on the network."""
    return re.match('https?://', str(source)) is not None


def file_name(url: str) -> str:
    """The name that the file of a URL has in a folder.

    Hugging Face calls every file `model.safetensors` or `pytorch_model.bin`: there it is named
    after its repository.
    """
    parts = [part for part in urlparse(url).path.split('/') if part]
    if len(parts) > 3 and parts[-1] in ('model.safetensors', 'pytorch_model.bin'):
        return parts[1] + Path(parts[-1]).suffix
    return parts[-1] if parts else urlparse(url).netloc


def unpublished_name(url: str) -> str:
    """The name of a URL's file that nobody published: many runs call theirs best.pth."""
    return f'{hashlib.sha256(url.encode()).hexdigest()[:8]}_{file_name(url)}'


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, 64 digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def require_sha256(path: Path, expected: str | None) -> None:
    """Stop unless the sha256 of a file begins with these digits; None leaves it unchecked.

    Raises:
        UserError: Other content.
    """
    if expected and not (found := sha256_of(path)).startswith(expected.lower()):
        raise UserError(
            f'{path} is not the file that was asked for, or is damaged',
            expected=f'sha256 {expected}',
            got=f'sha256 {found}',
            do='delete it, so that it is downloaded again, or put the right one there',
        )


def fetch(mirrors: dict[str, str | None], name: Callable[[str], str] = file_name) -> Path:
    """The file behind one of these URLs, downloaded only if it lies in none of the folders.

    Args:
        mirrors: The URLs in the order to try them, each with the first digits of its file's
            sha256, or None where they are not known.
        name: What the file of a URL is called in a folder.

    Raises:
        UserError: No mirror can be reached, or a file is not what it should be.
    """
    folders = _folders()
    for folder in folders:
        for url, sha256 in mirrors.items():
            path = folder / name(url)
            if path.is_file():
                require_sha256(path, sha256)
                return path
    failures = []
    for url, sha256 in mirrors.items():
        path = folders[-1] / name(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f'{path}.lock'):  # the processes of a run download once
                if path.is_file():
                    require_sha256(path, sha256)
                else:
                    print_log(f'Downloading {url} to {path}', logger='current')
                    _download(url, path, sha256)
            return path
        except (OSError, HTTPException) as error:
            failures.append(f'{url}: {error}')
    raise UserError(
        'the weights could not be downloaded',
        got='\n'.join(failures),
        do=f'get {" or ".join(dict.fromkeys(map(name, mirrors)))} on a machine with network, '
        f'and put it in\n{" or ".join(map(str, folders))}\n'
        f'(the environment variable {OFFLINE_FOLDER} names a folder of your own),\n'
        'or give its path instead: --pretrained FILE',
    )


def _folders() -> list[Path]:
    own = os.environ.get(OFFLINE_FOLDER)
    hub = Path(torch.hub.get_dir()) / 'checkpoints'
    return [*([Path(own).expanduser()] if own else []), hub]


def _download(url: str, path: Path, sha256: str | None) -> None:
    """Write the whole file and nothing else under its name.

    PyTorch's downloader does not notice a connection that breaks off.
    """
    request = Request(url, headers={'User-Agent': 'mmvisattn'})
    with written_whole(path) as file:
        with urlopen(request, timeout=SILENCE) as reply:
            shutil.copyfileobj(reply, file, 1 << 20)
            promised = reply.headers.get('Content-Length')
        if promised and str(file.tell()) != promised.strip():
            raise OSError(f'broke off after {file.tell()} of {promised} bytes')
        file.flush()
        if sha256 and not (found := sha256_of(Path(file.name))).startswith(sha256.lower()):
            raise OSError(f'sends another file: sha256 {found} instead of {sha256}')
