"""What a client asks for, and what it makes of the answers.

The service minds, in every scenario, two requests at once, those that are too large or name too
many entities, and a `since` that is not the position.
"""

import pytest

from clients.client import Command
from clients.scene import Scene
from clients.service import Request

HOLD = 0.2
SILENCE = 0.4
PASSING = ("ServiceUnavailable", "Too Many Requests", "Internal server error", "Forbidden")


async def fail(request: Request, how: str) -> None:
    """Answer with a code of the service, or as API Gateway does."""
    if how in ("ServiceUnavailable", "ConnectionGone", "NotSubscribed"):
        await request.fail(how)
    else:
        await request.fail_at_gateway(how)


@pytest.mark.least
async def test_a_reply_to_another_request_is_dropped(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        request.admit()
        for request_id in ("another", None, 123456):
            await request.connection.send(
                {"type": "Subscribed", "entityId": "a", "cursor": scene.service.topic("a").at(9)}
                | ({"requestId": request_id} if request_id else {})
            )
        await request.reply()
        await scene.hands_on(*await scene.service.publish("a", 2))


async def test_all_are_subscribed_to_before_more_of_one_is_asked_for(command: Command) -> None:
    entity_ids = [f"entity {number}" for number in range(100)]
    async with Scene(command) as scene:
        frames = scene.service.log(entity_ids[0], 120)
        for entity_id in entity_ids[1:]:
            scene.service.topic(entity_id)
        await scene.follow(*entity_ids, since=scene.service.topic(entity_ids[0]).at(0))
        await scene.hands_on(*frames)
        (connection,) = scene.service.connections
        actions = [request.action for request in connection.requests]
        assert actions == sorted(actions, reverse=True), "subscribe, then history"
        assert actions.count("subscribe") == 2, "few requests"


@pytest.mark.least
@pytest.mark.parametrize("text", ["x", "é", "\U0001f30d", '"'])
async def test_many_entities_with_long_names_take_several_requests(
    command: Command, text: str
) -> None:
    # With any of these, all of them would be too much for one frame.
    entity_ids = [f"{number:03}{text * 253}" for number in range(100)]
    async with Scene(command) as scene:
        await scene.follow(*entity_ids)
        connection = await scene.service.subscribed(1)
        assert sorted(connection.subscribed) == sorted(entity_ids)
        for entity_id in entity_ids[::33]:
            await scene.hands_on(*await scene.service.publish(entity_id))


async def test_one_that_is_refused_ends_alone(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow(*"abc")
        request = await hold
        assert request.entity_ids == ["a", "b", "c"]
        await request.reply(b="Forbidden")
        await scene.tells_error("b", "Forbidden")
        await scene.hands_on(*await scene.service.publish("a"), *await scene.service.publish("c"))
        again = scene.service.hold("subscribe")
        request.connection.cut()
        request = await again
        assert request.entity_ids == ["a", "c"], "what was refused is not asked for again"
        await request.reply()
        await scene.hands_on(*await scene.service.publish("c"))
        assert len(scene.client.told_of("error")) == 1


async def test_what_is_no_cursor_is_refused(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b", since="nonsense")
        await scene.tells_error("a", "InvalidSince")
        await scene.tells_error("b", "InvalidSince")


async def test_those_that_came_first_get_the_room(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.max_subscriptions = 4
        await scene.follow(*"abcdefg")
        for entity_id in "efg":
            await scene.tells_error(entity_id, "TooManySubscriptions")
        (connection,) = scene.service.connections
        assert list(connection.subscribed) == ["a", "b", "c", "d"]
        for entity_id in "abcd":
            await scene.hands_on(*await scene.service.publish(entity_id))
        assert len(scene.client.told_of("error")) == 3


@pytest.mark.parametrize("code", ["InvalidEntities", "SomethingNew"])
async def test_a_request_that_is_refused_is_asked_again_in_halves(
    command: Command, code: str
) -> None:
    async with Scene(command) as scene:
        scene.service.is_newer = True

        async def respond(request: Request) -> None:
            if len(request.parts) > 1:
                await request.fail(code)
            elif request.entity_ids == ["b"]:
                await request.reply(b=code)
            else:
                await request.reply()

        scene.service.respond = respond
        await scene.follow(*"abc")
        await scene.tells_error("b", code)
        await scene.service.subscribed(1, "a", "c")
        await scene.hands_on(*await scene.service.publish("a"), *await scene.service.publish("c"))
        assert len(scene.service.connections) == 1


@pytest.mark.parametrize("how", PASSING)
async def test_what_passes_is_asked_again_on_the_same_connection(
    command: Command, how: str
) -> None:
    async with Scene(command, hold=HOLD) as scene:
        scene.service.log("a", 3)
        hold = scene.service.hold("subscribe")
        await scene.follow("a", since=scene.service.topic("a").at(3))
        connection = (await hold).connection
        for action in ("subscribe", "history"):
            for _ in range(2):
                request = await hold
                hold = scene.service.hold(action)
                await fail(request, how)
                again = await hold
                assert again.fields | {"requestId": 0} == request.fields | {"requestId": 0}
                assert again.at - request.at >= scene.times.min_delay - 0.005
            if action == "subscribe":
                hold = scene.service.hold("history")
                await again.reply()
                frames = scene.service.log("a", 3)
                await connection.push(frames[2])
        await again.reply()
        await scene.hands_on(*frames, *await scene.service.publish("a"))
        assert scene.service.connections == [connection]


@pytest.mark.least
@pytest.mark.parametrize("how", PASSING)
async def test_what_passes_costs_no_event(command: Command, how: str) -> None:
    async with Scene(command, reply=SILENCE, hold=HOLD) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        await fail(await hold, how)
        await (await scene.service.hold("subscribe")).reply()
        hold = scene.service.hold("history")
        frames = scene.service.log("a", 3)
        await scene.service.connections[-1].push(frames[0], frames[2])
        await fail(await hold, how)
        await scene.hands_on(*frames)
        await scene.service.settled()
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.minutes
@pytest.mark.parametrize("how", ["ServiceUnavailable", "Too Many Requests"])
async def test_a_ping_that_could_not_be_answered_is_sent_again(command: Command, how: str) -> None:
    async with Scene(command, ping=SILENCE) as scene:
        hold = scene.service.hold("ping")
        await scene.follow("a")
        request = await hold
        hold = scene.service.hold("ping")
        await fail(request, how)
        await (await hold).reply()
        await scene.hands_on(*await scene.service.publish("a"))
        assert len(scene.service.connections) == 1


@pytest.mark.least
@pytest.mark.parametrize("code", ["ConnectionGone", "NotSubscribed"])
async def test_a_connection_that_is_forgotten_is_left_when_more_is_asked_for(
    command: Command, code: str
) -> None:
    async with Scene(command, hold=HOLD) as scene:
        hold = scene.service.hold("history")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 3)
        await connection.push(frames[0], frames[2])
        await fail(await hold, code)
        await scene.hands_on(*frames)
        await scene.service.subscribed(2)
        await scene.service.left(connection)
        assert connection.closed_by_client
        await scene.tells("disconnected", code="ConnectionGone")
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_a_connection_that_is_forgotten_is_left_when_it_subscribes(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a", "b")
        request = await hold
        await request.fail("ConnectionGone")
        await scene.service.subscribed(2)
        await scene.service.left(request.connection)
        await scene.tells("disconnected", code="ConnectionGone")
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
@pytest.mark.minutes
async def test_a_connection_that_is_forgotten_is_left_when_it_asks_whether_it_is_alive(
    command: Command,
) -> None:
    async with Scene(command, ping=SILENCE) as scene:
        hold = scene.service.hold("ping")
        await scene.follow("a")
        request = await hold
        # Published between: nobody knew of this connection any more.
        missed = scene.service.log("a", 2)
        await request.fail("ConnectionGone")
        await scene.hands_on(*missed)
        await scene.service.left(request.connection)
        await scene.tells("disconnected", code="ConnectionGone")
