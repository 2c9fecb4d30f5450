"""ImageNet-1K as CoAtNet trains (Table 10): 300 epochs of 4096 pictures, AdamW 1e-3 to 1e-5.

RandAugment 2/15 and mixup, no CutMix, no erasing, no average; gradients are clipped at 1. The paper
does not say how it crops to test: 0.9 of the shorter side, as the others; timm takes 0.95.
"""

_base_ = './classifier_imagenet.py'

warm_up = 10000  # iterations

model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]))
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(magnitude_level=15, magnitude_std=0, total_level=30)
del train_pipeline[4]  # random erasing
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

auto_scale_lr = dict(base_batch_size=4096)  # 32 GPUs x 128 pictures
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=warm_up),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=_base_.epochs,
         convert_to_iter_based=True),
]
custom_hooks = []
