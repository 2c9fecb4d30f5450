"""Where MMEngine finds our classes: `type='mmvisattn.VAN'` in any config leads here.

MMEngine imports `<scope>.registry` by that very name and hides an ImportError raised inside it,
so this file imports MMEngine and nothing else.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmvisattn', locations=['mmvisattn.backbones']
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=MMENGINE_WEIGHT_INITIALIZERS,
    scope='mmvisattn',
    locations=['mmvisattn.weights'],
)
