"""Swin-T with its authors' ImageNet-1K weights."""

backbone = dict(
    type='mmdet.SwinTransformer', embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24],
    window_size=7, drop_path_rate=0.2, convert_weights=True,
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
        'swin_tiny_patch4_window7_224.pth'),
)
# mmpretrain's class: mmdet's hands out a list, which classifiers do not take. It leaves to the model
# how it is initialised.
untrained = dict(
    type='mmpretrain.SwinTransformer', arch='tiny',
    init_cfg=[dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
              dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0)],
)
channels = [96, 192, 384, 768]
