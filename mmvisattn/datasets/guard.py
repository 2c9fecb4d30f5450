"""Name the file when a picture or a label map is at fault.

Without this a picture that does not decode ends in "'NoneType' object has no attribute 'shape'"
somewhere in a worker, and a label that no class has ends in an assertion on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UserError


class GuardedPipeline:
    """A data set's pipeline whose errors say which file they are about.

    Args:
        pipeline: The data set's own pipeline.
        num_classes: How many classes the labels may have, or None where there are no label maps.
        ignore_index: The label that stands for "not labelled".
    """

    def __init__(
        self, pipeline: Callable[[dict], dict], num_classes: int | None, ignore_index: int = 255
    ) -> None:
        self.pipeline = pipeline
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    @property
    def transforms(self) -> list:
        """The steps of the wrapped pipeline, where MMEngine's tools look for them."""
        return self.pipeline.transforms

    def __call__(self, info: dict) -> dict:
        """Run the pipeline on one entry of the data set's list."""
        files = [info[key] for key in ('img_path', 'seg_map_path') if key in info]
        try:
            sample = self.pipeline(info)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                'a picture fails in the data pipeline',
                expected='a picture that decodes, and annotations that belong to it',
                got=f'{type(error).__name__}: {error}\nin ' + '\nand '.join(files),
                do='run tools/check_data.py on the data set, then mend or remove the file;\n'
                'if the file is sound, MMVISATTN_TRACEBACK=1 shows where the pipeline failed',
            ) from error
        if self.num_classes is not None and 'gt_sem_seg' in (sample or {}).get('data_samples', ()):
            self._check_labels(sample['data_samples'].gt_sem_seg.data.numpy(), files[-1])
        return sample

    def _check_labels(self, labels: np.ndarray, file: str) -> None:
        bad = (labels >= self.num_classes) & (labels != self.ignore_index)
        if bad.any():
            raise UserError(
                'a label map has values that no class has',
                expected=f'0 to {self.num_classes - 1}, or {self.ignore_index} for "not labelled" '
                '(after the data set has mapped them)',
                got=f'{sorted(set(labels[bad].tolist()))} in {file}',
                do='run tools/check_data.py on the data set; set `classes` in the config to what '
                'the labels hold',
            )


def guard(dataset: object) -> None:
    """Put a `GuardedPipeline` into a data set and those it wraps."""
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            guard(inner)
    pipeline = getattr(dataset, 'pipeline', None)
    if not callable(pipeline) or isinstance(pipeline, GuardedPipeline):
        return
    labels_are_maps = hasattr(dataset, 'reduce_zero_label')
    dataset.pipeline = GuardedPipeline(
        pipeline,
        num_classes=len(dataset.metainfo['classes']) if labels_are_maps else None,
        ignore_index=getattr(dataset, 'ignore_index', 255),
    )
