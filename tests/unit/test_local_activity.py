"""What `make local` shows of the logs, and what it leaves out."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from local.activity import Tail
from local.log_lines import Line, of_emulator, of_gateway, of_invocation, shown

AT_MS = 1_795_537_365_093
EMF = json.dumps({"_aws": {"Timestamp": AT_MS}, "service": "shop", "EventsUnwatched": [1.0]})
START = "START RequestId: a26f7d6e Version: $LATEST"
END = ["END RequestId: a26f7d6e", "REPORT RequestId: a26f7d6e\tDuration: 7 ms"]


def record(level: str, message: str, **more: str) -> str:
    surroundings = {
        "location": "lambda_handler:33", "timestamp": "2026-11-24 16:21:02,784+0000",
        "service": "shop", "cold_start": False, "function_name": "ConnectFunction",
        "function_memory_size": 512, "function_arn": "arn", "function_request_id": "a26f7d6e",
    }  # fmt: skip
    return json.dumps({"level": level, "message": message, **surroundings, **more})


def of(*messages: str) -> list[Line]:
    return list(of_invocation(AT_MS, "connect", [START, *messages, *END]))


def test_a_record_is_one_line_with_what_the_code_said() -> None:
    assert of(record("INFO", "connection opened", connection_id="abc=")) == [
        Line(AT_MS, "connect", "INFO connection opened connection_id=abc=")
    ]


def test_metrics_and_lines_of_the_platform_are_left_out() -> None:
    assert of(EMF) == []


def test_what_is_printed_is_shown_as_it_is() -> None:
    assert of("here", '{"a": 1}') == [
        Line(AT_MS, "connect", "here"),
        Line(AT_MS, "connect", '{"a": 1}'),
    ]


@pytest.mark.parametrize("level", ["WARNING", "ERROR", "CRITICAL"])
def test_what_is_logged_as_wrong_is_bad_and_has_its_traceback(level: str) -> None:
    traceback = 'Traceback (most recent call last):\n  File "app.py"\nKeyError: 1'

    (line,) = of(record(level, "request failed", exception=traceback, exception_name="KeyError"))

    assert line == Line(AT_MS, "connect", f"{level} request failed\n{traceback}", True)


def test_what_a_function_raised_is_one_bad_line_with_all_of_its_traceback() -> None:
    traceback = ["Traceback (most recent call last):", '  File "app.py", line 3', "KeyError: 'id'"]

    lines = of("before", *traceback)

    assert lines == [
        Line(AT_MS, "connect", "before"),
        Line(AT_MS, "connect", "\n".join(traceback), True),
    ]


def test_the_gateway_s_lines_are_shown_and_its_warnings_are_bad() -> None:
    line = of_gateway("2026-11-24 16:15:47,614 INFO connection abc= opened")
    assert line
    assert (line.who, line.text, line.is_bad) == ("gateway", "connection abc= opened", False)
    warning = of_gateway("2026-11-24 16:15:47,614 WARNING the API cannot be read")
    assert warning
    assert warning.is_bad
    assert of_gateway("gateway ready: ws://127.0.0.1:3001 api=1cee3e58 stages: v1") is None


def test_lines_of_two_logs_are_told_the_same_time() -> None:
    one = of_gateway("2026-11-24 16:15:47,614 INFO connection abc= opened")
    assert one
    assert one.at_ms == datetime(2026, 11, 24, 16, 15, 47, 614_000).astimezone().timestamp() * 1000


def test_of_the_emulator_events_and_failures_are_shown() -> None:
    event = of_emulator(
        "2026-11-24 16:22:43 INFO [events] EventBridge → SQS"
        " websocket-notifications-NotificationQueue-6E181BBBC1790"
    )
    assert event
    assert (event.who, event.text, event.is_bad) == (
        "bus",
        "event sent to NotificationQueue",
        False,
    )
    failure = of_emulator("2026-11-24 16:22:43 ERROR [lambda] Worker init failed: no module")
    assert failure
    assert failure.is_bad
    assert of_emulator("2026-11-24 16:22:45 INFO [lambda_runtime] Lambda worker spawned") is None
    assert of_emulator('{"level":"INFO"}') is None


def test_only_a_terminal_gets_red_and_only_for_what_is_bad() -> None:
    good, bad = Line(AT_MS, "ping", "fine"), Line(AT_MS, "ping", "KeyError\nhere", True)

    assert "\033" not in shown(good, coloured=True) + shown(bad, coloured=False)
    assert shown(bad, coloured=True).startswith("\033[31m")
    assert shown(bad, coloured=False).splitlines()[1] == "    here"


def test_a_file_is_followed_from_its_end_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    tail = Tail(path)
    with path.open("a") as log:
        print("one", file=log)
        log.write("tw")
        log.flush()
        assert tail.new() == ["one"]
        print("o", file=log, flush=True)
        assert tail.new() == ["two"]
    assert tail.new() == []


def test_a_file_that_somebody_deletes_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    tail = Tail(path)
    path.unlink()
    assert tail.new() == []


def test_what_a_terminal_would_obey_is_shown_and_not_done() -> None:
    told = shown(Line(AT_MS, "ping", "a\x1b]0;title\x07\x9b31m\r\tb"), coloured=False)
    assert told.endswith("a\\x1b]0;title\\x07\\x9b31m\\r\tb")
