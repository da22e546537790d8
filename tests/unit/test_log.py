"""The log of a topic: every event gets the next number, once, and is there for who comes back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.adapters.table import Table
from push.connection import MAX_LIFETIME, SLACK
from push.events import Event
from push.topics import (
    HEAD_SECONDS,
    LAST,
    LONGEST_CURSOR,
    Cursor,
    Head,
    Log,
    LoggedEvent,
    Recovery,
    Room,
    Topic,
    new_epoch,
)
from support import template
from support.exchange import Clock

TOPIC = Topic.entity("e")
KEPT_SECONDS = 604_800

Rows = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log(table: Table, clock: Clock) -> Log:
    return Log(table, kept_seconds=KEPT_SECONDS, clock=clock)


def event(event_id: str, size: int = 0) -> Event:
    return Event(event_id, TOPIC, f'{{"id":"{event_id}","data":"{"x" * size}"')


def append(log: Log, table: Table, event_id: str, size: int = 0) -> LoggedEvent:
    """Append an event as one does who takes it up first."""
    head = table.head(TOPIC)
    assert head
    logged = log.append(event(event_id, size), head, head.cursor)
    assert logged
    return logged


def filled(log: Log, table: Table, count: int, size: int = 0) -> list[LoggedEvent]:
    log.open(TOPIC)
    return [append(log, table, str(number), size) for number in range(1, count + 1)]


def recover(log: Log, table: Table, since: Any, room: Room | None = None) -> Recovery:
    head = table.head(TOPIC)
    assert head
    return log.recover(TOPIC, head, since, room or Room(100 * 1024, one_at_least=True))


# Topics and cursors.


@given(st.text())
def test_a_topic_is_the_one_of_its_key(entity_id: str) -> None:
    topic = Topic.entity(entity_id)

    assert Topic.of_key(topic.key) == topic
    assert topic.key == f"ENTITY#{entity_id}"


@pytest.mark.parametrize(
    "text", ["5f0c2a9be41d-0", "000000000000-1", "ffffffffffff-999999999999999"]
)
def test_a_cursor_is_read_as_it_was_written(text: str) -> None:
    assert str(Cursor.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "7",
        "5f0c2a9be41d",
        "5f0c2a9be41d-",
        "5f0c2a9be41d--1",
        "5f0c2a9be41d-07",
        "5f0c2a9be41d-+7",
        "5f0c2a9be41d-1000000000000000",
        "5f0c2a9be41-7",
        "5f0c2a9be41d0-7",
        "5F0C2A9BE41D-7",
        "5f0c2a9be41g-7",
        "5f0c2a9be41d-\u0667",
        "5f0c2a9be41d-7\n",
        " 5f0c2a9be41d-7",
    ],
    ids=repr,
)
def test_what_was_never_a_cursor_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_cursors_of_one_log_are_in_the_order_of_its_numbers() -> None:
    assert Cursor("a", 9) < Cursor("a", 10)


def test_the_longest_cursor_is_one() -> None:
    assert Cursor.parse(str(LONGEST_CURSOR)) == LONGEST_CURSOR
    assert len(str(LONGEST_CURSOR)) == 28


def test_every_log_has_an_epoch_of_its_own() -> None:
    epochs = {new_epoch() for _ in range(100)}

    assert len(epochs) == 100
    assert all(Cursor.parse(f"{epoch}-0") for epoch in epochs)


# The room of an answer.


def test_there_is_room_for_so_many_bytes() -> None:
    room = Room(10)

    assert [room.take(text) for text in ("12345", "123456", "12345", "1")] == [
        True,
        False,
        True,
        False,
    ]


def test_room_is_counted_in_bytes_not_in_characters() -> None:
    assert not Room(3).take("\U0001f600")


def test_there_is_room_for_so_many_events() -> None:
    room = Room(1_000, events=2)

    assert [room.take("x") for _ in range(3)] == [True, True, False]


def test_there_is_room_for_one_of_any_size_if_need_be_and_for_no_second() -> None:
    room = Room(10, one_at_least=True)

    assert [room.take("x" * 20), room.take("x")] == [True, False]


# Open.


def test_a_log_begins_before_number_1_and_lives_for_30_days(
    log: Log, clock: Clock, rows: Rows
) -> None:
    head = log.open(TOPIC)

    assert head.cursor.seq == 0
    assert rows() == [
        {
            "pk": "ENTITY#e",
            "sk": "HEAD",
            "epoch": head.cursor.epoch,
            "seq": 0,
            "ttl": int(clock.now) + 30 * 24 * 3600,
        }
    ]


def test_a_log_that_is_open_stays_as_it_is(log: Log, table: Table) -> None:
    first = log.open(TOPIC)
    append(log, table, "1")

    assert log.open(TOPIC) == Head(Cursor(first.cursor.epoch, 1), first.ttl)


def test_a_head_is_prolonged_only_when_less_than_half_of_its_life_is_left(
    log: Log, clock: Clock
) -> None:
    first = log.open(TOPIC)
    clock.now += HEAD_SECONDS // 2
    assert log.open(TOPIC) == first
    clock.now += 1

    assert log.open(TOPIC) == Head(first.cursor, int(clock.now) + HEAD_SECONDS)


def test_a_head_outlives_every_connection_that_found_it_and_what_is_kept() -> None:
    """So an event that finds none is older than every subscription."""
    kept_seconds = template.written()["Parameters"]["HistorySeconds"]["MaxValue"]

    assert (MAX_LIFETIME + SLACK).total_seconds() + kept_seconds <= HEAD_SECONDS // 2


def test_two_who_open_a_log_at_once_open_the_same(log: Log, table: Table, clock: Clock) -> None:
    """Both have found none."""
    first = table.open_head(TOPIC, "00000000000a", int(clock.now))

    assert table.open_head(TOPIC, "00000000000b", int(clock.now)).cursor == first.cursor


def test_a_log_that_ttl_has_taken_begins_anew(log: Log, dynamodb: Any) -> None:
    first = log.open(TOPIC)
    delete(dynamodb, "HEAD")

    second = log.open(TOPIC)

    assert second.cursor.seq == 0
    assert second.cursor.epoch != first.cursor.epoch


# Append.


def test_events_get_the_numbers_from_1_on_without_gaps(log: Log, table: Table) -> None:
    logged = filled(log, table, 12)

    assert [each.cursor.seq for each in logged] == [*range(1, 13)]
    assert len({each.cursor.epoch for each in logged}) == 1
    for each in logged:
        assert json.loads(each.frame)["cursor"] == str(each.cursor)


def test_a_logged_event_is_kept_as_long_as_is_said(
    log: Log, table: Table, clock: Clock, rows: Rows
) -> None:
    (logged,) = filled(log, table, 1)

    item, head = rows()
    assert item == {
        "pk": "ENTITY#e",
        "sk": f"EVENT#{logged.cursor.epoch}#000000000000001",
        "id": "1",
        "frame": logged.frame,
        "ttl": int(clock.now) + KEPT_SECONDS,
    }
    assert head["seq"] == 1


def test_appending_does_not_prolong_the_head(log: Log, table: Table, clock: Clock) -> None:
    head = log.open(TOPIC)
    clock.now += HEAD_SECONDS - 1
    append(log, table, "1")

    after = table.head(TOPIC)
    assert after
    assert after.ttl == head.ttl


def test_an_event_that_is_appended_again_has_the_number_that_it_has(log: Log, table: Table) -> None:
    clear = log.open(TOPIC).cursor
    first = append(log, table, "same")
    append(log, table, "other")
    head = table.head(TOPIC)
    assert head

    assert log.append(event("same"), head, clear) == first
    assert table.head(TOPIC) == head


def test_an_event_whose_head_was_not_moved_gets_no_second_number(log: Log, table: Table) -> None:
    """Whoever appended it died between slot and head."""
    head = log.open(TOPIC)
    cursor = Cursor(head.cursor.epoch, 1)
    table.fill_slot(TOPIC, "same", LoggedEvent(cursor, event("same").frame(cursor)), 0)

    logged = log.append(event("same"), head, head.cursor)

    assert logged
    assert logged.cursor == cursor
    assert append(log, table, "other").cursor.seq == 2


def test_a_slot_that_is_another_s_is_counted_and_left_alone(log: Log, table: Table) -> None:
    head = log.open(TOPIC)
    first = Cursor(head.cursor.epoch, 1)
    table.fill_slot(TOPIC, "dead", LoggedEvent(first, event("dead").frame(first)), 0)

    logged = log.append(event("live"), head, head.cursor)

    assert logged
    assert logged.cursor.seq == 2
    kept = table.logged(TOPIC, head.cursor, 9)
    assert [json.loads(each.frame)["id"] for each in kept] == ["dead", "live"]


def test_an_event_meets_others_that_were_faster(log: Log, table: Table) -> None:
    """Its head is as it was read, a while ago."""
    stale = log.open(TOPIC)
    for number in range(5):
        append(log, table, f"fast {number}")

    logged = log.append(event("slow"), stale, stale.cursor)

    assert logged
    assert logged.cursor.seq == 6


def test_an_event_meets_itself_while_it_looks_for_its_slot(log: Log, table: Table) -> None:
    """Two are at it: the lease of one is past, and it does not know."""
    stale = log.open(TOPIC)
    append(log, table, "fast")
    other = append(log, table, "same")

    assert log.append(event("same"), stale, stale.cursor) == other
    head = table.head(TOPIC)
    assert head
    assert head.cursor.seq == 2


def test_a_log_that_fell_asleep_takes_no_event(
    log: Log, table: Table, dynamodb: Any, rows: Rows
) -> None:
    head = log.open(TOPIC)
    delete(dynamodb, "HEAD")

    assert log.append(event("1"), head, head.cursor) is None
    assert "HEAD" not in [row["sk"] for row in rows()]


def test_a_log_that_began_anew_since_the_first_try_gives_its_own_number(
    log: Log, dynamodb: Any
) -> None:
    stale = log.open(TOPIC)
    delete(dynamodb, "HEAD")
    fresh = log.open(TOPIC)

    logged = log.append(event("1"), fresh, stale.cursor)

    assert logged
    assert logged.cursor == Cursor(fresh.cursor.epoch, 1)


def test_an_event_is_looked_for_in_the_whole_of_a_log_that_began_anew(
    log: Log, table: Table, dynamodb: Any
) -> None:
    """An earlier try appended it there, and died."""
    stale = log.open(TOPIC)
    delete(dynamodb, "HEAD")
    (first,) = filled(log, table, 1)
    head = table.head(TOPIC)
    assert head

    assert log.append(event("1"), head, stale.cursor) == first
    assert table.head(TOPIC) == head


# Recover.


@pytest.mark.parametrize("missed", [1, 2, 5])
def test_what_came_after_a_cursor_is_recovered(log: Log, table: Table, missed: int) -> None:
    logged = filled(log, table, 5)

    recovery = recover(log, table, Cursor(logged[0].cursor.epoch, 5 - missed))

    assert recovery == Recovery(logged[-1].cursor, True, tuple(logged[-missed:]))


def test_who_missed_nothing_is_recovered_without_events(log: Log, table: Table) -> None:
    logged = filled(log, table, 3)

    assert recover(log, table, logged[-1].cursor) == Recovery(logged[-1].cursor, True)


@pytest.mark.parametrize(
    "since", [Cursor("000000000000", 1), Cursor("000000000000", 0)], ids=["later", "first"]
)
def test_a_cursor_of_another_epoch_is_not_recovered(log: Log, table: Table, since: Cursor) -> None:
    logged = filled(log, table, 3)

    assert recover(log, table, since) == Recovery(logged[-1].cursor, recovered=False)


@pytest.mark.parametrize("ahead", [1, 200])
def test_a_number_that_was_not_yet_given_is_not_recovered_and_not_looked_for(
    log: Log, table: Table, dynamodb: Any, ahead: int
) -> None:
    """DynamoDB refuses a range that ends before it begins."""
    logged = filled(log, table, 3)
    queries: list[object] = []
    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: queries.append(params)
    )

    recovery = recover(log, table, Cursor(logged[0].cursor.epoch, 3 + ahead))

    assert recovery == Recovery(logged[-1].cursor, recovered=False)
    assert queries == []


@pytest.mark.parametrize("gone", [[2], [3], [5], [2, 3, 4, 5]])
def test_a_number_that_is_gone_is_never_a_silent_hole(
    log: Log, table: Table, dynamodb: Any, gone: list[int]
) -> None:
    """TTL deletes in any order."""
    logged = filled(log, table, 5)
    epoch = logged[0].cursor.epoch
    for seq in gone:
        delete(dynamodb, f"EVENT#{epoch}#{seq:015}")

    recovery = recover(log, table, Cursor(epoch, 1))

    if gone == [5]:
        # Not missing from the middle: there is more, and it is asked for.
        assert recovery == Recovery(logged[3].cursor, True, tuple(logged[1:4]), more=True)
        recovery = recover(log, table, recovery.cursor)
    assert recovery == Recovery(logged[-1].cursor, recovered=False)


def test_what_is_gone_before_the_cursor_is_not_missed(
    log: Log, table: Table, dynamodb: Any
) -> None:
    logged = filled(log, table, 3)
    epoch = logged[0].cursor.epoch
    delete(dynamodb, f"EVENT#{epoch}#000000000000001")

    assert recover(log, table, Cursor(epoch, 1)).events == tuple(logged[1:])


def test_what_the_head_does_not_count_yet_is_not_answered(log: Log, table: Table) -> None:
    """It comes live: whoever moves the head reads the subscribers afterwards."""
    begin = log.open(TOPIC).cursor
    first = append(log, table, "1")
    second = Cursor(begin.epoch, 2)
    table.fill_slot(TOPIC, "2", LoggedEvent(second, event("2").frame(second)), 0)

    assert recover(log, table, begin) == Recovery(first.cursor, True, (first,))
    assert recover(log, table, first.cursor) == Recovery(first.cursor, True)


def test_an_answer_has_as_many_events_as_there_is_room_for_and_says_that_there_are_more(
    log: Log, table: Table
) -> None:
    logged = filled(log, table, 5)
    begin = Cursor(logged[0].cursor.epoch, 0)

    first = recover(log, table, begin, Room(10_000, events=2))
    second = recover(log, table, first.cursor, Room(10_000, events=3))

    assert first == Recovery(logged[1].cursor, True, tuple(logged[:2]), more=True)
    assert second == Recovery(logged[-1].cursor, True, tuple(logged[2:]))


def test_an_answer_has_as_many_bytes_as_there_is_room_for(log: Log, table: Table) -> None:
    logged = filled(log, table, 3, size=1_000)
    size = len(logged[0].frame.encode())

    recovery = recover(log, table, Cursor(logged[0].cursor.epoch, 0), Room(2 * size))

    assert recovery == Recovery(logged[1].cursor, True, tuple(logged[:2]), more=True)


@pytest.mark.parametrize("room", [Room(10), Room(10_000, events=0)], ids=["bytes", "events"])
def test_an_answer_without_room_says_that_there_is_more(log: Log, table: Table, room: Room) -> None:
    logged = filled(log, table, 3)
    begin = Cursor(logged[0].cursor.epoch, 0)

    assert recover(log, table, begin, room) == Recovery(begin, True, more=True)


def test_an_answer_ends_where_a_page_of_the_table_does(log: Log, table: Table) -> None:
    """A page has a megabyte, however much room there is."""
    logged = filled(log, table, 12, size=110_000)
    begin = Cursor(logged[0].cursor.epoch, 0)
    seen: list[LoggedEvent] = []
    pages = 0

    more = True
    while more:
        recovery = recover(log, table, begin, Room(10**9))
        assert recovery.recovered
        seen += recovery.events
        begin, more = recovery.cursor, recovery.more
        pages += 1

    assert seen == logged
    assert pages == 2


def test_the_last_event_alone_can_be_asked_for(log: Log, table: Table) -> None:
    logged = filled(log, table, 3)

    assert recover(log, table, LAST) == Recovery(logged[-1].cursor, True, (logged[-1],))


def test_of_an_empty_log_there_is_no_last_event(log: Log, table: Table) -> None:
    head = log.open(TOPIC)

    assert recover(log, table, LAST) == Recovery(head.cursor, True)


def test_a_last_event_that_is_not_kept_any_more_is_not_recovered(
    log: Log, table: Table, dynamodb: Any
) -> None:
    logged = filled(log, table, 2)
    delete(dynamodb, f"EVENT#{logged[0].cursor.epoch}#000000000000002")

    assert recover(log, table, LAST) == Recovery(logged[-1].cursor, recovered=False)


def delete(dynamodb: Any, sk: str) -> None:
    """Delete an item of the topic, as TTL does."""
    key = {"pk": {"S": TOPIC.key}, "sk": {"S": sk}}
    dynamodb.delete_item(TableName="connections", Key=key)


def test_a_log_that_began_anew_meanwhile_gives_its_own_number(
    log: Log, table: Table, dynamodb: Any
) -> None:
    stale = log.open(TOPIC)
    delete(dynamodb, "HEAD")
    fresh = log.open(TOPIC)

    logged = log.append(event("1"), stale, stale.cursor)

    assert logged
    assert logged.cursor == Cursor(fresh.cursor.epoch, 1)
