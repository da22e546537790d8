"""Delivery: which frames reach whom, whatever fails on the way.

The table's adapter is the real one, on a DynamoDB in memory; the queue is a list.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from identity.claims import Identity
from management_api import Result
from push import delivery
from push.access import Access
from push.adapters.table import Table
from push.connection import Connection
from push.delivery import STRAGGLER_DELAYS, Delivery, Unresponsive
from push.errors import Busy, EventRejected, Finished, ServiceUnavailable, Superseded, Unclaimed
from push.events import Event
from push.jobs import Letter
from push.subscriptions import Subscriptions
from push.topics import Log, Topic
from support import events
from support.dynamodb import DynamoDB
from support.exchange import NOW, Clock, FakeExchange, Told
from support.rows import topics_of

TOPIC = Topic.entity("e")
SECONDS = 30.0


def ids(count: int, start: int = 0) -> list[str]:
    return [f"{number:05}=" for number in range(start, start + count)]


def event(event_id: str = "1", entity_id: str = TOPIC.id) -> Event:
    return events.parsed(
        events.encoded(events.entity_updated(event_id, entityId=entity_id, message="Hello"))
    )


def connection(connection_id: str) -> Connection:
    return Connection(connection_id, "203.0.113.7", datetime.fromtimestamp(NOW, UTC))


class Killed(BaseException):
    """The process is gone, and cleans nothing up."""


@dataclass
class Sent:
    letter: Letter
    delay_seconds: int


class FakeLetters:
    """The delivery queue, which refuses as told."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.waiting: list[Sent] = []
        self.refuse: Callable[[Letter], bool] = lambda letter: False

    def send(self, letters: Sequence[Letter], delay_seconds: int = 0) -> None:
        """Take letters up to the first that is refused, as batches of SQS may."""
        for letter in letters:
            if self.refuse(letter):
                raise ServiceUnavailable("told so")
            sent = Sent(Letter.parse(letter.encode()), delay_seconds)
            self.sent.append(sent)
            self.waiting.append(sent)


class FakeDeadLetters:
    def __init__(self) -> None:
        self.sent: list[tuple[Letter, str, str]] = []
        self.refuse = 0

    def send(self, body: str, rejection: EventRejected) -> None:
        if self.refuse:
            self.refuse -= 1
            raise ServiceUnavailable("told so")
        self.sent.append((Letter.parse(body), rejection.code, str(rejection)))


