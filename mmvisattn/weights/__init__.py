"""Weights one can trust: read without running code, recognised, renamed, matched, then loaded."""

from .converter import convert_file
from .files import guard_libraries, read_checkpoint, state_dict_of, write_checkpoint
from .layouts import Converted, convert, convert_inside, export
from .match import Match, require_match
from .pretrained import CheckedPretrained, require_plain_match, require_pretrained_match
from .zoo import Published, locate, published

__all__ = [
    'CheckedPretrained',
    'Converted',
    'Match',
    'Published',
    'convert',
    'convert_file',
    'convert_inside',
    'export',
    'guard_libraries',
    'locate',
    'published',
    'read_checkpoint',
    'require_match',
    'require_plain_match',
    'require_pretrained_match',
    'state_dict_of',
    'write_checkpoint',
]
