"""CycleMLP-B2 with the authors' ImageNet-1K weights. Drop path: the default of the release."""

backbone = dict(
    type='mmvisattn.CycleMLP', arch='b2', drop_path_rate=0.1,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='cyclemlp_b2_in1k'),
)
channels = [64, 128, 320, 512]
