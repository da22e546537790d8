"""What cannot be brought any more is said, and only that."""

import pytest

from clients.client import Command
from clients.scene import Scene

HOLD = 0.2
EPOCH = "77aa00bb11cc"


@pytest.mark.least
async def test_what_is_not_kept_any_more_is_a_gap(command: Command) -> None:
    async with Scene(command) as scene:
        topic = scene.service.topic("a")
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a", 3))
        connection.cut()
        scene.service.log("a", 10)
        topic.trim(8)
        await scene.tells_gap("a", topic.at(3), topic.at(13))
        await scene.service.subscribed(2)
        await scene.hands_on(*await scene.service.publish("a"))
        await scene.hands_on(*await scene.service.publish("b"))


@pytest.mark.least
async def test_another_epoch_is_a_gap(command: Command) -> None:
    async with Scene(command) as scene:
        topic = scene.service.topic("a")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a", 3))
        old = topic.cursor
        hold = scene.service.hold("subscribe")
        connection.cut()
        topic.begin_again(EPOCH)
        # A number that was there is another event now.
        scene.service.log("a", 3)
        request = await hold
        assert request.since == old
        reply = request.answer()
        early = await scene.service.publish("a")
        await request.send(reply)
        await scene.tells_gap("a", old, topic.at(3))
        await scene.hands_on(*early, *await scene.service.publish("a"))


@pytest.mark.least
async def test_a_cursor_of_another_epoch_is_a_gap_from_there(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.log("a", 2)
        await scene.follow("a", since=f"{EPOCH}-7")
        await scene.tells_gap("a", f"{EPOCH}-7", scene.service.topic("a").at(2))
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_a_cursor_that_is_ahead_of_the_log_is_a_gap(command: Command) -> None:
    async with Scene(command) as scene:
        topic = scene.service.topic("a")
        scene.service.log("a", 2)
        # As after a restored backup: the numbers behind are given again, to other events.
        await scene.follow("a", since=topic.at(7))
        await scene.tells_gap("a", topic.at(7), topic.at(2))
        await scene.hands_on(*await scene.service.publish("a", 3))


async def test_a_gap_ends_before_what_was_heard(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        topic = scene.service.topic("a")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = await scene.service.publish("a", 3)
        await scene.hands_on(*frames)
        frames += scene.service.log("a", 8)
        topic.trim(9)
        hold = scene.service.hold("history")
        await connection.push(frames[9], frames[10])
        request = await hold
        assert request.since == topic.at(3)
        await request.reply()
        await scene.tells_gap("a", topic.at(3), topic.at(9))
        await scene.hands_on(frames[9], frames[10], *await scene.service.publish("a"))


async def test_another_epoch_that_begins_meanwhile_is_a_gap_up_to_what_was_heard(
    command: Command,
) -> None:
    async with Scene(command, hold=HOLD) as scene:
        topic = scene.service.topic("a")
        await scene.follow("a")
        await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a", 3))
        old = topic.cursor
        topic.begin_again(EPOCH)
        frames = await scene.service.publish("a", 2)
        await scene.tells_gap("a", old, topic.at(0))
        await scene.hands_on(*frames, *await scene.service.publish("a"))


async def test_it_is_no_gap_if_the_position_is_there_already(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        topic = scene.service.topic("a")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 4)
        topic.trim(4)
        hold = scene.service.hold("history")
        await connection.push(frames[0], frames[2])
        request = await hold
        reply = request.answer()
        assert not reply["recovered"]
        # The hole fills while the reply is on its way.
        await connection.push(frames[1], frames[3])
        await scene.hands_on(*frames)
        await request.send(reply)
        await scene.hands_on(*await scene.service.publish("a"))
