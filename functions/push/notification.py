"""What an EventBridge event says, and the frame that clients get for it."""

from dataclasses import dataclass
from typing import Any, Self

from push.errors import EventRejected
from push.protocol import MAX_MESSAGE_BYTES, Frame, encode, entity_id_problem, parse_json

ENTITY_UPDATED = "Entity Updated"


@dataclass(frozen=True, slots=True)
class Notification:
    """A change of an entity, ready to be posted: `frame` is UTF-8 JSON of at most 128 KB."""

    event_id: str
    entity_id: str
    frame: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an EventBridge event.

        Raises:
            EventRejected: it is no such event, or its frame is too large to be posted.
        """
        event = _object(_json(text), "The event")
        if event.get("detail-type") != ENTITY_UPDATED:
            raise EventRejected("UnknownDetailType", f"detail-type is not {ENTITY_UPDATED!r}.")
        event_id, time = _text(event, "id"), _text(event, "time")
        detail = _object(event.get("detail"), "detail")
        if problem := entity_id_problem(detail.get("entityId")):
            raise EventRejected("InvalidEntityId", problem)
        frame: Frame = {"type": ENTITY_UPDATED, "entityId": detail["entityId"]}
        # Present is what counts: "" and 0 are messages too.
        frame |= {name: detail[name] for name in ("message", "data") if name in detail}
        frame |= {"id": event_id, "time": time}
        try:
            payload = encode(frame).encode()
        except ValueError as exc:
            # Such as 1e999: JSON, but not a number that Python or JavaScript could hold.
            raise EventRejected("InvalidJson", f"The event cannot be passed on: {exc}.") from exc
        if len(payload) > MAX_MESSAGE_BYTES:
            raise EventRejected(
                "FrameTooLarge", f"The frame has {len(payload)} of {MAX_MESSAGE_BYTES} bytes."
            )
        return cls(event_id, detail["entityId"], payload)


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as exc:
        raise EventRejected("InvalidJson", f"The event is not JSON: {exc}.") from exc


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EventRejected("InvalidEvent", f"{name} is not a JSON object.")
    return value


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise EventRejected("InvalidEvent", f"{name} is not a text.")
    return value
