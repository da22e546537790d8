"""The notifier, called with batches of SQS records."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import boto3
import pytest

import notifier.app
from push.adapters.dead_letters import DeadLetterQueue
from push.adapters.table import ConnectionTable, connection_table
from push.connection import Connection
from push.delivery import Result
from push.errors import ServiceUnavailable
from push.settings import NotifierSettings
from support import events
from support.events import ENTITY_ID
from support.poster import FakePoster

Rows = Callable[[], list[dict[str, Any]]]
Notify = Callable[..., list[str]]


@pytest.fixture
def dead_letters(dynamodb: Any) -> Any:
    """A client of a moto SQS, and the URL of its dead-letter queue."""
    sqs = boto3.client("sqs")
    return sqs, sqs.create_queue(QueueName="dead-letters")["QueueUrl"]


@pytest.fixture
def notify(
    context: Any, poster: FakePoster, dead_letters: Any, monkeypatch: pytest.MonkeyPatch
) -> Notify:
    """Hand events to the notifier; return the message ids that go back to the queue."""
    monkeypatch.setattr(notifier.app, "_poster", lambda: poster)
    monkeypatch.setattr(notifier.app, "_dead_letters", lambda: DeadLetterQueue(dead_letters[1]))

    def notify(*bodies: object) -> list[str]:
        response = notifier.app.lambda_handler(events.batch(*bodies), context)
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    return notify


@pytest.fixture
def table(dynamodb: Any) -> ConnectionTable:
    return connection_table()


def subscribe(table: ConnectionTable, connection_id: str, *entity_ids: str) -> None:
    connection = Connection(connection_id, "203.0.113.7", datetime.now(UTC))
    table.add_connection(connection)
    for entity_id in entity_ids:
        table.subscribe(connection, entity_id)


def received(dead_letters: Any) -> list[dict[str, Any]]:
    sqs, url = dead_letters
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    return list(answer.get("Messages", []))


def test_an_event_reaches_the_subscribers_of_its_entity_and_no_others(
    notify: Notify, table: ConnectionTable, poster: FakePoster
) -> None:
    subscribe(table, "a=", ENTITY_ID)
    subscribe(table, "b=", ENTITY_ID, "other")
    subscribe(table, "c=", "other")
    subscribe(table, "d=")

    assert notify(events.entity_updated(entityId=ENTITY_ID, message="Hello world")) == []

    assert [connection_id for connection_id, _ in poster.delivered] == ["a=", "b="]
    assert json.loads(poster.delivered[0][1])["message"] == "Hello world"


def test_an_event_without_subscribers_is_done(notify: Notify, poster: FakePoster) -> None:
    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []
    assert poster.delivered == []


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
    notify: Notify,
    table: ConnectionTable,
    poster: FakePoster,
    dead_letters: Any,
    logs: StringIO,
    poison: object,
    code: str,
) -> None:
    subscribe(table, "a=", ENTITY_ID)
    good = [events.entity_updated(str(n), entityId=ENTITY_ID, message=n) for n in range(2)]

    assert notify(good[0], poison, good[1]) == []

    assert [json.loads(frame)["message"] for _, frame in poster.delivered] == [0, 1]
    (letter,) = received(dead_letters)
    assert letter["Body"] == (poison if isinstance(poison, str) else json.dumps(poison))
    attributes = letter["MessageAttributes"]
    assert attributes["errorCode"]["StringValue"] == code
    assert attributes["reason"]["StringValue"]
    assert code in logs.getvalue()


def test_a_poison_event_goes_back_if_the_dead_letter_queue_does_not_take_it(
    notify: Notify, dead_letters: Any, logs: StringIO
) -> None:
    sqs, url = dead_letters
    sqs.delete_queue(QueueUrl=url)

    assert notify("not JSON") == ["0"]
    assert "goes back to the queue" in logs.getvalue()


def test_a_gone_connection_is_forgotten_whole_and_delays_nobody(
    notify: Notify, table: ConnectionTable, poster: FakePoster, rows: Rows
) -> None:
    subscribe(table, "gone=", ENTITY_ID, "other")
    subscribe(table, "live=", ENTITY_ID, "other")
    poster.results["gone="] = Result.GONE

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []

    assert [connection_id for connection_id, _ in poster.delivered] == ["live="]
    assert {row["connectionId"] for row in rows()} == {"live="}
    assert len(rows()) == 3


def test_a_gone_connection_that_cannot_be_removed_does_not_repeat_the_event(
    notify: Notify, table: ConnectionTable, poster: FakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(table, "gone=", ENTITY_ID)
    poster.results["gone="] = Result.GONE

    def fail(*_: object) -> int:
        raise ServiceUnavailable

    monkeypatch.setattr(table, "remove_connection", fail)

    assert notify(events.entity_updated(entityId=ENTITY_ID)) == []


def test_an_event_with_failed_posts_goes_back_alone(
    notify: Notify, table: ConnectionTable, poster: FakePoster, logs: StringIO
) -> None:
    subscribe(table, "a=", "good")
    subscribe(table, "b=", "bad")
    poster.results["b="] = Result.FAILED

    failed = notify(
        events.entity_updated(entityId="good"),
        events.entity_updated(entityId="bad"),
        events.entity_updated(entityId="good"),
    )

    assert failed == ["1"]
    assert [connection_id for connection_id, _ in poster.delivered] == ["a=", "a="]
    assert "told so" in logs.getvalue()


def test_an_event_goes_back_if_the_table_does_not_answer(notify: Notify, dynamodb: Any) -> None:
    dynamodb.delete_table(TableName="connections")

    assert notify(events.entity_updated(entityId=ENTITY_ID), "poison") == ["0"]


def test_what_became_of_the_posts_is_counted(
    notify: Notify,
    table: ConnectionTable,
    poster: FakePoster,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for connection_id in ("a=", "b=", "c=", "d="):
        subscribe(table, connection_id, ENTITY_ID)
    poster.results |= {"c=": Result.GONE, "d=": Result.FAILED}
    capsys.readouterr()

    notify(events.entity_updated(entityId=ENTITY_ID), "poison")

    (blob,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert {name: sum(blob[name]) for name in blob if isinstance(blob[name], list)} == {
        "EventsReceived": 2,
        "EventsRejected": 1,
        "NotificationsDelivered": 2,
        "NotificationsGone": 1,
        "NotificationsFailed": 1,
    }


def test_logs_hold_nothing_of_a_frame(
    notify: Notify, table: ConnectionTable, logs: StringIO
) -> None:
    subscribe(table, "a=", ENTITY_ID)

    notify(events.entity_updated(entityId=ENTITY_ID, message="secret", data="secret"))

    assert "delivered" in logs.getvalue()
    assert "secret" not in logs.getvalue()


@pytest.mark.parametrize("name", ["CONNECTIONS_ENDPOINT", "DEAD_LETTER_QUEUE_URL"])
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CONNECTIONS_ENDPOINT", "https://example.com/v1")
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", "https://example.com/queue")
    monkeypatch.delenv(name)

    with pytest.raises(RuntimeError, match=name):
        NotifierSettings.from_environment()
