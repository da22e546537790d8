"""Show what the functions of a stack logged as errors lately, oldest first."""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from operations.deployed import Deployed, parser, run

# What the functions say; what Lambda says of one that it stopped, and of one that raised, which the
# emulator logs line by line.
_PATTERNS = ("ERROR", '"Task timed out"', '"Error: "', '".errors."')
_RAISED = re.compile(r"[\w.]+(Error|Exception|\.errors\.\w+): ")
# What tells one error from another, of what a line may hold.
_KEYS = ("code", "event_id", "message_id", "connection_id", "exception_name", "exception")
_MOST = 50


def show(stack: Deployed, minutes: int) -> None:
    logs = stack.client("logs")
    since = int((time.time() - minutes * 60) * 1000)
    lines = {
        (event["timestamp"], name.removesuffix("LogGroup"), event["message"].strip())
        for name, group in stack.resources("AWS::Logs::LogGroup").items()
        for event in _events(logs, group, since)
        if _is_error(event["message"])
    }
    for timestamp, function, message in sorted(lines)[-_MOST:]:
        at = datetime.fromtimestamp(timestamp / 1000, UTC)
        print(f"{at:%H:%M:%S} {function}: {_told(message)}")
    print(f"{len(lines)} errors in {minutes} minutes")


def _events(logs: Any, group: str, since: int) -> Iterator[dict[str, Any]]:
    pages = logs.get_paginator("filter_log_events")
    for pattern in _PATTERNS:
        try:
            for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=pattern):
                yield from page["events"]
        except ClientError as exc:
            # A group of a function that was never called may not be there.
            if exc.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


def _is_error(message: str) -> bool:
    try:
        return json.loads(message).get("level") in ("ERROR", "CRITICAL")
    except (ValueError, AttributeError):
        return "[ERROR]" in message or "Task timed out" in message or bool(_RAISED.match(message))


def _told(message: str) -> str:
    """Return an error in a line: its message, and what tells it from others."""
    try:
        line = json.loads(message)
    except ValueError:
        return message.splitlines()[0]
    # Of a traceback, the line that names the error.
    told = {key: str(line[key]).strip().rpartition("\n")[2] for key in _KEYS if key in line}
    return " ".join([str(line.get("message")), *(f"{key}={value}" for key, value in told.items())])


def main(arguments: Sequence[str]) -> int:
    parsed = parser("make errors", __doc__)
    parsed.add_argument("--minutes", type=int, default=15, help="MINUTES")
    options = parsed.parse_args(arguments)
    return run(partial(show, minutes=options.minutes), options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
