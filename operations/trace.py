"""Tell from the logs what happened to an event, what a connection saw, and who makes trouble.

`make trace EVENT=<id>` and `CONNECTION=<id>` print lines in the order of their time; `SLOW=1` and
`POISON=1` a table. On AWS a question is a query of CloudWatch Logs Insights or two, which are
billed by what they read.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from operations import insights, questions
from operations.deployed import Deployed, parser, run
from operations.insights import Record

# Of a query of Insights, in seconds.
_POLL_SECONDS = 1.0
# What every line has, and says nothing about its step.
_EVERYWHERE = re.compile(
    r"level|location|message|timestamp|service|cold_start|function_\w+|xray_trace_id|message_id"
    r"|exception|api_request_id"
)
_LOG_GROUP = "AWS::Logs::LogGroup"
# Of a walk: the ids of the first and the last that it may have posted to.
_RANGE = ("walked_after", "walked_upto")


class Logs(Protocol):
    """The logs of a stack."""

    def ask(self, log_groups: Sequence[str], query: str) -> list[Record]:
        """Return the rows that a query finds in log groups, by their logical ids."""


class LocalLogs:
    """The logs of the local stack, which the emulator keeps, and does not query."""

    def __init__(self, stack: Deployed, since_ms: int) -> None:
        self._logs = stack.client("logs")
        self._names = stack.resources(_LOG_GROUP)
        self._since_ms = since_ms

    def ask(self, log_groups: Sequence[str], query: str) -> list[Record]:
        return insights.run(query, self._records(log_groups))

    def _records(self, log_groups: Sequence[str]) -> Iterator[Record]:
        pages = self._logs.get_paginator("filter_log_events")
        for name in (self._names[each] for each in log_groups if each in self._names):
            for page in pages.paginate(logGroupName=name, startTime=self._since_ms):
                for event in page["events"]:
                    yield insights.record(event["message"], _logged_at_ms(event))


class AwsLogs:
    """The logs of a stack on AWS, asked by CloudWatch Logs Insights."""

    def __init__(
        self, stack: Deployed, since_ms: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._logs = stack.client("logs")
        self._names = stack.resources(_LOG_GROUP)
        self._since_ms = since_ms
        self._sleep = sleep

    def ask(self, log_groups: Sequence[str], query: str) -> list[Record]:
        query_id = self._logs.start_query(
            logGroupNames=[self._names[each] for each in log_groups if each in self._names],
            startTime=self._since_ms // 1000,
            endTime=int(time.time()),
            queryString=query,
        )["queryId"]
        while (answer := self._logs.get_query_results(queryId=query_id))["status"] in (
            "Scheduled",
            "Running",
        ):
            self._sleep(_POLL_SECONDS)
        if answer["status"] != "Complete":
            raise OSError(f"the query ended as {answer['status']}")
        return [{cell["field"]: cell["value"] for cell in row} for row in answer["results"]]


def _logged_at_ms(event: dict[str, Any]) -> int:
    """Return when a line was logged: the emulator dates all of an invocation by its end."""
    try:
        said = json.loads(event["message"])["timestamp"]
        return int(datetime.strptime(said, "%Y-%m-%d %H:%M:%S,%f%z").timestamp() * 1000)
    except (ValueError, KeyError, TypeError):
        return int(event["timestamp"])


def event(logs: Logs, event_id: str) -> list[str]:
    """Return an event's way, a line for each step."""
    question = questions.EVENT
    rows = logs.ask(question.log_groups, question.about(EVENT_ID=event_id))
    return _told(list(map(_line, rows)), leave_out="event_id")


def connection(logs: Logs, connection_id: str) -> list[str]:
    """Return what a connection did, and what was sent to it.

    A post that succeeds has no line of its own. So a frame is told by the line of the walk in whose
    range the connection is, if it was subscribed then, and no other line says otherwise.
    """
    question = questions.CONNECTION
    rows = logs.ask(question.log_groups, question.about(CONNECTION_ID=connection_id))
    lines = list(map(_line, rows))
    walks: list[Record] = []
    for topic in _subscribed_since(lines):
        query = questions.WALKS.about(TOPIC_DIGEST=topic)
        walks += map(_line, logs.ask(questions.WALKS.log_groups, query))
    sent = [
        walk | {"message": "frame sent", "connections": None}
        for walk in walks
        if _is_in_range(walk, connection_id)
        and _is_subscribed(walk, lines)
        and not _is_named(walk, lines)
    ]
    told = sorted(lines + sent, key=lambda line: str(line["@timestamp"]))
    return _told(told, leave_out="connection_id")


def _subscribed_since(lines: Sequence[Record]) -> set[str]:
    return {each["topic"] for line in lines for each in line.get("subscriptions", ())}


