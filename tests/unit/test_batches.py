"""The notifier and the courier, called with batches of SQS records, as Lambda calls them."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from botocore.exceptions import ClientError

import connect.app
import deliver.app
import management_api
import notifier.app
import subscribe.app as subscribe_app
from management_api import Result
from push import wiring
from push.batches import MAX_RETRY_SECONDS, RECORDS_PER_BATCH, BatchFailed
from push.connection import Connection
from push.events import MAX_FRAME_BYTES
from push.jobs import Jobs, Letter
from push.observability import logger
from push.topics import Log, Topic
from support import events, template
from support.events import ENTITY_ID
from support.exchange import FakeExchange, Told
from support.queues import Queues
from support.rows import topics_of

Rows = Callable[[], list[dict[str, Any]]]

TOPIC = Topic.entity(ENTITY_ID)


def subscribe(connection_id: str, *entity_ids: str) -> None:
    connection = Connection(connection_id, "203.0.113.7", datetime.now(UTC))
    table = wiring.table()
    if topics_of(table, connection_id) is None:
        table.put_connection(connection)
    for entity_id in entity_ids or (ENTITY_ID,):
        topic = Topic.entity(entity_id)
        assert table.add_subscriptions(connection, {topic}, (), 99) is None
        Log(table).open(topic)


def event(event_id: str = "1", **detail: object) -> dict[str, Any]:
    return events.entity_updated(event_id, **{"entityId": ENTITY_ID, **detail})


def letter(*ids: str, **changes: Any) -> str:
    """Return the letter of the events, for other connections."""
    (record,) = events.load("deliver")["Records"]
    fields = json.loads(record["body"])
    return events.encoded(fields | {"ids": ids or fields["ids"], **changes})


def reasons(queues: Queues) -> list[tuple[str, str]]:
    """Take out the dead letters; return their bodies and codes."""
    found = []
    for message in queues.take("dead"):
        attributes = message["MessageAttributes"]
        assert attributes["reason"]["StringValue"]
        found.append((message["Body"], attributes["errorCode"]["StringValue"]))
    return found


def fails(dynamodb: Any, operation: str, when: Callable[[dict[str, Any]], bool]) -> None:
    """Let requests fail that are so."""

    def fail(params: dict[str, Any], **_: Any) -> None:
        if when(params):
            response: Any = {"Error": {"Code": "InternalServerError", "Message": "told so"}}
            raise ClientError(response, operation)

    dynamodb.meta.events.register(f"provide-client-params.dynamodb.{operation}", fail)


# What goes well.


def test_an_event_reaches_the_subscribers_of_its_entity_and_no_others(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    subscribe("b=", ENTITY_ID, "other")
    subscribe("c=", "other")
    queues.send("events", event(message="Hello world"))

    queues.settle()

    assert exchange.receivers() == ["a=", "b="]
    assert json.loads(exchange.frames("a=")[0])["message"] == "Hello world"
    assert (queues.back, queues.failed, queues.take("dead")) == ([], [], [])


def test_the_letter_in_the_events_is_posted_to_its_connection(
    queues: Queues, exchange: FakeExchange, context: Any
) -> None:
    response = deliver.app.lambda_handler(events.load("deliver"), context)

    assert response == {"batchItemFailures": []}
    ((connection_id, frame),) = exchange.delivered
    assert connection_id == events.CONNECTION_ID
    assert json.loads(frame)["message"] == "Hello world"


def test_the_event_in_the_events_is_handled(queues: Queues, context: Any) -> None:
    response = notifier.app.lambda_handler(events.load("notifier"), context)

    assert response == {"batchItemFailures": []}


def test_events_of_one_topic_in_one_batch_get_the_numbers_from_1_on(
    queues: Queues, exchange: FakeExchange, rows: Rows
) -> None:
    subscribe("a=")
    queues.send("events", *(event(str(number)) for number in range(10)))

    queues.settle()

    frames = [json.loads(frame) for frame in exchange.frames("a=")]
    assert sorted(frame["id"] for frame in frames) == [str(number) for number in range(10)]
    numbers = [int(frame["cursor"].partition("-")[2]) for frame in frames]
    assert sorted(numbers) == [*range(1, 11)]
    (head,) = [row for row in rows() if row["sk"] == "HEAD"]
    assert head["seq"] == 10


def test_a_batch_holds_events_of_many_topics(queues: Queues, exchange: FakeExchange) -> None:
    names = [f"entity {number}" for number in range(10)]
    subscribe("a=", *names)
    queues.send("events", *(event(name, entityId=name) for name in names))

    assert queues.run("events") == 10

    assert sorted(json.loads(each)["entityId"] for each in exchange.frames("a=")) == names


def test_a_batch_has_as_many_records_as_there_are_threads() -> None:
    resources = template.written()["Resources"]
    for source in ("NotifierEventSource", "DeliverEventSource"):
        assert resources[source]["Properties"]["BatchSize"] <= RECORDS_PER_BATCH


def test_an_event_that_nobody_watches_is_done(queues: Queues, rows: Rows) -> None:
    queues.send("events", event())

    queues.settle()

    assert rows() == []


def test_an_event_that_nobody_watches_is_logged_if_that_is_wanted(
    queues: Queues, rows: Rows, monkeypatch: pytest.MonkeyPatch, remade: Callable[[], None]
) -> None:
    monkeypatch.setenv("LOG_UNWATCHED", "true")
    monkeypatch.setenv("HISTORY_SECONDS", "90000")
    queues.send("events", event())

    queues.settle()

    logged, head, _ = rows()
    assert (head["sk"], head["seq"]) == ("HEAD", 1)
    kept_seconds = logged["ttl"] - datetime.now(UTC).timestamp()
    assert 89_000 < kept_seconds <= 90_000


def test_a_large_topic_is_delivered_by_the_courier(
    queues: Queues, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSCRIBERS_PER_DELIVERY", "3")
    ids = [f"{number:03}=" for number in range(10)]
    for connection_id in ids:
        subscribe(connection_id)
    queues.send("events", event(message="Hello"))

    queues.run("events")
    assert exchange.receivers() == ids[9:]
    queues.settle()

    assert sorted(exchange.receivers()) == ids
    assert queues.delays == [0, 0, 0]


def test_what_failed_in_passing_comes_through_the_delivery_queue(
    queues: Queues, exchange: FakeExchange
) -> None:
    for connection_id in ("a=", "b=", "c="):
        subscribe(connection_id)
    exchange.tell("b=", Told(Result.THROTTLED))
    queues.send("events", event())

    queues.run("events")
    assert exchange.receivers() == ["a=", "c="]
    assert queues.delays == [1]
    assert queues.run("letters") == 1

    assert exchange.receivers() == ["a=", "c=", "b="]


def test_who_leaves_in_between_is_forgotten(queues: Queues, exchange: FakeExchange) -> None:
    subscribe("gone=", ENTITY_ID, "other")
    subscribe("live=", ENTITY_ID, "other")
    exchange.always("gone=", Result.GONE)
    queues.send("events", event())

    queues.settle()

    assert exchange.receivers() == ["live="]
    table = wiring.table()
    assert topics_of(table, "gone=") is None
    for name in (ENTITY_ID, "other"):
        assert table.subscribers(Topic.entity(name), "", "~") == (["live="], False)


# Copies.


def test_an_event_that_comes_twice_is_delivered_once(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    queues.send("events", event("same"), event("same"))
    queues.settle()
    queues.send("events", event("same"), event("other"))
    queues.settle()

    assert [json.loads(each)["id"] for each in exchange.frames("a=")] == ["same", "other"]
    assert queues.failed == []


@pytest.mark.parametrize(("seconds_left", "after"), [(20.0, 22), (0.2, 2), (400.0, 180)])
def test_a_copy_that_meets_another_s_lease_comes_back_when_that_is_past(
    queues: Queues, seconds_left: float, after: int
) -> None:
    """Not after the queue's visibility timeout; and it is no failure."""
    subscribe("a=")
    head = wiring.table().head(TOPIC)
    assert head
    Jobs(wiring.table(), seconds_left=lambda: seconds_left).claim("1#whole", head.cursor)
    queues.send("events", event("1"))

    queues.run("events")

    (seconds,) = queues.back
    # The lease is in whole seconds, and a clock ticks.
    assert after - 1 <= seconds <= after + 1
    assert queues.failed == []


