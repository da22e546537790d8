"""Tokens: how they travel, are renewed, come to their end; and what the service says about them."""

import asyncio
import json
import time

import pytest

from clients.client import Command
from clients.scene import Scene
from clients.service import Request
from clients.tokens import due, fresh, jwt

# A token that is due is renewed a second after connecting.
RENEWAL = 1.0


async def told(scene: Scene, count: int) -> list[str]:
    """Wait until the command has been told so many reasons; no service sees that."""
    assert scene.tokens
    tokens, deadline = scene.tokens, time.monotonic() + scene.changes.patience_seconds
    while len(tokens.reasons) < count:
        assert time.monotonic() < deadline, f"waited in vain for {count} reasons: {tokens.reasons}"
        await asyncio.sleep(0.02)
    return tokens.reasons


async def test_each_attempt_brings_a_token_of_its_own(command: Command) -> None:
    first, second, third = fresh("1"), "opaque", "neither / a = subprotocol, nor (ASCII): ß"
    async with Scene(command) as scene:
        tokens = scene.hands_out(first)
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        tokens.give(second)
        connection.cut()
        connection = await scene.service.subscribed(2)
        tokens.give(third)
        scene.service.refusals.append(503)
        await connection.disconnect("TokenExpired", reconnect=True)
        await scene.service.subscribed(3)
        assert scene.service.tokens == [first, second, third, third]
        reasons = ["connect", "reconnect", "TokenExpired", "TokenExpired"]
        assert tokens.reasons == reasons
        await scene.hands_on(*await scene.service.publish("a"))
        await scene.tells("disconnected", code="TokenExpired", willRetry=True)


async def test_a_token_is_renewed_before_its_end_on_the_same_connection(command: Command) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(due())
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        token = tokens.give(due(61))
        # Also the one that took its place.
        for following in (due(62), fresh(), fresh("never asked for")):
            request = await hold
            hold = scene.service.hold("authenticate")
            assert request.fields["token"] == token
            assert request.at - scene.service.attempts[0] >= RENEWAL - 0.05
            token = tokens.give(following)
            await request.reply()
        assert tokens.reasons == ["connect", *["authenticate"] * 3]
        await scene.passes(RENEWAL * 1.5)
        assert tokens.reasons == ["connect", *["authenticate"] * 3], "it is not due"
        assert scene.service.connections == [connection]
        await scene.hands_on(*await scene.service.publish("a"))


async def test_a_token_is_renewed_at_four_fifths_of_its_life(command: Command) -> None:
    began = time.time()
    async with Scene(command) as scene:
        tokens = scene.hands_out(jwt(age=6.0, left=4.0))
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        await scene.service.subscribed(1)
        tokens.give(fresh())
        request = await hold
        assert 2.0 - 0.05 <= time.time() - began < 4.0
        await request.reply()


async def test_a_renewal_takes_its_place_among_the_requests(command: Command) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(due())
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        request = await hold
        hold = scene.service.hold("authenticate")
        tokens.give(fresh())
        assert await told(scene, 2) == ["connect", "authenticate"]
        # The service minds two at a time; this is for one that would come.
        await scene.passes(0.2)
        assert request.connection.requests == [request]
        await request.reply()
        await (await hold).reply()
        await scene.hands_on(*await scene.service.publish("a"))


@pytest.mark.parametrize(
    "token",
    ["opaque", "a.b.c", jwt(age=0, left=3600, iat=None), jwt(age=36000, left=0, exp=None)],
    ids=["opaque", "no JSON", "no iat", "no exp"],
)
async def test_a_token_that_does_not_say_how_long_it_lives_is_not_renewed(
    command: Command, token: str
) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(token)
        await scene.follow("a")
        await scene.service.subscribed(1)
        await scene.passes(RENEWAL * 2)
        assert tokens.reasons == ["connect"]
        await scene.hands_on(*await scene.service.publish("a"))


async def test_a_token_that_cannot_be_had_this_time_is_asked_for_again(command: Command) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(due())
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        # First the same as before, which would renew nothing.
        await told(scene, 2)
        tokens.fail()
        await told(scene, len(tokens.reasons) + 2)
        token = tokens.give(fresh())
        request = await hold
        assert request.fields["token"] == token
        await request.reply()
        assert [each.action for each in connection.requests] == ["subscribe", "authenticate"]
        await scene.hands_on(*await scene.service.publish("a"))
        assert scene.service.connections == [connection]


