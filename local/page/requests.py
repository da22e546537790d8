"""What a request of the page may say; whatever else is refused with the reason."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.page.errors import BadRequest

MAX_BODY_BYTES = 16 * 1024
MAX_EVENTS = 500
MAX_ENTITY_ID_LENGTH = 256
MAX_MESSAGE_LENGTH = 1000
ACTIONS = ("cut", "freeze", "close")

# Control characters, and halves of characters, which are in no entity's id.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Of characters that need no escape in an address.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Publication:
    """How many events of which entity to publish; of none, it is a single poison event."""

    entity_id: str | None
    count: int = 1
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """What to do to the connections of a name, with what the gateway needs to know for it."""

    name: str
    details: dict[str, Any] | None


def parse(body: bytes) -> dict[str, Any]:
    """Return the object that a body is; raise `BadRequest` if it is none."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadRequest("InvalidJson", "The body is not JSON.") from exc
    if not isinstance(parsed, dict):
        raise BadRequest("InvalidJson", "The body is not a JSON object.")
    return parsed


def publication(fields: Mapping[str, Any]) -> Publication:
    if "kind" in fields:
        _only(fields, "kind")
        if fields["kind"] != "poison":
            raise BadRequest("InvalidKind", 'kind can be "poison".')
        return Publication(None)
    _only(fields, "entityId", "count", "message")
    count = fields.get("count", 1)
    # A boolean is an integer to Python.
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_EVENTS:
        raise BadRequest("InvalidCount", f"count must be a whole number from 1 to {MAX_EVENTS}.")
    message = fields.get("message")
    if message is not None and (
        not isinstance(message, str) or len(message) > MAX_MESSAGE_LENGTH or not _encodable(message)
    ):
        raise BadRequest(
            "InvalidMessage", f"message must be a text of at most {MAX_MESSAGE_LENGTH} characters."
        )
    return Publication(_entity_id(fields), count, message)


def trim(fields: Mapping[str, Any]) -> str:
    """Return the entity whose history is to be trimmed."""
    _only(fields, "entityId")
    return _entity_id(fields)


def act(action: str, fields: Mapping[str, Any]) -> Act:
    # The gateway judges the details of a close.
    _only(fields, "name", *(("code", "reason") if action == "close" else ()))
    name = fields.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest("InvalidName", "name must be 1 to 64 letters, digits, dots and hyphens.")
    details = {key: value for key, value in fields.items() if key != "name"}
    return Act(name, details if action == "close" else None)


def nothing(fields: Mapping[str, Any]) -> None:
    _only(fields)


def _entity_id(fields: Mapping[str, Any]) -> str:
    entity_id = fields.get("entityId")
    if (
        not isinstance(entity_id, str)
        or not 1 <= len(entity_id) <= MAX_ENTITY_ID_LENGTH
        or _UNUSABLE.search(entity_id)
    ):
        raise BadRequest(
            "InvalidEntityId",
            f"entityId must be a text of 1 to {MAX_ENTITY_ID_LENGTH} characters, none of them a"
            " control character.",
        )
    return entity_id


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _only(fields: Mapping[str, Any], *known: str) -> None:
    if unknown := fields.keys() - set(known):
        raise BadRequest("UnknownField", f"There is no field {min(unknown)!r} here.")
