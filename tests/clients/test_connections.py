"""How connections begin and end, and that nothing is missed over them."""

import time
from itertools import pairwise

import pytest

from clients.client import Command
from clients.scene import Scene
from clients.service import CUT, UNANSWERED

HOLD = 0.2
# Long enough that what must not happen on a busy machine does not, by and large: where it does,
# there is one connection more, and no scenario minds.
SILENCE = 0.4


@pytest.mark.least
async def test_it_comes_back_and_brings_what_it_missed(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a", 2))
        connection.cut()
        missed = scene.service.log("a", 3) + scene.service.log("b", 1)
        await scene.hands_on(*missed)
        await scene.service.subscribed(2)
        await scene.hands_on(*await scene.service.publish("b"))
        assert await scene.tells("connected", 2) is not None
        for told in await scene.tells("disconnected"):
            assert (told["code"], told["willRetry"]) == (1006, True)
            assert isinstance(told["delayMs"], int | float)


@pytest.mark.least
async def test_it_comes_back_with_the_position_though_it_has_seen_later_ones(
    command: Command,
) -> None:
    async with Scene(command) as scene:
        await scene.follow("a", "b")
        connection = await scene.service.subscribed(1)
        frames = scene.service.log("a", 4)
        await connection.push(frames[0], frames[2], frames[3])
        await scene.hands_on(frames[0], *await scene.service.publish("b"))
        sinces: dict[str, str | None] = {}
        hold = scene.service.hold("subscribe")
        connection.cut()
        while sinces.keys() != {"a", "b"}:
            request = await hold
            sinces |= request.sinces
            hold = scene.service.hold("subscribe")
            await request.reply()
        assert sinces == {"a": scene.service.topic("a").at(1), "b": scene.service.topic("b").at(1)}
        await scene.hands_on(*frames[1:])


@pytest.mark.least
async def test_it_comes_back_without_a_position_as_long_as_it_has_none(command: Command) -> None:
    async with Scene(command) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        request.admit()
        hold = scene.service.hold("subscribe")
        await scene.service.publish("a", 2)
        request.connection.cut()
        request = await hold
        assert request.since is None
        await request.reply()
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_it_comes_back_to_the_page_where_it_was(command: Command) -> None:
    async with Scene(command) as scene:
        frames = scene.service.log("a", 150)
        hold = scene.service.hold("history")
        await scene.follow("a", since=scene.service.topic("a").at(0))
        request = await hold
        hold = scene.service.hold("subscribe")
        request.connection.cut()
        request = await hold
        assert request.since == scene.service.topic("a").at(100)
        await request.reply()
        await scene.hands_on(*frames)


@pytest.mark.least
async def test_it_comes_back_whatever_it_was_closed_with(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        codes = (1000, 1001, 1008, 1011, 3000, 4000, 4999)
        for number, code in enumerate(codes, 1):
            connection = await scene.service.subscribed(number)
            frames = await scene.service.publish("a")
            await connection.close(code, "because")
            await scene.hands_on(*frames, *scene.service.log("a"))
            await scene.tells("disconnected", code=code, willRetry=True)
        await scene.service.subscribed(len(codes) + 1)


@pytest.mark.least
async def test_time_between_attempts_is_random_and_grows(command: Command) -> None:
    async with Scene(command, min_delay=0.04, max_delay=0.32) as scene:
        # As specified, each takes up to twice as long as the one before.
        refusals = 5 if command.as_specified else 8
        scene.service.refusals.extend([503] * refusals)
        await scene.follow("a")
        await scene.service.subscribed(1)
        apart = [after - before for before, after in pairwise(scene.service.attempts)]
        # From the fourth on the bound is the longest: by chance, so near to each other once in
        # a hundred thousand times.
        assert max(apart[3:]) - min(apart[3:]) > 0.01, apart
        assert max(apart) > 2 * scene.times.min_delay, apart
        await scene.hands_on(*await scene.service.publish("a"))
        delays = [told["delayMs"] / 1000 for told in await scene.tells("disconnected", refusals)]
        for count, delay in enumerate(delays, 1):
            bound = min(scene.times.max_delay, scene.times.min_delay * 2**count)
            assert scene.times.min_delay <= delay + 0.001 and delay <= bound + 0.001, delays


async def test_attempts_are_counted_anew_once_a_connection_was_open_for_a_while(
    command: Command,
) -> None:
    stable = 1.0
    async with Scene(command, min_delay=0.02, max_delay=20.0, stable=stable) as scene:
        await scene.follow("a")
        for number in range(1, 6):
            (await scene.service.subscribed(number)).cut()
        connection = await scene.service.subscribed(6)
        await scene.passes(scene.times.stable * 1.5)
        connection.cut()
        await scene.service.subscribed(7)
        delays = [told["delayMs"] / 1000 for told in await scene.tells("disconnected", 6)]
        if delays:
            # Five times in a row, it is one chance in a hundred thousand that all were so short.
            assert max(delays[:5]) > 2 * scene.times.min_delay, delays
            assert delays[5] <= 2 * scene.times.min_delay + 0.001, delays


@pytest.mark.least
async def test_refusals_that_pass_are_tried_again(command: Command) -> None:
    async with Scene(command) as scene:
        scene.service.refusals.extend([503, 429, CUT, 500, 408, 502, 425])
        await scene.follow("a")
        await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_it_comes_back_to_a_service_that_was_nowhere(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        await scene.service.subscribed(1)
        await scene.service.go_away()
        missed = scene.service.log("a", 2)
        # Nobody is there to see the attempts.
        await scene.passes(scene.times.min_delay * 5)
        await scene.tells("disconnected", 2)
        await scene.service.come_back()
        await scene.hands_on(*missed)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_that_does_not_pass_is_final_where_it_can_be_seen(
    command: Command, status: int
) -> None:
    async with Scene(command) as scene:
        scene.service.refusals.append(status)
        if command.sees_status is None:
            pytest.skip("nobody has said whether this client sees the status")
        await scene.follow("a")
        if command.sees_status:
            await scene.ends(*(("Refused",) if status == 404 else ("Unauthorized", "Refused")))
            assert len(scene.service.attempts) == 1
        else:
            await scene.service.subscribed(1)
            await scene.hands_on(*await scene.service.publish("a"))


async def test_an_attempt_that_nobody_answers_is_given_up(command: Command) -> None:
    async with Scene(command, connect=1.0) as scene:
        scene.service.refusals.append(UNANSWERED)
        await scene.follow("a")
        await scene.service.subscribed(1)
        await scene.tells("disconnected", code="ConnectTimeout")
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
@pytest.mark.minutes
async def test_a_line_that_is_dead_without_saying_so_is_left(command: Command) -> None:
    async with Scene(command, ping=SILENCE, pong=SILENCE) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("a"))
        connection.freeze()
        frozen_at = time.monotonic()
        missed = scene.service.log("a", 2)
        await scene.service.attempted(2)
        # The silence, the wait for the Pong, and the time to the attempt take one second at most;
        # whoever waits for an answer to its close, as libraries do by themselves, takes ten.
        assert scene.service.attempts[1] - frozen_at < 8
        await scene.hands_on(*missed)
        await scene.tells("disconnected", code="ReplyTimeout")


@pytest.mark.least
@pytest.mark.minutes
async def test_a_line_is_asked_whether_it_is_alive_only_where_it_is_silent(
    command: Command,
) -> None:
    # Also the service's own check: it minds a ping that comes early, in every scenario.
    async with Scene(command, ping=0.6) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        for _ in range(12):
            await scene.hands_on(*await scene.service.publish("a"))
            await scene.passes(0.1)
        for _ in range(2):
            await (await scene.service.hold("ping")).reply()
        assert scene.service.connections == [connection]


@pytest.mark.least
@pytest.mark.minutes
async def test_a_pong_may_take_its_time(command: Command) -> None:
    async with Scene(command, ping=SILENCE) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        ping = await scene.service.hold("ping")
        frames = await scene.service.publish("a", 2)
        await scene.hands_on(*frames)
        await scene.passes(SILENCE * 2)
        hold = scene.service.hold("ping")
        await ping.reply()
        await (await hold).reply()
        assert scene.service.connections == [connection]


@pytest.mark.least
async def test_a_reply_that_does_not_come_ends_the_connection(command: Command) -> None:
    async with Scene(command, reply=SILENCE) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        request.admit()
        # What comes otherwise does not stand for it.
        await scene.service.publish("a")
        connection = await scene.service.connection(2)
        assert connection is not request.connection
        await scene.service.settled()
        await scene.tells("disconnected", code="ReplyTimeout")
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.least
async def test_what_a_connection_says_that_was_left_is_not_heard(command: Command) -> None:
    async with Scene(command, reply=SILENCE) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        late = await hold
        # It hears nothing, so it does not close; but it speaks.
        late.connection.websocket.transport.pause_reading()
        await scene.service.connection(2)
        current = await scene.service.settled()
        unheard = scene.service.log("a", 3)
        await late.connection.send(
            {"type": "Subscribed", "entityId": "a", "cursor": scene.service.topic("a").at(3)}
            | {"requestId": late.fields["requestId"]}
        )
        await late.connection.send({"type": "Disconnect", "code": "Kicked", "reconnect": False})
        await current.push(*unheard)
        await scene.hands_on(*unheard, *await scene.service.publish("a"))


async def test_it_leaves_at_once_when_it_is_told_to_and_comes_back(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await connection.disconnect("SlowClient", reconnect=True)
        await scene.service.left(connection)
        assert connection.closed_by_client
        await scene.hands_on(*scene.service.log("a"))
        await scene.tells("disconnected", code="SlowClient", willRetry=True)


async def test_it_stays_away_when_it_is_told_to(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await connection.disconnect("Kicked", reconnect=False)
        await scene.ends("Kicked")
        await scene.service.left(connection)
        assert connection.closed_by_client
        assert len(scene.service.attempts) == 1


async def test_it_closes_when_it_is_terminated(command: Command) -> None:
    async with Scene(command) as scene:
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await scene.client.terminate()
        assert await scene.service.left(connection) in (1000, 1001)
        assert connection.closed_by_client
        if command.tells_states:
            last = scene.client.told_of("state")[-1]
            assert (last["state"], last["code"]) == ("closed", "ClientClosed")


@pytest.mark.least
@pytest.mark.parametrize("status", [503, UNANSWERED])
async def test_it_can_be_terminated_while_there_is_no_connection(
    command: Command, status: int
) -> None:
    async with Scene(command, min_delay=100.0, max_delay=200.0) as scene:
        scene.service.refusals.append(status)
        await scene.follow("a")
        await scene.service.attempted(1)
        await scene.client.terminate()
        assert len(scene.service.attempts) == 1
