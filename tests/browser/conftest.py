"""A real Chromium for the pages that people open.

The browser is that of the system: ``LMAC_CHROMIUM`` may name it. Without it,
or without the package playwright, the tests are skipped with the reason.
"""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A microphone that beeps, and nobody asks whether it may be used.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Players may start without a click.
    "--autoplay-policy=no-user-gesture-required",
)


def chromium_path():
    """Path of the browser, or None."""
    named = os.environ.get("LMAC_CHROMIUM")
    candidates = [named] if named else NAMES
    return next(filter(None, map(shutil.which, candidates)), None)


@pytest.fixture(scope="session")
def chromium():
    """A running headless Chromium, as playwright's Browser."""
    sync_api = pytest.importorskip(
        "playwright.sync_api",
        reason="the package playwright is not installed",
    )
    path = chromium_path()
    if path is None:
        pytest.skip(
            "no Chromium found: install one, or name it in LMAC_CHROMIUM"
        )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(FLAGS)
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium):
    """Makes pages, each in a profile of its own.

    ``page.errors`` collects the errors of its console and of its scripts,
    ``page.requested`` the address of every request.
    """
    contexts = []

    def make():
        context = chromium.new_context(
            viewport={"width": 1280, "height": 900}, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.errors, page.requested = [], []
        page.on(
            "console",
            lambda message: (
                page.errors.append(message.text)
                if message.type == "error"
                else None
            ),
        )
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def browser_page(new_page):
    """A new page."""
    return new_page()
