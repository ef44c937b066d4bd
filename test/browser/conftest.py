"""The tests of reports in a real browser: all marked ``browser``. They need playwright and Debian's chromium."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from optional_parts import mark_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None
MISSING = [what for what, there in (('playwright', sync_playwright), ('chromium', CHROMIUM)) if not there]
if MISSING and os.environ.get('SEGVLAD_REQUIRE_CHROMIUM'):
    raise pytest.UsageError(f'SEGVLAD_REQUIRE_CHROMIUM is set and there is no {" and no ".join(MISSING)}')
# It must not call home: this machine may have no network, and a report needs none.
QUIET = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--disable-quic', '--no-first-run']


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_folder(items, __file__, pytest.mark.browser,
                f'there is no {" and no ".join(MISSING)}: make test-report' if MISSING else '')


@dataclass
class Opened:
    """A page in the browser, and what it did.

    :ivar said: what it wrote on the console, and its errors
    :ivar asked: addresses that it asked for
    """

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def visible(self, selector: str) -> int:
        """How many elements there are."""
        return self.page.locator(selector).count()

    def text(self, selector: str) -> str:
        """Of the first such element."""
        return self.page.locator(selector).first.text_content()

    def style(self, selector: str, name: str) -> str:
        """A computed value of the first such element."""
        return self.page.locator(selector).first.evaluate('(element, name) => getComputedStyle(element)[name]', name)

    def focused(self) -> str:
        """The text of what has the focus."""
        return self.page.evaluate('document.activeElement.innerText')


@pytest.fixture(scope='session')
def chromium() -> Iterator:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium) -> Iterator:
    """Opens a file: ``opened(path, width=390, color_scheme='dark')``; at the end its console must have been clean."""
    pages = []

    def open_page(path: Path, width: int = 1280, **options: str) -> Opened:
        context = chromium.new_context(viewport={'width': width, 'height': 900}, **options)
        seen = Opened(context.new_page())
        pages.append((path, seen))
        seen.page.set_default_timeout(60_000)
        seen.page.on('console', lambda message: seen.said.append(message.text))
        seen.page.on('pageerror', lambda error: seen.said.append(str(error)))
        seen.page.on('dialog', lambda dialog: (seen.said.append('a dialog'), dialog.dismiss()))
        seen.page.on('request', lambda request: seen.asked.append(request.url))
        seen.page.goto(path.as_uri())
        return seen
    yield open_page
    for path, seen in pages:
        seen.page.context.close()
        assert seen.said == []
        home = path.parent.as_uri() + '/'
        assert not [url for url in seen.asked if not url.startswith((home, 'data:'))]