class Stack:
    """The table, the queue, API Gateway, and invocations that deliver."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.dynamodb = DynamoDB()
        client: Any = self.dynamodb
        self.table = Table(client, "table", clock=clock, sleep=clock.sleep)
        self.log = Log(self.table, kept_seconds=604_800, clock=clock)
        self.exchange = FakeExchange(clock)
        self.letters = FakeLetters()
        self.dead_letters = FakeDeadLetters()
        self.unresponsive = Unresponsive(clock)
        self.size = 1_000
        self.seconds_left: Callable[[], float] = lambda: SECONDS
        self.access: Access | None = None
        self.failures: list[Exception] = []

    def delivery(self, **options: Any) -> Delivery:
        return Delivery(
            self.table,
            self.log,
            self.letters,
            self.dead_letters,
            self.exchange.window,
            subscribers_per_delivery=self.size,
            seconds_left=self.seconds_left,
            unresponsive=self.unresponsive,
            side_by_side=lambda call, arguments: [call(each) for each in arguments],
            clock=self.clock,
            wall_clock=self.clock,
            access=self.access,
            **options,
        )

    def subscribe(self, *connection_ids: str, topic: Topic = TOPIC) -> None:
        for connection_id in connection_ids:
            if topics_of(self.table, connection_id) is None:
                self.table.put_connection(connection(connection_id))
            refused = self.table.add_subscriptions(connection(connection_id), {topic}, (), 99)
            assert refused is None
        self.log.open(topic)

    def admit(self, *connection_ids: str, seconds: float, topic: Topic = TOPIC) -> None:
        """Subscribe connections, each with a token of a user of its own that ends."""
        for connection_id in connection_ids:
            ends_at = int(self.clock.now + seconds)
            identity = Identity(connection_id, "", ("**",), int(NOW) - 60, ends_at)
            self.table.put_connection(connection(connection_id), identity)
            refused = self.table.add_subscriptions(
                connection(connection_id), {topic}, (), 99, identity
            )
            assert refused is None
        self.log.open(topic)

    def leave(self, connection_id: str) -> None:
        Subscriptions(self.table).unsubscribe(connection_id, [TOPIC])

    def subscribers(self, topic: Topic = TOPIC) -> list[str]:
        return self.table.subscribers(topic, "", "~")[0]

    def notify(self, each: Event | None = None, **options: Any) -> None:
        self.delivery(**options).notify(each or event(), nullcontext())

    def carry(self, letter: Letter) -> None:
        self.delivery().carry(letter)

    def deliver_all(self, each: Event | None = None) -> None:
        """Notify and carry until all is done, as messages come back that failed."""
        self._until_done(lambda: self.notify(each))
        self.carry_all()

    def carry_all(self) -> None:
        """Carry letters, each when its time has come, until there are none."""
        while self.letters.waiting:
            sent = self.letters.waiting.pop(0)
            self.clock.now += sent.delay_seconds
            self._until_done(lambda letter=sent.letter: self.carry(letter))  # type: ignore[misc]

    def _until_done(self, handle: Callable[[], None]) -> None:
        for _ in range(20):
            try:
                handle()
            except Busy as busy:
                self.clock.now = max(self.clock.now, busy.until)
            except Unclaimed:
                return
            except (ServiceUnavailable, RuntimeError) as failure:
                self.failures.append(failure)
                self.clock.now += 2
            else:
                return
        raise AssertionError("this does not come to an end")

    def received(self) -> Counter[str]:
        """How many frames of events arrived at each connection."""
        return Counter(each for each, frame in self.exchange.delivered if b'"id"' in frame)

    def job(self, name: str = "1#whole") -> dict[str, Any]:
        key = {"pk": {"S": f"JOB#{name}"}, "sk": {"S": "JOB"}}
        item = self.dynamodb.get_item(TableName="table", Key=key)["Item"]
        return {name: next(iter(value.values())) for name, value in item.items()}

    def letter(self) -> Letter:
        """Return a letter for the topic, as a courier gets it."""
        head = self.table.head(TOPIC)
        assert head
        logged = self.log.append(event(), head, head.cursor)
        assert logged
        return Letter("1", TOPIC, logged, "whole")


@pytest.fixture
def stack(clock: Clock) -> Stack:
    return Stack(clock)


def frequent_notes(monkeypatch: pytest.MonkeyPatch, posts: int = 10, in_flight: int = 4) -> None:
    monkeypatch.setattr(delivery, "POSTS_PER_NOTE", posts)
    monkeypatch.setattr(delivery, "POSTS_IN_FLIGHT", in_flight)


def is_note(name: str, parameters: dict[str, Any]) -> bool:
    values = parameters.get("ExpressionAttributeValues", {})
    return name == "UpdateItem" and ":reached" in values and ":owner" in values


def failing(code: str = "InternalServerError") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told so"}}, "UpdateItem")


# Who gets what.


@pytest.mark.parametrize("count", [0, 1, 2, 39, 40, 41, 199, 200, 201, 450])
def test_every_subscriber_gets_one_frame_however_many_there_are(stack: Stack, count: int) -> None:
    stack.subscribe("gone=", *ids(count))
    stack.leave("gone=")

    stack.deliver_all()

    assert stack.received() == Counter(ids(count))
    assert stack.job()["done"] is True


def test_a_frame_is_the_event_with_its_number(stack: Stack) -> None:
    stack.subscribe("a=")

    stack.notify(event("1"))
    stack.notify(event("2"))

    first, second = map(json.loads, stack.exchange.frames("a="))
    head = stack.table.head(TOPIC)
    assert head
    assert first == {
        "type": "Entity Updated",
        "entityId": "e",
        "message": "Hello",
        "id": "1",
        "time": "2026-11-24T01:46:41Z",
        "cursor": f"{head.cursor.epoch}-1",
    }
    assert (second["id"], second["cursor"]) == ("2", str(head.cursor))


def test_what_is_pushed_is_what_is_logged(stack: Stack) -> None:
    stack.subscribe("a=")
    head = stack.table.head(TOPIC)
    assert head

    stack.notify()

    (logged,) = stack.table.logged(TOPIC, head.cursor, 9)
    assert stack.exchange.frames("a=") == [logged.frame]


def test_an_event_reaches_the_subscribers_of_its_topic_and_no_others(stack: Stack) -> None:
    stack.subscribe("a=", "b=")
    stack.subscribe("b=", "c=", topic=Topic.entity("other"))

    stack.notify()

    assert stack.received() == Counter(["a=", "b="])


def test_who_subscribed_before_the_number_was_given_gets_the_frame(stack: Stack) -> None:
    """Subscribers are read only when the head has moved."""
    stack.subscribe("a=")
    moved: list[str] = []

    def late(name: str, parameters: dict[str, Any]) -> None:
        if not moved and ":next" in parameters.get("ExpressionAttributeValues", {}):
            moved.append(name)
            stack.subscribe("b=")

    stack.dynamodb.after = late
    stack.notify()

    assert stack.received() == Counter(["a=", "b="])


def test_an_event_that_nobody_watches_writes_nothing(stack: Stack) -> None:
    written: list[str] = []
    stack.dynamodb.before = lambda name, _: written.append(name)

    stack.notify()

    assert written == ["GetItem"]
    assert stack.exchange.posted == []


def test_an_event_that_nobody_watches_is_logged_if_that_is_wanted(stack: Stack) -> None:
    stack.notify(log_unwatched=True)

    head = stack.table.head(TOPIC)
    assert head
    assert head.cursor.seq == 1


def test_an_event_whose_log_falls_asleep_meanwhile_is_done(stack: Stack) -> None:
    stack.subscribe("a=")

    def asleep(name: str, parameters: dict[str, Any]) -> None:
        if name == "PutItem":
            stack.dynamodb.before = None
            key = {"pk": {"S": TOPIC.key}, "sk": {"S": "HEAD"}}
            stack.dynamodb.delete_item(TableName="table", Key=key)

    stack.dynamodb.before = asleep
    stack.notify()

    assert stack.exchange.posted == []
    with pytest.raises(Finished):
        stack.subscribe("a=")
        stack.notify()


@pytest.mark.parametrize("seed", range(20))
def test_answers_may_come_in_any_order(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    frequent_notes(monkeypatch)
    stack.exchange.answer_in_any_order(seed)
    random = Random(seed)  # noqa: S311 - repeatable, no secret
    stack.subscribe(*ids(100))
    for connection_id in random.sample(ids(100), 30):
        result = random.choice([Result.OK, Result.THROTTLED, Result.FAILED, Result.GONE])
        stack.exchange.tell(connection_id, Told(result, random.choice([0.0, 0.3, 2.9])))

    stack.deliver_all()

    gone = set(ids(100)) - set(stack.subscribers())
    assert stack.received() == Counter(set(ids(100)) - gone)


def test_posts_of_a_walk_are_in_flight_side_by_side_but_not_too_many(stack: Stack) -> None:
    """So many may come twice if the function dies."""
    stack.subscribe(*ids(300))
    for connection_id in ids(300):
        stack.exchange.always(connection_id, Told(Result.OK, 0.01))

    stack.notify()

    assert stack.exchange.most_in_flight == delivery.POSTS_IN_FLIGHT == 40


# Copies.


def test_a_copy_of_what_is_done_is_ignored(stack: Stack) -> None:
    stack.subscribe("a=")
    stack.notify()

    with pytest.raises(Finished):
        stack.notify()
    assert stack.received() == Counter(["a="])


def test_a_copy_of_a_letter_is_ignored(stack: Stack) -> None:
    stack.subscribe("a=")
    letter = stack.letter().for_stragglers(["a="], 1)
    stack.carry(letter)

    with pytest.raises(Finished):
        stack.carry(letter)
    assert stack.received() == Counter(["a="])


def test_a_copy_meets_the_lease_of_who_is_at_work_and_hears_until_when(stack: Stack) -> None:
    stack.subscribe("a=")
    stack.exchange.before = die
    with pytest.raises(Killed):
        stack.notify()

    with pytest.raises(Busy) as busy:
        stack.notify()
    assert SECONDS <= busy.value.until - stack.clock.now <= SECONDS + 2


def die() -> None:
    raise Killed


def test_a_claim_whose_answer_was_lost_succeeds(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK carries the same request out once more."""
    stack.subscribe("a=")
    update = stack.dynamodb.update_item

    def twice(**request: Any) -> Any:
        update(**request)
        return update(**request)

    monkeypatch.setattr(stack.dynamodb, "update_item", twice)

    stack.notify()

    assert stack.received() == Counter(["a="])


