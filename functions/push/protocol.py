"""The wire protocol: requests of clients, and the replies to them.

Text frames of JSON. A client's frame names its `action` and may carry a `requestId`, which the
reply echoes. Every reply and every push is an object with a `type`. What they look like is in
`messages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from push import json_text
from push.errors import (
    Forbidden,
    InvalidEntities,
    InvalidEntityId,
    InvalidFrame,
    InvalidJson,
    InvalidRequestId,
    InvalidSince,
    RequestRejected,
)
from push.topics import ENTITY, LAST, USER, Cursor, Recovery, Since, Topic

if TYPE_CHECKING:
    from push.messages import PlainReply

# API Gateway closes a connection that sends more, and refuses a post of more, with 413.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_MESSAGE_BYTES = 128 * 1024
# One less than the items of a DynamoDB transaction: the connection is the other one.
MAX_ENTITIES = 99
MAX_REQUEST_ID_LENGTH = 128
# As much as a usable id can take. So many refusals as a request can hold fit into a reply.
_MAX_ECHO_BYTES = 4 * json_text.MAX_ID_LENGTH + 2
# The actions that have a route of their own; every other frame meets `$default`.
ACTIONS = frozenset(
    {"subscribe", "history", "unsubscribe", "subscriptions", "ping", "authenticate"}
)


class Wanted(NamedTuple):
    """A topic of a request, and from where on its events are asked for."""

    topic: Topic
    since: Since | None = None

    def refused(self, rejection: RequestRejected) -> "Refused":
        return Refused(self.topic.id if self.topic.kind == ENTITY else None, rejection)


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of a request that is refused for its own sake."""

    entity_id: object
    rejection: RequestRejected

    def members(self) -> dict[str, str]:
        members = _texts({"code": self.rejection.code, "message": str(self.rejection)})
        if isinstance(self.entity_id, str) and len(self.entity_id) <= json_text.MAX_ID_LENGTH:
            echo = json_text.encode(self.entity_id)
            # The client knows it again; if it is too long, by its place in the list.
            if len(echo.encode()) <= _MAX_ECHO_BYTES:
                members = {"entityId": echo} | members
        return members


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
            fields = json_text.parse(body or "")
        except ValueError as exc:
            raise InvalidJson(f"The frame is not JSON: {exc}.") from exc
        if not isinstance(fields, dict):
            raise InvalidFrame('The frame must be a JSON object, such as {"action":"ping"}.')
        return cls(fields, _request_id(fields.get("requestId")))

    @property
    def action(self) -> object:
        return self.fields.get("action")

    @property
    def topic(self) -> Topic:
        """The entity that the request is about; raise `InvalidEntityId` unless it is usable."""
        return _topic(self.fields)

    @property
    def wanted(self) -> Wanted:
        """The entity or the user, and its `since`; raise `InvalidEntityId` or `InvalidSince`."""
        return Wanted(_topic_or_user(self.fields), _since(self.fields))

    @property
    def wanted_since(self) -> Wanted:
        """The same, where there must be a `since`."""
        wanted = self.wanted
        if wanted.since is None:
            raise InvalidSince("since is missing.")
        return wanted

    @property
    def token(self) -> str:
        """The token of the request; raise `Forbidden` if there is none."""
        token = self.fields.get("token")
        if not isinstance(token, str):
            raise Forbidden("token is missing.")
        return token

    @property
    def is_about_several(self) -> bool:
        return "entities" in self.fields or "entityIds" in self.fields

    def entities(self) -> list[Wanted | Refused]:
        """Return the parts of `entities`, in their order; raise `InvalidEntities`."""
        return [_wanted(part) for part in self._several("entities", "entityId")]

    def topics(self) -> list[Topic]:
        """Return the topics of `entityIds`; raise `InvalidEntities` or `InvalidEntityId`."""
        return [_topic({"entityId": id_}) for id_ in self._several("entityIds")]

    def _several(self, name: str, key: str = "") -> list[Any]:
        parts = self.fields.get(name)
        if "entityId" in self.fields:
            raise InvalidEntities(f"entityId and {name} do not go together.")
        if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_ENTITIES:
            raise InvalidEntities(f"{name} must be a list of 1 to {MAX_ENTITIES}.")
        ids = [part.get(key) if isinstance(part, dict) else part for part in parts]
        names = [id_ for id_ in ids if isinstance(id_, str)]
        # However often, the user is one.
        names += [USER for part in parts if isinstance(part, dict) and "user" in part]
        if len(set(names)) < len(names):
            raise InvalidEntities(f"{name} must not name an entity twice.")
        return parts


