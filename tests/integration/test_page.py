"""The page as a person uses it: a real browser, the deployed application, every button.

Each test opens the page anew, so that its counters begin at 0, and uses entities of its own.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocket, expect

from integration.harness import Application, free_port, unique
from local import stack
from local.page.browser import browser, chromium
from support.contract import Broken, Conversation, contract, parsed

SIDES = ("left", "right")
# A frozen line is noticed after nine seconds, and a post that was throttled is tried again for as
# long on a busy machine.
PATIENCE_MS = 40_000
CALM = {
    "published": 0, "received": 0, "repeated": 0, "duplicates": 0, "inGap": 0, "missing": 0,
}  # fmt: skip

expect.set_options(timeout=PATIENCE_MS)


class Client:
    """One of the two clients on the page."""

    def __init__(self, page: Page, side: str) -> None:
        self.card = page.locator(f"#{side}")
        self.state = self.card.locator("[data-part=state]")
        self.chips = self.card.locator("[data-part=chips] li span")
        self.events = self.card.locator("[data-part=events] tr")
        self.said = self.card.locator("[data-part=said]")

    def is_connected(self) -> None:
        expect(self.state).to_have_text("● connected")

    def press(self, name: str) -> None:
        self.card.get_by_role("button", name=name, exact=True).click()

    def subscribe(self, entity_id: str) -> None:
        """Subscribe, and wait until the service has said so."""
        self.card.get_by_label("Entity to subscribe to").fill(entity_id)
        self.press("Subscribe")
        self.has_got(f'"entityId":"{entity_id}","cursor"')

    def only(self, entity_id: str) -> None:
        """Subscribe to an entity, and to nothing else."""
        for chip in self.chips.all_text_contents():
            self.press(f"Unsubscribe from {chip}")
        expect(self.chips).to_have_count(0)
        self.subscribe(entity_id)

    def has_got(self, text: str) -> None:
        """Wait for a frame with a text."""
        frames = self.card.locator("details")
        if frames.get_attribute("open") is None:
            frames.locator("summary").click()
        expect(frames.locator("li.came").filter(has_text=text).first).to_be_visible()

    def counts(self, **expected: int) -> None:
        """Wait until the counters are these, and 0 where nothing is said of them."""
        for name, count in (CALM | expected).items():
            expect(self.tile(name).locator("b")).to_have_text(str(count))

    def tile(self, name: str) -> Locator:
        return self.card.locator(f"[data-tile={name}]")


class Opened:
    """The page, with its clients."""

    def __init__(self, page: Page) -> None:
        self.page = page
        # What the browser reported.
        self.problems: list[str] = []
        page.on("websocket", self._hold_to_the_contract)
        self.left, self.right = (Client(page, side) for side in SIDES)
        self.clients = (self.left, self.right)

    def _hold_to_the_contract(self, socket: WebSocket) -> None:
        """Note as a problem what a client or the service says that the contract does not."""
        conversation = Conversation()

        def hear(text: str | bytes) -> None:
            try:
                conversation.hears(parsed(text if isinstance(text, str) else None))
            except Broken as broken:
                self.problems.append(str(broken))

        def note(text: str | bytes) -> None:
            # An answer may be lost with its line: what was asked is judged here too.
            said = parsed(text if isinstance(text, str) else None)
            if problem := contract().request_problem(said):
                self.problems.append(problem)
            if isinstance(text, str):
                conversation.says(text)

        socket.on("framesent", note)
        socket.on("framereceived", hear)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def publish(self, entity_id: str, number: int = 1) -> None:
        """Publish, and wait until the bus has taken it."""
        publish = self.page.locator("#publish")
        publish.get_by_label("Entity").fill(entity_id)
        publish.get_by_label("Burst of").fill(str(number))
        self.press("Publish one" if number == 1 else "Publish the burst")
        said = re.compile(rf"^{number} published to {entity_id}")
        expect(self.page.locator("#publish-said")).to_have_text(said)
        self.page.evaluate("document.querySelector('#publish-said').replaceChildren()")

    def share(self, fault: str, percent: int) -> None:
        """Set the share of a fault, and wait until it is active."""
        slider = self.page.locator(f"[data-fault='{fault}']")
        slider.focus()
        slider.fill(str(percent))
        expect(self.active).to_contain_text(f"{percent} %")

    @property
    def active(self) -> Locator:
        return self.page.locator("#faults-active")

    def calm(self) -> None:
        self.press("All calm")
        expect(self.active).to_have_text("all calm")

    def rows(self, kind: str) -> Locator:
        """Return how many items of a kind the table has."""
        return self.page.locator(f"#kind-{kind} summary .count")


@pytest.fixture(scope="module")
def page_url(deployed: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of the deployed application, whose gateway has a control."""
    control_port = free_port()
    deployed.start_gateway("--control-port", str(control_port))
    for output, url in deployed.outputs.items():
        if output.endswith("QueueUrl"):
            deployed.sqs.purge_queue(QueueUrl=url)
    folder = tmp_path_factory.mktemp("page")
    with stack.page(deployed.aws, free_port(), deployed.outputs, control_port, folder) as outputs:
        yield outputs["PageUrl"]
    deployed.start_gateway()


