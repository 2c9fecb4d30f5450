"""What PennFudanPed changes of COCO: one class, 120 pictures to train on, 50 held out.

120 epochs of 4 pictures; nothing but the backbone is pretrained, and on small pictures: hence a higher
learning rate.
"""

penn_root = 'data/pennfudan'
penn_epochs = 120

penn = dict(
    data_root=penn_root,
    classes=['person'],
    resize=dict(type='RandomResize', scale=(512, 384), ratio_range=(0.6, 1.4), keep_ratio=True),
    scale=(512, 384),
    anchor_ratios=[1.0, 2.0, 3.0],  # height to width, of people on their feet
    train_loader=dict(batch_size=4, num_workers=4),
    train_set=dict(
        data_root=penn_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/')),
    val_set=dict(
        data_root=penn_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/')),
    evaluator=dict(ann_file=f'{penn_root}/annotations/instances_val.json'),
    auto_scale_lr=dict(base_batch_size=4),
    optim_wrapper=dict(optimizer=dict(lr=4e-4), clip_grad=dict(max_norm=5.0)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
        dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=0, end=penn_epochs,
             convert_to_iter_based=True),
    ],
    train_cfg=dict(max_epochs=penn_epochs, val_interval=10),
    hooks=dict(logger=dict(interval=10), checkpoint=dict(interval=10, max_keep_ckpts=1)))
