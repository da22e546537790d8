"""The page that `make docs` makes of the contract, in a browser without network."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from contract import tools
from contract.document import PATH, document
from contract.examples import by_message
from local.page.browser import browser, chromium
from push import messages

EXECUTABLE = chromium()

pytestmark = [
    pytest.mark.skipif(not EXECUTABLE, reason="there is no Chromium"),
    pytest.mark.skipif(not tools.are_installed(), reason="npm has not installed the renderer"),
]

PATIENCE_MS = 30_000
NODE_FOLDERS = ("client/js", "examples", "contract/node")


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


def test_its_links_lead_somewhere(page: Page) -> None:
    expect(page.locator("#schemas")).to_be_attached(timeout=PATIENCE_MS)
    links = page.locator("a[href^='#']").evaluate_all("links => links.map(each => each.hash)")
    ids = page.locator("[id]").evaluate_all("all => all.map(each => `#${each.id}`)")

    assert links
    assert set(links) <= {"", *ids}


def test_make_docs_installs_the_renderer_first(tmp_path: Path) -> None:
    """A variable that make has not read yet is nothing to it."""
    (tmp_path / "Makefile").write_text((PATH.parent / "Makefile").read_text())
    # What needs the registries is there already.
    files = ["requirements-dev.txt", "functions/requirements.txt", "local/requirements.txt"]
    for name in [*files, *(f"{each}/package.json" for each in NODE_FOLDERS), ".venv/dev.done"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    said = subprocess.run(
        ["make", "--dry-run", "docs"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert said.index("npm install --prefix contract/node") < said.index("python -m contract")
