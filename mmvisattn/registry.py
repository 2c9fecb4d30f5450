"""Where MMEngine finds our classes: `type='mmvisattn.VAN'` in any config leads here.

MMEngine imports `<scope>.registry` by that very name and hides an ImportError raised inside it,
so this file imports MMEngine and nothing else.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmvisattn', locations=['mmvisattn.backbones']
)