@pytest.fixture(scope="module")
def chrome(page_url: str) -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("Chromium is not installed")
    with browser(executable) as running:
        yield running


@pytest.fixture
def opened(application: Application, page_url: str, chrome: Browser) -> Iterator[Opened]:
    """The page, open and connected, which may report no error to the end."""
    context = chrome.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    opened = Opened(page)
    problems = opened.problems
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(page_url)
    for client in opened.clients:
        client.is_connected()
    yield opened
    if opened.active.text_content() != "all calm":
        opened.calm()
    context.close()
    assert problems == []


def test_two_clients_are_subscribed_as_soon_as_the_page_is_open(opened: Opened) -> None:
    for client, own in zip(opened.clients, ("order-1", "order-2"), strict=True):
        assert client.chips.all_text_contents() == ["myTestEntityId", own]
        client.has_got(f'"entityId":"{own}","cursor"')
        client.counts()
    expect(opened.page.locator("[data-flow=connections]")).to_have_text("2 connections")
    # Four, and those of other tests' connections whose end was lost.
    expect(opened.rows("subscriptions")).to_have_text(re.compile(r"^([4-9]|\d{2,})$"))


def test_without_tokens_there_are_no_users_and_one_is_told_what_that_means(
    opened: Opened, page_url: str
) -> None:
    expect(opened.page.locator("#access")).to_contain_text(
        "anybody who knows the address hears everything"
    )
    for client in opened.clients:
        expect(client.card.locator("[data-part=identity]")).to_be_hidden()
    assert opened.page.get_by_role("button", name="Kick this user").count() == 0
    for path in ("/api/token", "/api/users/push", "/api/users/disconnect"):
        assert ask(page_url, "POST", path, {}, Origin=page_url, **JSON)[0] == 404


def test_an_event_is_seen_by_who_asked_and_by_nobody_else(opened: Opened) -> None:
    both, one = unique("both"), unique("one")
    opened.left.only(both)
    opened.left.subscribe(one)
    opened.right.only(both)

    opened.publish(one)
    opened.publish(both)

    opened.left.counts(published=2, received=2)
    opened.right.counts(published=1, received=1)
    newest = opened.left.events.first.locator("td")
    expect(newest.nth(0)).to_have_text(both)
    expect(newest.nth(1)).to_have_text(re.compile(r"^[0-9a-f]{12}-1$"))
    expect(newest.nth(2)).to_have_text("Hello")
    expect(newest.nth(3)).to_have_text(re.compile(r"^\d+$"))
    expect(newest.nth(4)).to_have_text("live")
    opened.left.has_got('"message":"Hello"')
    expect(opened.page.locator("[data-flow=received]")).to_have_text("3 received")


