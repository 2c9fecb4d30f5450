"""timm's CoAtNet-1 and its weights, which take pixels from -1 to 1."""

_base_ = './coatnet_1.py'

backbone = dict(
    arch='coatnet_1_rw_224',
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='coatnet_1_rw_224.sw_in1k'),
)
pixels = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
