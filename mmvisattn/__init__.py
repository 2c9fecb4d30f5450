"""Visual-attention backbones for dense prediction on OpenMMLab.

Nothing heavy is imported here: `type='mmvisattn.VAN'` in a config makes MMEngine import
`mmvisattn.registry`, and with it only what the config asks for. `mmvisattn.Inferencer` is imported
when it is first asked for.
"""

__version__ = '0.2.0'


def __getattr__(name: str) -> type:
    if name == 'Inferencer':
        from .inference import Inferencer

        return Inferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
