"""What is pushed to the user comes with the same promise as the events of an entity."""

from clients.client import Command
from clients.scene import Scene
from clients.tokens import fresh
from clients.topics import USER

HOLD = 0.2


async def test_what_is_pushed_to_the_user_is_recovered_like_an_entity(command: Command) -> None:
    async with Scene(command, hold=HOLD) as scene:
        scene.hands_out(fresh())
        await scene.follow("a", user=True)
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish(USER, 2, callback="f", data=[1]))
        frames = scene.service.log(USER, 3)
        hold = scene.service.hold("history")
        await connection.push(frames[2], frames[0])
        request = await hold
        assert request.since == scene.service.topic(USER).at(3)
        await request.reply()
        await scene.hands_on(*frames, *await scene.service.publish("a"))
        hold = scene.service.hold("subscribe")
        connection.cut()
        missed = scene.service.log(USER, 120)
        request = await hold
        assert request.sinces == {
            "a": scene.service.topic("a").at(1),
            USER: scene.service.topic(USER).at(5),
        }
        await request.reply()
        await scene.hands_on(*missed, *await scene.service.publish(USER))


async def test_what_is_pushed_to_the_user_and_not_kept_any_more_is_a_gap(command: Command) -> None:
    async with Scene(command) as scene:
        scene.hands_out(fresh())
        topic = scene.service.topic(USER)
        scene.service.log("a", 2)
        scene.service.log(USER, 7)
        topic.trim(6)
        await scene.follow("a", since=topic.at(2), user=True)
        await scene.tells_gap(USER, topic.at(2), topic.at(7))
        await scene.hands_on(*await scene.service.publish(USER))


async def test_where_there_is_no_user_that_alone_is_refused(command: Command) -> None:
    async with Scene(command) as scene:
        scene.hands_out(fresh())
        hold = scene.service.hold("subscribe")
        await scene.follow("a", user=True)
        await (await hold).reply(**{USER: "Forbidden"})
        await scene.tells_error(USER, "Forbidden")
        await scene.hands_on(*await scene.service.publish("a"))


async def test_what_nobody_asked_for_is_ignored(command: Command) -> None:
    async with Scene(command) as scene:
        scene.hands_out(fresh())
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await connection.push(*scene.service.log(USER, 2))
        await scene.hands_on(*await scene.service.publish("a"))
        assert [request.action for request in connection.requests] == ["subscribe"]
