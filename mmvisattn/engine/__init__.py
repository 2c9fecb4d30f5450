"""What stands between the command line and MMEngine: configs, processes, checkpoints, runs."""

from .. import datasets as datasets
