"""Pictures on disk: what a data set must look like, and the small one made for the demo.

The data sets themselves are those of mmseg, mmdet, mmpose and mmpretrain.
"""

from .panopticapi import provide

provide()  # before anything imports mmdet, which looks once
