"""What every browser test needs."""

from importlib.util import find_spec

import pytest

from tests.browser import ui

MARKS = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(find_spec("playwright") is None, reason="the browser tests need `pip install playwright`"),
    pytest.mark.skipif(ui.CHROMIUM is None, reason="the browser tests need Chromium on the PATH"),
]
