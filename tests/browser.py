"""A real browser for what people look at, which lets no page ask anything of a network.

def test_a_page(browser):
    page = browser.open('file:///...')
"""

import os
import re
import shutil

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
# What is on this machine.
OWN = re.compile(r'(file|data|blob|about):|(http|ws)s?://(127\.0\.0\.1|localhost|\[::1\])[:/]')
WIDE, PHONE = (1280, 900), (375, 720)


class Browser:
    """Opens pages, each in a context of its own.

    Args:
        chromium: Playwright's, launched.

    Attributes:
        requests: Every address that a page asked for.
        errors: What the pages' scripts complained about.
    """

    def __init__(self, chromium):
        self._chromium = chromium
        self._contexts = []
        self.requests = []
        self.errors = []

    def open(self, url, size=WIDE, dark=False, **context):
        """A page at an address, once it has loaded.

        Args:
            url: file:// or of a server on this machine.
            size: Width and height in pixels.
            dark: Whether its reader prefers dark pages.
            context: More for Playwright's `new_context`.
        """
        made = self._chromium.new_context(
            viewport=dict(zip(('width', 'height'), size, strict=True)),
            color_scheme='dark' if dark else 'light',
            **context,
        )
        self._contexts.append(made)
        made.route('**/*', self._judge)
        page = made.new_page()
        page.on('request', lambda request: self.requests.append(request.url))
        page.on('websocket', lambda socket: self.requests.append(socket.url))
        page.on('pageerror', lambda error: self.errors.append(str(error)))
        page.goto(url)
        return page

    @property
    def outside(self):
        """The addresses elsewhere that pages asked for, which they did not get."""
        return [url for url in self.requests if not OWN.match(url)]

    def close(self):
        """Close every page."""
        for context in self._contexts:
            context.close()
        self._contexts = []

    @staticmethod
    def _judge(route):
        if OWN.match(route.request.url):
            route.continue_()
        else:
            route.abort()


@pytest.fixture(scope='module')
def chromium():
    """Chromium, started once for a file; a test that asks for it skips where there is none.

    Playwright keeps an event loop running in the thread: of one at a time, and of no other test's.
    """
    api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    path = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip('needs Chromium: apt-get install chromium')
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path, args=['--no-sandbox', '--disable-background-networking']
        )
        yield launched
        launched.close()


@pytest.fixture
def browser(chromium):
    """A browser; the test fails if one of its pages asked for anything outside this machine."""
    made = Browser(chromium)
    yield made
    made.close()
    assert made.outside == [], 'a page asked a network'


def overflows(page):
    """By how many pixels a page is wider than its window."""
    return page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth'
    )
