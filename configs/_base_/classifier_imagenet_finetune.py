"""Fine-tune larger pre-training on ImageNet-1K: 30 epochs of 512 pictures, AdamW 5e-5.

The recipe of VAN's ImageNet-22K release, and CoAtNet's (Table 10) but for the schedule, which is
constant there: no mixup, no CutMix, almost no decay, a head that starts near zero.
"""

_base_ = './classifier_imagenet.py'

epochs = 30

model = dict(
    head=dict(init_cfg=dict(std=2e-5)),
    train_cfg=dict(_delete_=True))
train_dataloader = dict(batch_size=32)  # x 16 GPUs = 512
auto_scale_lr = dict(base_batch_size=512)
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, end=epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs, val_interval=1)
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
