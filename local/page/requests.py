"""What a request of the page may say; whatever else is refused with the reason."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.errors import LocalRunError
from local.issuer import DEFAULT_MINUTES, Claims
from local.page.errors import BadRequest

MAX_BODY_BYTES = 16 * 1024
MAX_EVENTS = 500
MAX_ID_LENGTH = 256
MAX_MESSAGE_LENGTH = 1000
MAX_SECONDS = 59
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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a token is to say, and after how many seconds it ends, if that is less than a minute."""

    claims: Claims
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """What to send to a user."""

    user_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Kick:
    """Whom to disconnect, and whether the tokens that he has are worth nothing any more."""

    user_id: str
    is_revoked: bool


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
    if not _is_whole(count) or not 1 <= count <= MAX_EVENTS:
        raise BadRequest("InvalidCount", f"count must be a whole number from 1 to {MAX_EVENTS}.")
    message = None if fields.get("message") is None else _message(fields)
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


def wish(fields: Mapping[str, Any]) -> Wish:
    _only(fields, "user", "entities", "minutes", "seconds")
    user, entities = fields.get("user"), fields.get("entities")
    if not isinstance(user, str):
        raise BadRequest("InvalidUserId", "user must be a text.")
    if not isinstance(entities, list) or not all(isinstance(each, str) for each in entities):
        raise BadRequest("InvalidEntities", "entities must be a list of patterns.")
    minutes, seconds = _whole(fields, "minutes"), _whole(fields, "seconds")
    if minutes is not None and seconds is not None:
        raise BadRequest("InvalidLife", "A token lives for minutes or for seconds.")
    if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
        raise BadRequest("InvalidLife", f"seconds may be 1 to {MAX_SECONDS}.")
    life = DEFAULT_MINUTES if minutes is None else minutes
    try:
        return Wish(Claims(user, tuple(entities), minutes=life), seconds)
    except LocalRunError as exc:
        raise BadRequest("InvalidClaims", f"{exc}.") from exc


def push(fields: Mapping[str, Any]) -> Push:
    _only(fields, "userId", "message")
    return Push(_id(fields, "userId"), _message(fields))


def kick(fields: Mapping[str, Any]) -> Kick:
    _only(fields, "userId", "revoke")
    is_revoked = fields.get("revoke", False)
    if not isinstance(is_revoked, bool):
        raise BadRequest("InvalidRevocation", "revoke must be true or false.")
    return Kick(_id(fields, "userId"), is_revoked)


def nothing(fields: Mapping[str, Any]) -> None:
    _only(fields)


def _entity_id(fields: Mapping[str, Any]) -> str:
    return _id(fields, "entityId")


def _id(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_ID_LENGTH
        or _UNUSABLE.search(value)
    ):
        raise BadRequest(
            f"Invalid{name[0].upper()}{name[1:]}",
            f"{name} must be a text of 1 to {MAX_ID_LENGTH} characters, none of them a"
            " control character.",
        )
    return value


def _message(fields: Mapping[str, Any]) -> str:
    message = fields.get("message")
    if not isinstance(message, str) or len(message) > MAX_MESSAGE_LENGTH or not _encodable(message):
        raise BadRequest(
            "InvalidMessage", f"message must be a text of at most {MAX_MESSAGE_LENGTH} characters."
        )
    return message


def _whole(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and not _is_whole(value):
        raise BadRequest("InvalidLife", f"{name} must be a whole number.")
    return value


def _is_whole(value: object) -> bool:
    # A boolean is an integer to Python.
    return isinstance(value, int) and not isinstance(value, bool)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _only(fields: Mapping[str, Any], *known: str) -> None:
    if unknown := fields.keys() - set(known):
        raise BadRequest("UnknownField", f"There is no field {min(unknown)!r} here.")
