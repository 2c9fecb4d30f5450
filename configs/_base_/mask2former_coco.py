"""Mask2Former on COCO panoptic: mmdet's recipe, 50 epochs of 16 pictures, large-scale jittering.

The backbone and its channels are left to each config. As in mmdet's recipe with Swin, the
normalisation layers of the backbone do not decay.
"""

_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', './short_settings.py']

model = dict(backbone=dict(_delete_=True, out_indices=(0, 1, 2, 3)))

backbone_norm = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            # The longest key that fits a name counts: these are longer than 'backbone'.
            **{
                f'.norm{number}.{kind}': backbone_norm
                for number in ('', 0, 1, 2, 3, 4) for kind in ('weight', 'bias')
            },
            'relative_position_bias_table': backbone_norm,
        }))

# The recipe adds box and mask AP, from another annotation file; papers report PQ.
val_evaluator = dict(
    _delete_=True,
    type='CocoPanopticMetric',
    ann_file=_base_.data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=_base_.data_root + 'annotations/panoptic_val2017/')
test_evaluator = val_evaluator
