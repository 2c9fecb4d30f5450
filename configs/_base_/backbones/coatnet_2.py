"""CoAtNet-2 of the paper, which released no weights. Drop path: its Table 10."""

backbone = dict(type='mmvisattn.CoAtNet', arch='2', drop_path_rate=0.5, out_norm=True)
channels = [128, 256, 512, 1024]