def test_a_burst_arrives_whole_and_in_order(opened: Opened) -> None:
    entity_id = unique("burst")
    for client in opened.clients:
        client.only(entity_id)

    opened.publish(entity_id, 60)

    for client in opened.clients:
        client.counts(published=60, received=60)
        numbers = client.events.locator(".cursor b").all_text_contents()
        assert numbers == [str(number) for number in range(60, 0, -1)]


def test_who_unsubscribes_gets_nothing_more_and_is_counted_no_longer(opened: Opened) -> None:
    entity_id, other = unique("left"), unique("other")
    for client in opened.clients:
        client.only(entity_id)
    opened.publish(entity_id)
    opened.left.counts(published=1, received=1)

    opened.left.only(other)
    opened.left.has_got('"type":"Unsubscribed"')
    opened.publish(entity_id)

    opened.right.counts(published=2, received=2)
    opened.left.counts()


def test_every_line_that_is_lost_is_made_up_for(opened: Opened) -> None:
    entity_id = unique("lines")
    for client in opened.clients:
        client.only(entity_id)
    opened.right.press("Freeze the line")
    expect(opened.right.said).to_contain_text("Frozen")
    connections = opened.page.locator("#connections tr")
    expect(connections.filter(has_text="frozen")).to_have_count(1)
    for published, button in enumerate(("Cut the line", "Close from the server", "Rotate now"), 1):
        before = int(opened.left.card.locator("[data-part=frames-count]").text_content() or "")
        opened.left.press(button)
        opened.publish(entity_id)
        # A connection of its own says so, before the next one is broken.
        opened.page.wait_for_function(
            "before => Number(document.querySelector('#left [data-part=frames-count]').textContent)"
            " > before + 1",
            arg=before,
        )
        opened.left.is_connected()
        opened.left.tile("received").locator("b").get_by_text(str(published), exact=True).wait_for()

    opened.right.counts(published=3, received=3)
    expect(opened.right.events.filter(has_text="recovered")).to_have_count(3)
    expect(opened.left.events.filter(has_text="recovered").first).to_be_visible()
    assert opened.left.tile("missing").get_attribute("data-verdict") == "right"
    assert opened.left.tile("repeated").get_attribute("data-verdict") == "right"


def test_throttled_and_doubled_posts_are_invisible_to_the_program(opened: Opened) -> None:
    entity_id = unique("faults")
    for client in opened.clients:
        client.only(entity_id)
    # Few enough that none is throttled so often that it comes after 15 s.
    opened.share("429", 10)
    opened.share("duplicate", 90)
    expect(opened.active).to_have_text("10 % answered 429, 90 % sent twice")

    opened.publish(entity_id, 10)

    for client in opened.clients:
        for name, count in (("received", 10), ("missing", 0), ("repeated", 0), ("inGap", 0)):
            expect(client.tile(name).locator("b")).to_have_text(str(count))
        expect(client.tile("duplicates").locator("b")).not_to_have_text("0")
    opened.calm()
    for slider in opened.page.locator("[data-fault]").all():
        assert slider.input_value() == "0"


def test_shares_of_more_than_all_are_refused_with_the_reason(opened: Opened) -> None:
    opened.share("429", 60)
    slider = opened.page.locator("[data-fault='duplicate']")

    slider.fill("60")

    said = opened.page.locator("#trouble-said")
    expect(said).to_contain_text("exceed 1")
    expect(slider).to_have_value("0")
    # The browser itself reports what was refused.
    assert len(opened.problems) == 1
    assert "status of 400" in opened.problems.pop()


def test_a_client_that_was_said_to_be_gone_comes_back_by_itself(opened: Opened) -> None:
    entity_id = unique("gone")
    opened.left.only(entity_id)
    opened.share("410", 100)
    opened.publish(entity_id)
    expect(opened.left.tile("missing").locator("b")).to_have_text("1")
    opened.page.wait_for_function(GONE_FROM_THE_TABLE, arg=entity_id)
    opened.calm()

    # Its next ping tells it.
    opened.left.counts(published=1, received=1)


