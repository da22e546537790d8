"""Lines to read, of what gateway, emulator and functions have logged.

Shorter than the logs: without metrics and the platform's own lines, errors with their traceback.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_GATEWAY = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) (\w+) (.*)")
_EMULATOR = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\w+) (.*)")
_EVENT = re.compile(r"\[events\] EventBridge → SQS [\w-]+?-(\w+)-[0-9A-F]+$")
_BAD = ("WARNING", "ERROR", "CRITICAL")
# Terminals obey them, and what a client sent may be in what a function raises.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PLATFORM = re.compile(r"(START|END|REPORT) RequestId: ")
# What Powertools adds to each record, and a line does not need; and what the line begins with.
_SURROUNDINGS = frozenset(
    ["level", "message", "timestamp", "service", "location", "cold_start", "function_name",
     "function_memory_size", "function_arn", "function_request_id", "xray_trace_id",
     "exception", "exception_name", "stack_trace", "sampling_rate"]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened, of whom it is told, and when in milliseconds since the epoch.

    The text may be several lines, if there is a traceback.
    """

    at_ms: int
    who: str
    text: str
    is_bad: bool = False


def of_gateway(text: str) -> Line | None:
    """Return what is shown of a line of the gateway's log."""
    if found := _GATEWAY.fullmatch(text):
        at_ms = _milliseconds(found[1]) + int(found[2])
        return Line(at_ms, "gateway", found[4], found[3] in _BAD)
    return None


def of_emulator(text: str) -> Line | None:
    """Return what is shown of a line of the emulator's log: events, and what has gone wrong."""
    found = _EMULATOR.fullmatch(text)
    if found and (event := _EVENT.fullmatch(found[3])):
        return Line(_milliseconds(found[1]), "bus", f"event sent to {event[1]}")
    if found and found[2] in _BAD:
        return Line(_milliseconds(found[1]), "emulator", found[3], True)
    return None


def of_invocation(at_ms: int, function: str, messages: list[str]) -> Iterator[Line]:
    """Yield what is shown of the log of one invocation."""
    traceback: list[str] = []
    for message in messages:
        if _PLATFORM.match(message):
            continue
        record = _record(message)
        if record is not None:
            if "_aws" not in record:
                yield _of_record(at_ms, function, record)
        elif traceback or message.startswith("Traceback "):
            # A function that raised: what follows is the end of its log.
            traceback.append(message)
        else:
            yield Line(at_ms, function, message)
    if traceback:
        yield Line(at_ms, function, "\n".join(traceback), True)


def _of_record(at_ms: int, function: str, record: dict[str, Any]) -> Line:
    level = str(record["level"])
    told = [f"{key}={value}" for key, value in record.items() if key not in _SURROUNDINGS]
    first = " ".join([level, str(record.get("message", "")), *told])
    exception = record.get("exception")
    text = f"{first}\n{exception}" if exception else first
    return Line(at_ms, function, text, level in _BAD)


def _record(message: str) -> dict[str, Any] | None:
    """Return a structured record, or one of metrics; None for another text."""
    try:
        record = json.loads(message)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() & {"level", "_aws"} else None


def shown(line: Line, *, coloured: bool) -> str:
    """Return a line as the terminal shows it."""
    first, *more = _UNPRINTABLE.sub(_escaped, line.text).split("\n")
    text = "\n".join([first, *(f"    {each}" for each in more)])
    whole = f"{clock(line.at_ms, '%H:%M:%S')} {line.who:<13} {text}"
    return f"\033[31m{whole}\033[0m" if line.is_bad and coloured else whole


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _milliseconds(local_time: str) -> int:
    # The logs are in this machine's time, as the clock on its wall is.
    return int(datetime.strptime(local_time, "%Y-%m-%d %H:%M:%S").astimezone().timestamp()) * 1000


def clock(at_ms: int, form: str) -> str:
    """Return a time on this machine's clock."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime(form)
