"""Files that a user asked for: refused before the work if they cannot be, and written whole."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from .atomic import write_text, written_whole
from .errors import UserError

FORMATS = ('.png', '.pdf', '.svg')
FONTS = {'pdf.fonttype': 42, 'svg.fonttype': 'none'}  # text stays text
LONGEST = 2**16 - 1  # pixels of a side that matplotlib draws


def check_output(path: str | Path) -> None:
    """Make the folder of a file that is to be written, before the work.

    Raises:
        UserError: It cannot be made, or the file is a folder.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{path} cannot be written', got=error) from error
    if path.is_dir():
        raise UserError(f'{path} is a folder', expected='the name of a file')


def write_output(path: str | Path, text: str) -> None:
    """Write a text file whole, its folder with it.

    Raises:
        UserError: It cannot be written.
    """
    check_output(path)
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f'{path} cannot be written', got=error) from error


def check_figure_name(path: str | Path) -> None:
    """Refuse a file that no figure can be written to, before the work.

    Raises:
        UserError: Another ending, or a folder that cannot be made.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(
            f'{path} is no figure', expected=f'a name that ends with {", ".join(FORMATS)}'
        )
    check_output(path)


def check_figure_or_folder(target: str | Path) -> bool:
    """Whether a target is one figure; else it is a folder of figures, which is made.

    Raises:
        UserError: It ends as a picture does that is not written, or cannot be made.
    """
    target = Path(target)
    ending = target.suffix.lower()
    if not target.is_dir() and ending[1:] in {*FigureCanvasBase.filetypes, 'gif', 'bmp'}:
        check_figure_name(target)
        return True
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'the folder {target} cannot be made', got=error) from error
    return False


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure, whole; the ending of the name says as what.

    Args:
        figure: The figure.
        path: The file.
        dpi: Pixels per inch of a PNG, and of the pictures in a PDF or SVG.

    Raises:
        UserError: It cannot be written there, or is larger than matplotlib draws.
    """
    check_figure_name(path)
    width, height = (round(side * dpi) for side in figure.get_size_inches())
    if max(width, height) > LONGEST:
        raise UserError(
            f'a figure of {width} x {height} pixels cannot be drawn',
            expected=f'sides up to {LONGEST}',
            do='draw less in one figure, or with fewer pixels per inch',
        )
    plain_words(figure)
    try:
        with written_whole(path) as file, rc_context(FONTS):
            figure.savefig(file, format=Path(path).suffix[1:].lower(), dpi=dpi)
    except OSError as error:
        raise UserError(f'{path} cannot be written', got=error) from error


def plain_words(figure: Figure) -> None:
    """Show names with "$" in them as they are: between two, matplotlib would read a formula.

    The powers of ten that matplotlib itself writes along a logarithmic axis stay formulas.
    """
    for text in figure.findobj(Text):
        if '$' in text.get_text() and r'\mathdefault' not in text.get_text():
            text.set_parse_math(False)
