"""What happens in the local run, as lines to read: connections, messages, events, posts, logs.

The gateway and the emulator write files, which are followed. What functions log is asked of the
emulator's CloudWatch Logs, which has it as soon as an invocation has ended, and is written to a
file as it is. What is shown of it is shorter: without metrics and the platform's own lines, errors
in red with their traceback.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.aws import LocalAws
from local.log_lines import Line, clock, of_emulator, of_gateway, of_invocation

# An invocation's log may become visible after one that ended a little later.
_OVERLAP_MS = 2000


class Activity:
    """Show what has happened since the last look.

    Args:
        folder: of the logs of gateway and emulator, and of the functions' log that is written.
        show: shows a line.
    """

    def __init__(self, aws: LocalAws, folder: Path, show: Callable[[Line], None]) -> None:
        self._gateway = Tail(folder / "gateway.log")
        self._emulator = Tail(folder / "emulator.log")
        self._functions = FunctionLogs(aws, folder / "functions.log")
        self._show = show

    def look(self) -> None:
        lines = [
            *filter(None, map(of_emulator, self._emulator.new())),
            *filter(None, map(of_gateway, self._gateway.new())),
            *self._functions.new(),
        ]
        for line in sorted(lines, key=lambda line: line.at_ms):
            self._show(line)


class Tail:
    """Follow a file from where it ends now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size
        self._rest = b""

    def new(self) -> list[str]:
        """Return the lines that have become whole."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                added = file.read()
        except FileNotFoundError:
            # Somebody deleted it: nothing of it can be shown, and all else goes on.
            return []
        self._read += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


class FunctionLogs:
    """What the functions log, from CloudWatch Logs: each invocation has a stream of its own."""

    def __init__(self, aws: LocalAws, file: Path) -> None:
        config = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1})
        self._logs = aws.client("logs", config)
        functions = aws.client("lambda").get_paginator("list_functions").paginate()
        self._names = {
            function["LoggingConfig"]["LogGroup"]: function["Handler"].partition(".")[0]
            for page in functions
            for function in page["Functions"]
        }
        self._file = file
        self._file.write_text("")
        self._bytes: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self._done: dict[str, dict[str, int]] = {}

    def new(self) -> list[Line]:
        """Return what is to be shown of the invocations that have ended, and write down all."""
        try:
            return [line for group in self._changed() for line in self._of_group(group)]
        except (BotoCoreError, ClientError):
            # If the emulator is busy, there is a next time; if it is not there, it will be missed.
            return []

    def _changed(self) -> Iterator[str]:
        """Yield the log groups to which something has been added."""
        for page in self._logs.get_paginator("describe_log_groups").paginate():
            for group in page["logGroups"]:
                name, size = group["logGroupName"], group["storedBytes"]
                if name in self._names and self._bytes.get(name, 0) != size:
                    self._bytes[name] = size
                    yield name

    def _of_group(self, group: str) -> Iterator[Line]:
        done = self._done.setdefault(group, {})
        events = self._logs.filter_log_events(
            logGroupName=group, startTime=self._since.get(group, 0)
        )["events"]
        invocations: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            if event["logStreamName"] not in done:
                invocations.setdefault(event["logStreamName"], []).append(event)
        name = self._names[group]
        with self._file.open("a", encoding="utf-8") as file:
            for stream, logged in invocations.items():
                done[stream] = at_ms = logged[-1]["timestamp"]
                messages = [event["message"] for event in logged]
                when = clock(at_ms, "%Y-%m-%d %H:%M:%S")
                file.writelines(f"{when} {name} {message}\n" for message in messages)
                yield from of_invocation(at_ms, name, messages)
        since = max(done.values(), default=0) - _OVERLAP_MS
        self._since[group] = max(since, 0)
        self._done[group] = {stream: at for stream, at in done.items() if at >= since}
