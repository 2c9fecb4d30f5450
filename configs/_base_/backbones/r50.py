"""ResNet-50 with torchvision's ImageNet-1K weights."""

backbone = dict(
    type='mmpretrain.ResNet', depth=50,
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
)
untrained = dict(type='mmpretrain.ResNet', depth=50)
channels = [256, 512, 1024, 2048]
frozen = dict(frozen_stages=1, norm_eval=True)  # as mmdet fine-tunes it on COCO
