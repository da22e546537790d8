"""Deliveries and fan-outs: what each client gets, whatever happens on the way."""

import json
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from push.delivery import MAX_ATTEMPTS, ROUNDS, Delivery
from push.errors import EventRejected
from push.notification import Notification
from push.posting import Result
from support import events
from support.poster import FakePoster
from support.world import Message, World


def notification(event_id: str = "1", message: object = "Hello") -> Notification:
    return Notification.parse(
        json.dumps(events.entity_updated(event_id, entityId="e", message=message))
    )


def ids(count: int) -> list[str]:
    return [f"{number:05}=" for number in range(count)]


def published(world: World, copies: int = 1) -> World:
    """Publish an event, as often as at-least-once delivery repeats it, and let it all settle."""
    world.messages += [Message(notification()) for _ in range(copies)]
    world.settle()
    return world


def received(world: World) -> Counter[str]:
    return Counter(world.poster.receivers())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 29, 30, 31, 100])
def test_every_subscriber_gets_one_frame_however_many_there_are(count: int) -> None:
    world = published(World(ids(count)))

    assert received(world) == Counter(ids(count))
    assert {json.loads(frame)["message"] for _, frame in world.poster.delivered} <= {"Hello"}


def test_a_hundred_thousand_subscribers_get_one_frame_each() -> None:
    world = published(World(ids(100_000), chunk_size=1_000), copies=2)

    assert received(world) == Counter(ids(100_000))
    assert len(world.delays) == 100


def test_a_small_fan_out_is_posted_without_another_hop() -> None:
    world = World(ids(3))
    world.messages.append(Message(notification()))

    world.settle(each=lambda: None)

    assert world.delays == []


def test_a_large_fan_out_goes_through_the_delivery_queue_in_chunks() -> None:
    world = published(World(ids(10)))

    assert len(world.delays) == 4
    assert set(world.delays) == {0}


@pytest.mark.parametrize("count", [2, 10])
def test_a_repeated_event_reaches_nobody_twice(count: int) -> None:
    assert received(published(World(ids(count)), copies=3)) == Counter(ids(count))


def test_two_events_are_two_frames() -> None:
    world = World(ids(2))
    world.messages += [Message(notification("1")), Message(notification("2"))]
    world.settle()

    assert received(world) == Counter(ids(2) * 2)


@pytest.mark.parametrize("result", [Result.THROTTLED, Result.FAILED])
@pytest.mark.parametrize("failures", [1, ROUNDS, ROUNDS + 1, ROUNDS * (MAX_ATTEMPTS + 1) - 1])
def test_what_may_pass_is_tried_again_for_that_connection_alone(
    result: Result, failures: int
) -> None:
    world = World(ids(3))
    world.poster.results["00001="] = [result] * failures

    published(world)

    assert received(world) == Counter(ids(3))
    assert world.dead == []


def test_the_queue_s_delays_grow_and_are_bounded() -> None:
    world = World(ids(1))
    world.poster.always("00000=", Result.THROTTLED)

    published(world)

    assert len(world.delays) == MAX_ATTEMPTS
    for attempt, delay in enumerate(world.delays):
        assert 2**attempt <= delay <= 2 ** (attempt + 1)


def test_what_never_passes_ends_as_a_dead_letter_for_that_connection_alone() -> None:
    world = World(ids(3))
    world.poster.always("00001=", Result.FAILED)

    published(world)

    assert received(world) == Counter(["00000=", "00002="])
    ((body, code),) = world.dead
    assert code == "Failed"
    assert Delivery.parse(body).connection_ids == ("00001=",)


@pytest.mark.parametrize("result", [Result.REFUSED, Result.TOO_LARGE])
def test_a_permanent_refusal_is_a_dead_letter_at_once(result: Result) -> None:
    world = World(ids(3))
    world.poster.always("00001=", result)

    published(world)

    assert received(world) == Counter(["00000=", "00002="])
    assert world.delays == []
    ((_, code),) = world.dead
    assert code == result.value


def test_dead_letters_are_grouped_by_their_reason() -> None:
    world = World(ids(6), chunk_size=10)
    for connection_id in ids(6)[:3]:
        world.poster.always(connection_id, Result.REFUSED)
    world.poster.always(ids(6)[3], Result.TOO_LARGE)

    published(world)

    letters = {code: Delivery.parse(body).connection_ids for body, code in world.dead}
    assert letters == {"Refused": tuple(ids(6)[:3]), "TooLarge": (ids(6)[3],)}


def test_a_dead_letter_that_is_redriven_has_all_its_tries_again() -> None:
    world = World(ids(1))
    world.poster.results["00000="] = [Result.FAILED] * (ROUNDS * (MAX_ATTEMPTS + 1) + 1)
    published(world)
    ((body, _),) = world.dead

    world.messages.append(Message(Delivery.parse(body)))
    world.settle()

    assert received(world) == Counter(ids(1))


