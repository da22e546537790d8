"""The page where clients need a token: users, claims, their end, and what becomes of a client then.

The deployed application believes the local issuer, whose keys the page's server hands out.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from integration.conftest import deployment
from integration.harness import free_port, unique
from integration.test_page import CUT_OFF, JSON, POSITION_OF_FOCUS, TOO_FAINT, Client, Opened, ask
from local import stack
from local.issuer import Claims, Issuer, signing_key
from local.page.browser import browser, chromium

CLOSED = "✕ closed (Unauthorized)"
KICKED = "✕ closed (Kicked)"
# What every token of the page begins with.
TOKEN = "eyJ"


class Somebody(Client):
    """One of the two clients, with a token."""

    def __init__(self, page: Page, side: str) -> None:
        super().__init__(page, side)
        self.left = self.claim("exp").locator(".verdict")

    def claim(self, name: str) -> Locator:
        return self.card.locator(f"[data-claim={name}] dd")

    def chip(self, entity_id: str) -> Locator:
        return self.card.locator("[data-part=chips] li").filter(has_text=entity_id)

    def ask_for(self, entity_id: str) -> None:
        """Ask for an entity, and leave open what is answered."""
        self.card.get_by_label("Entity to subscribe to").fill(entity_id)
        self.press("Subscribe")

    def choose(self, user: str, *entities: str, life: str = "60 min") -> None:
        self.card.get_by_label("User", exact=True).fill(user)
        self.card.get_by_label("May hear").fill(" ".join(entities))
        self.card.get_by_label("Token lives").select_option(life)
        self.press("Use a new token")
        expect(self.claim("sub")).to_have_text(user)


@dataclass(frozen=True)
class Secured:
    """The deployed application, its issuer, and the pages of who has its key and of who has not."""

    issuer: Issuer
    key_folder: Path
    page_url: str
    keyless_page_url: str


# All that were minted.
TOKENS: set[str] = set()


@pytest.fixture(scope="module")
def secured(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, key_folder = (tmp_path_factory.mktemp(name) for name in ("application", "issuer"))
    page_port, control_port = free_port(), free_port()
    issuer = Issuer.own(page_port)
    signing_key(key_folder)
    with deployment(built, folder, issuer.parameters()) as application:
        application.start_gateway("--control-port", str(control_port))
        outputs = application.outputs | issuer.outputs()
        aws = application.aws
        keyless = tmp_path_factory.mktemp("keyless")
        with (
            stack.page(aws, page_port, outputs, control_port, folder, key_folder) as own,
            stack.page(aws, free_port(), outputs, control_port, keyless) as other,
        ):
            yield Secured(issuer, key_folder, own["PageUrl"], other["PageUrl"])
        logs = {log: log.read_text(errors="replace") for log in folder.glob("*.log")}
        logs |= {log: log.read_text(errors="replace") for log in keyless.glob("*.log")}
        assert {log.name for log in logs} >= {"emulator.log", "gateway.log", "page.log"}
        assert TOKENS
        for log, text in logs.items():
            assert not any(part in text for token in TOKENS for part in token.split(".")[1:]), log


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("Chromium is not installed")
    with browser(executable) as running:
        yield running


class Secret:
    """What a browser did, and where no token may be."""

    def __init__(self, context: BrowserContext) -> None:
        self.page = context.new_page()
        self.lines: list[str] = []
        self.page.on("console", lambda line: self.lines.append(line.text))
        self.page.on("pageerror", lambda error: self.lines.append(str(error)))
        self.page.on("request", lambda request: self.lines.append(request.url))
        self.page.on("websocket", lambda socket: self.lines.append(socket.url))

    def is_kept(self) -> None:
        """Fail if a token is in the document, in a store, in an address or on the console."""
        assert self.lines
        document = self.page.evaluate(
            """() => document.documentElement.outerHTML
              + [...document.querySelectorAll("input")].map(({ value }) => value).join("\\n")
              + JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie + name"""
        )
        assert not any(TOKEN in text for text in (document, *self.lines))


Opener = Callable[[str], Opened]


@pytest.fixture
def opener(chrome: Browser) -> Iterator[Opener]:
    """Open a page, which shows no token to the end, and reports nothing but what is taken away."""
    context = chrome.new_context()
    opened: list[tuple[Opened, Secret]] = []

    def open_page(url: str) -> Opened:
        secret = Secret(context)
        page = secret.page
        one = Opened(page)
        page.on(
            "console", lambda line: one.problems.append(line.text) if is_problem(line) else None
        )
        page.on("pageerror", lambda error: one.problems.append(str(error)))
        page.on("response", remember)
        one.left, one.right = one.clients = (Somebody(page, "left"), Somebody(page, "right"))
        page.goto(url)
        opened.append((one, secret))
        return one

    yield open_page
    for one, secret in opened:
        secret.is_kept()
        assert one.problems == []
    context.close()


def is_problem(line: Any) -> bool:
    return bool(line.type == "error")


def remember(response: Any) -> None:
    """Note the token that the page's server minted."""
    if response.url.endswith("/api/token") and response.ok:
        TOKENS.add(response.json()["token"])


