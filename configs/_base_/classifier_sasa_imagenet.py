"""ImageNet-1K as SASA trains: 130 epochs of 4096 pictures, Nesterov 1.6, average of the weights.

The paper names no augmentation and no weight decay: crops and flips, and 1e-4 are ours. It averages
BatchNorm's statistics with 0.9999; here they are PyTorch's.
"""

_base_ = './classifier_imagenet.py'

epochs = 130
warm_up = 10

model = dict(
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')),
    train_cfg=dict(_delete_=True))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

auto_scale_lr = dict(base_batch_size=4096)  # 32 GPUs x 128 pictures
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=1.6, momentum=0.9, nesterov=True, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=warm_up,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warm_up, end=epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs)
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