def test_a_letter_for_a_whole_topic_leaves_the_event_the_number_that_it_has(stack: Stack) -> None:
    """Its copy takes the job over, from a courier that died."""
    stack.subscribe("a=")
    letter = stack.letter()
    stack.exchange.before = die
    with pytest.raises(Killed):
        stack.carry(letter)
    stack.exchange.before = lambda: None
    stack.clock.now += SECONDS + 2
    stack.notify()

    assert stack.exchange.frames("a=") == [letter.event.frame]
    head = stack.table.head(TOPIC)
    assert head
    assert head.cursor == letter.event.cursor


# Deaths: whoever resumes goes on where the last note was.


def test_who_resumes_repeats_no_more_than_what_was_under_way_since_the_last_note(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(50))

    def before() -> None:
        if len(stack.exchange.posted) == 37:
            stack.exchange.before = lambda: None
            raise Killed

    stack.exchange.before = before
    with pytest.raises(Killed):
        stack.notify()
    noted = stack.job()
    stack.clock.now += SECONDS + 2
    stack.notify()

    received = stack.received()
    assert received.keys() == set(ids(50))
    twice = {each for each, frames in received.items() if frames > 1}
    assert len(twice) <= 14
    assert twice == {each for each in ids(37) if each > noted["reached"]} | {
        each["S"] for each in noted["open"]
    }


