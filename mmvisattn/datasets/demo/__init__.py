"""Embedded data for every task: drawn from a seed, written in the layouts of the real data sets."""

from .layouts import LAYOUTS, make_data

__all__ = ['LAYOUTS', 'make_data']
