"""timm's CoAtNet-2 and its weights, which take pixels from -1 to 1."""

_base_ = './coatnet_2.py'

backbone = dict(
    arch='coatnet_2_rw_224',
    init_cfg=dict(
        type='mmvisattn.CheckedPretrained', checkpoint='coatnet_2_rw_224.sw_in12k_ft_in1k'),
)
pixels = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
