"""The command: its arguments, and the lines that it writes."""

import asyncio
import json
from collections.abc import Awaitable

import pytest

from notifications_client import State, Times
from notifications_client.__main__ import _mark, get_token_of, line_of, main, say_state

URL = "ws://127.0.0.1:1/v1"


def test_a_frame_is_printed_with_the_digits_that_it_came_with() -> None:
    text = '{"data":[1.10,1E5,-0.0,0.1000000000000000055511,12345678901234567890,"1.5",null]}'

    assert line_of(json.loads(text, parse_float=_mark)) == text + "\n"


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ([], "", "URL"),
        ([URL], "", "ENTITY"),
        (["https://example.com", "a"], "", "https"),
        ([URL, "a", "--token-command", "'"], "", "--token-command"),
        ([URL, "a"], "[]", "CLIENT_OPTIONS"),
        ([URL, "a"], "{", "CLIENT_OPTIONS"),
        ([URL, "a"], '{"holdMs":"soon"}', "holdMs"),
        ([URL, "a"], '{"rotateAfterMs":5}', "rotateAfterMs"),
    ],
)
def test_what_is_wrong_with_its_arguments_is_said(
    arguments: list[str],
    options: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["notifications_client", *arguments])
    monkeypatch.setenv("CLIENT_OPTIONS", options)

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_token_command_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["notifications_client", URL, "a"])
    monkeypatch.setenv("CLIENT_TOKEN_COMMAND", "'")

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    assert "CLIENT_TOKEN_COMMAND" in capsys.readouterr().err


def test_only_the_token_command_of_the_environment_is_told_why() -> None:
    environment = {"CLIENT_TOKEN_COMMAND": "echo 'a  b'"}

    of_environment = get_token_of(None, environment)
    of_option = get_token_of(["echo", "c"], environment)

    assert of_environment
    assert of_option
    assert asyncio.run(_awaited(of_environment("connect; rotate"))) == "a  b connect; rotate"
    assert asyncio.run(_awaited(of_option("connect"))) == "c"
    assert get_token_of(None, {}) is None


async def _awaited(token: Awaitable[str]) -> str:
    return await token


def test_options_are_milliseconds() -> None:
    options = {"holdMs": 200, "rotateAfterMs": [500, 600], "unknown": 1}

    assert Times.of_options(options) == Times(hold=0.2, rotate_after=(0.5, 0.6))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State("connected"), {"state": "connected"}),
        (
            State("disconnected", 1006, "gone", True, 0.75),
            {
                "state": "disconnected",
                "code": 1006,
                "reason": "gone",
                "willRetry": True,
                "delayMs": 750,
            },
        ),
        (
            State("closed", "ClientClosed", "", False),
            {"state": "closed", "code": "ClientClosed", "reason": "", "willRetry": False},
        ),
    ],
)
def test_states_are_said_as_json(
    state: State, said: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    say_state(state)

    assert json.loads(capsys.readouterr().err) == said
