"""Pictures on disk: what a data set must look like, and the small one made for the demo.

The data sets themselves are those of mmseg, mmdet, mmpose and mmpretrain.
"""

import os

from PIL import EpsImagePlugin

from .panopticapi import provide

# A small file may claim so many pixels that they fill the memory: the limit of Pillow, and so of
# tools/check_data.py, for OpenCV too, which reads it when it is imported.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', '178956970')
# PostScript is a program, which Pillow would have Ghostscript run, whatever the picture's name.
EpsImagePlugin.gs_binary = False
provide()  # before anything imports mmdet, which looks once
