"""What an EventBridge event says, and the frame that subscribers get for it."""

from dataclasses import dataclass
from typing import Any, Self

from push import json_text
from push.errors import EventRejected
from push.topics import LONGEST_CURSOR, Cursor, Topic

ENTITY_UPDATED = "Entity Updated"

# API Gateway takes 128 KB. So that a reply which brings a frame fits as well, a frame has less.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_FRAME_BYTES = 120 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """A change, ready to be given its number."""

    id: str
    topic: Topic
    content: str
    """The members of the frame up to the cursor, a JSON text without its last brace."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an EventBridge event.

        `message` and `data` are passed on as the publisher wrote them: numbers keep all their
        digits, and objects the order of their keys.

        Raises:
            EventRejected: it is no such event, or can become no key or no frame.
        """
        event = _object(_parsed(text), "The event")
        if event.get("detail-type") != ENTITY_UPDATED:
            raise EventRejected("UnknownDetailType", f"detail-type is not {ENTITY_UPDATED!r}.")
        event_id, time = _text(event, "id"), _text(event, "time")
        detail = _object(event.get("detail"), "detail")
        if problem := json_text.id_problem(detail.get("entityId"), "entityId"):
            raise EventRejected("InvalidEntityId", problem)
        topic = Topic.entity(detail["entityId"])
        frame = {
            "type": json_text.encode(ENTITY_UPDATED),
            "entityId": json_text.encode(topic.id),
        }
        texts = json_text.members(json_text.members(text)["detail"])
        # Present is what counts: "" and 0 are messages too.
        frame |= {name: texts[name] for name in ("message", "data") if name in texts}
        frame |= {"id": json_text.encode(event_id), "time": json_text.encode(time)}
        parsed = cls(event_id, topic, json_text.encode_object(frame)[:-1])
        size = len(parsed.frame(LONGEST_CURSOR).encode())
        if size > MAX_FRAME_BYTES:
            raise EventRejected(
                "FrameTooLarge", f"The frame has {size} bytes, of {MAX_FRAME_BYTES}."
            )
        return parsed

    def frame(self, cursor: Cursor) -> str:
        """Return what subscribers get."""
        return f'{self.content},"cursor":"{cursor}"}}'


def _parsed(text: str) -> Any:
    try:
        return json_text.parse(text)
    except ValueError as exc:
        raise EventRejected("InvalidJson", f"The event cannot be passed on: {exc}.") from exc


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EventRejected("InvalidEvent", f"{name} is not a JSON object.")
    return value


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    if problem := json_text.id_problem(value, name):
        raise EventRejected("InvalidEvent", problem)
    return str(value)