@pytest.mark.parametrize("how", ["ServiceUnavailable", "Internal server error"])
async def test_a_renewal_that_cannot_be_served_is_made_again(command: Command, how: str) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(due())
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        token = tokens.give(fresh())
        for _ in range(2):
            request = await hold
            hold = scene.service.hold("authenticate")
            if how == "ServiceUnavailable":
                await request.fail(how)
            else:
                await request.fail_at_gateway(how)
        request = await hold
        assert request.fields["token"] == token
        await request.reply()
        assert tokens.reasons == ["connect", "authenticate"]
        await scene.hands_on(*await scene.service.publish("a"))
        assert scene.service.connections == [connection]


@pytest.mark.parametrize("code", ["Forbidden", "TokenExpired", "SomethingNew"])
async def test_a_renewal_that_is_refused_ends_the_connection(command: Command, code: str) -> None:
    async with Scene(command) as scene:
        tokens = scene.hands_out(due())
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        tokens.give(fresh())
        request = await hold
        token = tokens.give(fresh("another"))
        scene.service.is_newer = code == "SomethingNew"
        await request.fail(code)
        missed = scene.service.log("a", 2)
        await scene.hands_on(*missed)
        assert await scene.service.left(connection) == 1000
        assert connection.closed_by_client
        assert scene.service.tokens[1:] == [token]
        assert tokens.reasons == ["connect", "authenticate", code]
        await scene.tells("disconnected", code=code, willRetry=True)
        assert not scene.client.told_of("error")


async def test_a_subscription_that_new_grants_do_not_cover_ends_alone(command: Command) -> None:
    async with Scene(command) as scene:
        scene.hands_out(fresh())
        await scene.follow(*"abc")
        connection = await scene.service.subscribed(1)
        await scene.hands_on(*await scene.service.publish("b"))
        await connection.end_subscription("b", "Forbidden")
        await scene.tells_error("b", "Forbidden")
        # Late, and of no use any more.
        await connection.push(*scene.service.log("b"))
        await scene.hands_on(*await scene.service.publish("a"), *await scene.service.publish("c"))
        hold = scene.service.hold("subscribe")
        connection.cut()
        request = await hold
        assert request.entity_ids == ["a", "c"]
        await request.reply()
        await scene.hands_on(*await scene.service.publish("a"))
        assert len(scene.client.told_of("error")) == 1
        assert [each.action for each in connection.requests] == ["subscribe"]


@pytest.mark.parametrize("action", ["subscribe", "history"])
async def test_a_connection_whose_token_is_over_is_left_and_no_subscription_ends(
    command: Command, action: str
) -> None:
    async with Scene(command, hold=0.2) as scene:
        tokens = scene.hands_out(fresh("old"))
        hold = scene.service.hold(action)
        await scene.follow("a", "b")
        if action == "history":
            connection = await scene.service.subscribed(1)
            frames = scene.service.log("a", 3)
            await connection.push(frames[0], frames[2])
        request: Request = await hold
        token = tokens.give(fresh("new"))
        await request.fail("TokenExpired")
        await scene.service.subscribed(2)
        assert await scene.service.left(request.connection) == 1000
        assert scene.service.tokens[1:] == [token]
        assert tokens.reasons == ["connect", "TokenExpired"]
        if action == "history":
            await scene.hands_on(*frames)
        for entity_id in "ab":
            await scene.hands_on(*await scene.service.publish(entity_id))
        assert not scene.client.told_of("error")
        await scene.tells("disconnected", code="TokenExpired", willRetry=True)


@pytest.mark.parametrize("reason", [None, "not you"])
async def test_who_is_kicked_stays_away(command: Command, reason: str | None) -> None:
    async with Scene(command) as scene:
        scene.hands_out(fresh())
        await scene.follow("a")
        connection = await scene.service.subscribed(1)
        await connection.disconnect("Kicked", reconnect=False, reason=reason)
        await scene.ends("Kicked")
        await scene.service.left(connection)
        assert len(scene.service.attempts) == 1
        if command.tells_states:
            assert scene.client.told_of("state")[-1]["reason"] == (reason or "")


async def test_a_token_is_never_said(command: Command) -> None:
    first, second, third = due(), fresh("second"), fresh("third")
    async with Scene(command) as scene:
        tokens = scene.hands_out(first)
        hold = scene.service.hold("authenticate")
        await scene.follow("a")
        await scene.service.subscribed(1)
        tokens.give(second)
        request = await hold
        tokens.give(third)
        await request.fail("Forbidden")
        connection = await scene.service.subscribed(2)
        await connection.disconnect("Kicked", reconnect=False)
        await scene.ends("Kicked")
        said = json.dumps(scene.client.told) + "".join(scene.client.other_lines)
        for token in (first, second, third):
            assert token.split(".")[1] not in said
