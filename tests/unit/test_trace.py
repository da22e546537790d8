"""`make trace`: what it tells from the lines that the functions log."""

import json
import time
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

import connect.app
import subscribe.app
import unsubscribe.app
from management_api import Result
from operations import insights, questions, trace
from operations.deployed import Deployed
from operations.insights import Record
from push.topics import Topic
from support import events
from support.exchange import FakeExchange
from support.queues import Queues

STACK = "notifications"

Client = Callable[..., dict[str, Any]]


class Lines:
    """Logs that hold what the functions printed, whichever of them did."""

    def __init__(self, logged: StringIO, printed: Callable[[], str] = str) -> None:
        self._logged = logged
        self._printed = printed

    def ask(self, log_groups: Sequence[str], query: str) -> list[Record]:
        texts = self._logged.getvalue() + self._printed()
        return insights.run(
            query,
            [
                insights.record(text, trace._logged_at_ms({"message": text, "timestamp": 0}))
                for text in texts.splitlines()
            ],
        )


@pytest.fixture
def client(queues: Queues, context: Any) -> Client:
    """Send a frame as a connection, which is opened with its first."""
    opened: set[str] = set()

    def send(connection_id: str, action: str, entity_id: str = "e", **fields: Any) -> Any:
        if connection_id not in opened:
            opened.add(connection_id)
            event = events.load("connect")
            event["requestContext"]["connectionId"] = connection_id
            connect.app.lambda_handler(event, context)
        app = {"subscribe": subscribe.app, "unsubscribe": unsubscribe.app}[action]
        frame = {"action": action, "entityId": entity_id, **fields}
        response = app.lambda_handler(events.message("subscribe", frame, connection_id), context)
        return json.loads(response["body"])

    return send


def told(lines: Sequence[str]) -> list[str]:
    """Return the messages of lines, without times and details."""
    return [line[40:61].strip() for line in lines]


def event(event_id: str, entity_id: str = "e") -> dict[str, Any]:
    return events.entity_updated(event_id, entityId=entity_id)


def test_an_event_s_way_is_told_in_order_and_nobody_else_s(
    queues: Queues, exchange: FakeExchange, client: Client, logs: StringIO
) -> None:
    for connection_id in ("a=", "gone=", "slow="):
        client(connection_id, "subscribe")
    exchange.always("gone=", Result.GONE)
    exchange.tell("slow=", Result.THROTTLED)
    queues.send("events", event("1"))
    queues.settle()
    queues.send("events", event("2"))

    queues.settle()

    lines = trace.event(Lines(logs), "1")
    assert told(lines) == [
        "event numbered",
        "connections forgotten",
        "stragglers handed on",
        "delivery walked",
        "delivery walked",
    ]
    assert "source=my.application" in lines[0]
    assert 'connections=["gone="]' in lines[1]
    assert 'reasons={"Throttled": 1}' in lines[2]
    assert "delivered=1 gone=1 failed=1 throttled=1 finished=true" in lines[3]
    assert "attempt=1" in lines[4]
    assert "delivered=1" in lines[4]
    # Nothing is said that did not happen.
    assert "refused" not in "".join(lines)


def test_what_a_connection_saw_is_told_from_ranges_and_from_what_is_said_of_it(
    queues: Queues, exchange: FakeExchange, client: Client, logs: StringIO
) -> None:
    client("other=", "subscribe")
    queues.send("events", event("before"))
    queues.settle()
    client("c=", "subscribe")
    queues.send("events", event("seen"), event("another", "f"))
    queues.settle()
    exchange.tell("c=", Result.THROTTLED)
    queues.send("events", event("late"))
    queues.settle()
    client("c=", "unsubscribe")
    queues.send("events", event("after"))
    queues.settle()

    lines = trace.connection(Lines(logs), "c=")

    assert told(lines) == [
        "connection opened",
        "subscribed",
        "frame sent",
        "stragglers handed on",
        "delivery walked",
        "unsubscribed",
    ]
    assert "event_id=seen" in lines[2]
    assert "event_id=late" in lines[3]
    assert "event_id=late" in lines[4]
    assert "attempt=1" in lines[4]


def test_a_frame_that_comes_before_its_subscription_is_logged_is_told(
    queues: Queues, exchange: FakeExchange, client: Client, logs: StringIO
) -> None:
    """The row is written first, and the line last."""
    client("c=", "subscribe")
    queues.send("events", event("1"))
    queues.settle()
    lines = logs.getvalue().splitlines()
    (subscribed,) = [line for line in lines if '"subscribed"' in line]
    late = json.loads(subscribed)
    late["timestamp"] = late["timestamp"].replace("20", "21", 1)
    moved = [json.dumps(late) if line == subscribed else line for line in lines]

    found = trace.connection(Lines(StringIO("\n".join(moved) + "\n")), "c=")

    assert told(found) == ["connection opened", "frame sent", "subscribed"]


