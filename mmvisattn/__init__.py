"""Visual-attention backbones for dense prediction on OpenMMLab.

Nothing heavy is imported here: `type='mmvisattn.VAN'` in a config makes MMEngine import
`mmvisattn.registry`, and with it only what the config asks for.
"""

__version__ = '0.2.0'
