"""One page about a run that needs nothing but itself: record, curves, metrics, pictures, speed."""

from .page import write_report

__all__ = ['write_report']
