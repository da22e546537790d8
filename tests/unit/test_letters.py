"""Letters: the messages of the delivery queue."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.adapters.table import FIRST, LAST
from push.delivery import POSTS_IN_FLIGHT, POSTS_PER_NOTE
from push.errors import EventRejected
from push.events import MAX_FRAME_BYTES
from push.jobs import Letter
from push.topics import Cursor, LoggedEvent, Topic
from support import events

FRAME = '{"type":"Entity Updated","entityId":"e","id":"1","cursor":"5f0c2a9be41d-7"}'
EVENT = LoggedEvent(Cursor("5f0c2a9be41d", 7), FRAME)
WHOLE = Letter("1", Topic.entity("e"), EVENT, "whole")

ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=50)


def changed(**fields: object) -> str:
    """Return the text of a letter with other fields."""
    return events.encoded(json.loads(WHOLE.encode()) | fields)


def without(name: str) -> str:
    fields = json.loads(WHOLE.encode())
    del fields[name]
    return events.encoded(fields)


def test_the_letter_in_the_events_is_one_for_a_straggler_as_it_is_written() -> None:
    (record,) = events.load("deliver")["Records"]

    letter = Letter.parse(record["body"])

    assert letter.encode() == record["body"]
    assert letter.ids == (events.CONNECTION_ID,)
    assert letter.attempt == 1
    assert json.loads(letter.event.frame)["cursor"] == str(letter.event.cursor)


words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7D), min_size=1, max_size=20)


@given(
    event_id=ids,
    entity_id=ids,
    ends=st.sets(words, min_size=2, max_size=2),
    more=st.sets(words, min_size=1),
    seq=st.integers(1, 9),
)
def test_a_letter_is_read_as_it_was_written(
    event_id: str, entity_id: str, ends: set[str], more: set[str], seq: int
) -> None:
    event = LoggedEvent(Cursor("5f0c2a9be41d", seq), FRAME)
    whole = Letter(event_id, Topic.entity(entity_id), event, "whole")

    after, upto = sorted(ends)
    for letter in (whole, whole.range(after, upto), whole.for_stragglers(sorted(more), 3)):
        assert Letter.parse(letter.encode()) == letter


@pytest.mark.parametrize(
    "frame",
    [
        '{"n":123456789012345678901234567890,"d":1.10}',
        '{"b":1,"a":2,"a":3}',
        '{"data":"\\ud800"}',
        '{"data": [1,  2]}',
    ],
)
def test_the_frame_is_passed_on_as_it_is(frame: str) -> None:
    letter = Letter("1", Topic.entity("e"), LoggedEvent(EVENT.cursor, frame), "whole")

    assert Letter.parse(letter.encode()).event.frame == frame


def test_a_letter_knows_when_its_event_came_also_as_one_for_stragglers() -> None:
    whole = replace(WHOLE, queued_at_ms=1_795_484_801_123)

    for letter in (whole, whole.range("a=", "b="), whole.for_stragglers(["a="], 1)):
        assert Letter.parse(letter.encode()).queued_at_ms == 1_795_484_801_123


@pytest.mark.parametrize("entity_id", ["a#b", "ENTITY#a", "#", " "])
def test_the_topic_is_the_one_it_was(entity_id: str) -> None:
    letter = Letter("1", Topic.entity(entity_id), EVENT, "whole")

    assert Letter.parse(letter.encode()).topic == Topic.entity(entity_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a letter",
        "[]",
        "null",
        '"text"',
        "{}",
        *[without(name) for name in json.loads(WHOLE.encode())],
        changed(eventId=""),
        changed(queuedAt="1795484801000"),
        changed(queuedAt=True),
        changed(eventId=5),
        changed(eventId="x" * 257),
        changed(eventId="\ud800"),
        changed(topic=None),
        changed(topic="\udfff"),
        changed(topic="ENTITY#" + "x" * 300),
        changed(cursor="7"),
        changed(cursor=7),
        changed(cursor="5f0c2a9be41d--1"),
        changed(cursor="5f0c2a9be41d-0"),
        changed(after="b=", upto="a="),
        changed(after="a=", upto="a="),
        changed(after=[]),
        changed(ids=["a=", "a="]),
        changed(ids=["b=", "a="]),
        changed(ids=["\U0001f600"]),
        changed(name="\U0001f600"),
        changed(frame=[]),
        changed(name=""),
        changed(name="x" * 257),
        changed(after=None),
        changed(after="\ud800"),
        changed(upto=""),
        changed(upto="x" * 257),
        changed(ids="a="),
        changed(ids=[5]),
        changed(ids=[""]),
        changed(ids=["a=", "\ud800"]),
        changed(ids=["x" * 257]),
        changed(ids={"a": 1}),
        changed(attempt="1"),
        changed(attempt=True),
        changed(attempt=1.5),
        changed(attempt=-1),
        changed(attempt=100),
        changed(frame=1).replace('"frame": 1', '"frame": 1e999'),
        WHOLE.encode().replace('"frame":{', '"frame":{"data":"\ud800",'),
        WHOLE.encode().replace('"frame":{', '"frame":{"data":' + "[" * 100_000),
    ],
    ids=lambda text: repr(text)[-60:],
)
def test_what_is_no_letter_is_poison(text: str) -> None:
    with pytest.raises(EventRejected) as caught:
        Letter.parse(text)

    assert caught.value.code == "InvalidDelivery"


def test_why_a_letter_is_refused_is_said_without_what_it_holds() -> None:
    for text in (
        "secret",
        changed(cursor="secret"),
        changed(ids="secret"),
        changed(attempt="secret"),
    ):
        with pytest.raises(EventRejected) as caught:
            Letter.parse(text)
        assert str(caught.value)
        assert "secret" not in str(caught.value)


@given(st.text())
def test_no_text_crashes_the_parser(text: str) -> None:
    with pytest.raises(EventRejected):
        Letter.parse(text)


def test_what_the_notifier_takes_however_deep_the_courier_takes_too() -> None:
    """Both have the same depth to spare."""
    deepest = 0
    for depth in range(400, 1_000, 3):
        data = "[" * depth + "]" * depth
        text = events.encoded(events.entity_updated("1", entityId="e", data="?"))
        try:
            event = events.parsed(text.replace('"?"', data))
        except EventRejected:
            continue
        deepest = depth
        logged = LoggedEvent(EVENT.cursor, event.frame(EVENT.cursor))
        letter = Letter(event.id, event.topic, logged, "whole")
        assert Letter.parse(letter.encode()) == letter
    assert 400 < deepest < 999


def test_the_walk_of_a_whole_topic_may_be_cut_and_its_parts_may_not() -> None:
    assert WHOLE.may_be_cut
    assert not WHOLE.range("a=", "b=").may_be_cut
    assert not WHOLE.range("", "b=").may_be_cut
    assert not WHOLE.range("a=", "~").may_be_cut
    assert not WHOLE.for_stragglers(["a="], 1).may_be_cut


def test_the_name_of_a_range_holds_both_boundaries_and_nothing_else() -> None:
    boundaries = ["", "a=", "b=", "c=", "~"]

    parts = [WHOLE.range(after, upto) for after, upto in pairwise(boundaries)]

    assert parts == [WHOLE.range(after, upto) for after, upto in pairwise(boundaries)]
    assert len({part.job for part in parts}) == 4
    assert WHOLE.range("a=", "c=").job not in {part.job for part in parts}
    assert all(part.job.startswith("1#") for part in parts)


def test_letters_for_stragglers_are_jobs_of_their_own_each_time() -> None:
    first, second = (WHOLE.for_stragglers(["a="], 1) for _ in range(2))

    assert first.job != second.job
    assert Letter.parse(first.encode()).job == first.job


def test_stragglers_of_a_range_are_no_range() -> None:
    letter = WHOLE.range("a=", "m=").for_stragglers(["b=", "c="], 2)

    assert (letter.after, letter.upto) == (FIRST, LAST)
    assert (letter.ids, letter.attempt) == (("b=", "c="), 2)
    assert letter.event == EVENT


def test_the_largest_letter_fits_into_a_message_of_sqs() -> None:
    """Quotes would double if the frame were a text inside the message."""
    frame = '{"data":"' + '\\"' * (MAX_FRAME_BYTES // 2 - 10) + '"}'
    stragglers = [f"{number:015}=" for number in range(POSTS_PER_NOTE + POSTS_IN_FLIGHT)]
    longest = "\U0001f600" * 256
    whole = Letter(longest, Topic.entity(longest), LoggedEvent(EVENT.cursor, frame), "whole")

    letter = whole.for_stragglers(stragglers, 1)

    assert len(letter.encode().encode()) < 256 * 1024 - 2_000
