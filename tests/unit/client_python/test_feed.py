"""Which event comes next, whatever order frames and replies come in."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications_client import Event, Gap
from notifications_client.feed import Ask, Cursor, Feed, Frame
from unit.client_python.service import Log

MOST_WAITING = 100


def numbers(items: Iterable[Event | Gap]) -> list[int]:
    return [Cursor.parse(item.cursor).number for item in items]


def begun(log: Log) -> Feed:
    feed = Feed(log.entity_id)
    assert list(feed.answered(feed.ask(None), log.answer(None), 0)) == []
    return feed


def caught_up(feed: Feed, log: Log, now: float = 0) -> list[Event | Gap]:
    ask = feed.ask(feed.since)
    return list(feed.answered(ask, log.answer(ask.since), now))


@pytest.mark.parametrize("text", ["", "5f0c2a9be41d", "5f0c2a9be41d-", "-x", "a-1.5", "a-\u0661"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_a_message_that_is_null_differs_from_one_that_is_absent() -> None:
    null, absent = Event({"message": None}), Event({})

    assert (null.message, absent.message) == (None, None)
    assert "message" in null.frame
    assert "message" not in absent.frame


def test_frames_before_the_first_reply_wait_for_it() -> None:
    log = Log("a")
    feed = Feed("a")
    log.append()
    reply = log.answer(None)
    frames = [log.append() for _ in range(2)]

    assert [list(feed.live(frame, 0)) for frame in frames] == [[], []]
    assert numbers(feed.answered(feed.ask(None), reply, 0)) == [2, 3]


def test_a_frame_that_was_handed_on_is_dropped_and_does_not_wait() -> None:
    log = Log("a")
    feed = begun(log)
    frames = [log.append() for _ in range(2)]

    for frame in frames * 2:
        list(feed.live(frame, 0))
    assert not feed.is_waiting


def test_the_last_event_alone_is_brought() -> None:
    log = Log("a")
    feed = Feed("a", "last")
    for _ in range(3):
        log.append()

    assert feed.since == "last"
    assert numbers(caught_up(feed, log)) == [3]
    assert feed.since == log.at(3)


def test_the_last_event_is_not_that_of_a_reply_to_somebody_else() -> None:
    log = Log("a")
    log.append()
    feed = Feed("a", "last")

    assert list(feed.answered(feed.ask(log.at(0)), log.answer(log.at(0)), 0)) == []
    assert feed.since == "last"


def test_a_frame_is_missed_after_it_waited_and_again_after_a_reply_without_it() -> None:
    log = Log("a")
    feed = begun(log)
    before = feed.ask(log.cursor)
    reply = log.answer(log.cursor)
    log.append()

    assert list(feed.live(log.append(), now=5)) == []
    assert feed.waiting_since == 5
    list(feed.answered(before, reply, now=6))
    assert feed.waiting_since == 5, "the request was made before"
    list(feed.answered(feed.ask(log.at(0)), reply, now=6))
    assert feed.waiting_since == 6


def test_a_hundred_that_wait_are_asked_for_at_once_and_more_are_not_lost() -> None:
    log = Log("a", page=1000)
    feed = begun(log)
    log.append()
    for _ in range(MOST_WAITING - 1):
        list(feed.live(log.append(), 0))
    assert not feed.behind
    list(feed.live(log.append(), 0))
    assert feed.behind

    ask, reply = feed.ask(feed.since), log.answer(feed.since)
    list(feed.live(log.append(), 0))
    taken = numbers(feed.answered(ask, reply, 0))

    assert taken == list(range(1, MOST_WAITING + 2))
    assert feed.behind, "one had no room, and the request was made before it came"
    assert numbers(caught_up(feed, log)) == [MOST_WAITING + 2]


def test_a_gap_ends_before_what_was_heard() -> None:
    log = Log("a")
    feed = begun(log)
    frames = [log.append() for _ in range(9)]
    log.trim()
    for number in (4, 7):
        list(feed.live(frames[number - 1], 0))

    assert list(caught_up(feed, log)) == [Gap("a", log.at(0), log.at(3)), Event(frames[3])]
    assert feed.behind, "it is not where the reply was"
    assert list(caught_up(feed, log)) == [Gap("a", log.at(4), log.at(6)), Event(frames[6])]
    assert list(caught_up(feed, log)) == [Gap("a", log.at(7), log.at(9))]
    assert not feed.behind


def test_another_epoch_is_a_gap_and_what_was_heard_of_both_is_handed_on() -> None:
    log = Log("a")
    feed = begun(log)
    old = [log.append() for _ in range(3)]
    list(feed.live(old[2], 0))
    log.begin_again()
    new = [log.append() for _ in range(3)]
    list(feed.live(new[1], 0))

    items = caught_up(feed, log) + caught_up(feed, log) + caught_up(feed, log)

    assert [type(item) for item in items] == [Gap, Event, Gap, Event, Event]
    assert [item for item in items if isinstance(item, Event)] == [
        Event(old[2]),
        *map(Event, new[1:]),
    ]
    assert feed.since == log.cursor


def test_frames_of_an_epoch_that_is_over_do_not_wait_forever() -> None:
    log = Log("a")
    stale = log.append()
    log.begin_again()
    feed = begun(log)
    list(feed.live(stale, 0))

    assert caught_up(feed, log) == []
    assert not feed.is_waiting


def test_a_cursor_ahead_of_the_log_is_a_gap_back_to_it() -> None:
    log = Log("a")
    log.append()
    feed = Feed("a", log.at(7))

    assert caught_up(feed, log) == [Gap("a", log.at(7), log.at(1))]
    assert numbers(feed.live(log.append(), 0)) == [2]


def test_a_reply_without_recovery_is_no_gap_if_the_position_is_there_already() -> None:
    log = Log("a")
    feed = begun(log)
    ask = feed.ask(feed.since)
    frames = [log.append() for _ in range(2)]
    log.trim()
    reply = log.answer(ask.since)
    for frame in frames:
        list(feed.live(frame, 0))

    assert list(feed.answered(ask, reply, 0)) == []
    assert not feed.behind


def test_a_reply_for_somebody_else_moves_nothing() -> None:
    log = Log("a")
    for _ in range(5):
        log.append()
    feed = Feed("a", log.at(1))

    assert list(feed.answered(feed.ask(log.at(3)), log.answer(log.at(3)), 0)) == []
    assert list(feed.answered(feed.ask(None), log.answer(None), 0)) == []
    assert feed.behind
    assert numbers(caught_up(feed, log)) == [2, 3, 4, 5]


def test_one_that_begins_beside_another_shares_what_waits() -> None:
    log = Log("a")
    first = begun(log)
    early, late = log.append(), log.append()
    list(first.live(late, 0))
    second = Feed("a")
    second.begin_beside(first)

    assert numbers(second.live(early, 0)) == [1, 2]
    assert numbers(first.live(early, 0)) == [1, 2]


class Line:
    """Frames and replies on their way to a feed, in any order, some twice, some never."""

    def __init__(self, feed: Feed, log: Log) -> None:
        self.feed = feed
        self.log = log
        self.items: list[Event | Gap] = []
        self.frames: list[Frame] = []
        self.replies: list[tuple[Ask, Frame]] = []

    def do(self, step: str, which: int) -> None:
        match step:
            case "publish":
                self.frames.append(self.log.append())
            case "publish unheard":
                self.log.append()
            case "hear" if self.frames:
                frame = self.frames.pop(which % len(self.frames))
                self.items += self.feed.live(frame, 0)
            case "hear twice" if self.frames:
                self.items += self.feed.live(self.frames[which % len(self.frames)], 0)
            case "ask":
                ask = self.feed.ask(self.feed.since)
                self.replies.append((ask, self.log.answer(ask.since)))
            case "reply" if self.replies:
                self.items += self.feed.answered(
                    *self.replies.pop(which % len(self.replies)), now=0
                )
            case "resume" if not self.feed.paused:
                pass
            case "pause" | "resume":
                getattr(self.feed, step)()
            case "trim" | "begin_again":
                getattr(self.log, step)()

    def arrive(self) -> None:
        """Have all arrive that is on its way."""
        while self.frames:
            self.do("hear", 0)
        while self.replies:
            self.do("reply", 0)

    def reconnect(self) -> None:
        """Lose all that is on its way, and ask."""
        self.frames.clear()
        self.replies.clear()
        self.do("ask", 0)
        self.do("reply", 0)

    def settle(self) -> None:
        """Ask as long as there is something to ask for, and no longer, as a client does."""
        for _ in range(1000):
            if not self.feed.is_waiting:
                return
            self.do("ask", 0)
            self.do("reply", 0)
        raise AssertionError("it does not come to an end")


HEARD = ["publish", "hear", "hear twice", "ask", "reply", "pause", "resume"]
HARMLESS = [*HEARD, "publish unheard"]
LOSSY = [*HARMLESS, "trim", "begin_again"]


def steps_of(names: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 20)), max_size=60)


def check(line: Line, start: Cursor) -> None:
    """Fail unless all that came is one chain from the start to where the log is."""
    position = start
    for item in line.items:
        cursor = Cursor.parse(item.cursor)
        if isinstance(item, Gap):
            assert item.after == str(position)
        else:
            assert cursor == Cursor(position.epoch, position.number + 1)
        position = cursor
    assert str(position) == line.log.cursor


@given(steps_of(HEARD), st.integers(1, 4), st.integers(1, 4))
def test_what_is_heard_leads_to_all_before_it(
    steps: list[tuple[str, int]], page: int, most_waiting: int
) -> None:
    log = Log("a", page)
    line = Line(Feed("a", log.cursor, most_waiting=most_waiting), log)
    for step in steps:
        line.do(*step)
    line.do("resume", 0)
    line.arrive()
    line.settle()

    check(line, Cursor.parse(log.at(0)))


@given(steps_of(HARMLESS), st.integers(1, 4))
def test_every_event_is_handed_on_once_and_in_order(
    steps: list[tuple[str, int]], page: int
) -> None:
    log = Log("a", page)
    line = Line(Feed("a", log.cursor), log)
    for step in steps:
        line.do(*step)
    line.do("resume", 0)
    line.reconnect()
    line.settle()

    check(line, Cursor.parse(log.at(0)))
    assert not [item for item in line.items if isinstance(item, Gap)]


@given(steps_of(LOSSY), st.integers(1, 4))
def test_what_is_not_handed_on_is_in_a_gap(steps: list[tuple[str, int]], page: int) -> None:
    log = Log("a", page)
    start = Cursor.parse(log.cursor)
    line = Line(Feed("a", log.cursor), log)
    for step in steps:
        line.do(*step)
    line.do("resume", 0)
    line.reconnect()
    line.settle()

    check(line, start)
    heard = [str(item.frame) for item in line.items if isinstance(item, Event)]
    assert len(heard) == len(set(heard))
