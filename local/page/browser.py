"""A headless Chromium that looks at the page, for its tests and for its picture."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Return the system's Chromium; the environment variable CHROMIUM may name another."""
    candidates = chain([os.environ.get("CHROMIUM", "")], _NAMES)
    return next(filter(None, map(shutil.which, filter(None, candidates))), None)


@contextmanager
def browser(executable: str, *switches: str) -> Iterator[Browser]:
    """Run a browser, with further switches of its own, while the block lasts."""
    with sync_playwright() as driver:
        # Its sandbox needs rights that a container's user lacks; it sees only this project's page.
        running = driver.chromium.launch(
            executable_path=executable, chromium_sandbox=False, args=switches
        )
        try:
            yield running
        finally:
            running.close()