def test_who_resumes_goes_on_where_it_was_whoever_left_meanwhile(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent_notes(monkeypatch, posts=10, in_flight=1)
    stack.subscribe(*ids(30))

    def before() -> None:
        if len(stack.exchange.posted) == 20:
            raise Killed

    stack.exchange.before = before
    with pytest.raises(Killed):
        stack.notify()
    stack.exchange.before = lambda: None
    for connection_id in (*ids(5), *ids(2, start=25)):
        stack.leave(connection_id)
    stack.subscribe(*ids(3, start=100))
    stack.clock.now += SECONDS + 2
    stack.notify()

    expected = {*ids(25), *ids(3, start=27), *ids(3, start=100)}
    assert stack.received() == Counter(expected)


def test_who_resumes_posts_again_to_those_whose_outcome_nobody_knows(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One does not answer while many notes are written; then the function dies."""
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(50))
    stack.exchange.tell("00003=", Told(Result.FAILED, seconds=100))

    def before() -> None:
        if len(stack.exchange.posted) == 45:
            raise Killed

    stack.exchange.before = before
    with pytest.raises(Killed):
        stack.notify()
    stack.exchange.before = lambda: None
    assert stack.job()["open"][0] == {"S": "00003="}
    stack.clock.now += SECONDS + 2
    stack.notify()

    assert stack.received()["00003="] == 1
    assert stack.received()["00004="] == 1
    assert stack.received().keys() == set(ids(50))


def test_who_was_handed_on_is_not_met_again_by_who_resumes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(50))
    stack.exchange.tell("00003=", Result.THROTTLED)

    def before() -> None:
        if len(stack.exchange.posted) == 45:
            raise Killed

    stack.exchange.before = before
    with pytest.raises(Killed):
        stack.notify()
    stack.exchange.before = lambda: None
    stack.clock.now += SECONDS + 2
    stack.deliver_all()

    assert stack.received()["00003="] == 1


def test_who_resumes_does_not_fall_behind_what_was_reached(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open is before it, and is seen to first; then this one dies too."""
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(50))
    for connection_id in ids(3):
        stack.exchange.tell(connection_id, Told(Result.FAILED, seconds=100))
    deaths = [45, 50]

    def before() -> None:
        if deaths and len(stack.exchange.posted) == deaths[0]:
            deaths.pop(0)
            raise Killed

    stack.exchange.before = before
    for _ in range(2):
        # So that the first posts of the second are followed by a note.
        with pytest.raises(Killed):
            stack.notify()
        frequent_notes(monkeypatch, posts=3, in_flight=1)
        stack.clock.now += SECONDS + 2
    assert stack.job()["reached"] >= "00039="
    stack.notify()

    assert stack.received().keys() == set(ids(50))
    assert all(stack.received()[each] == 1 for each in ids(36))


def test_who_was_superseded_stops_at_its_next_note(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease was past before it ended."""
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(100))

    def other() -> None:
        if len(stack.exchange.posted) == 5:
            stack.exchange.before = lambda: None
            stack.clock.now += SECONDS + 5
            stack.notify()

    stack.exchange.before = other
    with pytest.raises(Superseded):
        stack.notify()

    assert len(stack.exchange.posted) <= 100 + 15
    assert stack.job()["done"] is True


# Notes.


def test_a_note_is_written_after_so_many_posts_or_seconds(stack: Stack) -> None:
    """200 posts, or a second."""
    stack.subscribe(*ids(1_000))
    notes: list[float] = []

    def look(name: str, parameters: dict[str, Any]) -> None:
        if is_note(name, parameters):
            notes.append(stack.clock.now)

    stack.dynamodb.before = look
    stack.notify()
    assert len(notes) == 6

    notes.clear()
    stack.exchange.before = lambda: stack.clock.sleep(0.05)
    stack.notify(event("2"))
    assert 1_000 * 0.05 / 1.1 <= len(notes) <= 1_000 * 0.05 + 5


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_one_note_that_is_refused_in_the_middle_of_a_walk_repeats_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(100))
    refused: list[float] = []

    def refuse(name: str, parameters: dict[str, Any]) -> None:
        # Throttled for longer than it is tried again.
        late = bool(refused) and stack.clock.now > refused[0] + 5
        if is_note(name, parameters) and len(stack.exchange.posted) >= 50 and not late:
            if code == "InternalServerError" and refused:
                return
            refused.append(stack.clock.now)
            raise failing(code)

    stack.dynamodb.before = refuse
    stack.notify()

    assert refused
    assert stack.received() == Counter(ids(100))
    assert stack.job()["done"] is True


def test_stragglers_whose_letter_is_refused_are_handed_on_with_the_next_note(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent_notes(monkeypatch)
    stack.subscribe(*ids(50))
    stack.exchange.tell("00003=", Result.THROTTLED)
    refusals = iter([True, True])
    stack.letters.refuse = lambda letter: next(refusals, False)

    stack.notify()

    (sent,) = stack.letters.sent
    assert sent.letter.ids == ("00003=",)
    stack.clock.now += 1
    stack.carry(sent.letter)
    assert stack.received() == Counter(ids(50))


# Services that fail.


@pytest.mark.parametrize("step", range(1, 16))
@pytest.mark.parametrize("carried_out", [False, True], ids=["refused", "answer lost"])
def test_an_event_survives_the_failure_of_any_single_request(
    stack: Stack, step: int, carried_out: bool
) -> None:
    stack.subscribe(*ids(5))
    stack.exchange.always("00001=", Result.GONE)
    requests = 0

    def fail(name: str, parameters: dict[str, Any]) -> None:
        nonlocal requests
        requests += 1
        if requests == step:
            raise failing()

    if carried_out:
        stack.dynamodb.after = fail
    else:
        stack.dynamodb.before = fail

    stack.deliver_all()
    stack.dynamodb.before = stack.dynamodb.after = None

    received = stack.received()
    assert received.keys() == {"00000=", "00002=", "00003=", "00004="}
    head = stack.table.head(TOPIC)
    assert head
    assert head.cursor.seq == 1
    assert stack.job()["done"] is True
    # Only what was posted before the last note, and not written down.
    assert all(frames <= 1 + len(stack.failures) for frames in received.values())


@pytest.mark.parametrize("operation", ["PutItem", "Query"])
def test_a_failing_service_lets_go_of_the_job(stack: Stack, operation: str) -> None:
    """While the event gets its number, and while it is delivered."""
    stack.subscribe("a=")

    def fail(name: str, _: dict[str, Any]) -> None:
        if name == operation:
            stack.dynamodb.before = None
            raise failing()

    stack.dynamodb.before = fail
    with pytest.raises(ServiceUnavailable):
        stack.notify()

    stack.notify()
    assert stack.received() == Counter(["a="])


def test_a_page_of_subscribers_that_cannot_be_read_ends_the_walk_in_order(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in flight is answered and noted; nobody gets two frames."""
    monkeypatch.setattr("support.dynamodb.PAGE_BYTES", 2_000)
    stack.subscribe(*ids(100))
    letter = stack.letter().range("", "~~")
    queries = 0

    def fail(name: str, _: dict[str, Any]) -> None:
        nonlocal queries
        queries += name == "Query"
        if name == "Query" and queries == 3:
            raise failing()

    stack.dynamodb.before = fail
    with pytest.raises(ServiceUnavailable):
        stack.carry(letter)
    reached = stack.job(letter.job)["reached"]
    assert "" < reached < "00099="
    stack.carry(letter)

    assert stack.received() == Counter(ids(100))


def test_an_engine_that_fails_gives_the_event_back(stack: Stack) -> None:
    stack.subscribe(*ids(10))
    stack.exchange.engine_fails_at = 5

    with pytest.raises(RuntimeError):
        stack.notify()
    assert isinstance(stack.exchange.engine_error, OSError)
    stack.exchange.engine_error = None
    stack.notify()

    assert stack.received().keys() == set(ids(10))


# Large topics.


@pytest.mark.parametrize("count", [1, 9, 10, 11, 19, 20, 21, 99, 100, 101, 109, 111, 250])
def test_a_large_topic_is_cut_into_ranges_and_nobody_is_left_out_or_met_twice(
    stack: Stack, count: int
) -> None:
    stack.size = 10
    stack.subscribe(*ids(count))

    stack.deliver_all()

    assert stack.received() == Counter(ids(count))
    # The last of them are posted to at once.
    ranges = [sent.letter for sent in stack.letters.sent]
    assert len(ranges) == max(0, count - 1) // 10 + (count % 10 == 0 and count > 10) * 1
    assert {sent.delay_seconds for sent in stack.letters.sent} <= {0}


def test_ranges_cover_the_topic_without_gap_or_overlap_and_carry_no_ids(stack: Stack) -> None:
    stack.size = 10
    stack.subscribe(*ids(95))

    stack.notify()

    ranges = [sent.letter for sent in stack.letters.sent]
    ends = [(each.after, each.upto) for each in ranges]
    assert ends[0][0] == ""
    assert all(upto == after for (_, upto), (after, _) in pairwise(ends))
    assert all(letter.ids == () for letter in ranges)
    assert stack.received() == Counter(ids(5, start=90))


def test_a_topic_of_as_many_as_one_walk_may_have_takes_no_hop(stack: Stack) -> None:
    stack.size = 10
    stack.subscribe(*ids(10))

    stack.notify()

    assert stack.letters.sent == []
    assert stack.received() == Counter(ids(10))


def test_who_joins_while_ranges_are_under_way_is_in_none_twice(stack: Stack) -> None:
    stack.size = 10
    stack.subscribe(*ids(45))
    stack.notify()

    stack.subscribe("00012x", "zzz=")
    for sent in stack.letters.sent:
        stack.carry(sent.letter)

    assert stack.received() == Counter([*ids(45), "00012x"])


@pytest.mark.parametrize("refused", range(1, 11))
def test_a_refused_range_and_one_client_that_leaves_give_nobody_two_frames(
    stack: Stack, refused: int
) -> None:
    """Names of ranges hold both boundaries, and the boundaries are written before they are sent."""
    stack.size = 10
    stack.subscribe(*ids(100))
    letters = 0

    def refuse(letter: Letter) -> bool:
        nonlocal letters
        letters += 1
        if letters == refused:
            stack.leave("00000=")
            return True
        return False

    stack.letters.refuse = refuse
    stack.deliver_all()

    assert stack.failures
    assert set(stack.received().values()) == {1}
    assert stack.received().keys() >= set(ids(99, start=1))


def test_a_small_topic_that_grows_before_the_retry_gives_nobody_two_frames(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One straggler's letter is refused, and meanwhile there are too many for one walk."""
    frequent_notes(monkeypatch)
    stack.size = 100
    stack.subscribe(*ids(100))
    stack.exchange.tell("00000=", Result.THROTTLED)
    refusals = iter([True])

    def refuse(letter: Letter) -> bool:
        if next(refusals, False):
            stack.subscribe("00100=")
            return True
        return False

    stack.letters.refuse = refuse
    stack.deliver_all()

    received = stack.received()
    assert set(received.values()) == {1}
    assert received.keys() >= set(ids(100))


def test_a_death_between_two_ranges_sends_the_same_ranges_again(stack: Stack) -> None:
    stack.size = 10
    stack.subscribe(*ids(250))
    killed = False

    def kill(letter: Letter) -> bool:
        nonlocal killed
        if len(stack.letters.sent) == 13 and not killed:
            killed = True
            raise Killed
        return False

    stack.letters.refuse = kill
    with pytest.raises(Killed):
        stack.notify()
    for connection_id in ids(5, start=100):
        stack.leave(connection_id)
    stack.clock.now += SECONDS + 2
    stack.deliver_all()

    assert stack.received() == Counter([*ids(100), *ids(145, start=105)])


def test_ranges_that_there_is_no_time_for_are_cut_by_the_next(stack: Stack) -> None:
    stack.size = 10
    stack.subscribe(*ids(250))
    stack.seconds_left = lambda: 5.0
    stack.notify()
    (sent,) = stack.letters.sent
    assert (sent.letter.name, sent.delay_seconds) == ("whole", 1)
    assert stack.exchange.posted == []

    stack.seconds_left = lambda: SECONDS
    stack.deliver_all()

    assert stack.received() == Counter(ids(250))


# Out of time.


@pytest.mark.parametrize("kind", ["whole", "range", "stragglers"])
def test_a_walk_that_runs_out_of_time_goes_on_as_the_same_job(stack: Stack, kind: str) -> None:
    stack.subscribe(*ids(200))
    ends = stack.clock.now + SECONDS
    stack.seconds_left = lambda: ends - stack.clock.now
    stack.exchange.before = lambda: stack.clock.sleep(0.2)
    letter = stack.letter()
    if kind == "range":
        letter = letter.range("", "zzz")
    elif kind == "stragglers":
        letter = letter.for_stragglers(ids(200), 3)
    stack.carry(letter)

    (sent,) = stack.letters.sent
    assert (sent.letter, sent.delay_seconds) == (letter, 1)
    assert stack.clock.now < ends
    posted = len(stack.exchange.posted)
    assert 0 < posted < 200
    stack.seconds_left = lambda: 1e9
    stack.carry(letter)
    assert stack.received() == Counter(ids(200))
    with pytest.raises(Finished):
        stack.carry(letter)


def test_a_rest_that_the_queue_does_not_take_comes_back_and_repeats_nothing(stack: Stack) -> None:
    stack.subscribe(*ids(200))
    ends = stack.clock.now + SECONDS
    stack.seconds_left = lambda: ends - stack.clock.now
    stack.exchange.before = lambda: stack.clock.sleep(0.2)
    letter = stack.letter()
    stack.letters.refuse = lambda letter: True
    with pytest.raises(ServiceUnavailable):
        stack.carry(letter)

    stack.seconds_left = lambda: 1e9
    stack.carry(letter)

    assert stack.received() == Counter(ids(200))


# Stragglers.


@pytest.mark.parametrize("result", [Result.THROTTLED, Result.FAILED])
def test_what_may_pass_is_handed_on_at_once_for_that_connection_alone(
    stack: Stack, result: Result
) -> None:
    stack.subscribe(*ids(3))
    stack.exchange.tell("00001=", result)

    stack.notify()

    assert stack.exchange.posted == ids(3)
    (sent,) = stack.letters.sent
    assert sent.delay_seconds == 1
    assert (sent.letter.ids, sent.letter.attempt) == (("00001=",), 1)
    assert sent.letter.topic == TOPIC
    assert stack.clock.slept == []
    stack.clock.now += 1
    stack.carry(sent.letter)
    assert stack.received() == Counter(ids(3))
    assert stack.exchange.frames("00001=") == stack.exchange.frames("00000=")


def test_stragglers_of_one_note_share_a_letter_sorted(stack: Stack) -> None:
    stack.exchange.answer_in_any_order(3)
    stack.subscribe(*ids(20))
    for connection_id in ids(20)[::2]:
        stack.exchange.tell(connection_id, Result.FAILED)

    stack.notify()

    (sent,) = stack.letters.sent
    assert list(sent.letter.ids) == ids(20)[::2]


def test_a_client_that_stalls_does_not_keep_the_others_waiting(stack: Stack) -> None:
    stack.subscribe(*ids(300))
    stack.exchange.tell("00000=", Told(Result.FAILED, seconds=3.0))
    arrived: list[float] = []
    stack.exchange.before = lambda: arrived.append(stack.clock.now)

    stack.notify()

    # All are posted to before the first answers.
    assert arrived[-1] - arrived[0] < 1e-6
    assert stack.clock.now - NOW <= 3.1
    assert len(stack.received()) == 299


def test_a_client_that_did_not_answer_is_not_waited_for_again_so_soon(stack: Stack) -> None:
    """Ten times as long as it took; meanwhile its frames are handed on without a try."""
    stack.subscribe("a=", "slow=")
    stack.exchange.always("slow=", Told(Result.FAILED, seconds=3.0))
    stack.notify(event("1"))
    begun = stack.clock.now

    for number in range(2, 12):
        stack.notify(event(str(number)))
    assert stack.clock.now == begun
    assert stack.exchange.posted.count("slow=") == 1
    assert [sent.letter.ids for sent in stack.letters.sent] == [("slow=",)] * 11

    stack.clock.now += 30
    stack.notify(event("12"))
    assert stack.exchange.posted.count("slow=") == 2
    assert stack.exchange.receivers() == ["a="] * 12


@pytest.mark.parametrize(("waited", "pause"), [(0.0, 1.0), (0.05, 1.0), (0.5, 5.0), (3.0, 30.0)])
def test_who_is_left_alone_is_so_for_ten_times_its_silence_a_second_at_least(
    clock: Clock, waited: float, pause: float
) -> None:
    unresponsive = Unresponsive(clock)
    unresponsive.add("a=", waited)

    clock.now += pause - 0.01
    assert unresponsive.holds("a=")
    assert not unresponsive.holds("b=")
    clock.now += 0.02
    assert not unresponsive.holds("a=")


def test_who_is_left_alone_is_forgotten_in_time(clock: Clock) -> None:
    """An instance lives for hours."""
    unresponsive = Unresponsive(clock)
    for number in range(10_000):
        unresponsive.add(str(number), 0)
    clock.now += 2
    unresponsive.add("a=", 0)

    assert len(unresponsive._until) == 1


def attempts(stack: Stack) -> list[int]:
    return [sent.letter.attempt for sent in stack.letters.sent]


def test_the_delays_of_stragglers_grow_up_to_about_five_minutes_in_all(stack: Stack) -> None:
    stack.subscribe("a=", "slow=")
    stack.exchange.always("slow=", Result.THROTTLED)

    stack.deliver_all()

    delays = [sent.delay_seconds for sent in stack.letters.sent]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64] == list(STRAGGLER_DELAYS)
    assert 300 <= sum(delays) <= 330
    assert attempts(stack) == [*range(1, 11)]
    assert stack.received()["a="] == 1


@pytest.mark.parametrize("failures", [1, 5, 10])
def test_a_straggler_that_answers_in_the_end_gets_its_frame_once(
    stack: Stack, failures: int
) -> None:
    stack.subscribe("a=", "slow=")
    stack.exchange.tell("slow=", *[Result.FAILED] * failures)

    stack.deliver_all()

    assert stack.received() == Counter(["a=", "slow="])
    assert stack.exchange.closed == []
    assert stack.dead_letters.sent == []


def test_who_never_answers_is_told_closed_and_then_forgotten(stack: Stack) -> None:
    stack.subscribe("a=", "slow=")
    stack.subscribe("slow=", topic=Topic.entity("other"))
    # It hears again just when it is given up.
    stack.exchange.tell("slow=", *[Result.FAILED] * 11)
    known_when_closed: list[bool] = []

    def look() -> None:
        known_when_closed.append(topics_of(stack.table, "slow=") is not None)

    stack.exchange.before = look
    stack.deliver_all()

    assert stack.exchange.closed == ["slow="]
    assert all(known_when_closed)
    (goodbye,) = stack.exchange.frames("slow=")
    assert json.loads(goodbye) == {
        "type": "Disconnect",
        "code": "SlowClient",
        "reconnect": True,
    }
    assert topics_of(stack.table, "slow=") is None
    assert stack.subscribers() == ["a="]
    assert stack.subscribers(Topic.entity("other")) == []
    assert stack.dead_letters.sent == []


def test_who_hears_nothing_is_closed_all_the_same(stack: Stack) -> None:
    stack.subscribe("slow=")
    stack.exchange.always("slow=", Told(Result.FAILED, seconds=3.0))

    stack.deliver_all()

    assert stack.exchange.closed == ["slow="]
    assert stack.subscribers() == []


def test_who_is_gone_when_it_is_to_be_closed_is_forgotten(stack: Stack) -> None:
    stack.subscribe("slow=")
    stack.exchange.always("slow=", Result.THROTTLED)
    stack.exchange.tell_closing("slow=", Result.GONE)

    stack.deliver_all()

    assert stack.subscribers() == []
    assert stack.dead_letters.sent == []


@pytest.mark.parametrize("result", [Result.FAILED, Result.THROTTLED, Result.REFUSED])
def test_who_cannot_even_be_closed_stays_and_there_is_a_dead_letter(
    stack: Stack, result: Result
) -> None:
    """Whoever is forgotten and not closed would wait for ever."""
    stack.subscribe("a=", "slow=", "slower=")
    for connection_id in ("slow=", "slower="):
        stack.exchange.always(connection_id, Result.FAILED)
    stack.exchange.tell_closing("slow=", result)

    stack.deliver_all()

    assert stack.exchange.closed == ["slower="]
    assert stack.subscribers() == ["a=", "slow="]
    ((letter, code, reason),) = stack.dead_letters.sent
    assert letter.ids == ("slow=",)
    assert code == result.value
    assert "HTTP" in reason


def test_a_client_that_was_closed_and_cannot_be_forgotten_is_no_reason_to_try_again(
    stack: Stack,
) -> None:
    """Its row meets 410 with the topic's next event."""
    stack.subscribe("slow=")
    letter = stack.letter().for_stragglers(["slow="], len(STRAGGLER_DELAYS))
    stack.exchange.tell("slow=", Result.FAILED)

    def fail(name: str, _: dict[str, Any]) -> None:
        if name == "DeleteItem":
            raise failing()

    stack.dynamodb.before = fail
    stack.carry(letter)

    assert stack.exchange.closed == ["slow="]
    stack.dynamodb.before = None
    stack.exchange.always("slow=", Result.GONE)
    stack.clock.now += 1
    stack.notify(event("2"))
    assert stack.subscribers() == []


def test_a_redriven_dead_letter_has_all_its_tries_again(stack: Stack) -> None:
    stack.subscribe("slow=")
    letter = stack.letter().for_stragglers(["slow="], len(STRAGGLER_DELAYS))
    # Also when it is told that it will be closed.
    stack.exchange.tell("slow=", *[Result.THROTTLED] * 3)
    stack.exchange.tell_closing("slow=", Result.FAILED)
    stack.carry(letter)
    ((dead, _, _),) = stack.dead_letters.sent

    assert dead.attempt == 0
    assert dead.job != letter.job
    stack.clock.now += 60
    stack.carry(dead)
    assert stack.letters.sent[-1].delay_seconds == 1
    stack.clock.now += 1
    stack.carry(stack.letters.sent[-1].letter)
    assert stack.received() == Counter(["slow="])


# What API Gateway refuses for good, and who is gone.


@pytest.mark.parametrize("result", [Result.REFUSED, Result.TOO_LARGE])
def test_a_refusal_for_good_is_a_dead_letter_at_once_for_that_connection_alone(
    stack: Stack, result: Result
) -> None:
    stack.subscribe(*ids(3))
    stack.exchange.always("00001=", result)

    stack.deliver_all()

    assert stack.exchange.posted == ids(3)
    assert stack.received() == Counter(["00000=", "00002="])
    ((letter, code, reason),) = stack.dead_letters.sent
    assert (letter.ids, letter.attempt) == (("00001=",), 0)
    assert code == result.value
    assert reason.startswith("1 connections, the first: HTTP 4")
    assert stack.letters.sent == []
    assert stack.subscribers() == ids(3)


def test_refusals_of_one_kind_are_one_dead_letter(stack: Stack) -> None:
    stack.subscribe(*ids(6))
    for connection_id in ids(3):
        stack.exchange.always(connection_id, Result.REFUSED)
    stack.exchange.always("00003=", Result.TOO_LARGE)

    stack.notify()

    found = {code: letter.ids for letter, code, _ in stack.dead_letters.sent}
    assert found == {"Refused": tuple(ids(3)), "TooLarge": ("00003=",)}
    assert stack.received() == Counter(ids(2, start=4))


def test_a_dead_letter_that_is_not_taken_gives_the_event_back(stack: Stack) -> None:
    stack.subscribe("a=")
    stack.exchange.always("a=", Result.REFUSED)
    stack.dead_letters.refuse = 1

    stack.deliver_all()

    assert stack.failures
    assert len(stack.dead_letters.sent) == 1


def test_a_gone_connection_is_forgotten_whole_and_delays_nobody(stack: Stack) -> None:
    stack.subscribe(*ids(3))
    stack.subscribe(*ids(3), topic=Topic.entity("other"))
    stack.exchange.always("00001=", Result.GONE)

    stack.deliver_all()

    assert stack.received() == Counter(["00000=", "00002="])
    assert topics_of(stack.table, "00001=") is None
    for topic in (TOPIC, Topic.entity("other")):
        assert stack.subscribers(topic) == ["00000=", "00002="]
    assert stack.letters.sent == []


def test_a_row_that_no_set_names_is_deleted_by_the_event_that_meets_it(stack: Stack) -> None:
    """Whoever forgot the connection died in the middle of it."""
    stack.subscribe("a=", "gone=")
    stack.table.delete_connection("gone=")
    stack.exchange.always("gone=", Result.GONE)

    stack.notify()

    assert stack.subscribers() == ["a="]


def test_a_gone_connection_that_cannot_be_forgotten_is_met_again(stack: Stack) -> None:
    """As a straggler: nothing is repeated for the others."""
    stack.subscribe("a=", "gone=")
    stack.exchange.always("gone=", Result.GONE)
    refused: list[str] = []

    def fail(name: str, _: dict[str, Any]) -> None:
        if name == "DeleteItem" and not refused:
            refused.append(name)
            raise failing()

    stack.dynamodb.before = fail
    stack.deliver_all()

    assert refused
    assert [sent.letter.ids for sent in stack.letters.sent] == [("gone=",)]
    assert stack.subscribers() == ["a="]
    assert stack.received() == Counter(["a="])


def test_a_frame_that_arrived_although_its_post_failed_comes_again_with_the_same_number(
    stack: Stack,
) -> None:
    """Nobody knows, so it is a duplicate that the client can tell."""
    stack.subscribe("a=")
    stack.exchange.tell("a=", Told(Result.FAILED, 3.0, arrives=True))

    stack.deliver_all()

    first, second = stack.exchange.frames("a=")
    assert first == second


# What is counted and logged.


def test_what_became_of_the_posts_is_counted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()
    monkeypatch.setattr(
        delivery, "count", lambda name, value=1: counted.update({name: value} if value else {})
    )
    stack.subscribe("a=", "b=", "c=", "d=", "e=")
    stack.exchange.tell("c=", Result.GONE)
    stack.exchange.tell("d=", Result.FAILED)
    stack.exchange.tell("e=", Result.REFUSED)

    stack.notify()
    stack.notify(event("2", "nobody"))

    assert counted == {
        "NotificationsDelivered": 2,
        "NotificationsGone": 1,
        "NotificationsFailed": 1,
        "NotificationsRefused": 1,
        "EventsUnwatched": 1,
    }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The latencies of frames that arrived, in milliseconds, by metric."""
    values: dict[str, list[int]] = defaultdict(list)
    monkeypatch.setattr(delivery, "measure", lambda name, some: values[name].extend(some))
    return values


def test_a_latency_is_that_from_the_event_to_the_answer_of_the_post(
    stack: Stack, measured: dict[str, list[int]]
) -> None:
    stack.subscribe("a=", "b=", "c=")
    stack.exchange.tell("a=", Told(Result.OK, 0.25))
    stack.exchange.tell("c=", Result.GONE)
    published_ms = int(datetime(2026, 11, 24, 1, 46, 41, tzinfo=UTC).timestamp() * 1000)
    began_ms = int(stack.clock.now * 1000)

    stack.delivery().notify(event(), nullcontext(), began_ms - 40)

    assert sorted(measured["DeliveryLatencyFromQueue"]) == [40, 290]
    assert sorted(measured["DeliveryLatency"]) == [
        began_ms - published_ms,
        began_ms - published_ms + 250,
    ]


def test_a_straggler_s_latency_holds_the_time_that_it_was_waited_for(
    stack: Stack, measured: dict[str, list[int]]
) -> None:
    stack.subscribe("a=")
    for _ in range(3):
        stack.exchange.tell("a=", Result.THROTTLED)

    stack.delivery().notify(event(), nullcontext(), int(stack.clock.now * 1000))
    stack.carry_all()

    assert measured["DeliveryLatencyFromQueue"] == [pytest.approx(7_000, abs=100)]


def test_where_clocks_differ_a_latency_is_not_less_than_nothing(
    stack: Stack, measured: dict[str, list[int]]
) -> None:
    stack.subscribe("a=")
    text = events.encoded(
        events.entity_updated("1", entityId="e") | {"time": "2027-01-01T00:00:00Z"}
    )

    stack.delivery().notify(events.parsed(text), nullcontext())

    assert measured == {"DeliveryLatency": [0], "DeliveryLatencyFromQueue": []}


def test_throttled_posts_are_counted_by_each_try(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    monkeypatch.setattr(
        delivery, "count", lambda name, value=1: counted.update({name: value} if value else {})
    )
    stack.subscribe("a=", "b=")
    stack.exchange.tell("a=", Result.THROTTLED)
    stack.exchange.tell("a=", Result.THROTTLED)
    stack.exchange.tell("b=", Result.FAILED)

    stack.deliver_all()

    assert counted["NotificationsThrottled"] == 2
    assert counted["NotificationsFailed"] == 3


def test_closed_clients_are_counted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()
    monkeypatch.setattr(
        delivery, "count", lambda name, value=1: counted.update({name: value} if value else {})
    )
    stack.subscribe("slow=")
    stack.exchange.always("slow=", Result.FAILED)

    stack.carry(replace(stack.letter(), name="last", ids=("slow=",), attempt=10))

    assert counted["ClientsClosed"] == 1


def test_a_last_note_whose_letter_is_refused_repeats_nothing(stack: Stack) -> None:
    stack.subscribe(*ids(10))
    stack.exchange.tell("00003=", Result.THROTTLED)
    refusals = iter([True])
    stack.letters.refuse = lambda letter: next(refusals, False)

    stack.deliver_all()

    assert stack.received() == Counter(ids(10))


def test_a_last_note_whose_dead_letter_is_refused_repeats_nothing(stack: Stack) -> None:
    stack.subscribe(*ids(10))
    stack.exchange.always("00003=", Result.REFUSED)
    stack.dead_letters.refuse = 1

    stack.deliver_all()

    assert stack.received() == Counter(set(ids(10)) - {"00003="})


# Subscriptions that end with a token.


@pytest.fixture
def ending(stack: Stack) -> Stack:
    """A stack where tokens are asked for."""
    stack.access = Access("/", has_tenants=False)
    return stack


@pytest.mark.parametrize(("seconds", "frames"), [(-1, 0), (0, 0), (1, 1)])
def test_who_has_ended_gets_nothing_and_is_left_to_who_closes_it(
    ending: Stack, seconds: int, frames: int
) -> None:
    ending.admit("a=", "c=", seconds=600)
    ending.admit("b=", seconds=seconds)

    ending.deliver_all()

    assert ending.received() == Counter({"a=": 1, "c=": 1, "b=": frames})
    assert ending.subscribers() == ["a=", "b=", "c="]
    assert ending.exchange.closed == []
    assert ending.letters.sent == []
    assert ending.job()["done"] is True


def test_who_ends_while_others_are_posted_to_gets_nothing(
    ending: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at when the post is due, and not when the subscribers are read."""
    frequent_notes(monkeypatch, in_flight=1)
    ending.admit("a=", "c=", seconds=600)
    ending.admit("b=", seconds=3)
    ending.exchange.tell("a=", Told(Result.OK, 5.0))

    ending.deliver_all()

    assert ending.exchange.posted == ["a=", "c="]


def test_who_came_before_tokens_were_asked_for_hears_nothing_more(ending: Stack) -> None:
    ending.subscribe("a=")
    ending.admit("b=", seconds=600)

    ending.deliver_all()

    assert ending.received() == Counter(["b="])


@pytest.mark.parametrize("ended", [1, 39, 40, 41, 199, 200, 201, 450])
def test_those_who_have_ended_stop_no_walk_however_many_there_are(
    ending: Stack, ended: int
) -> None:
    ending.admit("a=", "~", seconds=600)
    ending.admit(*ids(ended), seconds=-1)

    ending.deliver_all()

    assert ending.received() == Counter(["a=", "~"])
    assert ending.job()["done"] is True


@pytest.mark.parametrize("ended", [ids(5), ids(5, 10), ids(20), ids(1, 4), []], ids=len)
def test_ranges_are_cut_as_if_nobody_had_ended(
    ending: Stack, monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> None:
    frequent_notes(monkeypatch)
    ending.size = 5
    ending.admit(*(each for each in ids(20) if each not in ended), seconds=600)
    ending.admit(*ended, seconds=-1)

    ending.deliver_all()

    ranges = [sent.letter.name for sent in ending.letters.sent]
    boundaries = ["", *ids(20)[4::5]]
    assert ranges == [f"({after},{upto}]" for after, upto in pairwise(boundaries)]
    assert ending.received() == Counter(set(ids(20)) - set(ended))


@pytest.mark.parametrize("leaves", [False, True])
def test_a_straggler_that_has_ended_is_not_tried_again(ending: Stack, leaves: bool) -> None:
    ending.admit("a=", "b=", seconds=600)
    ending.admit("c=", seconds=3)
    for each in ("a=", "b=", "c="):
        ending.exchange.tell(each, Result.FAILED, Result.FAILED, Result.FAILED)
    if leaves:
        ending.exchange.before = lambda: ending.leave("b=")

    ending.deliver_all()

    # After 1, 2 and 4 seconds.
    tries = {"a=": 4, "b=": 1 if leaves else 4, "c=": 2}
    assert Counter(ending.exchange.posted) == tries
    assert ending.received() == Counter(["a="] if leaves else ["a=", "b="])
    assert ending.letters.waiting == []


def resumed(stack: Stack, letter: Letter, reached: str, *open_: str) -> None:
    """Leave a job as somebody who died, with posts of which nobody knows."""
    job = stack.delivery()._jobs.claim(letter.job, letter.event.cursor)
    job.write(reached=reached, open=open_, lease=0)


def test_who_was_open_is_looked_up_when_the_walk_is_resumed(ending: Stack) -> None:
    ending.admit("a=", "c=", "d=", seconds=600)
    ending.admit("b=", "e=", seconds=-1)
    ending.admit("left=", seconds=600)
    letter = ending.letter()
    resumed(ending, letter, "c=", "a=", "b=", "left=")
    ending.leave("left=")

    ending.carry(letter)

    assert ending.exchange.posted == ["a=", "d="]
    assert ending.job()["done"] is True
    assert ending.job()["open"] == []


def test_a_table_that_does_not_say_when_stragglers_end_delays_them(ending: Stack) -> None:
    ending.admit("a=", "b=", seconds=600)
    letter = ending.letter().for_stragglers(["a=", "b="], 1)
    refusals = [failing()]

    def refuse(name: str, parameters: dict[str, Any]) -> None:
        if name == "GetItem" and refusals:
            raise refusals.pop()

    ending.dynamodb.before = refuse
    with pytest.raises(ServiceUnavailable):
        ending.carry(letter)
    assert ending.exchange.posted == []

    ending.carry(letter)
    assert ending.received() == Counter(["a=", "b="])


def test_what_is_known_of_one_topic_says_nothing_of_another(
    ending: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walks of a batch go side by side; a connection is in some topics, and in others not."""
    frequent_notes(monkeypatch, in_flight=1)
    other = Topic.entity("other")
    ending.admit("a=", "b=", seconds=600)
    stragglers = replace(ending.letter(), topic=other).for_stragglers(["b="], 1)
    delivery = ending.delivery()
    letters = [stragglers]

    def carry() -> None:
        while letters:
            delivery.carry(letters.pop())

    ending.exchange.before = carry
    delivery.notify(event("2"), nullcontext())

    assert ending.exchange.posted == ["a=", "b="]


def test_whose_token_is_renewed_while_others_are_posted_to_misses_nothing(
    ending: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    frequent_notes(monkeypatch, in_flight=1)
    ending.admit("a=", seconds=600)
    ending.admit("b=", seconds=3)
    ending.exchange.tell("a=", Told(Result.OK, 5.0))
    renewed = Identity("b=", "", ("**",), int(NOW), int(NOW) + 600)
    ending.exchange.before = lambda: ending.table.prolong(connection("b="), TOPIC, renewed)

    ending.deliver_all()

    assert ending.received() == Counter(["a=", "b="])


def test_where_no_tokens_are_asked_for_nothing_is_looked_up(stack: Stack) -> None:
    """Neither with the subscribers, nor for stragglers, nor for who was open."""
    stack.subscribe("a=", "b=", "c=")
    stack.exchange.tell("b=", Result.FAILED)
    letter = stack.letter()
    resumed(stack, letter, "a=", "a=")
    requests: list[tuple[str, dict[str, Any]]] = []
    stack.dynamodb.before = lambda name, parameters: requests.append((name, parameters))

    stack.carry(letter)
    while stack.letters.waiting:
        sent = stack.letters.waiting.pop(0)
        stack.clock.now += sent.delay_seconds
        stack.carry(sent.letter)

    assert stack.received() == Counter(["a=", "b=", "c="])
    queries = [parameters for name, parameters in requests if name == "Query"]
    assert [query["ProjectionExpression"] for query in queries] == ["#sk"]
    assert [name for name, _ in requests] == ["UpdateItem", "Query"] + ["UpdateItem"] * 3


@pytest.mark.parametrize("opens", [True, False])
def test_who_is_still_connecting_is_not_taken_for_gone(ending: Stack, opens: bool) -> None:
    """A connection is subscribed to its user while it opens, and until then a post is a 410."""
    user = Topic.user("a=")
    ending.clock.now = NOW + 1
    ending.admit("a=", seconds=600, topic=TOPIC)
    ending.log.open(user)
    if opens:
        ending.exchange.tell("a=", Result.GONE)
    else:
        ending.exchange.always("a=", Result.GONE)

    ending.deliver_all(replace(event(), topic=user))

    assert ending.received() == Counter(["a="] if opens else [])
    assert (topics_of(ending.table, "a=") is not None) is opens
