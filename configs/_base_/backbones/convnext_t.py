"""ConvNeXt-T with its authors' ImageNet-1K weights, as OpenMMLab converted them."""

backbone = dict(
    type='mmpretrain.ConvNeXt', arch='tiny', drop_path_rate=0.4, layer_scale_init_value=1.0,
    gap_before_final_norm=False,
    init_cfg=dict(
        type='Pretrained', prefix='backbone.',
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
        'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'),
)
untrained = dict(type='mmpretrain.ConvNeXt', arch='tiny')
channels = [96, 192, 384, 768]
