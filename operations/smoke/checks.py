"""What a stack promises, each a function with a sentence for a name.

Each raises `Failed` with what was seen instead, and `Skipped` where it cannot be looked at.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from statistics import median

from operations.smoke.client import SUBPROTOCOL, Frame, Refused
from operations.smoke.outcome import Failed, Skipped, require, shown
from operations.smoke.report import Check
from operations.smoke.scene import Scene, number, numbers

# One less than the items of a DynamoDB transaction.
_MOST_AT_ONCE = 99
# Of the 120 KB that a frame may have, some for what is around the message.
_LARGE_CHARACTERS = 119_000
_MEASURED = 5

CHECKS: list[Check] = []

_WAY_OF_AN_EVENT = (
    "the way of an event: the rule (is it enabled?), UndeliveredEventsQueue (could EventBridge not"
    " write?), NotificationQueue (does its age grow?), the notifier"
)


def check(
    *logs: str, look_at: str = "", beside: bool = False
) -> Callable[[Callable[[Scene], Awaitable[None]]], Callable[[Scene], Awaitable[None]]]:
    """Make a function one of the checks, in the order of this file."""

    def add(function: Callable[[Scene], Awaitable[None]]) -> Callable[[Scene], Awaitable[None]]:
        CHECKS.append(Check(function, logs, look_at, beside))
        return function

    return add


def _is(reply: Frame, type_: str) -> None:
    require(reply["type"] == type_, f"instead of {type_} the reply is {shown(reply)}")


def _is_error(reply: Frame, code: str) -> None:
    require(reply.get("code") == code, f"instead of the error {code} the reply is {shown(reply)}")


@check(
    *("ConnectLogGroup", "AuthorizeLogGroup"),
    look_at="the output WebsocketUri, and whether the stage is deployed",
)
async def a_client_connects_and_gets_the_subprotocol_that_it_offers(scene: Scene) -> None:
    async with scene.client() as client:
        require(
            client.subprotocol == SUBPROTOCOL, f"the subprotocol is {shown(client.subprotocol)}"
        )


@check("AuthorizeLogGroup", look_at="the authorizer of the route $connect")
async def without_a_token_nobody_gets_in(scene: Scene) -> None:
    scene.require_tokens()
    for token in ("", "smoke"):
        try:
            async with scene.client(token=token):
                raise Failed("a client without a good token is let in")
        except Refused as refused:
            require(refused.status in (401, 403), str(refused))


@check("NotifierLogGroup", "SubscribeLogGroup", look_at=_WAY_OF_AN_EVENT)
async def an_event_reaches_its_subscriber_as_it_was_published(scene: Scene) -> None:
    entity_id = scene.entity()
    content: Frame = {"message": "Grüße 🚀", "data": {"n": [1, 2.5, None], "empty": ""}}
    async with scene.client() as client:
        reply = await client.request("subscribe", entityId=entity_id)
        _is(reply, "Subscribed")
        event_id = await scene.publish(entity_id, **content)
        frame = await client.push()
    datetime.fromisoformat(frame["time"])
    expected = {"type": "Entity Updated", "entityId": entity_id, **content, "id": event_id}
    seen = {name: frame.get(name) for name in expected}
    require(seen == expected, f"the frame is {shown(frame)}")
    require(
        number(frame["cursor"]) == number(reply["cursor"]) + 1,
        f"after {reply['cursor']} comes {frame['cursor']}",
    )


@check("UnsubscribeLogGroup", "NotifierLogGroup")
async def after_unsubscribe_there_is_silence(scene: Scene) -> None:
    entity_id = scene.entity()
    async with scene.client() as leaving, scene.client() as staying:
        for client in (leaving, staying):
            _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        _is(await leaving.request("unsubscribe", entityId=entity_id), "Unsubscribed")
        await scene.publish(entity_id)
        await staying.push()
        frames = await leaving.pushes_within(scene.silence_seconds)
    require(not frames, f"after Unsubscribed came {shown(frames)}")


@check("DefaultLogGroup", look_at="the route $default and its route response")
async def what_cannot_be_done_is_answered_with_a_code(scene: Scene) -> None:
    async with scene.client() as client:
        for text, code in (
            ("not JSON", "InvalidJson"),
            ("[1]", "InvalidFrame"),
            ("{}", "UnknownAction"),
            ('{"action":"smoke"}', "UnknownAction"),
        ):
            _is_error(await client.exchange(text), code)
        _is_error(await client.request("smoke"), "UnknownAction")
        _is_error(await client.request("subscribe"), "InvalidEntityId")
        _is_error(await client.request("subscribe", entityId="e", since=7), "InvalidSince")
        _is_error(
            await client.request("history", entityId=scene.entity(), since="last"), "NotSubscribed"
        )


@check("PingLogGroup", look_at="the route ping and its route response")
async def a_ping_is_answered_with_the_time(scene: Scene) -> None:
    async with scene.client() as client:
        reply = await client.request("ping")
        _is(reply, "Pong")
        datetime.fromisoformat(reply["time"])


@check("SubscribeLogGroup", "SubscriptionsLogGroup", "UnsubscribeLogGroup")
async def several_entities_are_subscribed_to_in_one_request(scene: Scene) -> None:
    first, second = scene.entity(), scene.entity()
    async with scene.client() as client:
        reply = await client.request(
            "subscribe", entities=[{"entityId": first}, {"entityId": ""}, {"entityId": second}]
        )
        _is(reply, "Subscribed")
        codes = [part.get("code") for part in reply["entities"]]
        require(codes == [None, "InvalidEntityId", None], f"the reply is {shown(reply)}")
        held = await client.request("subscriptions")
        require(held.get("entityIds") == sorted((first, second)), f"it holds {shown(held)}")
        for entity_id in (first, second):
            await scene.publish(entity_id)
        came = sorted([(await client.push())["entityId"], (await client.push())["entityId"]])
        require(came == sorted((first, second)), f"frames came of {shown(came)}")
        _is(await client.request("unsubscribe", entityIds=[first, second]), "Unsubscribed")
        held = await client.request("subscriptions")
        require(held.get("entityIds") == [], f"after Unsubscribed it holds {shown(held)}")


@check("SubscribeLogGroup", "HistoryLogGroup", "NotifierLogGroup")
async def who_comes_back_gets_exactly_what_was_missed(scene: Scene) -> None:
    entity_id = scene.entity()
    async with scene.client() as staying:
        async with scene.client() as leaving:
            for client in (staying, leaving):
                reply = await client.request("subscribe", entityId=entity_id)
                _is(reply, "Subscribed")
            await scene.publish(entity_id, message=0)
            await staying.push()
            cursor = (await leaving.push())["cursor"]
        for message in (1, 2, 3):
            await scene.publish(entity_id, message=message)
        missed = sorted(
            [await staying.push() for _ in range(3)], key=lambda frame: numbers([frame])
        )
    async with scene.client() as client:
        reply = await client.request("subscribe", entityId=entity_id, since=cursor)
        _is(reply, "Subscribed")
        require(reply["recovered"] is True, f"the reply is {shown(reply)}")
        require(
            reply["events"] == missed,
            f"the reply brings {shown(reply['events'])}, and missed were {shown(missed)}",
        )
        history = await client.request("history", entityId=entity_id, since=missed[0]["cursor"])
        _is(history, "History")
        require(history["events"] == missed[1:], f"history brings {shown(history['events'])}")
        last = await client.request("subscribe", entityId=entity_id, since="last")
        require(last["events"] == missed[-1:], f'since "last" brings {shown(last["events"])}')
        await scene.publish(entity_id, message=4)
        frame = await client.push()
        require(frame["message"] == 4, f"and then comes {shown(frame)}")


@check("NotifierLogGroup", look_at="the ledger of jobs in the table: is its TTL enabled?")
async def an_event_that_is_sent_twice_is_delivered_once(scene: Scene) -> None:
    entity_id = scene.entity()
    event = scene.event(entityId=entity_id, message="twice")
    async with scene.client() as client:
        reply = await client.request("subscribe", entityId=entity_id)
        _is(reply, "Subscribed")
        await scene.enqueue(event)
        frames = [await client.push()]
        # Then the first is done with, too.
        frames += await client.pushes_within(scene.silence_seconds)
        await scene.enqueue(event)
        await scene.enqueue(scene.event(entityId=entity_id, message="the next"))
        frames.append(await client.push())
        frames += await client.pushes_within(scene.silence_seconds)
        logged = await client.request("history", entityId=entity_id, since=reply["cursor"])
    messages = [frame["message"] for frame in frames]
    require(messages == ["twice", "the next"], f"frames came with {shown(messages)}")
    require(
        numbers(logged["events"]) == numbers(frames),
        f"the log holds {numbers(logged['events'])}, and frames came with {numbers(frames)}",
    )


@check("NotifierLogGroup", look_at="dead letters with FrameTooLarge or TooLarge")
async def the_largest_frame_arrives_whole(scene: Scene) -> None:
    entity_id, message = scene.entity(), "m" * _LARGE_CHARACTERS
    async with scene.client() as client:
        reply = await client.request("subscribe", entityId=entity_id)
        _is(reply, "Subscribed")
        await scene.publish(entity_id, message=message)
        frame = await client.push()
        require(frame["message"] == message, f"the frame is {shown(frame)}")
        logged = await client.request("history", entityId=entity_id, since=reply["cursor"])
        require(logged.get("events") == [frame], f"history brings {shown(logged)}")


@check("SubscribeLogGroup", look_at="ReturnValuesOnConditionCheckFailure of the transaction")
async def a_connection_holds_as_many_subscriptions_as_may_be_and_no_more(scene: Scene) -> None:
    most = int(scene.stack.parameters["MaxSubscriptionsPerConnection"])
    *all_but_one, last, too_many = (scene.entity() for _ in range(most + 1))
    async with scene.client() as client:
        for start in range(0, len(all_but_one), _MOST_AT_ONCE):
            part = all_but_one[start : start + _MOST_AT_ONCE]
            entities = [{"entityId": entity_id} for entity_id in part]
            _is(await client.request("subscribe", entities=entities), "Subscribed")
        entities = [{"entityId": entity_id} for entity_id in (last, too_many)]
        _is_error(await client.request("subscribe", entities=entities), "TooManySubscriptions")
        _is(await client.request("subscribe", entityId=last), "Subscribed")
        # Whoever refuses these two has to see what the connection holds.
        _is_error(await client.request("subscribe", entityId=too_many), "TooManySubscriptions")
        _is(await client.request("subscribe", entityId=last), "Subscribed")
        held = await client.request("subscriptions")
        require(
            held.get("entityIds") == sorted((*all_but_one, last)),
            f"it holds {len(held.get('entityIds', ()))}, of {most}",
        )


@check(
    "NotifierLogGroup",
    look_at="NotificationDeadLetterQueue; among a thousand letters it may not be found",
)
async def a_poison_event_is_set_aside_with_its_reason_and_again_when_it_is_redriven(
    scene: Scene,
) -> None:
    entity_id, marker = scene.entity(), f"poison {scene.run}"
    poison = scene.event(message=marker)
    neighbours = [scene.event(entityId=entity_id, message=message) for message in (1, 2)]
    async with scene.client() as client:
        _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        try:
            await scene.enqueue(neighbours[0], poison, neighbours[1])
            for redriven in (False, True):
                letter = await scene.dead_letter(marker)
                said = {name: letter.attributes.get(name) for name in ("errorCode", "reason")}
                require(
                    said["errorCode"] == "InvalidEntityId" and said["reason"],
                    f"the letter says {shown(said)}",
                )
                require(letter.body == poison, f"the letter holds {shown(letter.body)}")
                await scene.ask(scene.stack.delete if redriven else scene.stack.redrive, letter)
            frames = await client.pushes_within(scene.silence_seconds)
        finally:
            await scene.delete_letters(scene.run)
    messages = sorted(frame["message"] for frame in frames)
    require(messages == [1, 2], f"of its neighbours came {shown(messages)}, and not 1 and 2")


@check("DisconnectLogGroup", "NotifierLogGroup")
async def a_client_that_vanishes_is_forgotten(scene: Scene) -> None:
    entity_id = scene.entity()
    partition = scene.partition("ENTITY", entity_id)

    def connections() -> list[str]:
        return [
            row["sk"] for row in scene.stack.rows(partition) if row["sk"].startswith("CONNECTION#")
        ]

    async with scene.client() as client:
        _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        found = await scene.ask(connections)
        require(len(found) == 1, f"the table has {len(found)} rows of its subscription")
        connection = found[0]
        require(await scene.rows(connection), "the table does not know the connection")
        await client.vanish()
    # API Gateway may not have noticed, or lost its $disconnect: then a post does.
    await scene.publish(entity_id)
    await scene.eventually(lambda: not connections(), "its subscription is still there")
    await scene.eventually(
        lambda: not scene.stack.rows(connection), "the connection is still there"
    )


@check("NotifierLogGroup")
async def an_event_that_nobody_waits_for_leaves_nothing(scene: Scene) -> None:
    if scene.stack.parameters.get("LogUnwatched") == "true":
        raise Skipped("the stack logs them: LogUnwatched")
    nobodys, entity_id = scene.entity(), scene.entity()
    async with scene.client() as client:
        _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        await scene.publish(nobodys)
        await scene.publish(entity_id)
        await client.push()
        await asyncio.sleep(scene.silence_seconds)
    rows = await scene.rows(scene.partition("ENTITY", nobodys))
    require(not rows, f"the table holds {shown(rows)}")


@check(look_at="how couriers read: Table.subscribers")
async def subscribers_are_read_from_behind_one_who_is_gone(scene: Scene) -> None:
    entity_id = scene.entity()
    async with scene.client() as client:
        _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        # Before any connection id, and nobody's.
        rows = await scene.rows(scene.partition("ENTITY", entity_id), after="CONNECTION#!")
    require(len(rows) == 1, f"of one subscriber the query returns {shown(rows)}")


@check("SubscribeLogGroup", look_at="the claim GrantsClaim of the token")
async def a_token_allows_what_it_grants_and_nothing_else(scene: Scene) -> None:
    user = scene.user()
    token = scene.tokens.mint(user)
    async with scene.client(token=token) as client:
        entities = [{"entityId": entity_id} for entity_id in (scene.entity(), f"other-{scene.run}")]
        reply = await client.request("subscribe", entities=entities)
        _is(reply, "Subscribed")
        codes = [part.get("code") for part in reply["entities"]]
        require(codes == [None, "Forbidden"], f"the reply is {shown(reply)}")


@check("AuthenticateLogGroup")
async def a_new_token_lets_a_connection_go_on(scene: Scene) -> None:
    user, seconds = scene.user(), 120
    async with scene.client(token=scene.tokens.mint(user)) as client:
        reply = await client.request("authenticate", token=scene.tokens.mint(user, seconds))
        _is(reply, "Authenticated")
        lives = reply["expiresAt"] - time.time()
        require(0 < lives <= seconds, f"it is good for {lives:.0f} s, and asked for were {seconds}")
        other = scene.tokens.mint(scene.user())
        _is_error(await client.request("authenticate", token=other), "Forbidden")


@check("NotifierLogGroup", look_at=_WAY_OF_AN_EVENT)
async def a_user_is_notified_on_all_devices_and_kicked_off_them(scene: Scene) -> None:
    user = scene.user()
    token = scene.tokens.mint(user)
    async with scene.client(token=token) as phone, scene.client(token=token) as laptop:
        event_id = await scene.put_event(
            "Send User Push Notification", {"userId": user, "message": "smoke"}
        )
        for client in (phone, laptop):
            frame = await client.push()
            require(
                (frame["type"], frame.get("id")) == ("User Push Notification", event_id),
                f"the frame is {shown(frame)}",
            )
        await scene.put_event("Disconnect User", {"userId": user, "reason": "smoke"})
        for client in (phone, laptop):
            last = await client.last_words()
            _is_error(last, "Kicked")


@check("ExpireLogGroup", look_at="the schedule of ExpireFunction", beside=True)
async def a_connection_is_closed_within_a_minute_of_its_tokens_end(scene: Scene) -> None:
    lives = scene.short_token_seconds
    within = lives + scene.expire_seconds
    token = scene.tokens.mint(scene.user(), lives)
    async with scene.client(token=token) as client:
        _is_error(await client.last_words(within), "TokenExpired")


@check("NotifierLogGroup", look_at=_WAY_OF_AN_EVENT)
async def several_events_in_a_row_are_each_delivered_once(scene: Scene) -> None:
    entity_id = scene.entity()
    async with scene.client() as client:
        _is(await client.request("subscribe", entityId=entity_id), "Subscribed")
        for message in range(_MEASURED):
            began = time.monotonic()
            await scene.publish(entity_id, message=message)
            frame = await client.push()
            scene.measured.append(time.monotonic() - began)
            require(frame["message"] == message, f"instead of {message} comes {shown(frame)}")


@check(look_at="the policies of the function that the log is of")
async def no_function_was_refused_a_permission(scene: Scene) -> None:
    words = ("AccessDenied", "AccessDeniedException")
    # Logs are a moment behind.
    await asyncio.sleep(scene.silence_seconds)
    for log_group in await scene.ask(scene.stack.log_groups):
        lines = await scene.ask(scene.stack.logged, log_group, words, scene.began)
        if lines:
            # The lines are long, and begin with what is the same for all.
            _, word, said = lines[0].partition(words[0])
            raise Failed(
                f"{log_group} has {len(lines)} such lines, the first: {shown(word + said)}"
            )


def measures(seconds: list[float]) -> str:
    """Say how long events took from the bus to the client."""
    return (
        f"PutEvents to frame: {min(seconds):.2f} s at best, {median(seconds):.2f} s in the middle"
        f" of {len(seconds)} (as seen from here)"
    )
