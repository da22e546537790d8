"""The wire protocol: requests of clients, replies, and the frames pushed to them.

Text frames of JSON. A client's frame names its `action` and may carry a `requestId`, which the
reply echoes. Every reply and every push is an object with a `type`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from push.errors import (
    InvalidEntityId,
    InvalidFrame,
    InvalidJson,
    InvalidRequestId,
    RequestRejected,
)

Frame = dict[str, Any]

# API Gateway closes a connection that sends more, and refuses a post of more, with 413.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_MESSAGE_BYTES = 128 * 1024
MAX_ENTITY_ID_LENGTH = 256
MAX_REQUEST_ID_LENGTH = 128

# Control characters, which no visible id holds, and lone surrogates, which UTF-8 cannot encode.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Request:
    """A client's frame, known to be an object whose `requestId`, if any, can be echoed."""

    fields: dict[str, Any]
    request_id: str | int | None = None

    @classmethod
    def parse(cls, body: str | None) -> Self:
        """Read a frame.

        Raises:
            InvalidJson, InvalidFrame, InvalidRequestId
        """
        try:
            fields = parse_json(body or "")
        except ValueError as exc:
            raise InvalidJson(f"The frame is not JSON: {exc}.") from exc
        if not isinstance(fields, dict):
            raise InvalidFrame('The frame must be a JSON object, such as {"action":"ping"}.')
        return cls(fields, _request_id(fields.get("requestId")))

    @property
    def entity_id(self) -> str:
        """The entity that the request is about; raise `InvalidEntityId` unless it is usable."""
        if "entityId" not in self.fields:
            raise InvalidEntityId("entityId is missing.")
        if problem := entity_id_problem(self.fields["entityId"]):
            raise InvalidEntityId(problem)
        return str(self.fields["entityId"])

    @property
    def action(self) -> object:
        return self.fields.get("action")


def entity_id_problem(value: object) -> str | None:
    """Say what keeps a value from being an entity id; None if nothing does."""
    if not isinstance(value, str):
        return "entityId must be a string."
    if not 1 <= len(value) <= MAX_ENTITY_ID_LENGTH:
        return f"entityId must have 1 to {MAX_ENTITY_ID_LENGTH} characters."
    if _UNUSABLE.search(value):
        return "entityId must not contain control characters or lone surrogates."
    return None


def _request_id(value: object) -> str | int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and 1 <= len(value) <= MAX_REQUEST_ID_LENGTH:
        return value
    raise InvalidRequestId(
        f"requestId must be an integer or a string of 1 to {MAX_REQUEST_ID_LENGTH} characters."
    )


def parse_json(text: str) -> Any:
    """Parse strict JSON; raise `ValueError` for whatever else, however it is broken.

    Python's parser accepts NaN and Infinity, which are not JSON, and answers thousands of
    nested brackets with `RecursionError`.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise ValueError(f"{exc.msg} at character {exc.pos}") from exc
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def encode(frame: Frame) -> str:
    """Return a frame's compact text, always encodable in UTF-8.

    Text beyond ASCII is kept as it is, since an escape takes up to three times the bytes. Lone
    surrogates, which a publisher can send as escapes, exist only as escapes.
    """
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(frame, separators=(",", ":"), allow_nan=False)
    return text


def subscribed(entity_id: str) -> Frame:
    return {"type": "Subscribed", "entityId": entity_id}


def unsubscribed(entity_id: str) -> Frame:
    return {"type": "Unsubscribed", "entityId": entity_id}


def subscriptions(entity_ids: list[str]) -> Frame:
    return {"type": "Subscriptions", "entityIds": entity_ids}


def pong(time: str) -> Frame:
    return {"type": "Pong", "time": time}


def error(rejection: RequestRejected) -> Frame:
    return {"type": "Error", "code": rejection.code, "message": str(rejection)}
