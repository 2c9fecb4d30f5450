"""Weights one can trust: read without running code, recognised, renamed, matched, then loaded."""

from .converter import convert_file
from .download import sha256_of
from .files import read_checkpoint, state_dict_of, write_checkpoint
from .layouts import Converted, convert, convert_inside, export
from .libraries import guard_libraries
from .loads import Load, announce, listening
from .match import Match, require_match
from .pretrained import (
    CheckedPretrained,
    forget_weights,
    library_init,
    loads_weights,
    require_plain_match,
    require_pretrained_match,
)
from .zoo import Published, locate, published

__all__ = [
    'CheckedPretrained',
    'Converted',
    'Load',
    'Match',
    'Published',
    'announce',
    'convert',
    'convert_file',
    'convert_inside',
    'export',
    'forget_weights',
    'guard_libraries',
    'library_init',
    'listening',
    'loads_weights',
    'locate',
    'published',
    'read_checkpoint',
    'require_match',
    'require_plain_match',
    'require_pretrained_match',
    'sha256_of',
    'state_dict_of',
    'write_checkpoint',
]