def _is_in_range(walk: Record, connection_id: str) -> bool:
    after, upto = (walk.get(name) for name in _RANGE)
    return after is not None and upto is not None and after < connection_id <= upto


def _is_subscribed(walk: Record, lines: Sequence[Record]) -> bool:
    """Whether a connection was subscribed when a walk came by.

    Whatever has its number behind the cursor of a `Subscribed` comes, also before that is logged;
    an answer with more behind it has an earlier cursor, which proves nothing by itself.
    """
    subscribed = False
    for line in lines:
        before = line["@timestamp"] <= walk["@timestamp"]
        match line.get("message"):
            case "subscribed":
                subscribed = subscribed or any(
                    each["topic"] == walk["topic"]
                    and _is_behind(walk["cursor"], each["cursor"])
                    and (before or "more" not in each)
                    for each in line["subscriptions"]
                )
            case "unsubscribed" if before and walk["topic"] in line["topics"]:
                subscribed = False
            case "connection closed" | "connections closed" | "connections forgotten" if before:
                subscribed = False
    return subscribed


def _is_behind(cursor: str, other: str) -> bool:
    (epoch, _, seq), (other_epoch, _, other_seq) = cursor.rpartition("-"), other.rpartition("-")
    return epoch == other_epoch and int(seq) > int(other_seq)


def _is_named(walk: Record, lines: Sequence[Record]) -> bool:
    """Whether another line of the same walk says what became of the connection's post."""
    return any(
        line["message"] != "delivery walked"
        and (line.get("message_id"), line.get("function_request_id"))
        == (walk["message_id"], walk["function_request_id"])
        for line in lines
    )


def _line(row: Record) -> Record:
    """Return the members of a line, from a row that holds all of it."""
    members: Record = json.loads(row["@message"])
    return members | {"@timestamp": row["@timestamp"]}


def _told(lines: Sequence[Record], leave_out: str) -> list[str]:
    if not lines:
        return []
    first = _moment(lines[0])
    told = []
    for line in lines:
        milliseconds = (_moment(line) - first).total_seconds() * 1000
        step = f"{_function(line):<12}  {line.get('message', ''):<21}"
        at = line["@timestamp"][11:23]
        told.append(f"{at} {milliseconds:>+8.0f} ms  {step} {_details(line, leave_out)}".rstrip())
    return told


def _moment(line: Record) -> datetime:
    return datetime.strptime(line["@timestamp"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def _function(line: Record) -> str:
    """Return the function that logged a line; what is none is the stage's access log."""
    name = str(line.get("function_name", "stage"))
    match = re.search(r"-(\w+)Function-\w+$", name)
    return match[1].lower() if match else name


def _details(line: Record, leave_out: str) -> str:
    return " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in line.items()
        if name not in ("@timestamp", leave_out)
        and not _EVERYWHERE.fullmatch(name)
        and (value is False or value not in (0, None))
    )


def table(logs: Logs, question: questions.Question) -> list[str]:
    """Return the rows of an answer, below their names."""
    rows = logs.ask(question.log_groups, question.query)
    if not rows:
        return []
    # A row lacks what its lines lack: the fullest has the most names in the order of the query.
    fullest_first = sorted(rows, key=len, reverse=True)
    names = list(dict.fromkeys(name for row in fullest_first for name in row))
    found = [[row.get(name) for name in names] for row in rows]
    cells = [names] + [["-" if each is None else str(each) for each in row] for row in found]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def tell(stack: Deployed, options: argparse.Namespace) -> None:
    since_ms = int((time.time() - 60 * options.minutes) * 1000)
    logs = (LocalLogs if stack.is_local else AwsLogs)(stack, since_ms)
    if options.event:
        lines = event(logs, options.event)
    elif options.connection:
        lines = connection(logs, options.connection)
    else:
        lines = table(logs, questions.SLOW if options.slow else questions.POISON)
    if not lines:
        print(f"Nothing about it in the logs of the last {options.minutes} minutes.")
    for line in lines:
        print(line)


def main(arguments: Sequence[str]) -> int:
    parsed = parser("make trace", __doc__)
    about = parsed.add_mutually_exclusive_group(required=True)
    about.add_argument("--event", help="its id, which its frames carry (EVENT)")
    about.add_argument("--connection", help="its id (CONNECTION)")
    about.add_argument("--slow", action="store_true", help="who is slow (SLOW=1)")
    about.add_argument("--poison", action="store_true", help="who sends poison (POISON=1)")
    parsed.add_argument("--minutes", type=int, default=60, help="how far back (MINUTES)")
    options = parsed.parse_args(arguments)
    return run(partial(tell, options=options), options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
