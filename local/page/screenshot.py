"""`make screenshot`: a picture of the page of the running `make local`, with something on it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page, expect

from local.errors import LocalRunError
from local.page.browser import browser, chromium
from local.stack import OUTPUTS

WIDTH, MARGIN = 1400, 12
MAX_BYTES = 400_000
# The first events wait for functions to start.
expect.set_options(timeout=30_000)


def take(page_url: str, picture: Path) -> None:
    """Use the page a little, with one client that has to recover, and take its picture.

    Raises:
        LocalRunError: there is no browser, or the picture is too large for a README.
    """
    executable = chromium()
    if executable is None:
        raise LocalRunError("There is no Chromium: install it, or name it in CHROMIUM.")
    with browser(executable) as running:
        page = running.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page.goto(page_url)
        left, right = page.locator("#left"), page.locator("#right")
        for client in (left, right):
            subscribed = client.locator(".came").filter(has_text='"type":"Subscribed"')
            expect(subscribed.first).to_be_visible()
        _publish(page, "order-1", "Packed", 1)
        _publish(page, "order-2", "Paid", 2)
        _publish(page, "myTestEntityId", "Hello", 3)
        expect(left.locator("[data-part=events-count]")).to_have_text("2")
        left.get_by_role("button", name="Disconnect").click()
        _publish(page, "myTestEntityId", "While it was away", 4)
        left.get_by_role("button", name="Connect", exact=True).click()
        expect(left.locator(".recovered")).to_have_count(1)
        expect(right.locator("[data-part=events-count]")).to_have_text("3")
        # What is inside is as of then, too.
        read_at = page.locator("#inside-when")
        expect(read_at).not_to_have_text(read_at.text_content() or "")
        expect(page.locator("[data-flow=notifications]")).to_have_text("empty")
        expect(page.locator("[data-flow=connections]")).to_have_text("2 connections")
        # Down to what is inside, and with the mouse where nothing is.
        bottom = page.evaluate("document.querySelector('#inside').getBoundingClientRect().bottom")
        page.set_viewport_size({"width": WIDTH, "height": int(bottom) + MARGIN})
        page.mouse.move(0, 0)
        page.screenshot(path=picture)
    if picture.stat().st_size > MAX_BYTES:
        raise LocalRunError(f"{picture} has {picture.stat().st_size} bytes: too large.")


def _publish(page: Page, entity_id: str, message: str, published: int) -> None:
    """Publish an event, and wait until so many are."""
    form = page.locator("#publish")
    form.get_by_label("Entity").fill(entity_id)
    form.get_by_label("Message").fill(message)
    form.get_by_role("button", name="Publish one").click()
    expect(page.locator("[data-flow=published]")).to_have_text(f"{published} published")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make screenshot", description=__doc__)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args(arguments)
    try:
        if not OUTPUTS.exists():
            raise LocalRunError("Nothing runs in this folder: start make local first.")
        take(json.loads(OUTPUTS.read_text())["PageUrl"], options.picture)
    except LocalRunError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
