"""A browser for the tests of pages."""

import pytest

from tests.support.pages import BROWSER, browser_in


@pytest.fixture
def browse(tmp_path):
    """Opens a page, given as text, in a real browser; without one the test is skipped."""
    if BROWSER is None:
        pytest.skip("no browser is here; on Debian: apt-get install chromium")
    return browser_in(tmp_path)
