"""CoAtNet-1 of the paper, which released no weights. Drop path: its Table 10."""

backbone = dict(type='mmvisattn.CoAtNet', arch='1', drop_path_rate=0.3, out_norm=True)
channels = [96, 192, 384, 768]