def test_who_is_slow_comes_first(
    queues: Queues, exchange: FakeExchange, client: Client, logs: StringIO
) -> None:
    for connection_id in ("a=", "slow=", "slower="):
        client(connection_id, "subscribe")
    exchange.tell("slow=", Result.THROTTLED)
    exchange.always("slower=", Result.FAILED)
    queues.send("events", event("1"))
    queues.settle()

    assert trace.table(Lines(logs), questions.SLOW) == [
        "connection  tries  most_tries_for_one_event",
        "slower=     10     10",
        "slow=       1      1",
    ]


def test_who_sends_poison_is_told_with_an_example(queues: Queues, logs: StringIO) -> None:
    queues.send(
        "events",
        event("1", "") | {"source": "careless"},
        event("2", "") | {"source": "careless"},
        event("3") | {"source": "wild", "detail": 5},
        "poison",
    )
    queues.settle()

    names, *rows = (line.split() for line in trace.table(Lines(logs), questions.POISON))

    assert names == ["source", "code", "messages", "last", "one_of_them"]
    # Without the time, which is two words.
    assert rows[0][:3] + rows[0][5:] == ["careless", "InvalidEntityId", "2", "2"]
    assert sorted(row[:3] + row[5:] for row in rows[1:]) == [
        ["-", "InvalidJson", "1", "-"],
        ["wild", "InvalidEvent", "1", "3"],
    ]


def test_latencies_are_told_of_all_frames(
    queues: Queues, client: Client, logs: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        client(f"{number}=", "subscribe")
    queues.send("events", event("1"))
    capsys.readouterr()
    queues.settle()
    printed = capsys.readouterr().out

    (row,) = Lines(logs, lambda: printed).ask((), questions.LATENCY.query)

    assert row["frames"] == 3
    assert 0 <= row["p50"] <= row["p99"] < 60_000


@pytest.mark.parametrize("value", ["x' or '' = '", "\\", "a\nb", '"'])
def test_what_could_change_a_query_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        questions.EVENT.about(EVENT_ID=value)


@pytest.mark.parametrize(
    "query",
    [
        "parse @message '*' as x",
        "filter a > 5",
        "filter a = 'b' or c = 'd'",
        "stats avg(a) as b by c",
        "stats count(*) as b by bin(5m)",
    ],
)
def test_a_query_that_is_not_understood_is_not_answered_in_part(query: str) -> None:
    with pytest.raises(ValueError, match="not known here"):
        insights.run(query, [])


# On AWS.


@pytest.fixture
def aws() -> Any:
    """A stack, and what its CloudWatch Logs are to be asked."""
    options = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    logs: Any = boto3.client("logs", **options)  # type: ignore[call-overload]
    cloudformation: Any = boto3.client("cloudformation", **options)  # type: ignore[call-overload]
    with Stubber(logs) as of_logs, Stubber(cloudformation) as of_cloudformation:
        resources = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": f"{STACK}-{name}-1",
                "ResourceType": "AWS::Logs::LogGroup",
                "ResourceStatus": "CREATE_COMPLETE",
                "LastUpdatedTimestamp": "2026-11-24T00:00:00Z",
            }
            for name in ("NotifierLogGroup", "DeliverLogGroup")
        ]
        of_cloudformation.add_response(
            "list_stack_resources", {"StackResourceSummaries": resources}, {"StackName": STACK}
        )
        clients = {"logs": logs, "cloudformation": cloudformation}
        yield Deployed(STACK, clients.__getitem__), of_logs


def test_on_aws_insights_is_asked_until_it_has_answered(aws: Any) -> None:
    stack, of_logs = aws
    line = {"message": "event numbered", "event_id": "1", "cursor": "5f0c2a9be41d-7"}
    of_logs.add_response(
        "start_query",
        {"queryId": "q"},
        {
            # Those of the question that the stack has.
            "logGroupNames": [f"{STACK}-NotifierLogGroup-1", f"{STACK}-DeliverLogGroup-1"],
            "startTime": 1_795_484_800,
            "endTime": int(time.time()),
            "queryString": questions.EVENT.about(EVENT_ID="1"),
        },
    )
    row = [
        {"field": "@timestamp", "value": "2026-11-24 01:46:41.250"},
        {"field": "message", "value": "event numbered"},
        {"field": "@message", "value": json.dumps(line)},
        {"field": "@ptr", "value": "x"},
    ]
    of_logs.add_response("get_query_results", {"status": "Running", "results": []})
    of_logs.add_response("get_query_results", {"status": "Complete", "results": [row]})
    slept: list[float] = []

    asked = trace.AwsLogs(stack, 1_795_484_800_123, sleep=slept.append)

    assert trace.event(asked, "1") == [
        "01:46:41.250       +0 ms  stage         event numbered        cursor=5f0c2a9be41d-7"
    ]
    assert slept == [1.0]


def test_a_query_that_fails_is_no_empty_answer(aws: Any) -> None:
    stack, of_logs = aws
    of_logs.add_response("start_query", {"queryId": "q"})
    of_logs.add_response("get_query_results", {"status": "Timeout", "results": []})

    with pytest.raises(OSError, match="Timeout"):
        trace.event(trace.AwsLogs(stack, 0), "1")


def test_what_is_logged_of_a_topic_is_found_by_who_knows_its_id() -> None:
    """The command in docs/operations.md."""
    assert Topic.entity("order-17").digest == "5a2cff50761c32bd"
