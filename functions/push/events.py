"""What an EventBridge event says, and the frame that subscribers get for it."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from identity.claims import MAX_TENANT_LENGTH
from push import json_text
from push.errors import EventRejected
from push.observability import identify
from push.topics import LONGEST_CURSOR, Cursor, Topic

# Detail types.
ENTITY_UPDATED: Final = "Entity Updated"
SEND_USER_PUSH: Final = "Send User Push Notification"
DISCONNECT_USER: Final = "Disconnect User"

# API Gateway takes 128 KB. So that a reply which brings a frame fits as well, a frame has less.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_FRAME_BYTES = 120 * 1024
# No time is as late, in seconds since the epoch: that of the year 5138.
MAX_MOMENT = 1e11

# The last members of every frame that `Event.frame` makes.
_TIME = re.compile(r'"time":"([^"]{1,40})","cursor":"[^"]+"}$')
_LONGEST_END = 128


@dataclass(frozen=True, slots=True)
class Kick:
    """A user whose connections are to be closed.

    Attributes:
        reason: what the clients are told, if anything.
        revoke_issued_before: tokens of the user that were issued before are refused, in seconds
            since the epoch; None if none is.
    """

    id: str
    user: Topic
    reason: str | None
    revoke_issued_before: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """A change, ready to be given its number."""

    id: str
    topic: Topic
    content: str
    """The members of the frame up to the cursor, a JSON text without its last brace."""

    def frame(self, cursor: Cursor) -> str:
        """Return what subscribers get."""
        return f'{self.content},"cursor":"{cursor}"}}'


def parse(text: str, *, with_tenants: bool = False) -> Event | Kick:
    """Read an EventBridge event.

    `message` and `data` are passed on as the publisher wrote them: numbers keep all their digits,
    and objects the order of their keys. With tenants, the detail names one.

    Raises:
        EventRejected: it is no such event, or can become no key or no frame.
    """
    event = _object(_parsed(text), "The event")
    detail_type = event.get("detail-type")
    # Before anything is refused: whoever looks for poison finds where it comes from.
    identify(**_origin(event))
    if detail_type not in (ENTITY_UPDATED, SEND_USER_PUSH, DISCONNECT_USER):
        raise EventRejected("UnknownDetailType", "There is no such detail-type.")
    event_id, time = _text(event, "id"), _text(event, "time")
    detail = _object(event.get("detail"), "detail")
    tenant = _tenant(detail) if with_tenants else ""
    if detail_type == DISCONNECT_USER:
        user = Topic.user(_id(detail, "userId", "InvalidUserId"), tenant)
        return Kick(event_id, user, _reason(detail), _moment(detail, "revokeIssuedBefore"))
    if detail_type == ENTITY_UPDATED:
        topic = Topic.entity(_id(detail, "entityId", "InvalidEntityId"), tenant)
        frame = {"type": ENTITY_UPDATED, "entityId": topic.id}
        passed_on = ["message", "data"]
    else:
        topic = Topic.user(_id(detail, "userId", "InvalidUserId"), tenant)
        frame = {"type": "User Push Notification"}
        passed_on = ["message", "callback", "data"]
    frame = {name: json_text.encode(value) for name, value in frame.items()}
    texts = json_text.members(json_text.members(text)["detail"])
    # Present is what counts: "" and 0 are messages too.
    frame |= {name: texts[name] for name in passed_on if name in texts}
    frame |= {"id": json_text.encode(event_id), "time": json_text.encode(time)}
    parsed = Event(event_id, topic, json_text.encode_object(frame)[:-1])
    size = len(parsed.frame(LONGEST_CURSOR).encode())
    if size > MAX_FRAME_BYTES:
        raise EventRejected("FrameTooLarge", f"The frame has {size} bytes, of {MAX_FRAME_BYTES}.")
    return parsed


def published_at_ms(frame: str) -> int | None:
    """Return the event's `time`, in milliseconds since the epoch; None if it is not one.

    That is what the publisher says, or when EventBridge took the event, in whole seconds.
    """
    if not (match := _TIME.search(frame, max(0, len(frame) - _LONGEST_END))):
        return None
    try:
        return int(_zoned(datetime.fromisoformat(match[1])).timestamp() * 1000)
    except ValueError:
        return None


def _origin(event: dict[str, Any]) -> dict[str, str]:
    """Return what logs say of an event: its id, and who published it."""
    names = {"event_id": "id", "source": "source"}
    return {
        key: event[name]
        for key, name in names.items()
        if not json_text.id_problem(event.get(name), name)
    }


def _parsed(text: str) -> Any:
    try:
        return json_text.parse(text)
    except ValueError as exc:
        raise EventRejected("InvalidJson", f"The event cannot be passed on: {exc}.") from exc


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EventRejected("InvalidEvent", f"{name} is not a JSON object.")
    return value


def _id(detail: dict[str, Any], name: str, code: str) -> str:
    value = detail.get(name)
    if problem := json_text.id_problem(value, name):
        raise EventRejected(code, problem)
    return str(value)


def _tenant(detail: dict[str, Any]) -> str:
    tenant = _id(detail, "tenant", "InvalidTenant")
    if len(tenant) > MAX_TENANT_LENGTH:
        raise EventRejected("InvalidTenant", f"tenant has over {MAX_TENANT_LENGTH} characters.")
    return tenant


def _reason(detail: dict[str, Any]) -> str | None:
    reason = detail.get("reason")
    if reason is not None and (problem := json_text.id_problem(reason, "reason")):
        raise EventRejected("InvalidReason", problem)
    return reason


def _moment(detail: dict[str, Any], name: str) -> float | None:
    """Return a time, as ISO 8601 with its zone or in seconds since the epoch."""
    value = detail.get(name)
    try:
        if isinstance(value, str):
            value = _zoned(datetime.fromisoformat(value)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise EventRejected("InvalidTime", f"{name} is no time.") from exc
    is_time = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_MOMENT
    )
    if value is not None and not is_time:
        raise EventRejected("InvalidTime", f"{name} is no time.")
    return value


def _zoned(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    if problem := json_text.id_problem(value, name):
        raise EventRejected("InvalidEvent", problem)
    return str(value)
