"""The least client: "The least" of docs/clients.md, point by point, and no more than that."""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

SPECIFIED = {"minReconnectDelayMs": 500, "maxReconnectDelayMs": 20_000, "holdMs": 2_000}
SPECIFIED |= {"pingIntervalMs": 480_000, "pongTimeoutMs": 5_000, "replyTimeoutMs": 5_000}
OPTIONS = SPECIFIED | json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))
DELAY, LONGEST_DELAY, HOLD, SILENCE, PONG, REPLY = (OPTIONS[name] / 1000 for name in SPECIFIED)


def parse(cursor: str) -> tuple[str, int]:
    epoch, _, number = cursor.partition("-")
    return epoch, int(number)


class Entity:
    def __init__(self, entity_id: str, position: str | None) -> None:
        self.id, self.position = entity_id, position
        self.aside: dict[str, dict[str, Any]] = {}
        self.is_asked_about, self.ask_at = True, 0.0

    def take(self) -> None:
        for cursor in sorted(self.aside, key=parse):
            (epoch, number), (mine, last) = parse(cursor), parse(self.position or "-0")
            if epoch == mine and number <= last + 1:
                frame = self.aside.pop(cursor)
                if number == last + 1:
                    print(json.dumps(frame), flush=True)  # noqa: T201
                    self.position = cursor

    def gap(self, cursor: str) -> None:
        gap = {"entityId": self.id, "from": self.position, "to": cursor}
        print(json.dumps({"gap": gap}), file=sys.stderr, flush=True)  # noqa: T201
        # Nothing else of an epoch that is over will have its turn.
        self.aside = {kept: f for kept, f in self.aside.items() if parse(kept)[0] in cursor}


async def hear(websocket: ClientConnection, entities: dict[str, Entity]) -> dict[str, Any]:
    frame = cast(dict[str, Any], json.loads(await websocket.recv()))
    entity = entities.get(frame.get("entityId", ""))
    if frame.get("type") == "Entity Updated" and entity:
        if not entity.aside:
            entity.ask_at = time.monotonic() + HOLD
        entity.aside[frame["cursor"]] = frame
        if not entity.is_asked_about:
            entity.take()
    return frame


async def ask(websocket: ClientConnection, entities: dict[str, Entity], **fields: object) -> Any:
    fields["requestId"] = random.randrange(10**9)  # noqa: S311
    await websocket.send(json.dumps(fields))
    async with asyncio.timeout(PONG if fields["action"] == "ping" else REPLY):
        while (reply := await hear(websocket, entities)).get("requestId") != fields["requestId"]:
            pass
    if reply["type"] == "Error":
        raise ConnectionError(reply["code"])
    return reply


async def recover(
    websocket: ClientConnection, entities: dict[str, Entity], entity: Entity, action: str
) -> None:
    entity.is_asked_about = more = True
    while more:
        since = {"since": entity.position} if entity.position else {}
        reply = await ask(websocket, entities, action=action, entityId=entity.id, **since)
        if reply.get("recovered") is False:
            entity.gap(reply["cursor"])
        if not reply.get("recovered"):
            entity.position = reply["cursor"]
        entity.aside |= {event["cursor"]: event for event in reply.get("events", [])}
        entity.take()
        action, more = "history", reply.get("more", False)
    entity.is_asked_about, entity.ask_at = False, time.monotonic() + HOLD


async def talk(websocket: ClientConnection, entities: dict[str, Entity]) -> None:
    for entity in entities.values():
        entity.is_asked_about = True
    for entity in entities.values():
        await recover(websocket, entities, entity, "subscribe")
    while True:
        late = [entity for entity in entities.values() if entity.aside]
        first = min(late, key=lambda entity: entity.ask_at, default=None)
        wait = first.ask_at - time.monotonic() if first else SILENCE
        try:
            async with asyncio.timeout(max(wait, 0.001)):
                await hear(websocket, entities)
        except TimeoutError:
            if first:
                await recover(websocket, entities, first, "history")
            else:
                await ask(websocket, entities, action="ping")


async def follow(url: str, entities: dict[str, Entity]) -> None:
    bound = 2 * DELAY
    while True:
        opened = time.monotonic()
        try:
            # Who is dead does not answer a closing handshake either.
            async with connect(
                url,
                subprotocols=[Subprotocol("websocket")],
                ping_interval=None,
                close_timeout=0.1,
                max_size=None,
            ) as websocket:
                await talk(websocket, entities)
        except (OSError, TimeoutError, WebSocketException):
            bound = 2 * DELAY if time.monotonic() > opened + REPLY else bound
        await asyncio.sleep(random.uniform(DELAY, bound))  # noqa: S311
        bound = min(LONGEST_DELAY, 2 * bound)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("entity_id", nargs="+")
    parser.add_argument("--since")
    options = parser.parse_args()
    entities = {entity_id: Entity(entity_id, options.since) for entity_id in options.entity_id}
    asyncio.run(follow(options.url, entities))
