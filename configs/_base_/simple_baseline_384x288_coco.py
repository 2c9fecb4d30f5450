"""Simple Baseline on COCO keypoints, 384 x 288: the same recipe on larger pictures."""

_base_ = './simple_baseline_256x192_coco.py'

codec = dict(input_size=(288, 384), heatmap_size=(72, 96), sigma=3)

model = dict(head=dict(decoder=codec))
# The steps of the base at another size.
train_pipeline = _base_.train_pipeline
train_pipeline[5].update(input_size=codec['input_size'])
train_pipeline[6].encoder.update(codec)
test_pipeline = _base_.test_pipeline
test_pipeline[2].update(input_size=codec['input_size'])
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
