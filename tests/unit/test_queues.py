"""The queues that the functions write to, on moto's SQS."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from push import wiring
from push.adapters.queues import DeadLetters, Letters, Receipts
from push.errors import EventRejected, ServiceUnavailable
from push.events import MAX_FRAME_BYTES
from push.jobs import Letter
from push.topics import Cursor, LoggedEvent, Topic
from support.exchange import Clock

# What SQS took before August 2025, and what it takes in Regions that are late.
SQS_LIMIT = 262_144


def letter(number: int = 0, size: int = 10, data: str = "x") -> Letter:
    frame = json.dumps({"data": data * size}, ensure_ascii=False, separators=(",", ":"))
    event = LoggedEvent(Cursor("5f0c2a9be41d", 7), frame)
    return Letter("1", Topic.entity("e"), event, f"job-{number}")


class Answering:
    """An SQS that answers a batch as it is told, and remembers what it got."""

    def __init__(self, answer: Callable[[list[str]], list[str]]) -> None:
        self.answer = answer
        self.batches: list[list[str]] = []

    def send_message_batch(self, **arguments: Any) -> Any:
        ids = [entry["Id"] for entry in arguments["Entries"]]
        self.batches.append(ids)
        # SQS leaves out a member that is empty.
        failed = [{"Id": id_, "Code": "InternalError"} for id_ in self.answer(ids)]
        return {"Failed": failed} if failed else {}


@pytest.fixture
def sqs(services: None) -> Any:
    return wiring._client("sqs")


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


@pytest.fixture
def sent(sqs: Any) -> list[list[dict[str, Any]]]:
    """The entries of each batch that was sent."""
    batches: list[list[dict[str, Any]]] = []
    sqs.meta.events.register(
        "provide-client-params.sqs.SendMessageBatch",
        lambda params, **_: batches.append([dict(entry) for entry in params["Entries"]]),
    )
    return batches


@pytest.mark.parametrize("count", [0, 1, 10, 11, 35])
def test_letters_are_sent_in_batches_that_sqs_takes(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]], count: int
) -> None:
    letters = [letter(number) for number in range(count)]

    Letters(sqs, url).send(letters)

    arrived = [Letter.parse(message["Body"]) for message in received()]
    assert sorted(arrived, key=lambda each: each.name) == sorted(
        letters, key=lambda each: each.name
    )


@pytest.mark.parametrize("data", ["x", "\u00e9", "\uffff"])
def test_batches_stay_below_the_size_that_sqs_takes(
    sqs: Any,
    url: str,
    received: Callable[[], list[dict[str, Any]]],
    sent: list[list[dict[str, Any]]],
    data: str,
) -> None:
    size = (MAX_FRAME_BYTES - 20) // max(1, len(data.encode()))
    large = [letter(number, size, data) for number in range(5)]

    Letters(sqs, url).send([*large, *(letter(number) for number in range(5, 9))])

    sizes = [sum(len(each["MessageBody"].encode()) for each in batch) for batch in sent]
    assert max(sizes) < SQS_LIMIT
    assert len(received()) == 9


def test_what_sqs_did_not_take_is_sent_again_and_only_that() -> None:
    sqs: Any = Answering(lambda ids: ids[1:])

    Letters(sqs, "url", sleep=lambda _: None).send([letter(number) for number in range(3)])

    assert sqs.batches == [["0", "1", "2"], ["1", "2"], ["2"]]


def test_what_sqs_never_takes_is_service_unavailable_after_a_few_seconds() -> None:
    clock, sqs = Clock(), Answering(lambda ids: ids)
    begun = clock.now
    fake: Any = sqs

    with pytest.raises(ServiceUnavailable):
        Letters(fake, "url", clock=clock, sleep=clock.sleep).send([letter()])

    assert 3 <= clock.now - begun <= 4
    assert len(sqs.batches) > 2
    assert all(0 <= seconds <= 1 for seconds in clock.slept)


def test_every_batch_has_its_own_tries() -> None:
    clock = Clock()
    refused_until = clock.now + 2

    def slow(ids: list[str]) -> list[str]:
        nonlocal refused_until
        if clock.now < refused_until:
            return ids
        refused_until = clock.now + 2
        return []

    sqs: Any = Answering(slow)
    Letters(sqs, "url", clock=clock, sleep=clock.sleep).send([letter(n) for n in range(25)])

    assert sum(clock.slept) > 5


@pytest.mark.parametrize("seconds", [0, 1, 64])
def test_a_delay_is_passed_on(
    sqs: Any, url: str, sent: list[list[dict[str, Any]]], seconds: int
) -> None:
    Letters(sqs, url).send([letter(1), letter(2)], seconds)

    assert [each["DelaySeconds"] for batch in sent for each in batch] == [seconds, seconds]


def test_characters_that_sqs_refuses_arrive_all_the_same(
    sqs: Any,
    url: str,
    received: Callable[[], list[dict[str, Any]]],
    sent: list[list[dict[str, Any]]],
) -> None:
    odd = Letter("\ufffe", Topic.entity("\uffff"), letter(data="\ufffe\uffff").event, "whole")

    Letters(sqs, url).send([odd])

    ((entry,),) = sent
    assert not {"\ufffe", "\uffff"} & set(entry["MessageBody"])
    arrived = Letter.parse(received()[0]["Body"])
    assert (arrived.event_id, arrived.topic) == (odd.event_id, odd.topic)
    assert json.loads(arrived.event.frame) == json.loads(odd.event.frame)


def test_a_dead_letter_carries_its_reason(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    DeadLetters(sqs, url).send("body", EventRejected("Code", "because\x00\ufffe " + "x" * 1_000))

    (message,) = received()
    assert message["Body"] == "body"
    attributes = message["MessageAttributes"]
    assert attributes["errorCode"]["StringValue"] == "Code"
    assert attributes["reason"]["StringValue"].startswith("because?? xxx")
    assert len(attributes["reason"]["StringValue"]) == 256


def test_a_dead_letter_with_characters_that_sqs_refuses_is_the_same_json(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    DeadLetters(sqs, url).send('{"data":"\ufffe"}', EventRejected("Code", "reason"))

    assert json.loads(received()[0]["Body"]) == {"data": "\ufffe"}


def test_a_message_comes_back_after_the_seconds_that_are_said(
    sqs: Any, url: str, received: Callable[[], list[dict[str, Any]]]
) -> None:
    for body in ("soon", "late"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    handles = {message["Body"]: message["ReceiptHandle"] for message in received()}
    assert received() == []

    Receipts(sqs, url).come_back(handles["soon"], 0)
    Receipts(sqs, url).come_back(handles["late"], 100)

    assert [message["Body"] for message in received()] == ["soon"]


USES: dict[str, Callable[[Any, str], None]] = {
    "letters": lambda sqs, url: Letters(sqs, url).send([letter()]),
    "dead letters": lambda sqs, url: DeadLetters(sqs, url).send("b", EventRejected("C", "r")),
    "receipts": lambda sqs, url: Receipts(sqs, url).come_back("handle", 1),
}


@pytest.mark.parametrize("use", USES)
def test_a_queue_that_does_not_answer_is_service_unavailable(sqs: Any, url: str, use: str) -> None:
    sqs.delete_queue(QueueUrl=url)

    with pytest.raises(ServiceUnavailable) as unavailable:
        USES[use](sqs, url)
    assert unavailable.value.__cause__ is not None


@pytest.mark.parametrize("use", USES)
def test_a_queue_that_does_not_answer_in_time_is_service_unavailable(use: str) -> None:
    class Silent:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(**_: Any) -> None:
                raise ReadTimeoutError(endpoint_url="https://sqs")

            return call

    with pytest.raises(ServiceUnavailable):
        USES[use](Silent(), "url")


class Slow:
    """An SQS that takes its time, so that others gather; it fails with requests as told."""

    def __init__(self, fails: Callable[[int], BaseException | None] = lambda number: None) -> None:
        self.fails = fails
        self.batches: list[list[str]] = []
        self.first_is_there = threading.Event()
        self.go_on = threading.Event()

    def send_message_batch(self, **arguments: Any) -> Any:
        self.batches.append([entry["MessageBody"] for entry in arguments["Entries"]])
        number = len(self.batches)
        if number == 1:
            self.first_is_there.set()
            assert self.go_on.wait(10)
        if error := self.fails(number):
            raise error
        return {}


def send_at_once(slow: Slow, url: str, others: int) -> list[BaseException | None]:
    """Send a letter, and others while it is being sent; return what each send came to."""
    sqs: Any = slow
    letters = Letters(sqs, url)
    results: list[BaseException | None] = [None] * (1 + others)

    def send(number: int) -> None:
        try:
            letters.send([letter(number)], number % 3)
        except (ServiceUnavailable, MemoryError) as error:
            results[number] = error

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1 + others)]
    threads[0].start()
    assert slow.first_is_there.wait(10)
    for thread in threads[1:]:
        thread.start()
    # Until all others have put theirs there.
    deadline = time.monotonic() + 10
    while len(letters._gathered) < others:
        assert time.monotonic() < deadline
    slow.go_on.set()
    for thread in threads:
        thread.join(10)
    return results


def test_what_threads_send_meanwhile_goes_in_one_request(url: str) -> None:
    slow = Slow()

    results = send_at_once(slow, url, others=9)

    assert results == [None] * 10
    assert [len(batch) for batch in slow.batches] == [1, 9]
    assert len({body for batch in slow.batches for body in batch}) == 10


def test_all_whose_letters_were_in_a_request_that_failed_are_told(url: str) -> None:
    slow = Slow(lambda number: ReadTimeoutError(endpoint_url="x") if number == 2 else None)

    results = send_at_once(slow, url, others=5)

    assert results[0] is None
    assert {type(error) for error in results[1:]} == {ServiceUnavailable}


def test_nobody_takes_for_sent_what_another_thread_failed_to_send(url: str) -> None:
    slow = Slow(lambda number: MemoryError() if number == 2 else None)

    results = send_at_once(slow, url, others=5)

    assert results[0] is None
    assert Counter(type(error) for error in results[1:]) == {ServiceUnavailable: 4, MemoryError: 1}
