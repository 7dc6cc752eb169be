"""Start a real browser without a window, for the tests of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Yield this machine's Chromium, started with more arguments, or skip the test if there is none."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("the page is tested in Chromium, and there is none on PATH")
    expect.set_options(timeout=30_000)  # milliseconds; the machine may do other work
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that root and containers lack. It opens our own page only.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", *arguments])
        yield browser
        browser.close()
