"""Holds frames and events against the contract, `asyncapi.yaml`.

Whatever a test sends or receives goes through here, at the places where all of it passes. What
clients and publishers say may have members that nobody knows; what the service says may not, for
here it would be one that is missing in the contract.
"""

import copy
import json
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import fastjsonschema
import yaml

PATH = Path(__file__).parents[2] / "asyncapi.yaml"
ROOT = "#/components/schemas/"
# What is refused with these was no request of the contract, or none that a schema can tell.
REFUSED_FOR_FORM = frozenset(
    {
        "InvalidJson",
        "InvalidFrame",
        "InvalidRequestId",
        "InvalidEntityId",
        "InvalidEntities",
        "InvalidSince",
        "UnknownAction",
    }
)
_LARGEST_INTEGER = 10**308
_GATEWAY_ERROR = "GatewayError"


class Broken(AssertionError):
    """Somebody says what the contract does not."""


@cache
def document() -> dict[str, Any]:
    """Return the contract."""
    parsed: dict[str, Any] = yaml.load(PATH.read_text(), yaml.CSafeLoader)
    return parsed


class Contract:
    """The messages of the contract, compiled."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._requests = _operations(document, "notifications", "receive")
        self._pushes = _operations(document, "notifications", "send")
        replies = {
            _name(each)
            for operation in document["operations"].values()
            for each in operation.get("reply", {}).get("messages", [])
        }
        schemas = document["components"]["schemas"]
        self._of_service: dict[str, list[str]] = {}
        for name in sorted(replies | {name for names in self._pushes.values() for name in names}):
            type_ = schemas[name]["properties"].get("type", {}).get("const", _GATEWAY_ERROR)
            self._of_service.setdefault(type_, []).append(name)
        self._events = {
            schemas[name]["properties"]["detail-type"]["const"]: name
            for names in _operations(document, "events", "receive").values()
            for name in names
        }
        self._codes = {
            name: frozenset(operation.get("x-error-codes", ()))
            for name, operation in document["operations"].items()
        }
        said_to_it = {*chain(*self._requests.values()), *self._events.values()}
        # In ISO 8601 there is more than in the format `date-time`, and the service takes all of it.
        self._open = _compiled(schemas, said_to_it, use_formats=False)
        self._closed = _compiled(_closed(schemas), {*chain(*self._of_service.values())})

    def request_problem(self, frame: object) -> str | None:
        """Say why a client's frame is no request, of which exactly one kind must fit."""
        action = frame.get("action") if isinstance(frame, dict) else None
        names = self._requests.get(action, []) if isinstance(action, str) else []
        return _only_one(self._open, names, frame)

    def service_problem(self, frame: object) -> str | None:
        """Say why a frame is none of the service's."""
        if not isinstance(frame, dict):
            return f"no object: {frame!r:.200}"
        type_ = frame.get("type", _GATEWAY_ERROR)
        names = self._of_service.get(type_, []) if isinstance(type_, str) else []
        return _only_one(self._closed, names, frame)

    def event_problem(self, event: object) -> str | None:
        """Say why something is no event for the service."""
        detail_type = event.get("detail-type") if isinstance(event, dict) else None
        name = self._events.get(detail_type) if isinstance(detail_type, str) else None
        return _only_one(self._open, [name] if name else [], event)

    def message_problem(self, name: str, payload: object) -> str | None:
        """Say why something is no message of a name."""
        of_service = any(name in names for names in self._of_service.values())
        return _only_one(self._closed if of_service else self._open, [name], payload)

    def check_service(self, frame: object) -> None:
        """Raise `Broken` unless a frame is one of the service's."""
        if problem := self.service_problem(frame):
            raise Broken(problem)

    def check_exchange(self, request: object, reply: dict[str, Any]) -> None:
        """Raise `Broken` unless a request and its reply go together.

        What was not refused was a request of the contract, what is one is not refused for its form,
        and a code is one of those that the action may answer.
        """
        self.check_service(reply)
        problem = self.request_problem(request)
        code = reply.get("code") if reply["type"] == "Error" else None
        action = request.get("action") if isinstance(request, dict) else None
        if code is None and problem and not _has_refused_parts(reply):
            raise Broken(f"it was answered, and is no request: {problem}")
        if code in REFUSED_FOR_FORM and not problem and not is_beyond_schemas(request):
            raise Broken(f"it was refused with {code}, and is a request: {request!r:.300}")
        if code and code not in self._codes.get(str(action), self._codes["unknownAction"]):
            raise Broken(f"{action} does not answer with {code}")
        if code is None:
            _check_recovery(request, reply)