def test_gone_connections_are_forgotten_and_nobody_else_is() -> None:
    world = World(ids(5), chunk_size=10)
    world.poster.always("00001=", Result.GONE)
    world.poster.always("00003=", Result.GONE)

    published(world)

    assert sorted(world.removed) == ["00001=", "00003="]
    assert received(world) == Counter(["00000=", "00002=", "00004="])


def test_what_there_is_no_time_for_is_handed_on() -> None:
    # Each step takes a second, of which an invocation has sixty.
    world = World(ids(200), chunk_size=500, step_seconds=1)

    published(world)

    assert received(world) == Counter(ids(200))
    assert len(world.delays) >= 2


def test_a_walk_continues_in_another_invocation_before_its_time_is_up() -> None:
    world = World(ids(400), chunk_size=2, step_seconds=1)
    walks: list[str] = []

    def note() -> None:
        walks.extend(m.after for m in world.messages if isinstance(m.content, Notification))

    world.messages.append(Message(notification()))
    world.settle(each=note)

    assert received(world) == Counter(ids(400))
    assert len(set(walks)) > 3


def test_a_delivery_is_the_same_after_the_queue() -> None:
    delivery = Delivery("1", "e", "job", notification().frame, ("a=", "b="), 3)

    assert Delivery.parse(delivery.encode()) == delivery


@given(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_a_frame_is_the_same_after_the_queue_whatever_it_holds(message: object) -> None:
    try:
        frame = notification(message=message).frame
    except EventRejected:
        return
    delivery = Delivery("1", "e", "job", frame, ("a=",))

    assert Delivery.parse(delivery.encode()).frame == frame


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"eventId":"1","entityId":"e","job":"j","attempt":0,"frame":[],"connectionIds":[1]}',
        '{"eventId":1,"entityId":"e","job":"j","attempt":0,"frame":{},"connectionIds":["a"]}',
        '{"eventId":"1","entityId":"e","job":"j","attempt":"x","frame":{},"connectionIds":["a"]}',
        '{"eventId":"1","entityId":"e","job":"j","attempt":0,"frame":"x","connectionIds":["a"]}',
    ],
)
def test_what_is_no_delivery_is_rejected(text: str) -> None:
    with pytest.raises(EventRejected):
        Delivery.parse(text)


some_results = st.lists(
    st.sampled_from([Result.DELIVERED, Result.THROTTLED, Result.FAILED]), max_size=12
)


@settings(max_examples=300, deadline=None)
@given(
    outcomes=st.lists(some_results, min_size=1, max_size=12),
    copies=st.integers(1, 3),
    refusals=st.sets(st.integers(1, 80), max_size=5),
)
def test_whatever_services_refuse_everyone_gets_exactly_one_frame(
    outcomes: Sequence[list[Result]], copies: int, refusals: set[int]
) -> None:
    connection_ids = ids(len(outcomes))
    poster = FakePoster(dict(zip(connection_ids, map(list, outcomes), strict=True)))

    world = published(World(connection_ids, poster, refuse_at=refusals), copies)

    assert received(world) == Counter(connection_ids)
    assert world.dead == []


@settings(max_examples=500, deadline=None)
@given(
    outcomes=st.lists(some_results, min_size=1, max_size=12),
    copies=st.integers(1, 3),
    kills=st.sets(st.integers(1, 120), max_size=6),
)
def test_wherever_a_function_dies_nothing_is_lost_and_little_repeated(
    outcomes: Sequence[list[Result]], copies: int, kills: set[int]
) -> None:
    connection_ids = ids(len(outcomes))
    poster = FakePoster(dict(zip(connection_ids, map(list, outcomes), strict=True)))

    world = published(World(connection_ids, poster, kill_at=kills), copies)

    counts = received(world)
    assert counts.keys() == set(connection_ids)
    # A post whose note died with the process is repeated, or those that it was handing on.
    assert sum(counts.values()) - len(connection_ids) <= world.kills * world.chunk_size


@settings(max_examples=200, deadline=None)
@given(kills=st.sets(st.integers(1, 400), max_size=10), left=st.sets(st.integers(0, 39)))
def test_subscribers_that_come_and_go_disturb_nobody_else(kills: set[int], left: set[int]) -> None:
    stay = [connection_id for number, connection_id in enumerate(ids(40)) if number not in left]
    world = World(ids(40), kill_at=kills)
    world.messages.append(Message(notification()))
    runs = 0

    def leave() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            world.subscribers_now = stay

    world.settle(each=leave)

    assert set(stay) <= received(world).keys()
