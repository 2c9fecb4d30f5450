"""VAN-B5 with the authors' ImageNet-22K weights. Drop path: of fine-tuning on 1K."""

backbone = dict(
    type='mmvisattn.VAN', arch='b5', drop_path_rate=0.2,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b5_in22k'),
)
channels = [96, 192, 480, 768]