@cache
def contract() -> Contract:
    """Return the contract, compiled once."""
    return Contract(document())


class Conversation:
    """One connection, held to the contract: what a client says, and what it hears."""

    def __init__(self) -> None:
        self._asked: dict[object, Any] = {}

    def says(self, text: str) -> None:
        """Remember a frame of the client, so that it is judged with its reply."""
        request = parsed(text)
        request_id = request.get("requestId") if isinstance(request, dict) else None
        if isinstance(request_id, str | int):
            self._asked[request_id] = request

    def hears(self, frame: Any) -> None:
        """Raise `Broken` unless a frame is one of the service's, and goes with its request."""
        if isinstance(frame, dict) and "type" in frame and frame.get("requestId") in self._asked:
            contract().check_exchange(self._asked.pop(frame["requestId"]), frame)
        else:
            contract().check_service(frame)


def parsed(text: str | None) -> Any:
    """Return what a frame says; None if it is no JSON."""
    try:
        return json.loads(text or "", parse_constant=lambda _: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return None


def is_portable(value: object) -> bool:
    """Whether all parsers read it alike: no half of a surrogate pair, no number out of range."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def _operations(document: dict[str, Any], channel: str, action: str) -> dict[str, list[str]]:
    """Return the messages of operations that have schemas."""
    schemas = document["components"]["schemas"]
    return {
        name: [each for each in map(_name, operation["messages"]) if each in schemas]
        for name, operation in document["operations"].items()
        if operation["action"] == action and _name(operation["channel"]) == channel
    }


def _closed(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return schemas whose objects have no other members than those that they name."""
    closed = copy.deepcopy(schemas)
    for schema in closed.values():
        if schema.get("type") == "object":
            schema["additionalProperties"] = False
    return closed


def _compiled(schemas: dict[str, Any], names: set[str], *, use_formats: bool = True) -> Any:
    """Return a validator of objects with one member, a message under its name."""
    return fastjsonschema.compile(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {name: {"$ref": ROOT + name} for name in sorted(names)},
            "components": {"schemas": schemas},
        },
        use_default=False,
        use_formats=use_formats,
    )


def _only_one(validate: Any, names: list[str], value: object) -> str | None:
    problems, fitting = [], []
    for name in names:
        try:
            validate({name: value})
            fitting.append(name)
        except fastjsonschema.JsonSchemaValueException as exc:
            problems.append(exc.message)
    if len(fitting) == 1:
        return None
    why = f"fits {fitting}" if fitting else "; ".join(problems) or "there is no such message"
    return f"{why}: {json.dumps(value)[:300]}"


def _has_refused_parts(reply: dict[str, Any]) -> bool:
    return any("code" in part for part in reply.get("entities", []))


def is_beyond_schemas(request: Any) -> bool:
    """Whether a request breaks what the contract says in words alone."""
    request_id = request.get("requestId")
    if isinstance(request_id, int | float) and not (
        isinstance(request_id, int) and abs(request_id) < _LARGEST_INTEGER
    ):
        return True
    if not is_portable(request):
        return True
    parts = request.get("entities")
    parts = parts if isinstance(parts, list) else []
    subjects = [part.get("entityId", True) for part in parts if isinstance(part, dict)]
    return len(set(map(repr, subjects))) < len(subjects)


def _check_recovery(request: Any, reply: dict[str, Any]) -> None:
    """Raise `Broken` unless the reply recovers where the request has a `since`, and only there."""
    asked = request.get("entities", [request])
    answered = reply.get("entities", [reply])
    for part, answer in zip(asked, answered, strict=True):
        if "cursor" in answer and ("recovered" in answer) != (part.get("since") is not None):
            raise Broken(f"since and recovered do not go together: {answer!r:.300}")
