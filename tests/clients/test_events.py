"""What is handed on: each event once, in order, and none missing."""

import pytest

from clients.client import Command
from clients.scene import Scene

HOLD = 0.2
# Falsy ones, and what line readers and encoders stumble over.
MESSAGES: list[object] = ["", 0, False, None, [], {}, 1.5, -7, "Grüße, 世界", "\U0001f30d"]
MESSAGES += ["\u2028\u0085\x00\x7f\r\n"]


@pytest.mark.least
async def test_what_is_published_is_handed_on(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a", 3))
        await scene.hands_on(*await scene.service.publish("b", 2))


@pytest.mark.least
async def test_a_frame_is_passed_on_as_it_is(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        await scene.service.subscribed(1)
        for message in MESSAGES:
            data = {"nested": [[{"message": message}], {"": None}], "__proto__": {"x": 1}}
            frames = await scene.service.publish("a", message=message, data=data)
            await scene.hands_on(*frames)
        scene.service.is_newer = True
        await scene.hands_on(*await scene.service.publish("a", data=None, fresh={"a": [1]}))
        await scene.hands_on(*await scene.service.publish("a", message="x" * 100_000))


@pytest.mark.least
async def test_what_it_does_not_know_is_ignored(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        scene.service.is_newer = True
        stranger = scene.service.log("b")[0]
        for frame in (
            {"type": "Something New", "entityId": "a", "cursor": scene.service.topic("a").at(1)},
            {"type": "Something New"},
            {"type": "User Push Notification", "message": "m", "cursor": "5f0c2a9be41d-1"},
            stranger,
        ):
            await connection.send(frame)
        await scene.hands_on(*await scene.service.publish("a", 2))
        assert len(scene.service.attempts) == 1


@pytest.mark.least
async def test_a_cursor_brings_what_came_after_it(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 5)
        hold = scene.service.hold("subscribe")
        await scene.follow("a", since=scene.service.topic("a").at(2))
        request = await hold
        assert request.since == scene.service.topic("a").at(2)
        await request.reply()
        await scene.hands_on(*frames[2:])
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_a_cursor_that_is_the_newest_brings_nothing(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.log("a", 5)
        await scene.follow("a", since=scene.service.topic("a").cursor)
        await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_without_a_cursor_it_begins_where_the_log_is(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.log("a", 5)
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        assert request.since is None
        await request.reply()
        await scene.hands_on(*await scene.service.publish("a", 2))


async def test_last_brings_the_last_event_alone(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 5)
        hold = scene.service.hold("subscribe")
        await scene.follow("a", since="last")
        request = await hold
        assert request.since == "last"
        await request.reply()
        await scene.hands_on(frames[-1])
        await scene.hands_on(*await scene.service.publish("a"))


async def test_last_brings_nothing_where_there_is_nothing(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.log("trimmed", 3)
        scene.service.topic("trimmed").trim(3)
        await scene.follow("new", "trimmed", since="last")
        await scene.service.subscribed(1)
        # A last event that is no longer kept is no gap: nothing before it was asked for.
        await scene.hands_on(*await scene.service.publish("new", 2))
        await scene.hands_on(*await scene.service.publish("trimmed", 2))


async def test_last_is_asked_again_until_there_is_a_reply_and_then_the_position(
    command: Command,
) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 3)
        lost = scene.service.hold("subscribe")
        await scene.follow("a", since="last")
        (await lost).connection.cut()
        again = await scene.service.hold("subscribe")
        assert again.since == "last"
        await again.reply()
        await scene.hands_on(frames[-1])
        again.connection.cut()
        scene.service.log("a")
        back = await scene.service.hold("subscribe")
        assert back.since == scene.service.topic("a").at(3)
        await back.reply()
        await scene.hands_on(scene.service.topic("a").kept[4])


@pytest.mark.least
async def test_frames_before_the_reply_are_kept(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        reply = request.answer()
        frames = await scene.service.publish("a", 2)
        await request.send(reply)
        await scene.hands_on(*frames)
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_frames_before_the_reply_and_in_it_are_handed_on_once(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 3)
        hold = scene.service.hold("subscribe")
        await scene.follow("a", since=scene.service.topic("a").at(0))
        request = await hold
        request.admit()
        await request.connection.push(frames[2])
        frames += await scene.service.publish("a", 2)
        await request.reply()
        await scene.hands_on(*frames)
        await request.connection.push(frames[1], frames[4])
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_frames_before_the_reply_that_are_not_after_it_are_dropped(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        request.admit()
        await scene.service.publish("a", 2)
        # Its cursor says that they were before.
        await request.reply()
        await scene.hands_on(*await scene.service.publish("a", 2))


@pytest.mark.least
async def test_a_frame_that_comes_twice_is_handed_on_once(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 3)
        await connection.push(frames[0], frames[0], frames[1], frames[0], frames[2], frames[2])
        await scene.hands_on(*frames)
        await connection.push(*frames)
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_frames_that_overtake_each_other_are_put_in_order(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        # Numbers, not texts, are in order.
        frames = scene.service.log("a", 12)
        await connection.push(*reversed(frames))
        await scene.hands_on(*frames)
        assert {request.action for request in connection.requests} == {"subscribe"}


@pytest.mark.least
async def test_a_hole_that_fills_by_itself_asks_for_nothing(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 4)
        await connection.push(frames[0], frames[3], frames[2])
        await scene.hands_on(frames[0], *await scene.service.publish("b"))
        await connection.push(frames[1])
        await scene.hands_on(*frames[1:])
        assert {request.action for request in connection.requests} == {"subscribe"}


@pytest.mark.least
async def test_a_hole_that_stays_is_asked_for_from_the_position(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 5)
        hold = scene.service.hold("history")
        await connection.push(frames[0], frames[2], frames[4])
        request = await hold
        assert request.since == scene.service.topic("a").at(1)
        await request.reply()
        await scene.hands_on(*frames)
        # Late, but there.
        await connection.push(frames[1], frames[3])
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_a_hole_that_fills_while_it_is_asked_for_is_filled_once(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 3)
        hold = scene.service.hold("history")
        await connection.push(frames[0], frames[2])
        request = await hold
        reply = request.answer()
        await connection.push(frames[1])
        # What the reply does not know yet must not be forgotten.
        frames += await scene.service.publish("a", 2)
        await request.send(reply)
        await scene.hands_on(*frames)
        # Nor must the position go back to what the reply knew.
        await scene.hands_on(*await scene.service.publish("a", 2))


@pytest.mark.least
async def test_each_hole_is_asked_for(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        one, other = scene.service.log("a", 3), scene.service.log("b", 3)
        await connection.push(one[1], other[2])
        await scene.hands_on(*one, *other)
        more = scene.service.log("a", 2)
        await connection.push(more[1])
        await scene.hands_on(*more)


async def test_a_hundred_that_wait_are_asked_for_at_once(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 101)
        hold = scene.service.hold("history")
        await connection.push(*frames[1:100])
        await scene.hands_on(*await scene.service.publish("b"))
        assert hold.request is None
        await connection.push(frames[100])
        request = await hold
        assert request.since == scene.service.topic("a").at(0)
        await request.reply()
        await scene.hands_on(*frames)


@pytest.mark.least
async def test_what_has_no_room_to_wait_is_not_lost(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 350)
        hold = scene.service.hold("history")
        await connection.push(*frames[1:250])
        request = await hold
        await connection.push(*frames[250:])
        await request.reply()
        await scene.hands_on(*frames)
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_more_than_a_reply_holds_comes_in_pages(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 250)
        await scene.follow("a", since=scene.service.topic("a").at(0))
        await scene.hands_on(*frames)
        (connection,) = scene.service.connections
        at = scene.service.topic("a").at
        assert [(each.action, each.since) for each in connection.requests] == [
            ("subscribe", at(0)),
            ("history", at(100)),
            ("history", at(200)),
        ]


@pytest.mark.least
async def test_what_comes_live_between_pages_is_handed_on_in_its_turn(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 150)
        hold = scene.service.hold("history")
        await scene.follow("a", since=scene.service.topic("a").at(0))
        request = await hold
        reply = request.answer()
        frames += await scene.service.publish("a", 3)
        await request.send(reply)
        await scene.hands_on(*frames)


@pytest.mark.least
async def test_pages_may_be_short_for_their_bytes(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 4, message="x" * 90_000)
        await scene.follow("a", since=scene.service.topic("a").at(0))
        await scene.hands_on(*frames)


@pytest.mark.least
async def test_a_part_that_had_no_room_is_asked_for(command: Command) -> None:
    async with Scene(command) as scene:
        frames = {entity_id: scene.service.log(entity_id, 120) for entity_id in "abc"}
        await scene.follow(*"abc", since=scene.service.topic("a").at(0))
        await scene.hands_on(*frames["a"], *frames["b"], *frames["c"])
        for entity_id in "abc":
            await scene.hands_on(*await scene.service.publish(entity_id))
