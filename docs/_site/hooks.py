"""What MkDocs does here beyond its settings: the pages of the root, and links out of docs/.

A link of a page goes to a file beside it, as it does in the repository. Where that file is no page
of docs/, the site gets it: README, CONTRIBUTING and CHANGELOG as pages, others as plain text.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
PAGES = {name: name.lower() for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')}
LINK = re.compile(r'(?<=\]\()([^)#\s:]+)(?=[)#])')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their files lie in the site."""
    here = page.file.src_uri
    home = ROOT if here in PAGES.values() else (DOCS / here).parent
    depth = here.count('/')

    def moved(match: re.Match) -> str:
        target = (home / match[1]).resolve()
        if not target.is_file() or not target.is_relative_to(ROOT):
            return match[1]  # MkDocs says what is wrong with it
        return '../' * depth + place_of(target, files, config)

    # GitHub reads Markdown within HTML as it is; Python-Markdown asks for a word.
    return LINK.sub(moved, markdown).replace('<details>', '<details markdown="1">')


def place_of(target: Path, files: Files, config: MkDocsConfig) -> str:
    """Where a file of the repository lies in the site; it is added if it does not yet."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    name = target.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    place = f'files/{name}.txt'  # a browser shows it, whatever it is
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, content=target.read_text()))
    return place
