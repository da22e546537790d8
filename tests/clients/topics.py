"""A true model of the log of an entity, and of what a reply brings from it.

It answers as the service does (`functions/push/topics.py`), which it does not import: the suite can
be lifted out together with `docs/clients.md`, the contract, and `support/contract.py`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, Any]

# The id of the user's own topic, which frames do not name.
USER = ""
MAX_EVENTS = 100
MAX_ANSWER_BYTES = 100 * 1024


def id_of(members: Frame) -> str:
    """Return what a frame, or a part of one, is about."""
    entity_id: str = members.get("entityId", USER)
    return entity_id


def about(entity_id: str) -> Frame:
    """Return how a request or a reply says what it is about."""
    return {"entityId": entity_id} if entity_id != USER else {"user": True}


def parse(cursor: str) -> tuple[str, int]:
    """Return the epoch and the number of a cursor; raise `ValueError` if it is none."""
    epoch, dash, number = cursor.partition("-")
    if not dash:
        raise ValueError("not a cursor")
    return epoch, int(number)


def is_cursor(text: str) -> bool:
    try:
        return bool(parse(text))
    except ValueError:
        return False


@dataclass
class Room:
    """What a reply still has room for; with `one_at_least`, its first event in any case."""

    one_at_least: bool
    events: int = MAX_EVENTS
    bytes: int = MAX_ANSWER_BYTES

    def take(self, frame: Frame) -> bool:
        """Take the room of a frame, if there is as much."""
        size = len(json.dumps(frame))
        if not self.events or (size > self.bytes and not self.one_at_least):
            return False
        self.events -= 1
        self.bytes -= size
        self.one_at_least = False
        return True


@dataclass
class Topic:
    """An entity's log."""

    entity_id: str
    epoch: str
    number: int = 0
    kept: dict[int, Frame] = field(default_factory=dict)

    @property
    def cursor(self) -> str:
        return self.at(self.number)

    def at(self, number: int) -> str:
        """Return the cursor of a number."""
        return f"{self.epoch}-{number}"

    def append(self, **fields: object) -> Frame:
        """Give an event the next number, and return its frame."""
        self.number += 1
        frame: Frame = {
            "type": "Entity Updated",
            "entityId": self.entity_id,
            "message": f"{self.entity_id[:20]} {self.number}",
            "id": f"{self.epoch}/{self.number}",
            "time": "2026-11-24T01:46:41Z",
            "cursor": self.cursor,
        }
        if self.entity_id == USER:
            del frame["entityId"]
            frame["type"] = "User Push Notification"
        self.kept[self.number] = frame | fields
        return self.kept[self.number]

    def trim(self, up_to: int) -> None:
        """Forget events, as the table's TTL does."""
        self.kept = {number: frame for number, frame in self.kept.items() if number > up_to}

    def begin_again(self, epoch: str) -> None:
        """Begin another epoch, as the log does that fell asleep and was opened again."""
        self.epoch, self.number, self.kept = epoch, 0, {}

    def answer(self, since: str | None, room: Room) -> Frame:
        """Return what a reply says about the entity; raise `ValueError` if `since` is no cursor."""
        answer: Frame = about(self.entity_id) | {"cursor": self.cursor}
        if since is None:
            return answer
        epoch, after = self.epoch, max(0, self.number - 1)
        if since != "last":
            epoch, after = parse(since)
        lost = answer | {"recovered": False, "events": []}
        if epoch != self.epoch or after > self.number:
            return lost
        events: list[Frame] = []
        while after + len(events) < self.number:
            following = self.kept.get(after + len(events) + 1)
            if not room.events:
                break
            if following is None:
                return lost
            if not room.take(following):
                break
            events.append(following)
        reached = after + len(events)
        answer |= {"cursor": self.at(reached), "recovered": True, "events": events}
        return answer | ({"more": True} if reached < self.number else {})