# The subscriptions are shown at once.
GONE_FROM_THE_TABLE = (
    "entityId => !document.querySelector('#kind-subscriptions pre').textContent.includes(entityId)"
)


def test_what_is_trimmed_meanwhile_is_a_gap_and_nothing_else_is(opened: Opened) -> None:
    entity_id = unique("trimmed")
    for client in opened.clients:
        client.only(entity_id)
    opened.left.press("Disconnect")
    expect(opened.left.state).to_have_text("✕ closed")
    opened.publish(entity_id, 3)
    opened.right.counts(published=3, received=3)
    opened.page.get_by_label("History of").fill(entity_id)
    opened.press("Trim it")
    expect(opened.page.locator("#trouble-said")).to_contain_text(f"3 events of {entity_id}")

    opened.left.press("Connect")
    opened.left.is_connected()
    expect(opened.left.events.first).to_contain_text("! gap: after")
    opened.publish(entity_id)

    opened.left.counts(published=4, received=1, inGap=3)
    assert opened.left.tile("inGap").get_attribute("data-verdict") == "noted"
    opened.right.counts(published=4, received=4)


def test_a_poison_event_is_a_dead_letter_that_comes_back_when_it_is_sent_back(
    opened: Opened,
) -> None:
    letters = opened.page.locator("#letters li")
    count = opened.page.locator("#letters-count")

    opened.press("Publish a poison event")

    expect(count).to_have_text("1")
    expect(letters.first).to_contain_text("InvalidEntityId")
    expect(letters.first).to_contain_text("entityId must be a string")
    letters.first.locator("summary").click()
    expect(letters.first.locator("pre")).to_contain_text("says of no entity")
    first = letters.first.get_attribute("data-letter")

    opened.press("Send all back")

    expect(opened.page.locator("#redrive-said")).to_contain_text("1 sent back")
    opened.page.wait_for_function(
        "first => document.querySelector('#letters li')?.dataset.letter !== first", arg=first
    )
    expect(count).to_have_text("1")


def test_rows_of_a_disconnect_that_is_lost_go_with_the_next_event(opened: Opened) -> None:
    entity_id = unique("lost")
    opened.left.only(entity_id)
    subscriptions = opened.page.locator("#kind-subscriptions pre")
    expect(subscriptions).to_contain_text(entity_id)
    opened.press("Lose the next $disconnect")
    expect(opened.active).to_have_text("next $disconnect lost")

    opened.left.press("Cut the line")

    # The one that ended and the one that replaced it.
    row = f"ENTITY#{entity_id}"
    opened.page.wait_for_function(ROWS_ARE, arg=[row, 2])
    expect(opened.active).to_have_text("all calm")
    opened.publish(entity_id)
    opened.page.wait_for_function(ROWS_ARE, arg=[row, 1])
    opened.left.counts(published=1, received=1)


ROWS_ARE = (
    "([row, count]) => document.querySelector('#kind-subscriptions pre').textContent"
    ".split(row + ' ').length - 1 === count"
)


