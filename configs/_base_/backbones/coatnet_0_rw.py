"""timm's CoAtNet-0 and its weights, which take pixels from -1 to 1."""

_base_ = './coatnet_0.py'

backbone = dict(
    arch='coatnet_0_rw_224',
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='coatnet_0_rw_224.sw_in1k'),
)
pixels = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
