"""Semantic FPN on CamVid at 360 x 480, 12k iterations of 8 pictures: one recipe for all networks.

Eleven classes; label 11 is what none of them is. Trained on 367 pictures; choices are made on the 101
of val, and the score is that of the 233 of test. A higher learning rate than on ADE20K: hardly anything
is pretrained.
"""

_base_ = './fpn_ade20k.py'

data_root = 'data/camvid'
classes = ['sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
           'bicyclist']
void = 11
crop_size = (352, 480)
scale = (480, 360)
iterations = 12000

model = dict(
    data_preprocessor=dict(
        size=crop_size, seg_pad_val=void, test_cfg=dict(size_divisor=32)),
    decode_head=dict(ignore_index=void, loss_decode=dict(avg_non_ignore=True)))

# The steps of the base at another size; 360 rows are filled up to 384, not stretched.
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=scale, ratio_range=(0.75, 2.0))
train_pipeline[3].update(crop_size=crop_size, ignore_index=void)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=scale)
del test_pipeline[2]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(int(scale[0] * r), int(scale[1] * r)), keep_ratio=True)
    for r in (0.75, 1.0, 1.25, 1.5, 1.75)
]
del tta_pipeline[1].transforms[1]

camvid = dict(type='BaseSegDataset', data_root=data_root, ignore_index=void)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        **camvid,
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        **camvid,
        data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'),
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        **camvid,
        data_prefix=dict(img_path='images/test', seg_map_path='annotations/test'),
        pipeline=test_pipeline))
val_evaluator = dict(ignore_index=void)
test_evaluator = val_evaluator

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=1e-2), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=500, end=iterations),
]
train_cfg = dict(max_iters=iterations, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1))