def test_what_is_there_to_copy_is_copied(opened: Opened, deployed: Application) -> None:
    for name, part in (
        ("Connect with wscat", f"npx wscat -c {deployed.outputs['WebsocketUri']} -s websocket"),
        ("Publish, from this project's folder", "events put-events --entries file://"),
        (
            "JavaScript, in this project's folder",
            f'new NotificationsClient("{deployed.outputs["WebsocketUri"]}")',
        ),
        (
            "Python, with PYTHONPATH=client/python",
            f'NotificationsClient("{deployed.outputs["WebsocketUri"]}")',
        ),
    ):
        opened.press(f"Copy: {name}")
        expect(opened.page.locator("#copy-said")).to_have_text(f"Copied: {name}.")
        assert part in opened.page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (
            "JavaScript, in this project's folder",
            ["node", "--experimental-websocket", "--input-type=module", "--eval"],
        ),
        ("Python, with PYTHONPATH=client/python", [sys.executable, "-u", "-c"]),
    ],
)
def test_a_program_that_is_copied_runs(opened: Opened, name: str, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    with subprocess.Popen(
        [*command, opened.page.get_by_role("region", name=name).inner_text()],
        cwd=stack.ROOT,
        env={**os.environ, "PYTHONPATH": "client/python"},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            # Unlike the page's own clients it connects without a name.
            nameless = (
                opened.page.locator("#connections tr")
                .filter(has_text="\N{EN DASH}")
                .locator("code")
            )
            connection_id = nameless.text_content() or ""
            subscriptions = opened.page.locator("#kind-subscriptions pre")
            expect(subscriptions).to_contain_text(connection_id)
            opened.publish("myTestEntityId")
            assert program.stdout
            assert any("Hello" in line for line in program.stdout)
        finally:
            program.kill()


def test_it_is_operated_by_the_keyboard_in_the_order_in_which_it_is_read(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.activeElement.blur()")
    order = []
    for number in range(200):
        page.keyboard.press("Tab")
        if number == 0:
            expect(page.get_by_role("link", name="To the clients")).to_be_focused()
        position = page.evaluate(POSITION_OF_FOCUS)
        if position is None:
            break
        assert position["isVisible"], position
        order.append(position["index"])
    assert len(order) > 30
    assert order == sorted(order)
    # Publishing takes nothing but the keyboard.
    page.locator("#publish").get_by_label("Message").focus()
    page.keyboard.press("Enter")
    for client in opened.clients:
        client.counts(published=1, received=1)


# Of what has the focus: where it is among all that may have it, and whether that is seen.
POSITION_OF_FOCUS = """() => {
  const element = document.activeElement;
  if (element === document.body) return null;
  const all = [...document.querySelectorAll("*")];
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const { width, height } = element.getBoundingClientRect();
  return {
    index: all.indexOf(element),
    what: element.outerHTML.slice(0, 100),
    isVisible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1 && width > 0 && height > 0,
  };
}"""


def test_everything_that_can_be_operated_has_a_name_and_all_regions_too(opened: Opened) -> None:
    snapshot = opened.page.locator("body").aria_snapshot()
    nameless = re.findall(
        r"^\s*- (?:button|textbox|combobox|spinbutton|slider|region|link)(?::|$| \[)",
        snapshot,
        re.MULTILINE,
    )
    assert nameless == []
    names = re.findall(r"- (?:button|slider) \"(.+?)\"", snapshot)
    for name in ("Cut the line", "Freeze the line", "Close from the server", "Rotate now"):
        assert names.count(name) == 2
    levels = re.findall(r"- heading .*\[level=(\d)\]", snapshot)
    assert levels[0] == "1"
    assert levels.count("1") == 1
    for landmark in ("banner", "main"):
        assert len(re.findall(rf"- {landmark}\b", snapshot)) == 1
    # Only what changes by itself and seldom is read out.
    live = opened.page.locator("[role=status], [aria-live]")
    for element in live.all():
        assert element.get_attribute("data-part") in (None, "pill", "said")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_and_a_narrow_screen_is_wide_enough(opened: Opened, scheme: str) -> None:
    # Without motion no colour is on its way to another.
    opened.page.emulate_media(
        color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
    )
    # With a state that is not good, and a fault that is active.
    opened.left.press("Disconnect")
    opened.share("duplicate", 5)
    assert opened.page.evaluate(TOO_FAINT) == []
    opened.page.set_viewport_size({"width": 360, "height": 800})
    for details in opened.page.locator("details").all():
        details.evaluate("each => each.open = true")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert opened.page.evaluate(CUT_OFF) == []


# Texts whose contrast with what is behind them is less than WCAG AA asks for, 4.5 to 1.
TOO_FAINT = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const [red, green, blue, alpha = 1] = channels(getComputedStyle(each).backgroundColor);
      if (alpha === 1) return [red, green, blue];
    }
    return channels(getComputedStyle(document.documentElement).backgroundColor);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.disabled) continue;
    const pair = [channels(getComputedStyle(element).color), ground(element)].map(luminance);
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) found.push(`${texts.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""

# Controls that reach beyond the screen.
CUT_OFF = """() =>
  [...document.querySelectorAll("button, input, summary, h1, h2, h3, p")]
    .filter((each) => each.checkVisibility() && !each.closest(".hidden, .skip"))
    .filter((each) => each.getBoundingClientRect().right > innerWidth)
    .map((each) => each.outerHTML.slice(0, 80))"""


def test_nobody_moves_who_asked_for_less_motion(opened: Opened) -> None:
    opened.page.emulate_media(reduced_motion="reduce")
    moving = opened.page.evaluate(
        "[...document.querySelectorAll('*')].filter((each) => {"
        " const { transitionDuration, animationName } = getComputedStyle(each);"
        " return parseFloat(transitionDuration) > 0 || animationName !== 'none'; }).length"
    )
    assert moving == 0


def ask(
    page_url: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Send a request and return the status, the headers and the parsed body of its answer."""
    address = urlsplit(page_url)
    with closing(http.client.HTTPConnection(address.netloc, timeout=30)) as connection:
        connection.request(method, path, body if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, dict(response.headers), json.loads(text) if is_json else {}


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/publish"),
        ("POST", "/api/redrive"),
        ("POST", "/api/trim"),
        ("PATCH", "/api/faults"),
        ("POST", "/api/connections/cut"),
        ("POST", "/api/connections/freeze"),
        ("POST", "/api/connections/close"),
        ("POST", "/api/token"),
        ("POST", "/api/users/push"),
        ("POST", "/api/users/disconnect"),
    ],
)
def test_the_page_of_another_site_can_change_nothing(page_url: str, method: str, path: str) -> None:
    for headers in (
        {},
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": page_url.replace("127.0.0.1", "localhost")},
        {"Origin": f"{page_url}.example.com"},
    ):
        status, _, answer = ask(page_url, method, path, {}, **headers, **JSON)
        assert (status, answer["code"]) == (403, "Forbidden"), headers
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Origin": page_url, "Content-Type": content_type}
        assert ask(page_url, method, path, {}, **headers)[0] == 403, content_type


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/configuration", "/api/inside"])
def test_a_name_that_leads_here_is_not_answered(page_url: str, path: str) -> None:
    port = urlsplit(page_url).port
    for host in ("example.com", f"example.com:{port}", "127.0.0.1", "127.0.0.1:1", "localhost"):
        status, _, answer = ask(page_url, "GET", path, Host=host)
        assert (status, answer["code"]) == (403, "Forbidden"), host
    assert ask(page_url, "GET", path, Host=f"localhost:{port}")[0] == 200


def test_the_browser_is_told_to_load_nothing_from_elsewhere_and_to_keep_nothing(
    page_url: str, deployed: Application
) -> None:
    socket = deployed.outputs["WebsocketUri"].removesuffix("/v1")
    for path in ("/", "/page.css", "/page.js", "/notifications-client.js", "/api/inside", "/none"):
        _, headers, _ = ask(page_url, "GET", path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith(f"default-src 'self'; connect-src 'self' {socket};")
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/none.js", "/..%2f..%2fREADME.md", "/page.py", "/%2e%2e/js/package.json", "/api", "/a/b"],
)
def test_only_the_files_of_the_page_are_served(page_url: str, path: str) -> None:
    status, _, answer = ask(page_url, "GET", path)
    assert (status, answer["code"]) == (404, "NotFound")
