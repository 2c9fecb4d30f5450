"""`--tta`: predict from changed copies of each picture too, and merge what they give.

`tta_pipeline` and `tta_model` of a config say how. A config without them is tested on each picture
and its mirror image; poses by the flip test of their heads.
"""

from __future__ import annotations

from mmengine.config import Config

from ..errors import UserError

# Parts of a model whose results no library merges over copies of a picture.
UNMERGED = {
    'panoptic_fusion_head': 'panoptic segmentation',
    'mask_head': 'instance segmentation',
}
# What merges, by the library whose config it is.
MERGERS = {
    'mmseg': 'mmvisattn.SegTTAModel',
    'mmdet': 'DetTTAModel',
    'mmpretrain': 'AverageClsScoreTTA',
}


def use_tta(cfg: Config) -> str:
    """Make a config test with augmentation; return what that means for it.

    Raises:
        UserError: Nothing merges what this model predicts.
    """
    model, library = cfg.model, cfg.get('default_scope')
    for part, task in UNMERGED.items():
        if model.get(part) or model.get('roi_head', {}).get(part):
            raise UserError(
                f'--tta: nothing merges {task} over views of a picture',
                expected='semantic segmentation, detection of boxes, pose or classification',
                got=f'a model with {part}',
                do='leave --tta out',
            )
    if library == 'mmpose':
        settings = model.get('test_cfg') or {}
        model.test_cfg = {**settings, 'flip_test': True}
        always = ', as in every test of this config' if settings.get('flip_test') else ''
        return f'--tta: each person is looked at mirrored, too (flip test){always}.'
    if 'tta_model' not in cfg and library not in MERGERS:
        raise UserError('--tta: the config has no tta_model')
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = cfg.get('tta_pipeline') or _with_mirror_image(dataset.pipeline)
    merger = cfg.get('tta_model') or dict(type=MERGERS[library])
    if merger['type'] == 'DetTTAModel' and 'tta_cfg' not in merger:
        merger = {**merger, 'tta_cfg': _suppression(model)}
    # Given here, or the Runner takes the config's own one, which knows another number of classes.
    pixels = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    cfg.model = dict(**merger, module=model, data_preprocessor=pixels)
    views = 'tta_pipeline makes' if 'tta_pipeline' in cfg else 'a mirror adds'
    return f'--tta: {merger["type"]} merges the views of each picture that {views}.'


def _with_mirror_image(pipeline: list[dict]) -> list[dict]:
    """The pipeline, its steps after the first done for a picture and for its mirror image."""
    load, *steps = pipeline
    # What packs may list what it hands on, and merging needs to know which view is the mirror.
    steps = [
        {**step, 'meta_keys': (*step['meta_keys'], 'flip', 'flip_direction')}
        if 'meta_keys' in step
        else step
        for step in steps
    ]
    flips = [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)]
    return [load, dict(type='TestTimeAug', transforms=[flips, *([step] for step in steps)])]


def _suppression(model: dict) -> dict:
    """The model's own way to thin out boxes, for those of several views."""
    settings = model.get('test_cfg') or {}
    settings = settings.get('rcnn') or settings
    if 'nms' not in settings:
        raise UserError(
            '--tta: the boxes of this detector are not thinned out, so views cannot be merged',
            expected='model.test_cfg with nms and max_per_img, or a tta_model in the config',
        )
    return dict(nms=settings['nms'], max_per_img=settings.get('max_per_img', 100))
