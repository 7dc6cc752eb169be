"""A real browser without a screen, for the tests of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """This machine's Chromium; skips where there is none."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("no chromium on PATH, which the page is tested in")
    expect.set_options(timeout=30_000)  # ms, for machines that do much else
    with sync_playwright() as playwright:
        # Its sandbox needs rights that root and containers have not; it is shown nothing but our own page.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()
