"""The queues that functions write to, on moto's SQS."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from push.adapters.queues import DeadLetterQueue, DeliverySqsQueue, NotificationQueue
from push.delivery import Delivery
from push.errors import EventRejected, ServiceUnavailable
from push.protocol import MAX_MESSAGE_BYTES

SQS_LIMIT = 262_144


def delivery(number: int = 0, size: int = 10) -> Delivery:
    frame = json.dumps({"data": "x" * size}, separators=(",", ":")).encode()
    return Delivery("1", "e", f"job {number}", frame, ("a=", "b="))


@pytest.fixture
def sqs(dynamodb: Any) -> Any:
    return boto3.client("sqs")


@pytest.fixture
def url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName="queue")["QueueUrl"])


@pytest.fixture
def received(sqs: Any, url: str) -> Callable[[], list[dict[str, Any]]]:
    def receive() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while found := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            messages += found
        return messages

    return receive


@pytest.mark.parametrize("count", [1, 10, 11, 35])
def test_deliveries_are_sent_in_batches_that_sqs_takes(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]], count: int
) -> None:
    DeliverySqsQueue(sqs, url).put([delivery(number) for number in range(count)])

    jobs = [Delivery.parse(message["Body"]).job for message in received()]
    assert sorted(jobs) == sorted(f"job {number}" for number in range(count))


def test_batches_stay_below_the_size_that_sqs_takes(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    sizes = []

    def measure(params: dict[str, Any], **_: Any) -> None:
        sizes.append(sum(len(entry["MessageBody"].encode()) for entry in params["Entries"]))

    sqs.meta.events.register("provide-client-params.sqs.SendMessageBatch", measure)
    large = [delivery(number, MAX_MESSAGE_BYTES - 20) for number in range(5)]

    DeliverySqsQueue(sqs, url).put([*large, *(delivery(number) for number in range(5, 9))])

    assert max(sizes) < SQS_LIMIT
    assert len(received()) == 9


def test_the_largest_chunk_of_the_largest_frame_fits_into_a_message() -> None:
    # The quotes would double if the frame were a text inside the message.
    frame = json.dumps({"data": '"' * (MAX_MESSAGE_BYTES // 2 - 10)}, separators=(",", ":"))
    ids = tuple(f"{number:015}=" for number in range(1_000))

    text = Delivery("1" * 36, "e" * 256, "j" * 32, frame.encode(), ids).encode()

    assert len(text.encode()) < SQS_LIMIT - 20_000


def test_what_sqs_did_not_take_is_sent_again_and_only_that(sqs: Any, url: str) -> None:
    calls = []

    class Partial:
        def send_message_batch(self, **arguments: Any) -> Any:
            ids = [entry["Id"] for entry in arguments["Entries"]]
            calls.append(ids)
            return {"Failed": [{"Id": id_} for id_ in ids[1:]]}

    DeliverySqsQueue(Partial(), url, sleep=lambda _: None).put(  # type: ignore[arg-type]
        [delivery(number) for number in range(3)]
    )

    assert calls == [["0", "1", "2"], ["1", "2"], ["2"]]


def test_what_sqs_never_takes_is_service_unavailable(url: str) -> None:
    class Refusing:
        def send_message_batch(self, **arguments: Any) -> Any:
            return {"Failed": [{"Id": entry["Id"]} for entry in arguments["Entries"]]}

    with pytest.raises(ServiceUnavailable):
        DeliverySqsQueue(Refusing(), url, sleep=lambda _: None).put(  # type: ignore[arg-type]
            [delivery()]
        )


def test_a_delay_is_passed_on(sqs: Any, url: str) -> None:
    delays: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        delays.extend(entry["DelaySeconds"] for entry in params["Entries"])

    sqs.meta.events.register("provide-client-params.sqs.SendMessageBatch", note)

    DeliverySqsQueue(sqs, url).put([delivery()], 7)

    assert delays == [7]


def test_characters_that_sqs_refuses_arrive_all_the_same(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    frame = '{"data":"\ufffe\uffff"}'.encode()
    bodies: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        bodies.extend(entry["MessageBody"] for entry in params["Entries"])

    sqs.meta.events.register("provide-client-params.sqs.SendMessageBatch", note)

    DeliverySqsQueue(sqs, url).put([Delivery("1", "e", "j", frame, ("a=",))])

    assert "\ufffe" not in bodies[0]
    assert "\uffff" not in bodies[0]
    assert Delivery.parse(received()[0]["Body"]).frame == frame


def test_a_continuation_carries_the_event_and_where_to_go_on(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    NotificationQueue(sqs, url).put_continuation("the event", "c=")

    (message,) = received()
    assert message["Body"] == "the event"
    assert message["MessageAttributes"]["after"]["StringValue"] == "c="


def test_a_dead_letter_carries_its_reason(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    DeadLetterQueue(sqs, url).put("body", EventRejected("Code", "because\x00 " + "x" * 1_000))

    (message,) = received()
    assert message["Body"] == "body"
    attributes = message["MessageAttributes"]
    assert attributes["errorCode"]["StringValue"] == "Code"
    assert attributes["reason"]["StringValue"].startswith("because? xxx")


@pytest.mark.parametrize("use", ["deliveries", "continuation", "dead letter"])
def test_a_queue_that_does_not_answer_is_service_unavailable(sqs: Any, url: str, use: str) -> None:
    sqs.delete_queue(QueueUrl=url)

    with pytest.raises(ServiceUnavailable):
        match use:
            case "deliveries":
                DeliverySqsQueue(sqs, url).put([delivery()])
            case "continuation":
                NotificationQueue(sqs, url).put_continuation("event", "a=")
            case _:
                DeadLetterQueue(sqs, url).put("body", EventRejected("Code", "reason"))