@pytest.fixture
def opened(opener: Opener, secured: Secured) -> Opened:
    """The page of who has the key, open and connected."""
    opened = opener(secured.page_url)
    for client in opened.clients:
        client.is_connected()
    return opened


@pytest.fixture
def left(opened: Opened) -> Somebody:
    assert isinstance(opened.left, Somebody)
    return opened.left


@pytest.fixture
def right(opened: Opened) -> Somebody:
    assert isinstance(opened.right, Somebody)
    return opened.right


def test_each_client_is_somebody_and_shows_what_its_token_says(
    opened: Opened, left: Somebody, right: Somebody, secured: Secured
) -> None:
    for client, user, own in ((left, "alice", "order-1"), (right, "bob", "order-2")):
        expect(client.claim("sub")).to_have_text(user)
        expect(client.claim("entities")).to_have_text(f"myTestEntityId {own} {user}/*")
        expect(client.claim("iss")).to_have_text(secured.issuer.name)
        expect(client.left).to_have_text(re.compile(r"^59:\d\d left$"))
        assert client.chips.all_text_contents() == ["myTestEntityId", own]
        client.has_got(f'"entityId":"{own}","cursor"')
    expect(opened.page.locator("#access")).to_have_text(
        f"Clients need a token of {secured.issuer.name} for websocket-notifications."
    )
    assert left.card.get_by_label(re.compile("^Token of")).is_hidden()
    opened.publish("order-1")
    left.counts(published=1, received=1)
    right.counts()


def test_why_a_subscription_was_refused_is_on_its_chip_until_another_token_allows_it(
    opened: Opened, left: Somebody
) -> None:
    refused, allowed = unique("order"), unique("alice/a")
    left.ask_for(refused)
    expect(left.chip(refused)).to_contain_text("✕ Forbidden")
    expect(left.said).to_contain_text(f"{refused}: Forbidden.")
    left.subscribe(allowed)
    assert "Forbidden" not in (left.chip(allowed).text_content() or "")
    # Asked again, it is answered the same; and what is allowed goes on.
    left.ask_for(refused)
    expect(left.chips).to_have_count(4)
    opened.publish(allowed)
    opened.publish(refused)
    left.counts(published=1, received=1)

    user = unique("carol")
    left.choose(user, refused, life="5 min")

    expect(left.left).to_have_text(re.compile(r"^4:\d\d left$"))
    expect(left.chip(allowed)).to_contain_text("✕ Forbidden")
    expect(left.chip(refused)).not_to_contain_text("Forbidden")
    left.has_got(f'"entityId":"{refused}","cursor"')
    opened.publish(refused, 2)
    expect(left.events.filter(has_text=refused)).to_have_count(2)
    left.press(f"Unsubscribe from {allowed}")
    expect(left.chip(allowed)).to_have_count(0)


def test_a_user_that_no_token_can_name_is_refused_with_the_reason(
    opened: Opened, left: Somebody
) -> None:
    left.card.get_by_label("User", exact=True).fill(" ")
    left.press("Use a new token")

    expect(left.state).to_have_text(CLOSED)
    expect(left.said).to_contain_text("USER has ' '")
    assert "400" in opened.problems.pop()
    left.choose("alice", "**")
    left.is_connected()


def test_a_token_that_ends_is_the_end_until_there_is_another(
    opened: Opened, left: Somebody
) -> None:
    entity_id = unique("alice/a")
    left.subscribe(entity_id)

    left.press("Let it expire")

    expect(left.left).to_have_text(re.compile(r"^0:0\d left$"))
    left.is_connected()
    expect(left.said).to_contain_text("A token of 6 seconds, and none after it.")
    expect(left.left).to_have_text(re.compile("^✕ ended 0:0[1-9] ago$"))
    opened.publish(entity_id)
    left.ask_for("alice/other")
    expect(left.state).to_have_text(CLOSED)
    expect(left.said).to_have_text(re.compile("The token has ended.*Press “Connect” for a new one"))
    left.counts(published=1, missing=1)

    left.press("Connect")

    left.is_connected()
    expect(left.left).to_have_text(re.compile(r"^59:\d\d left$"))
    left.counts(published=1, received=1)
    expect(left.events.first).to_contain_text("recovered")


