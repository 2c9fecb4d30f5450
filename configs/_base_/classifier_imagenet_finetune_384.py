"""Fine-tune on ImageNet-1K at 384 x 384: the same recipe on larger pictures."""

_base_ = './classifier_imagenet_finetune.py'

# The steps of the base at another size.
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=384)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=384)  # the shorter side: nothing of it is cropped off
test_pipeline[2].update(crop_size=384)
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))  # x 32 GPUs = 512
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
