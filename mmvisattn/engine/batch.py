"""How many samples a step of the optimizer sees, and what the learning rate was meant for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """The samples of a step.

    Attributes:
        size: Samples of a batch in one process.
        processes: Processes, a batch each.
        accumulated: Batches of a process before it steps.
    """

    size: int
    processes: int = 1
    accumulated: int = 1

    @property
    def total(self) -> int:
        """The samples of a step, of all processes."""
        return self.size * self.processes * self.accumulated

    def __str__(self) -> str:
        factors = {'processes': self.processes, 'accumulated batches': self.accumulated}
        shown = [f'{count} {name}' for name, count in factors.items() if count > 1]
        return ' x '.join([f'{self.size} sample{"s" if self.size > 1 else ""}', *shown])

    def misfit(self, base: int, rate: float) -> str | None:
        """What to read where a learning rate was meant for `base` samples a step, and to type.

        None where it fits.
        """
        if self.total == base:
            return None
        factor, rest = divmod(base, self.size * self.processes)
        other = f', or --accumulate {factor}' if factor > 1 and not rest else ''
        return (
            f'The learning rate {rate:g} is meant for {base} samples a step, and a step of this '
            f'run sees {self.total} ({self}): type --auto-scale-lr, which makes it '
            f'{rate * self.total / base:.3g}{other}.'
        )

    def shortfall(self, max_iters: int) -> str | None:
        """What to read where iterations are counted, which are batches and no longer steps."""
        if self.accumulated == 1:
            return None
        return (
            f'{max_iters} iterations of {self} are {max_iters // self.accumulated} steps. For as '
            f'many steps as iterations: --cfg-options max_iters={max_iters * self.accumulated}.'
        )
