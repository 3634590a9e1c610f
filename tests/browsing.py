"""A browser, and what a person does in it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Loading JupyterLab and starting a kernel, on a machine that does other things as well.
PATIENCE = 120_000


@contextmanager
def browser() -> Iterator[Page]:
    """Give a page of Chromium or Chrome, or skip the test where there is none."""
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page
        chromium.close()


def run_all_cells(page: Page) -> None:
    """Run the notebook that the page shows."""
    # Without a kernel yet, the menu would ask which one to take.
    page.get_by_text("| Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()


def drag_threshold(page: Page) -> Locator:
    """Move the first attack's threshold to the left, and return its slider's handle."""
    handle, picture = page.locator(".noUi-handle").first, page.locator("img.picture").first
    before = picture.get_attribute("src")
    handle.hover()
    box = handle.bounding_box()
    assert box is not None
    page.mouse.down()
    page.mouse.move(box["x"] - 150, box["y"], steps=10)
    page.mouse.up()
    expect(picture).not_to_have_attribute("src", before or "")
    return handle
