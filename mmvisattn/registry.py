"""Where MMEngine finds our classes: `type='mmvisattn.VAN'` in any config leads here.

MMEngine imports `<scope>.registry` by that very name and hides an ImportError raised inside it,
so this file imports MMEngine and nothing else.
"""

from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry


class LateRegistry(Registry):
    """A registry of classes, and of functions, marked `makes_class`, that make one once needed."""

    def get(self, key: str) -> type | None:
        """The class of that name, or None."""
        found = super().get(key)
        return found() if getattr(found, 'makes_class', False) else found


MODELS = LateRegistry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmvisattn',
    locations=['mmvisattn.backbones', 'mmvisattn.evaluation'],
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=MMENGINE_WEIGHT_INITIALIZERS,
    scope='mmvisattn',
    locations=['mmvisattn.weights'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmvisattn',
    locations=['mmvisattn.engine.optim'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmvisattn',
    locations=['mmvisattn.engine.optim'],
)
METRICS = LateRegistry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmvisattn',
    locations=['mmvisattn.engine.results', 'mmvisattn.evaluation'],
)
