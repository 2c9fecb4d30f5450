"""Numbers of our own on public data: which trainings, their records, and `docs/results.md`."""

from .benchmarks import BENCHMARKS
from .figure import as_svg, draw, points
from .measured import rows_of
from .page import markdown


def results_of(parameters: dict[str, int]) -> dict[str, str]:
    """The text of docs/results.md and of its figures, by their paths from the root of the project.

    Args:
        parameters: Of each config, by its name.
    """
    files = {'docs/results.md': markdown()}
    for name, benchmark in BENCHMARKS.items():
        run = points(rows_of(benchmark), parameters)
        if run and benchmark.drawn:
            files[f'docs/results/{name}.svg'] = as_svg(draw(benchmark, run), benchmark, run)
    return files
