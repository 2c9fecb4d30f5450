"""VAN-B4 with the authors' ImageNet-1K weights. Drop path: of fine-tuning on 1K."""

backbone = dict(
    type='mmvisattn.VAN', arch='b4', drop_path_rate=0.2,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='van_b4_in1k'),
)
channels = [64, 128, 320, 512]
