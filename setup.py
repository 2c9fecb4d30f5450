"""Carry configs, tools and the index of models inside the package, where OpenMMLab's tools look.

Everything else about the package stands in setup.cfg. An editable install carries nothing: the
package finds them in the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ('configs', 'tools', 'model-index.yml')
# What works in a checkout only, and what running leaves behind.
LEFT_OUT = shutil.ignore_patterns('install.sh', 'write_pages.py', '__pycache__', '.*')


class BuildWithConfigs(build_py):
    """Build the package as ever, then copy what it carries into mmvisattn/.mim."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmvisattn' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        target.mkdir(parents=True)
        for name in CARRIED:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, ignore=LEFT_OUT)
            else:
                shutil.copy(name, target)


setup(cmdclass={'build_py': BuildWithConfigs})
