"""VAN-B3 with the authors' ImageNet-1K weights. Drop path: as trained on ImageNet-1K."""

backbone = dict(
    type='mmvisattn.VAN', arch='b3', drop_path_rate=0.2,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b3_in1k'),
)
channels = [64, 128, 320, 512]
