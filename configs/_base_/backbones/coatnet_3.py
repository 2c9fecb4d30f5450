"""CoAtNet-3 of the paper, which released no weights. Drop path: its Table 10."""

backbone = dict(type='mmvisattn.CoAtNet', arch='3', drop_path_rate=0.7, out_norm=True)
channels = [192, 384, 768, 1536]
