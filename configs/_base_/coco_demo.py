"""What the demos on the embedded traffic scenes share: COCO at a size for two CPU cores.

The scenes lie on disk as COCO does, so that only classes, size and length differ. From scratch: hence
a higher learning rate than the one that fine-tunes ImageNet weights.
"""

demo_width = 64
demo_norm = dict(type='GN', num_groups=16, requires_grad=True)
demo_strides = [4, 8, 16, 32]

demo = dict(
    data_root='data/demo_coco',
    things=['car', 'bus', 'traffic light', 'stop sign'],
    stuff=['road', 'tree-merged', 'sky-other-merged', 'mountain-merged', 'grass-merged',
           'building-other-merged'],
    max_iters=300,
    scale=(160, 128),
    train_loader=dict(batch_size=8, num_workers=1),
    val_loader=dict(num_workers=1),
    auto_scale_lr=dict(base_batch_size=8),
    optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    train_cfg=dict(val_interval=6),  # of 12, whatever the length
    hooks=dict(logger=dict(interval=25), checkpoint=dict(interval=6)),
    mask_rcnn=dict(
        neck=dict(out_channels=demo_width, num_outs=len(demo_strides), norm_cfg=demo_norm),
        rpn_head=dict(
            in_channels=demo_width,
            feat_channels=demo_width,
            anchor_generator=dict(scales=[5], strides=demo_strides)),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=demo_width, finest_scale=28),
            bbox_head=dict(in_channels=demo_width, fc_out_channels=256),
            mask_roi_extractor=dict(out_channels=demo_width, finest_scale=28),
            mask_head=dict(
                num_convs=2, in_channels=demo_width, conv_out_channels=demo_width,
                norm_cfg=demo_norm)),
        train_cfg=dict(
            rpn=dict(sampler=dict(num=64)),
            rpn_proposal=dict(nms_pre=400, max_per_img=100),
            rcnn=dict(sampler=dict(num=32))),
        test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=100))))
