"""Mask2Former on COCO panoptic: mmdet's recipe, 50 epochs of 16 pictures, large-scale jittering.

The backbone and its channels are left to each config. As in mmdet's recipe with Swin, no
normalisation layer and no table of relative positions decays. VAN, CoAtNet and SASA train their
BatchNorm; ResNet-50 keeps the statistics of ImageNet, as in mmdet.
"""

_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', './short_settings.py']

model = dict(backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3)))

# Instead of mmdet's custom key `backbone`, which would take the place of norm_decay_mult there.
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    constructor='mmvisattn.BackboneLrOptimWrapperConstructor',
    paramwise_cfg=dict(
        backbone_lr_mult=0.1,
        custom_keys=dict(
            _delete_=True,
            query_embed=no_decay,
            query_feat=no_decay,
            level_embed=no_decay,
            relative_position_bias_table=no_decay)))

# Else validations are logged at step 0, the epoch of a loop that counts iterations.
default_hooks = dict(logger=dict(log_metric_by_epoch=False))

# The recipe adds box and mask AP, from another annotation file; papers report PQ.
val_evaluator = dict(
    _delete_=True,
    type='CocoPanopticMetric',
    ann_file=_base_.data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=_base_.data_root + 'annotations/panoptic_val2017/')
test_evaluator = val_evaluator
