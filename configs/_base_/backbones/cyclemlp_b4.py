"""CycleMLP-B4 with the authors' ImageNet-1K weights. Drop path: the default of the release."""

backbone = dict(
    type='mmvisattn.CycleMLP', arch='b4', drop_path_rate=0.1,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='cyclemlp_b4_in1k'),
)
channels = [64, 128, 320, 512]
