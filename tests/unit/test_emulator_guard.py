"""The emulator's guard: what reaches the emulator, what does not, and what waits."""

import asyncio
from typing import Any

import pytest

from local.emulator import Calls, guarded

Headers = dict[str, str]

HOST = {"Host": "127.0.0.1:4566"}
SIGNED = {**HOST, "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs"}


def ask(*headers: tuple[str, str], kind: str = "http") -> list[dict[str, Any]]:
    """Return what a request is answered by the guard, or by what it guards."""
    answers = []

    async def emulator(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "reached"})

    async def receive() -> dict[str, Any]:
        raise AssertionError("what is refused is not read")

    async def send(message: Any) -> None:
        answers.append(dict(message))

    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    asyncio.run(guarded(emulator)({"type": kind, "headers": encoded}, receive, send))
    return answers


def reaches(*headers: tuple[str, str], kind: str = "http") -> bool:
    return ask(*headers, kind=kind) == [{"type": "reached"}]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4566", "127.0.0.1", "localhost:4566", "LOCALHOST:4566", "[::1]:4566",
     "bucket.localhost:4566", "abc.execute-api.localhost:4566"],
)  # fmt: skip
def test_programs_that_ask_this_machine_are_answered(host: str) -> None:
    headers = {**SIGNED, "Host": host, "User-Agent": "aws-cli/2.0"}
    assert reaches(*headers.items())
    assert reaches(*headers.items(), kind="websocket")


@pytest.mark.parametrize(
    "host",
    ["rebound.example:4566", "127.0.0.1.rebound.example:4566", "localhost.rebound.example",
     "notlocalhost:4566", "0.0.0.0:4566", "127.0.0.1:4566@rebound.example", "127.0.0.1\n", ""],
)  # fmt: skip
def test_another_name_is_refused_whoever_leads_it_here(host: str) -> None:
    assert not reaches(("Host", host))
    assert not reaches(("Host", host), kind="websocket")


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert not reaches()
    assert not reaches(*HOST.items(), ("Host", "rebound.example"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Origin", "https://other.example"),
        ("Origin", "null"),
        # Of this machine, too: any program may serve pages on another port.
        ("Origin", "http://127.0.0.1:8080"),
        # A picture has no origin.
        ("Sec-Fetch-Site", "cross-site"),
        # Typed by a person, and then led here.
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
    ],
)
def test_what_a_browser_sends_is_refused(name: str, value: str) -> None:
    assert not reaches(*SIGNED.items(), (name, value))
    assert not reaches(*SIGNED.items(), (name, value), kind="websocket")


def test_a_refusal_says_why_and_lets_no_page_read_it() -> None:
    start, body = ask(*HOST.items(), ("Origin", "https://other.example"))

    assert start["status"] == 403
    assert not [name for name, _ in start["headers"] if name.startswith(b"access-control-")]
    assert b"it answers no browser" in body["body"]


def test_a_websocket_is_refused_before_it_opens() -> None:
    answers = ask(*HOST.items(), ("Origin", "https://other.example"), kind="websocket")

    assert [answer["type"] for answer in answers] == ["websocket.close"]


def test_what_is_no_request_is_handed_on() -> None:
    assert reaches(kind="lifespan")


CALL = {
    "type": "http",
    "method": "POST",
    "path": "/2015-03-31/functions/arn:aws:lambda:us-east-1:1:function:Ping/invocations",
}
CHANGE = {"type": "http", "method": "PUT", "path": "/2015-03-31/functions/Ping/configuration"}
READ = {**CHANGE, "method": "GET"}


class Emulator:
    """It is at a request until that is let go."""

    def __init__(self, longest_seconds: float = 60) -> None:
        self.at: list[str] = []
        self._doors: list[asyncio.Event] = []
        self._calls = Calls(self._serve, longest_seconds)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.at.append(scope["method"])
        await self._doors[len(self.at) - 1].wait()

    async def ask(self, scope: dict[str, str]) -> asyncio.Task[None]:
        self._doors.append(asyncio.Event())
        task = asyncio.create_task(self._calls(scope, None, None))  # type: ignore[arg-type]
        await settled()
        return task

    async def let_go(self, index: int) -> None:
        self._doors[index].set()
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_change_of_a_function_waits_for_its_calls_and_later_calls_for_the_change() -> None:
    async def scenario() -> None:
        emulator = Emulator()
        await emulator.ask(CALL)
        await emulator.ask(CHANGE)
        await emulator.ask(CALL)
        assert emulator.at == ["POST"]
        await emulator.let_go(0)
        assert emulator.at == ["POST", "PUT"]
        await emulator.let_go(1)
        assert emulator.at == ["POST", "PUT", "POST"]

    asyncio.run(scenario())


def test_a_change_waits_no_longer_than_it_may() -> None:
    async def scenario() -> None:
        emulator = Emulator(longest_seconds=0)
        await emulator.ask(CALL)
        await emulator.ask(CHANGE)
        assert emulator.at == ["POST", "PUT"]

    asyncio.run(scenario())


def test_calls_do_not_wait_for_a_change_that_was_given_up() -> None:
    async def scenario() -> None:
        emulator = Emulator()
        await emulator.ask(CALL)
        change = await emulator.ask(CHANGE)
        change.cancel()
        await settled()
        await emulator.ask({**CALL, "path": CHANGE["path"].replace("configuration", "invocations")})
        # The door of the change stands between theirs.
        assert emulator.at == ["POST", "POST"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "other", [READ, {**CHANGE, "path": CHANGE["path"].replace("Ping", "Pong")}]
)
def test_what_changes_nothing_of_the_called_function_does_not_wait(other: dict[str, str]) -> None:
    async def scenario() -> None:
        emulator = Emulator()
        await emulator.ask(CALL)
        await emulator.ask(other)
        assert emulator.at == ["POST", other["method"]]

    asyncio.run(scenario())
