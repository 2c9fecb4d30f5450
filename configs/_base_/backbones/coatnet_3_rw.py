"""timm's CoAtNet-3 and its weights, which take pixels from -1 to 1."""

_base_ = './coatnet_3.py'

backbone = dict(
    arch='coatnet_3_rw_224',
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='coatnet_3_rw_224.sw_in12k'),
)
pixels = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
