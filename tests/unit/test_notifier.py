"""The notifier and the courier of the delivery queue, called with batches of SQS records."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import boto3
import pytest

import deliver.app
import notifier.app
from push import settings, wiring
from push.adapters.table import ConnectionTable, connection_table
from push.connection import Connection
from push.delivery import ROUNDS
from push.errors import ServiceUnavailable
from push.posting import Result
from support import events
from support.events import ENTITY_ID
from support.poster import FakePoster

Rows = Callable[[], list[dict[str, Any]]]
Invoke = Callable[..., list[str]]

QUEUES = {
    "NOTIFICATION_QUEUE_URL": "notifications",
    "DELIVERY_QUEUE_URL": "deliveries",
    "DEAD_LETTER_QUEUE_URL": "dead-letters",
}


@pytest.fixture
def queues(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a moto SQS that holds the queues of the environment."""
    sqs = boto3.client("sqs")
    for variable, name in QUEUES.items():
        monkeypatch.setenv(variable, sqs.create_queue(QueueName=name)["QueueUrl"])
    monkeypatch.setenv("CONNECTIONS_ENDPOINT", "https://example.com/v1")
    monkeypatch.setenv("POSTS_PER_SECOND", "8000")
    monkeypatch.setenv("NOTIFIER_MAX_CONCURRENCY", "5")
    monkeypatch.setenv("DELIVER_MAX_CONCURRENCY", "3")
    monkeypatch.setenv("SUBSCRIBERS_PER_DELIVERY", "1000")
    return sqs