def test_a_user_is_kicked_and_the_token_still_opens(
    opened: Opened, left: Somebody, right: Somebody
) -> None:
    entity_id, user = unique("shared"), unique("kicked")
    left.choose(user, entity_id)
    left.only(entity_id)

    left.press("Kick this user")

    expect(left.state).to_have_text(KICKED)
    expect(left.said).to_contain_text("“Connect” comes back with a new token")
    right.is_connected()
    opened.publish(entity_id)
    left.press("Try the token it had")
    left.is_connected()
    left.counts(published=1, received=1)


def test_who_is_revoked_comes_back_with_a_new_token_alone(
    opened: Opened, left: Somebody, right: Somebody
) -> None:
    user = unique("revoked")
    left.choose(user, "**")
    right.choose(user, "**")
    for client in (left, right):
        client.is_connected()
        # Tokens that are as old as the revocation are good.
        expect(client.left).to_have_text(re.compile(r"^59:5[0-8] left$"))

    left.press("Kick and revoke")

    for client in (left, right):
        expect(client.state).to_have_text(KICKED)
    left.press("Try the token it had")
    expect(left.state).to_have_text(CLOSED)
    expect(left.said).to_have_text(re.compile("not let in.*Press “Connect”"))
    assert "Unexpected response code: 403" in opened.problems.pop()
    for client in (left, right):
        client.press("Connect")
        client.is_connected()


def test_what_is_for_a_user_is_shown_to_that_user(
    opened: Opened, left: Somebody, right: Somebody
) -> None:
    user = unique("user")
    left.choose(user)
    # In the same answer as that its own are subscribed to.
    expect(left.chip("order-1")).to_contain_text("Forbidden")

    left.press("Push to this user")

    newest = left.events.first.locator("td")
    expect(newest.nth(0)).to_have_text("(user)")
    expect(newest.nth(2)).to_have_text(f"Hello, {user}")
    expect(newest.nth(4)).to_have_text("live")
    left.press("Disconnect")
    left.press("Push to this user")
    expect(left.said).to_contain_text(f"Pushed to {user}")
    left.press("Connect")
    expect(left.events.filter(has_text="recovered")).to_have_count(1)
    expect(left.events).to_have_count(2)
    expect(right.events).to_have_count(0)


def test_a_token_is_renewed_in_time_and_left_out_of_the_frames(
    opened: Opened, left: Somebody
) -> None:
    def briefly(route: Route) -> None:
        wish: dict[str, Any] = route.request.post_data_json or {}
        del wish["minutes"]
        route.continue_(post_data={**wish, "seconds": 4})

    opened.page.route("**/api/token", briefly)
    left.choose(unique("brief"), "**", life="1 min")
    expect(left.left).to_have_text(re.compile(r"^0:0\d left$"))

    left.has_got('"type":"Authenticated"')

    sent = left.card.locator("li.sent").filter(has_text="authenticate").first
    expect(sent).to_contain_text('"token":"…"')
    left.is_connected()


def test_a_token_of_somebody_else_is_pasted_and_is_nowhere_afterwards(
    opener: Opener, secured: Secured
) -> None:
    opened = opener(secured.keyless_page_url)
    left, right = opened.clients
    assert isinstance(left, Somebody)
    for client in (left, right):
        expect(client.state).to_have_text(CLOSED)
    asked_for = f"of {secured.issuer.name} for websocket-notifications"
    expect(left.said).to_have_text(f"There is no token. Paste one {asked_for} that is good now.")
    pasted = left.card.get_by_label(f"Token {asked_for}")
    for name in ("Let it expire", "Try the token it had", "Use a new token"):
        assert left.card.get_by_role("button", name=name).is_hidden()

    pasted.fill("no token")
    left.press("Use it")
    expect(left.said).to_contain_text("This is no JWT.")
    user = unique("theirs")
    token = signing_key(secured.key_folder).mint(secured.issuer, Claims(user, ("myTestEntityId",)))
    TOKENS.add(token)
    pasted.fill(f"{token[:-4]}AAAA")
    left.press("Use it")
    expect(left.said).to_contain_text("It was not let in with this token. Paste one of")
    assert "Unexpected response code: 403" in opened.problems.pop()
    pasted.fill(token)
    left.press("Use it")

    left.is_connected()
    expect(left.claim("sub")).to_have_text(user)
    expect(pasted).to_have_value("")
    expect(left.chip("order-1")).to_contain_text("✕ Forbidden")
    opened.publish("myTestEntityId")
    left.counts(published=1, received=1)
    left.press("Kick this user")
    expect(left.state).to_have_text(KICKED)
    expect(left.said).to_contain_text("“Connect” tries its token again")
    # It was kicked, and not revoked.
    left.press("Connect")
    left.is_connected()
    status, _, _ = ask(
        secured.keyless_page_url, "POST", "/api/token", {}, Origin=secured.keyless_page_url, **JSON
    )
    assert status == 404


