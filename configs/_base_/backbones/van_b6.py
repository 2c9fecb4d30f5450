"""VAN-B6 with the authors' ImageNet-22K weights. Drop path: of fine-tuning on 1K."""

backbone = dict(
    type='mmvisattn.VAN', arch='b6', drop_path_rate=0.3,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b6_in22k'),
)
channels = [96, 192, 384, 768]
