"""Where configs and tools lie: in a checkout beside the package, in a wheel inside it.

`.mim` is where OpenMMLab's packages carry theirs, and where `mim` looks for them; setup.py puts
them there.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CARRIED = PACKAGE / '.mim'
ROOT = CARRIED if CARRIED.is_dir() else PACKAGE.parent
CONFIGS = ROOT / 'configs'
TOOLS = ROOT / 'tools'


def find_config(name: str | Path) -> Path | None:
    """The config of ours that a name means where there is no such file, or None.

    Args:
        name: Such as 'upernet_van_b2_ade20k'; '.py' after it and 'configs/' before it are taken,
            too, so that commands of the documentation work outside a checkout.
    """
    path = Path(name)
    file = CONFIGS / f'{path.name.removesuffix(".py")}.py'
    return file if path.parent in (Path(), Path('configs')) and file.is_file() else None
