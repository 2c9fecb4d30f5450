"""CycleMLP-B5 with the authors' ImageNet-1K weights. Drop path: the default of the release."""

backbone = dict(
    type='mmvisattn.CycleMLP', arch='b5', drop_path_rate=0.1,
    init_cfg=dict(type='mmvisattn.CheckedPretrained', checkpoint='cyclemlp_b5_in1k'),
)
channels = [96, 192, 384, 768]