def test_what_comes_back_is_delivered_by_who_finds_the_lease_past(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    head = wiring.table().head(TOPIC)
    assert head
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    jobs = Jobs(wiring.table(), seconds_left=lambda: 30, clock=lambda: hour_ago)
    jobs.claim("1#whole", head.cursor)
    queues.send("events", event("1"))

    queues.settle()

    assert exchange.receivers() == ["a="]


# Poison.


def with_data(text: str) -> str:
    return events.encoded(event(data="?")).replace('"?"', text)


POISON_EVENTS = [
    ("not JSON", "InvalidJson"),
    (with_data("1e999"), "InvalidJson"),
    (with_data("9" * 5_000), "InvalidJson"),
    (events.encoded(event("x" * 257)), "InvalidEvent"),
    (events.encoded(event("\ud800")), "InvalidEvent"),
    (events.encoded(event() | {"detail": "text"}), "InvalidEvent"),
    (events.encoded(event() | {"detail": {}}), "InvalidEntityId"),
    (events.encoded(event(entityId=5)), "InvalidEntityId"),
    (events.encoded(event(entityId="x" * 257)), "InvalidEntityId"),
    (events.encoded(event(entityId="\ud800")), "InvalidEntityId"),
    (events.encoded(event(data="x" * MAX_FRAME_BYTES)), "FrameTooLarge"),
    (events.encoded(event() | {"detail-type": "Something Else"}), "UnknownDetailType"),
]


@pytest.mark.parametrize(("poison", "code"), POISON_EVENTS, ids=lambda value: value[-40:])
def test_a_poison_event_goes_to_the_dead_letters_and_its_neighbours_are_delivered_once(
    queues: Queues, exchange: FakeExchange, logs: StringIO, poison: str, code: str
) -> None:
    subscribe("a=")
    queues.send("events", event("1"), poison, event("2"))

    queues.settle()

    assert [json.loads(each)["id"] for each in exchange.frames("a=")] == ["1", "2"]
    assert reasons(queues) == [(poison, code)]
    assert (queues.back, queues.failed) == ([], [])
    assert code in logs.getvalue()


POISON_LETTERS = [
    "not a letter",
    "{}",
    letter("x" * 257),
    letter("\ud800"),
    letter(""),
    letter(eventId="x" * 257),
    letter(eventId="\ud800"),
    letter(topic="ENTITY#" + "x" * 300),
    letter(topic="ENTITY#\ud800"),
    letter(name="x" * 257),
    letter(after="\ud800"),
    letter(upto="x" * 257),
    letter(cursor="7"),
    letter(attempt=100),
    letter(frame="?").replace('"?"', "1e999"),
]


@pytest.mark.parametrize("poison", POISON_LETTERS, ids=lambda text: text[-40:])
def test_a_poison_letter_goes_to_the_dead_letters_and_its_neighbours_are_delivered_once(
    queues: Queues, exchange: FakeExchange, logs: StringIO, poison: str
) -> None:
    queues.send("letters", letter("a=", name="1"), poison, letter("b=", name="2"))

    queues.settle()

    assert exchange.receivers() == ["a=", "b="]
    assert reasons(queues) == [(poison, "InvalidDelivery")]
    assert (queues.back, queues.failed) == ([], [])
    assert "InvalidDelivery" in logs.getvalue()


def test_a_poison_message_comes_back_if_the_dead_letter_queue_does_not_take_it(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    queues.sqs.delete_queue(QueueUrl=queues.urls["dead"])
    queues.send("events", "not JSON", event())

    queues.run("events")

    assert queues.back == [2]
    assert queues.failed == []
    assert exchange.receivers() == ["a="]


def test_a_refusal_by_api_gateway_is_a_dead_letter_that_can_be_sent_again(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    exchange.tell("a=", Result.TOO_LARGE)
    queues.send("events", event())
    queues.settle()
    ((body, code),) = reasons(queues)

    assert code == "TooLarge"
    assert Letter.parse(body).ids == ("a=",)
    queues.send("letters", body)
    queues.settle()
    assert exchange.receivers() == ["a="]


# Failures.


def test_a_record_that_fails_comes_back_without_its_neighbours(
    queues: Queues, exchange: FakeExchange, dynamodb: Any, logs: StringIO
) -> None:
    subscribe("a=")
    failures = iter([True])
    fails(
        dynamodb,
        "UpdateItem",
        lambda params: params["Key"]["pk"]["S"] == "JOB#2#whole" and next(failures, False),
    )
    queues.send("events", event("1"), event("2"), event("3"))

    queues.run("events")
    assert [json.loads(each)["id"] for each in exchange.frames("a=")] == ["1", "3"]
    assert queues.back == [2]
    queues.settle()

    assert [json.loads(each)["id"] for each in exchange.frames("a=")] == ["1", "3", "2"]
    assert queues.failed == []
    assert "record failed" in logs.getvalue()


def test_a_message_comes_back_later_each_time(queues: Queues, dynamodb: Any) -> None:
    """For more than fifteen minutes, with as many receives as the queues allow."""
    dynamodb.delete_table(TableName="connections")
    queues.send("events", event())
    receives = [
        resource["Properties"]["RedrivePolicy"]["maxReceiveCount"]
        for resource in template.written()["Resources"].values()
        if resource["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in resource["Properties"]
    ]
    assert receives

    for _ in range(max(receives)):
        queues.run("events")

    assert queues.back[:9] == [2, 4, 8, 16, 32, 64, 128, 180, 180]
    assert set(queues.back[9:]) <= {MAX_RETRY_SECONDS}
    # It comes back once less often than it is received.
    assert sum(queues.back[: min(receives) - 1]) > 15 * 60


def test_a_batch_of_which_every_record_failed_is_an_error(
    queues: Queues, dynamodb: Any, logs: StringIO
) -> None:
    """For Lambda's `Errors` metric: a batch that reports failures is a success there."""
    dynamodb.delete_table(TableName="connections")
    queues.send("events", event("1"), event("2"))

    assert queues.run("events") == 2

    (failed,) = queues.failed
    assert isinstance(failed, BatchFailed)
    assert queues.back == [2, 2]
    assert queues.run("events") == 2
    assert queues.back == [2, 2, 4, 4]


def test_a_batch_of_which_one_record_is_poison_is_no_error(queues: Queues, dynamodb: Any) -> None:
    dynamodb.delete_table(TableName="connections")
    queues.send("events", event("1"), "poison")

    queues.run("events")

    assert queues.failed == []
    assert queues.back == [2]


def test_a_message_that_cannot_be_told_when_to_come_back_comes_back_all_the_same(
    queues: Queues, context: Any, dynamodb: Any, logs: StringIO
) -> None:
    """After the visibility timeout: its receipt handle is not one."""
    subscribe("a=")
    fails(dynamodb, "UpdateItem", lambda params: params["Key"]["pk"]["S"] == "JOB#2#whole")

    response = notifier.app.lambda_handler(events.batch(event("1"), event("2")), context)

    assert response == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert "comes back after the visibility timeout" in logs.getvalue()


def test_an_engine_that_fails_gives_every_message_back(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("a=")
    subscribe("b=")
    exchange.engine_fails_at = 2
    queues.send("events", event("1"), event("2"))

    queues.run("events")
    assert queues.failed
    queues.settle()

    for connection_id in ("a=", "b="):
        ids = {json.loads(frame)["id"] for frame in exchange.frames(connection_id)}
        assert ids == {"1", "2"}


def test_a_batch_whose_records_are_handled_in_threads_is_the_same(
    queues: Queues, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_threads = FakeExchange(threads=10)
    monkeypatch.setattr(management_api, "Exchange", lambda api, threads: in_threads)
    names = [f"entity {number}" for number in range(5)]
    subscribe("a=", *names)
    both = [(name, number) for name in names for number in range(2)]
    queues.send("events", *(event(f"{name} {number}", entityId=name) for name, number in both))

    queues.settle()

    frames = [json.loads(frame) for frame in in_threads.frames("a=")]
    assert sorted(frame["id"] for frame in frames) == sorted(f"{a} {b}" for a, b in both)
    for name in names:
        cursors = [each["cursor"] for each in frames if each["entityId"] == name]
        assert sorted(each.partition("-")[2] for each in cursors) == ["1", "2"]


def test_out_of_time_the_rest_goes_on_with_the_courier(
    queues: Queues, exchange: FakeExchange, context: Any
) -> None:
    for connection_id in ("a=", "b="):
        subscribe(connection_id)
    context.seconds_left = 5
    queues.send("events", event())

    queues.run("events")
    assert exchange.posted == []
    assert queues.delays == [1]
    context.seconds_left = 30
    queues.settle()

    assert exchange.receivers() == ["a=", "b="]


# What the parts are made from.


def test_the_engine_is_the_api_s_own_with_its_share_of_the_rate(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        management_api,
        "ManagementApi",
        lambda endpoint, **options: made.append((endpoint, options)),
    )
    queues.send("events", event())
    queues.send("letters", letter())

    queues.settle()

    assert len(made) == 2
    for endpoint, options in made:
        assert endpoint == "https://abcd123456.execute-api.us-east-1.amazonaws.com/v1"
        assert options["rate_per_second"] == 1_000


def test_the_parts_are_made_once_for_all_invocations(
    queues: Queues, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeExchange] = []

    def make(api: Any, threads: int) -> FakeExchange:
        made.append(exchange)
        assert threads == RECORDS_PER_BATCH
        return exchange

    monkeypatch.setattr(management_api, "Exchange", make)
    for number in range(3):
        queues.send("events", event(str(number)))
        queues.settle()

    assert len(made) == 1


def test_who_did_not_answer_is_remembered_by_the_next_invocation(
    queues: Queues, exchange: FakeExchange
) -> None:
    subscribe("slow=")
    exchange.always("slow=", Told(Result.FAILED, 3.0))
    for number in range(3):
        queues.send("events", event(str(number)))
        queues.run("events")

    assert exchange.posted == ["slow="]


# Logs and metrics.


def test_logs_hold_nothing_of_a_frame_or_of_what_was_refused(
    queues: Queues, exchange: FakeExchange, logs: StringIO
) -> None:
    subscribe("a=", "secret-entity")
    exchange.always("a=", Result.REFUSED)
    queues.send(
        "events",
        event("1", entityId="secret-entity", message="secret", data="secret"),
        "secret",
        event("2", entityId="secret" * 100),
        event("3") | {"detail": "secret"},
        event("4") | {"detail-type": "secret"},
    )
    queues.send(
        "letters",
        "secret",
        letter(cursor="secret"),
        letter(ids="secret"),
        letter(attempt="secret"),
        letter(name="secret" * 100),
    )

    queues.settle()

    assert len(reasons(queues)) == 10
    assert "message rejected" in logs.getvalue()
    assert "delivery walked" in logs.getvalue()
    assert "secret" not in logs.getvalue()


def test_what_became_of_messages_and_posts_is_counted(
    queues: Queues, exchange: FakeExchange, dynamodb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for connection_id in ("a=", "b=", "c=", "d=", "e="):
        subscribe(connection_id)
    exchange.always("c=", Result.GONE)
    exchange.always("d=", Result.FAILED)
    exchange.always("e=", Result.REFUSED)
    fails(dynamodb, "UpdateItem", lambda params: params["Key"]["pk"]["S"] == "JOB#2#whole")
    queues.send(
        "events",
        *(event("1"), event("1"), event("2"), event("3", entityId="unwatched"), "poison"),
    )
    capsys.readouterr()

    queues.run("events")

    (blob,) = blobs(capsys)
    latencies = [blob.pop("DeliveryLatency"), blob.pop("DeliveryLatencyFromQueue")]
    assert [len(each) for each in latencies] == [2, 2]
    assert {name: sum(blob[name]) for name in blob if isinstance(blob[name], list)} == {
        "RecordsReceived": 5,
        "EventsReceived": 4,
        "RecordsFailed": 1,
        "EventsRejected": 1,
        "EventsRepeated": 1,
        "EventsUnwatched": 1,
        "NotificationsDelivered": 2,
        "NotificationsGone": 1,
        "NotificationsFailed": 1,
        "NotificationsRefused": 1,
    }


def test_every_latency_is_published_a_hundred_to_a_line(
    queues: Queues, exchange: FakeExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    """CloudWatch drops a line with more."""
    for number in range(251):
        subscribe(f"{number:03}=")
    queues.send("events", event())
    capsys.readouterr()

    queues.settle()

    printed = blobs(capsys)
    assert [len(blob["DeliveryLatency"]) for blob in printed] == [100, 100, 51]
    assert [len(blob["DeliveryLatencyFromQueue"]) for blob in printed] == [100, 100, 51]
    for blob in printed:
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
        assert units["DeliveryLatency"] == units["DeliveryLatencyFromQueue"] == "Milliseconds"
        # The stack is the only dimension, where it has a name: each further one is paid for.
        (dimensions,) = directive["Dimensions"]
        assert set(dimensions) <= {"service"}
    assert [blob.get("NotificationsDelivered") for blob in printed] == [[251], None, None]


def test_a_latency_is_that_from_the_queue_also_for_what_a_courier_posts(
    queues: Queues, exchange: FakeExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    subscribe("a=")
    exchange.tell("a=", Result.THROTTLED)
    before = time.time()
    queues.send("events", event())
    queues.run("events")
    capsys.readouterr()

    queues.run("letters")

    (blob,) = blobs(capsys)
    (milliseconds,) = blob["DeliveryLatencyFromQueue"]
    assert 0 <= milliseconds <= (time.time() - before) * 1000 + 1
    # The event in the events is older than this test.
    assert blob["DeliveryLatency"][0] > milliseconds


def test_only_the_first_try_of_an_event_counts_as_one_that_came(
    queues: Queues, dynamodb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    subscribe("a=")
    failures = iter([True])
    fails(dynamodb, "GetItem", lambda params: next(failures, False))
    queues.send("events", event())
    capsys.readouterr()

    queues.settle()

    assert [blob.get("EventsReceived") for blob in blobs(capsys)] == [[1], None]


def blobs(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines that CloudWatch reads metrics from."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "_aws" in line]


def test_two_lines_tell_the_way_of_an_event_that_meets_no_trouble(
    queues: Queues, exchange: FakeExchange, logs: StringIO
) -> None:
    subscribe("a=")
    queues.send("events", event("7"))

    queues.settle()

    numbered, walked = lines(logs)
    assert numbered["message"] == "event numbered"
    assert (numbered["source"], numbered["receives"]) == ("my.application", 1)
    assert walked["message"] == "delivery walked"
    assert (walked["job"], walked["attempt"], walked["finished"]) == ("whole", 0, True)
    assert (walked["walked_after"], walked["walked_upto"]) == ("", "~")
    assert [walked[name] for name in ("delivered", "gone", "failed", "refused")] == [1, 0, 0, 0]
    assert walked["cursor"] == numbered["cursor"]
    for line in (numbered, walked):
        assert line["event_id"] == "7"
        assert line["topic"] == TOPIC.digest
        assert line["message_id"]


def test_the_lines_of_an_event_with_trouble_name_whom_it_did_not_reach(
    queues: Queues, exchange: FakeExchange, logs: StringIO
) -> None:
    for connection_id in ("a=", "gone=", "refused=", "slow=", "throttled="):
        subscribe(connection_id)
    exchange.always("gone=", Result.GONE)
    exchange.always("refused=", Result.REFUSED)
    exchange.tell("slow=", Result.FAILED)
    exchange.tell("throttled=", Result.THROTTLED)
    queues.send("events", event("7"))

    queues.settle()

    found = lines(logs)
    assert {line["event_id"] for line in found} == {"7"}
    assert [line["message"] for line in found] == [
        "event numbered",
        "connections forgotten",
        "stragglers handed on",
        "posts refused",
        "delivery walked",
        "delivery walked",
    ]
    _, forgotten, handed_on, refused, walked, tried = found
    assert forgotten["connections"] == ["gone="]
    assert handed_on["connections"] == ["slow=", "throttled="]
    assert handed_on["reasons"] == {"Failed": 1, "Throttled": 1}
    assert (handed_on["attempt"], handed_on["delay_seconds"]) == (1, 1)
    assert (refused["connections"], refused["code"]) == (["refused="], "Refused")
    assert (walked["failed"], walked["throttled"]) == (2, 1)
    assert tried["connections"] == ["slow=", "throttled="]
    assert handed_on["jobs"] == [tried["job"]]
    assert (tried["attempt"], tried["delivered"]) == (1, 2)
    # It is a list of connections, and no range.
    assert "walked_upto" not in tried


def test_the_lines_of_a_large_event_are_linked_by_the_names_of_its_ranges(
    queues: Queues, exchange: FakeExchange, logs: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBSCRIBERS_PER_DELIVERY", "2")
    for connection_id in ("a=", "b=", "c=", "d=", "e="):
        subscribe(connection_id)
    queues.send("events", event("7"))

    queues.settle()

    found = lines(logs)
    (cut,) = [line for line in found if line["message"] == "ranges handed on"]
    walked = [line for line in found if line["message"] == "delivery walked"]
    assert cut["jobs"] == ["(,b=]", "(b=,d=]"]
    assert {line["job"]: (line["walked_after"], line["walked_upto"]) for line in walked} == {
        "whole": ("d=", "~"),
        "(,b=]": ("", "b="),
        "(b=,d=]": ("b=", "d="),
    }
    assert {line["event_id"] for line in found} == {"7"}
    assert {line["topic"] for line in found} == {TOPIC.digest}


def test_every_line_about_an_event_names_it_whatever_goes_wrong(
    queues: Queues, exchange: FakeExchange, dynamodb: Any, logs: StringIO
) -> None:
    """Also where threads work side by side, and where other threads work for them."""
    for connection_id in ("a=", "b=", "gone-1=", "gone-2="):
        subscribe(connection_id, ENTITY_ID, "other")
    for connection_id in ("gone-1=", "gone-2="):
        exchange.always(connection_id, Result.GONE)
    fails(dynamodb, "DeleteItem", lambda params: True)
    failures = iter([True])
    fails(
        dynamodb,
        "UpdateItem",
        lambda params: params["Key"]["pk"]["S"] == "JOB#4#whole" and next(failures, False),
    )
    queues.send(
        "events",
        *(event("1"), event("1"), event("2", entityId="other"), event("3", entityId="nobody")),
        *(event("4"), event("5", entityId=""), event("6") | {"detail-type": "secret"}),
    )
    queues.send("letters", letter(attempt="secret", eventId="8"))

    queues.run("events")
    queues.run("events")
    queues.run("letters")

    found = lines(logs)
    seen = {(line["message"], line.get("event_id")) for line in found}
    assert {event_id for _, event_id in seen} == set("1234568")
    assert seen > {
        ("connection not forgotten", "1"),
        ("connection not forgotten", "2"),
        ("message is a copy", "1"),
        ("event unwatched", "3"),
        ("record failed", "4"),
        ("event numbered", "4"),
        ("message rejected", "5"),
        ("message rejected", "6"),
        ("message rejected", "8"),
    }
    assert all(line["message_id"] for line in found)


def test_who_sends_poison_is_named(queues: Queues, logs: StringIO) -> None:
    queues.send(
        "events",
        event("1", entityId=5) | {"source": "careless.publisher"},
        event("2", entityId=5) | {"source": "s" * 257},
        event("3", entityId=5) | {"source": "two\nlines"},
        "poison",
    )

    queues.settle()

    found = sorted(lines(logs), key=lambda line: line.get("event_id", ""))
    assert [
        (line.get("event_id"), line["code"], line.get("source"), line["level"]) for line in found
    ] == [
        (None, "InvalidJson", None, "ERROR"),
        ("1", "InvalidEntityId", "careless.publisher", "ERROR"),
        ("2", "InvalidEntityId", None, "ERROR"),
        ("3", "InvalidEntityId", None, "ERROR"),
    ]


def test_each_post_is_logged_for_who_asks_for_it(
    queues: Queues, exchange: FakeExchange, logs: StringIO
) -> None:
    subscribe("a=")
    subscribe("b=")
    exchange.tell("b=", Result.THROTTLED)
    queues.send("events", event("7"))
    level = logger.log_level
    logger.setLevel("DEBUG")
    try:
        queues.settle()
    finally:
        logger.setLevel(level)

    posts = [line for line in lines(logs) if line["message"] == "post answered"]
    assert [(line["connection_id"], line["result"], line.get("reason")) for line in posts] == [
        ("a=", "Ok", None),
        ("b=", "Throttled", "HTTP 429: LimitExceededException"),
        ("b=", "Ok", None),
    ]
    assert {line["event_id"] for line in posts} == {"7"}


def lines(logs: StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in logs.getvalue().splitlines()]


def test_what_a_client_recovers_is_what_it_would_have_heard(
    queues: Queues, exchange: FakeExchange, context: Any
) -> None:
    """The two flows meet in the log."""
    connect.app.lambda_handler(events.load("connect"), context)

    def subscribe(**since: str) -> dict[str, Any]:
        frame = {"entityId": ENTITY_ID, **since}
        response = subscribe_app.lambda_handler(events.message("subscribe", frame), context)
        reply: dict[str, Any] = json.loads(response["body"])
        return reply

    cursor = subscribe()["cursor"]
    queues.send("events", event("1", data={"b": 1, "a": [2.50]}), event("2", message=""))
    queues.settle()

    heard = exchange.frames(events.CONNECTION_ID)
    assert subscribe(since=cursor)["events"] == [json.loads(frame) for frame in heard]
    assert json.loads(heard[-1])["cursor"] == subscribe()["cursor"]