def test_who_one_is_is_chosen_with_the_keyboard_in_the_order_in_which_it_is_read(
    opened: Opened, left: Somebody
) -> None:
    page = opened.page
    left.card.get_by_label("User", exact=True).focus()
    order = []
    for _ in range(9):
        position = page.evaluate(POSITION_OF_FOCUS)
        assert position["isVisible"], position
        order.append(position["index"])
        page.keyboard.press("Tab")
    assert order == sorted(set(order))
    expect(left.card.get_by_label("Entity to subscribe to")).not_to_be_focused()
    user = unique("typed")
    left.card.get_by_label("User", exact=True).focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(user)
    page.keyboard.press("Enter")
    expect(left.claim("sub")).to_have_text(user)
    snapshot = left.card.aria_snapshot()
    nameless = r"^\s*- (?:button|textbox|combobox)(?::|$| \[)"
    assert re.findall(nameless, snapshot, re.MULTILINE) == []
    for name in ('group "Identity of client left"', 'group "User of client left"'):
        assert name in snapshot


def test_claims_and_refusals_are_readable_on_a_narrow_screen_too(
    opened: Opened, left: Somebody
) -> None:
    left.choose("a" * 256, "b" * 256)
    left.ask_for("c" * 256)
    expect(left.chip("c" * 256)).to_contain_text("Forbidden")
    expect(left.said).to_contain_text("Forbidden")
    for scheme in ("light", "dark"):
        opened.page.emulate_media(
            color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
        )
        assert opened.page.evaluate(TOO_FAINT) == []
    opened.page.set_viewport_size({"width": 360, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert opened.page.evaluate(CUT_OFF.replace('"button, input', '"button, input, select')) == []


def test_programs_that_are_copied_run_with_a_token(opened: Opened, secured: Secured) -> None:
    token = signing_key(secured.key_folder).mint(secured.issuer, Claims("program"))
    TOKENS.add(token)
    region = opened.page.get_by_role("region")
    environment = {**os.environ, "PYTHONPATH": "client/python", "TOKEN": token}
    for name, command in (
        ("Python", [sys.executable, "-u", "-c"]),
        ("JavaScript", ["node", "--experimental-websocket", "--input-type=module", "--eval"]),
    ):
        if not shutil.which(command[0]):
            continue
        snippet = region.and_(opened.page.get_by_label(re.compile(f"^{name}.*TOKEN=")))
        with subprocess.Popen(
            [*command, snippet.inner_text()],
            cwd=stack.ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            try:
                opened.page.wait_for_function(PROGRAM_IS_SUBSCRIBED)
                opened.publish("myTestEntityId")
                assert program.stdout
                assert any("Hello" in line for line in program.stdout)
            finally:
                program.kill()
        expect(opened.page.locator("[data-flow=connections]")).to_have_text("2 connections")


# It connects without a name.
PROGRAM_IS_SUBSCRIBED = """() => {
  const row = [...document.querySelectorAll("#connections tbody tr")]
    .find(({ cells }) => cells[0].textContent === "\N{EN DASH}");
  const id = row?.querySelector("code").textContent;
  return id && document.querySelector("#kind-subscriptions pre").textContent.includes(id);
}"""


@pytest.mark.parametrize("path", ["/api/token", "/api/users/push", "/api/users/disconnect"])
def test_the_page_of_another_site_is_nobody(secured: Secured, path: str) -> None:
    for headers in ({}, {"Origin": "https://example.com"}, {"Origin": secured.keyless_page_url}):
        status, _, answer = ask(secured.page_url, "POST", path, {}, **headers, **JSON)
        assert (status, answer["code"]) == (403, "Forbidden"), headers
