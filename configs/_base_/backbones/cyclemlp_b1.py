"""CycleMLP-B1 with the authors' ImageNet-1K weights. Drop path: the default of the release."""

backbone = dict(
    type='mmvisattn.CycleMLP', arch='b1', drop_path_rate=0.1,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='cyclemlp_b1_in1k'),
)
channels = [64, 128, 320, 512]
