"""The page that `make docs` makes of the contract, in a browser without network."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from contract import tools
from contract.document import document
from contract.examples import by_message
from local.page.browser import browser, chromium
from push import messages

EXECUTABLE = chromium()

pytestmark = [
    pytest.mark.skipif(not EXECUTABLE, reason="there is no Chromium"),
    pytest.mark.skipif(not tools.are_installed(), reason="npm has not installed the renderer"),
]

PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("contract") / "contract.html"
    path.write_text(tools.render(document(by_message())))
    with browser(str(EXECUTABLE)) as running:
        context = running.new_context(offline=True)
        asked_for: list[str] = []
        context.on("request", lambda request: asked_for.append(request.url))
        page = context.new_page()
        page.goto(path.as_uri())
        yield page
        assert asked_for == [path.as_uri()]


def test_it_shows_each_operation(page: Page) -> None:
    for action in messages.ACTIONS:
        heading = page.locator(f"#operation-reply-{action.name}")
        expect(heading).to_be_visible(timeout=PATIENCE_MS)
        expect(heading).to_contain_text(action.summary)


@pytest.mark.parametrize("code", messages.ERROR_CODES)
def test_it_shows_each_code(page: Page, code: str) -> None:
    found = page.get_by_text(messages.ERROR_CODES[code].replace("`", "")).first
    expect(found).to_be_visible(timeout=PATIENCE_MS)


def test_it_has_no_error_to_show(page: Page) -> None:
    expect(page.locator("#introduction")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#contract")).not_to_contain_text("There are errors in your Asyncapi")