def _topic(fields: dict[str, Any]) -> Topic:
    if "entityId" not in fields:
        raise InvalidEntityId("entityId is missing.")
    if problem := json_text.id_problem(fields["entityId"], "entityId"):
        raise InvalidEntityId(problem)
    return Topic.entity(fields["entityId"])


def _topic_or_user(fields: dict[str, Any]) -> Topic:
    """Return a topic; that of "my user" has no id yet, for only the connection's item knows it."""
    if "user" not in fields:
        return _topic(fields)
    if fields["user"] is not True or "entityId" in fields:
        raise InvalidEntityId("user must be true, and stand in place of entityId.")
    return Topic.user("")


def _since(fields: dict[str, Any]) -> Since | None:
    since = fields.get("since")
    if since is None:
        return None
    if since == "last":
        return LAST
    try:
        return Cursor.parse(since)
    except (TypeError, ValueError) as exc:
        raise InvalidSince('since must be a cursor as it was sent, or "last".') from exc


def _wanted(part: object) -> Wanted | Refused:
    fields = part if isinstance(part, dict) else {}
    try:
        return Wanted(_topic_or_user(fields), _since(fields))
    except RequestRejected as rejection:
        return Refused(fields.get("entityId"), rejection)


def _request_id(value: object) -> str | int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and 1 <= len(value) <= MAX_REQUEST_ID_LENGTH:
        return value
    raise InvalidRequestId(
        f"requestId must be an integer or a string of 1 to {MAX_REQUEST_ID_LENGTH} characters."
    )


class Reply:
    """A reply, as members that are JSON texts: logged frames are passed on as they are."""

    def __init__(self, members: dict[str, str]) -> None:
        self._members = members

    @classmethod
    def of(cls, message: "PlainReply") -> Self:
        return cls(_texts(message))

    @classmethod
    def about(cls, type_: Literal["Subscribed", "History"], answer: "Answer") -> Self:
        """Return the reply to a request about one topic."""
        return cls(_texts({"type": type_}) | answer.members())

    @classmethod
    def about_several(cls, answers: "Sequence[Answer | Refused]") -> Self:
        """Return the reply to a request to subscribe to several topics, in its order."""
        objects = (json_text.encode_object(answer.members()) for answer in answers)
        return cls(_texts({"type": "Subscribed"}) | {"entities": f"[{','.join(objects)}]"})

    @classmethod
    def error(cls, rejection: RequestRejected) -> Self:
        return cls.of({"type": "Error", "code": rejection.code, "message": str(rejection)})

    def encode(self, request_id: str | int | None = None) -> str:
        """Return the frame, with the `requestId` of its request."""
        echo = {} if request_id is None else _texts({"requestId": request_id})
        return json_text.encode_object(self._members | echo)


class Answer(NamedTuple):
    """What a reply says about one topic: without `since`, the cursor alone."""

    wanted: Wanted
    recovery: Recovery

    def members(self) -> dict[str, str]:
        (topic, since), recovery = self
        subject = {"user": True} if topic.kind == USER else {"entityId": topic.id}
        members = _texts({**subject, "cursor": str(recovery.cursor)})
        if since is not None:
            members |= _texts({"recovered": recovery.recovered})
            members["events"] = f"[{','.join(event.frame for event in recovery.events)}]"
            if recovery.more:
                members["more"] = "true"
        return members


def _texts(members: Mapping[str, object]) -> dict[str, str]:
    return {name: json_text.encode(value) for name, value in members.items()}
