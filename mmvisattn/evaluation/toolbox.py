"""Classes of a toolbox, refined: `type='mmvisattn.IoUMetric'` is mmseg's, with a part done faster.

The package imports no toolbox, which may not be installed. So what is registered here is a mixin,
and the class on top of the toolbox's is made when a config first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from mmengine.registry import Registry

from ..errors import UserError

# What makes each class, by its name.
REFINED: dict[str, Callable[[], type]] = {}


def on_top_of(stock: str, registry: Registry) -> Callable[[type], type]:
    """Register a mixin, by its own name, as a subclass of another package's class.

    Args:
        stock: The class it refines, as a config names it ('mmseg.IoUMetric').
        registry: Where both are looked up.
    """

    def register(mixin: type) -> type:
        @cache
        def make() -> type:
            base = registry.get(stock)
            if base is None:
                raise UserError(
                    f'mmvisattn.{mixin.__name__} refines {stock}, which is not there',
                    do=f'install {stock.partition(".")[0]}',
                )
            # Where pickle finds it: the package makes it when asked.
            names = {'__module__': __package__, '__doc__': mixin.__doc__}
            return type(mixin.__name__, (mixin, base), names)

        def late() -> type:  # what a registry takes: a plain function
            return make()

        late.makes_class = True
        REFINED[mixin.__name__] = make
        registry.register_module(name=mixin.__name__, module=late)
        return mixin

    return register
