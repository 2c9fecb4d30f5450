"""SASA-R38. No weights were released; the paper has no stochastic depth."""

backbone = dict(type='mmvisattn.SASAResNet', arch='r38', out_norm=True)
channels = [256, 512, 1024, 2048]
