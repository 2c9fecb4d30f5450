"""The site of docs/: built with warnings as errors and without a network, read in a browser."""

import functools
import http.server
import re
import runpy
import sys
import threading
from html.parser import HTMLParser

import pytest
from conftest import ROOT, run
from test_layout import ARROWS

ROOMS = ROOT / 'docs' / '_site' / 'rooms.py'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site as `make docs` builds it; whatever it asks the network for fails."""
    pytest.importorskip('mkdocs', reason='pip install mmvisattn[docs]')
    folder = tmp_path_factory.mktemp('site')
    nowhere = dict.fromkeys(('http_proxy', 'https_proxy', 'all_proxy'), 'http://127.0.0.1:9')
    done = run(
        sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', folder,
        env={**nowhere, 'NO_MKDOCS_2_WARNING': '1'},
    )  # fmt: skip
    assert done.returncode == 0, done.output
    return folder


class Assets(HTMLParser):
    """What a page loads by itself."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        loads = {'script': 'src', 'img': 'src', 'iframe': 'src', 'link': 'href', 'source': 'src'}
        if tag in loads and attrs.get('rel') not in ('prev', 'next', 'canonical'):
            self.found.append(attrs.get(loads[tag]) or '')


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob('*.html'))
    assert len(pages) > 20
    for page in pages:
        for asset in Assets(page.read_text()).found:
            assert not re.match(r'\w+:|//', asset), f'{page}: {asset}'
    for sheet in site.rglob('*.css'):
        assert not re.search(r'url\("?(?:https?:)?//', sheet.read_text()), sheet


def test_files_that_pages_link_to_are_in_the_site(site):
    """A config, as text that a browser shows; README, CONTRIBUTING and CHANGELOG as pages."""
    name = 'configs/upernet_van_b2_ade20k.py'
    assert (site / f'files/{name}.txt').read_text() == (ROOT / name).read_text()
    assert f'href="files/{name}.txt"' in (site / 'configs.html').read_text()
    readme = (site / 'readme.html').read_text()
    assert 'href="contributing.html"' in readme
    assert 'href="clusters.html"' in readme
    assert (site / 'changelog.html').is_file()


def test_the_api_shows_what_is_public(site):
    from mmvisattn import backbones, ops

    for module, page in ((backbones, 'backbones'), (ops, 'ops')):
        shown = (site / 'api' / f'{page}.html').read_text()
        for name in module.__all__:
            if callable(getattr(module, name)):
                assert re.search(rf'id="{module.__name__}\.(\w+\.)?{name}"', shown), name


def test_make_docs_builds_it():
    assert '-m mkdocs build --strict' in run('make', '--dry-run', 'docs').output


def test_the_drawing_shows_the_rooms_as_they_are():
    rooms = runpy.run_path(str(ROOMS))
    remedy = 'run python docs/_site/rooms.py'
    assert rooms['arrows']() == {room: read & set(ARROWS) for room, read in ARROWS.items()}
    assert rooms['DRAWING'].read_text() == rooms['drawing'](rooms['arrows']()), remedy
    assert rooms['PAGE'].read_text() == rooms['page'](), remedy


def test_a_drawing_leaves_out_the_arrows_that_others_show():
    drawing = runpy.run_path(str(ROOMS))['drawing']
    read = {'errors': set(), 'ops': {'errors'}, 'layers': {'errors', 'ops'}}
    read['backbones'] = {'errors', 'layers', 'ops'}
    assert drawing(read).count('url(#head)') == 2  # to layers and from there to ops
    read['timm'] = {'backbones', 'weights'}
    read['weights'] = {'ops'}
    assert drawing(read).count('url(#head)') == 5


@pytest.fixture(scope='module')
def address(site):
    """Where the site is served, on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize(('scheme', 'width'), [('light', 1280), ('dark', 390)])
def test_pages_are_read_in_a_browser(address, browser, scheme, width):
    page = browser.open(f'{address}/index.html', (width, 800), dark=scheme == 'dark')
    for name in ('index', 'architecture', 'troubleshooting', 'configs', 'api/backbones'):
        page.goto(f'{address}/{name}.html')
        assert page.evaluate('document.documentElement.scrollWidth') == width, 'it fits the screen'
        assert page.evaluate('[...document.images].every(i => i.complete && i.naturalWidth)')
    background = page.evaluate('getComputedStyle(document.body).backgroundColor')
    brightness = sum(map(int, re.findall(r'\d+', background)[:3])) / 3
    assert (brightness > 200) if scheme == 'light' else (brightness < 60)
    page.goto(f'{address}/index.html')
    page.keyboard.press('/')
    page.keyboard.type('preemption')
    page.locator('.md-search-result__item').first.wait_for(timeout=20_000)
    assert not browser.errors