@pytest.fixture(autouse=True)
def parts(queues: Any, poster: FakePoster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    wiring.posting_settings.cache_clear()
    monkeypatch.setattr(wiring, "poster", lambda: poster)
    monkeypatch.setattr("push.delivery.ROUND_DELAY_SECONDS", 0)
    yield
    wiring.posting_settings.cache_clear()


@pytest.fixture
def notify(context: Any) -> Invoke:
    """Hand events to the notifier; return the message ids that go back to the queue."""

    def notify(*bodies: object) -> list[str]:
        response = notifier.app.lambda_handler(events.batch(*bodies), context)
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    return notify


@pytest.fixture
def deliver_all(context: Any, queues: Any) -> Callable[[], int]:
    """Hand what is in the delivery queue to its function; return how many messages there were."""

    def deliver_all() -> int:
        messages = received(queues, "deliveries")
        for message in messages:
            response = deliver.app.lambda_handler(events.batch(message["Body"]), context)
            assert response == {"batchItemFailures": []}
        return len(messages)

    return deliver_all


@pytest.fixture
def table(dynamodb: Any) -> ConnectionTable:
    return connection_table()


def subscribe(table: ConnectionTable, connection_id: str, *entity_ids: str) -> None:
    connection = Connection(connection_id, "203.0.113.7", datetime.now(UTC))
    table.add_connection(connection)
    for entity_id in entity_ids:
        table.subscribe(connection, entity_id)


def received(sqs: Any, name: str) -> list[dict[str, Any]]:
    """Take all messages of a queue, also those that are delayed."""
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    messages: list[dict[str, Any]] = []
    while found := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        messages += found
    return messages


def test_an_event_reaches_the_subscribers_of_its_entity_and_no_others(
    notify: Invoke, table: ConnectionTable, poster: FakePoster
) -> None:
    subscribe(table, "a=", ENTITY_ID)
    subscribe(table, "b=", ENTITY_ID, "other")
    subscribe(table, "c=", "other")
    subscribe(table, "d=")

    assert notify(events.entity_updated(entityId=ENTITY_ID, message="Hello world")) == []

    assert poster.receivers() == ["a=", "b="]
    assert json.loads(poster.delivered[0][1])["message"] == "Hello world"


def test_an_event_without_subscribers_is_done(notify: Invoke, poster: FakePoster) -> None:
    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []
    assert poster.delivered == []


def test_an_event_that_comes_twice_is_delivered_once(
    notify: Invoke, table: ConnectionTable, poster: FakePoster
) -> None:
    subscribe(table, "a=", ENTITY_ID)
    event = events.entity_updated("same", entityId=ENTITY_ID)

    assert notify(event, event) == []
    assert notify(event) == []
    assert notify(events.entity_updated("other", entityId=ENTITY_ID)) == []

    assert poster.receivers() == ["a=", "a="]


@pytest.mark.parametrize(
    ("poison", "code"),
    [
        ("not JSON", "InvalidJson"),
        (events.entity_updated(), "InvalidEntityId"),
        (events.entity_updated(entityId=5), "InvalidEntityId"),
        (events.entity_updated() | {"detail": "text"}, "InvalidEvent"),
        (events.entity_updated(entityId="e", data="x" * 2**17), "FrameTooLarge"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_poison_event_goes_to_the_dead_letters_and_its_neighbours_are_delivered_once(
    notify: Invoke,
    table: ConnectionTable,
    poster: FakePoster,
    queues: Any,
    logs: StringIO,
    poison: object,
    code: str,
) -> None:
    subscribe(table, "a=", ENTITY_ID)
    good = [events.entity_updated(str(n), entityId=ENTITY_ID, message=n) for n in range(2)]

    assert notify(good[0], poison, good[1]) == []

    assert [json.loads(frame)["message"] for _, frame in poster.delivered] == [0, 1]
    (letter,) = received(queues, "dead-letters")
    assert letter["Body"] == (poison if isinstance(poison, str) else json.dumps(poison))
    attributes = letter["MessageAttributes"]
    assert attributes["errorCode"]["StringValue"] == code
    assert attributes["reason"]["StringValue"]
    assert code in logs.getvalue()


def test_the_delivery_in_the_events_is_posted_to_its_connection(
    context: Any, poster: FakePoster
) -> None:
    event = events.load("deliver")

    assert deliver.app.lambda_handler(event, context) == {"batchItemFailures": []}

    ((connection_id, frame),) = poster.delivered
    assert connection_id == events.CONNECTION_ID
    assert json.loads(frame)["message"] == "Hello world"


def test_what_is_no_delivery_goes_to_the_dead_letters(context: Any, queues: Any) -> None:
    response = deliver.app.lambda_handler(events.batch("not a delivery"), context)

    assert response == {"batchItemFailures": []}
    (letter,) = received(queues, "dead-letters")
    assert letter["Body"] == "not a delivery"
    assert letter["MessageAttributes"]["errorCode"]["StringValue"] == "InvalidDelivery"


def test_a_poison_event_goes_back_if_the_dead_letter_queue_does_not_take_it(
    notify: Invoke, queues: Any, logs: StringIO
) -> None:
    queues.delete_queue(QueueUrl=queues.get_queue_url(QueueName="dead-letters")["QueueUrl"])

    assert notify("not JSON") == ["0"]
    assert "goes back to the queue" in logs.getvalue()


def test_a_gone_connection_is_forgotten_whole_and_delays_nobody(
    notify: Invoke, table: ConnectionTable, poster: FakePoster, rows: Rows
) -> None:
    subscribe(table, "gone=", ENTITY_ID, "other")
    subscribe(table, "live=", ENTITY_ID, "other")
    poster.always("gone=", Result.GONE)

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []

    assert poster.receivers() == ["live="]
    left = [row for row in rows() if not row["pk"].startswith("JOB#")]
    assert {row["connectionId"] for row in left} == {"live="}
    assert len(left) == 3


def test_a_gone_connection_that_cannot_be_removed_does_not_repeat_the_event(
    notify: Invoke, table: ConnectionTable, poster: FakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(table, "gone=", ENTITY_ID)
    poster.always("gone=", Result.GONE)

    def fail(*_: object) -> int:
        raise ServiceUnavailable

    monkeypatch.setattr(table, "remove_connection", fail)

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []


def test_failed_posts_go_to_the_delivery_queue_and_nobody_else_s_are_repeated(
    notify: Invoke,
    table: ConnectionTable,
    poster: FakePoster,
    queues: Any,
    deliver_all: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("push.delivery.ATTEMPT_DELAY_SECONDS", 0)
    for connection_id in ("a=", "b=", "c="):
        subscribe(table, connection_id, ENTITY_ID)
    poster.results["b="] = [Result.THROTTLED] * (ROUNDS + 1)

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []
    assert poster.receivers() == ["a=", "c="]

    assert deliver_all() == 1
    assert deliver_all() == 0
    assert poster.receivers() == ["a=", "c=", "b="]


def test_a_large_fan_out_is_delivered_by_the_delivery_queue(
    notify: Invoke,
    table: ConnectionTable,
    poster: FakePoster,
    deliver_all: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [f"{number:03}=" for number in range(7)]
    for connection_id in ids:
        subscribe(table, connection_id, ENTITY_ID)
    monkeypatch.setenv("SUBSCRIBERS_PER_DELIVERY", "3")

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []
    assert poster.delivered == []

    assert deliver_all() == 3
    assert sorted(poster.receivers()) == ids


def test_a_walk_that_ran_out_of_time_continues_where_it_was(
    notify: Invoke,
    context: Any,
    table: ConnectionTable,
    poster: FakePoster,
    queues: Any,
    deliver_all: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUBSCRIBERS_PER_DELIVERY", "1")
    monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: 5_000)
    ids = [f"{number:03}=" for number in range(25)]
    for connection_id in ids:
        subscribe(table, connection_id, ENTITY_ID)

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []
    rounds = 0
    while messages := received(queues, "notifications"):
        rounds += 1
        for message in messages:
            record = events.batch(message["Body"])
            record["Records"][0]["messageAttributes"] = {
                "after": {
                    "stringValue": message["MessageAttributes"]["after"]["StringValue"],
                    "dataType": "String",
                }
            }
            assert notifier.app.lambda_handler(record, context) == {"batchItemFailures": []}
    assert rounds == 3

    monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: 60_000)
    while deliver_all():
        pass
    assert sorted(poster.receivers()) == ids


def test_an_event_goes_back_alone_if_the_table_does_not_answer(
    notify: Invoke, dynamodb: Any, queues: Any
) -> None:
    dynamodb.delete_table(TableName="connections")

    assert notify(events.entity_updated(entityId=ENTITY_ID), "poison") == ["0"]
    assert len(received(queues, "dead-letters")) == 1


def test_what_became_of_the_posts_is_counted(
    notify: Invoke,
    table: ConnectionTable,
    poster: FakePoster,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for connection_id in ("a=", "b=", "c=", "d=", "e="):
        subscribe(table, connection_id, ENTITY_ID)
    poster.always("c=", Result.GONE)
    poster.always("d=", Result.FAILED)
    poster.always("e=", Result.REFUSED)
    event = events.entity_updated(entityId=ENTITY_ID)
    capsys.readouterr()

    notify(event, event, "poison")

    (blob,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert {name: sum(blob[name]) for name in blob if isinstance(blob[name], list)} == {
        "RecordsReceived": 3,
        "EventsRejected": 1,
        "EventsRepeated": 1,
        "NotificationsDelivered": 2,
        "NotificationsGone": 1,
        "NotificationsFailed": 1,
        "NotificationsRefused": 1,
    }


def test_logs_hold_nothing_of_a_frame(
    notify: Invoke, table: ConnectionTable, logs: StringIO
) -> None:
    subscribe(table, "a=", ENTITY_ID)

    notify(events.entity_updated(entityId=ENTITY_ID, message="secret", data="secret"))

    assert "delivered" in logs.getvalue()
    assert "secret" not in logs.getvalue()


def test_an_instance_posts_its_share_of_the_rate(queues: Any) -> None:
    assert settings.PostingSettings.from_environment().posts_per_second == 1_000


@pytest.mark.parametrize(
    "name",
    [
        *("CONNECTIONS_ENDPOINT", "DEAD_LETTER_QUEUE_URL", "DELIVERY_QUEUE_URL"),
        *("POSTS_PER_SECOND", "NOTIFIER_MAX_CONCURRENCY", "DELIVER_MAX_CONCURRENCY"),
        "SUBSCRIBERS_PER_DELIVERY",
    ],
)
def test_a_missing_variable_is_named(
    queues: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(RuntimeError, match=name):
        settings.PostingSettings.from_environment()


def test_a_missing_queue_of_the_notifier_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFICATION_QUEUE_URL")

    with pytest.raises(RuntimeError, match="NOTIFICATION_QUEUE_URL"):
        settings.notification_queue_url()
