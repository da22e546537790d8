"""Every message of the service, as typed models: requests, replies, pushes, errors, events in.

The one place that says what goes over the wire. mypy holds the code that builds frames against
these models; `contract/` makes `asyncapi.yaml` of them, and tests hold every frame and event that
they see against that. Bounds are the constants that the code itself goes by.

No function imports this module when it runs: import it under `TYPE_CHECKING`.

What no schema can say, and the code refuses all the same, the contract says in words: sizes in
bytes of UTF-8, lone surrogates, numbers that no double holds, what depends on who asks, or when.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Never, NotRequired, TypedDict

from identity.claims import MAX_TENANT_LENGTH
from push import errors
from push.errors import RequestRejected
from push.events import DISCONNECT_USER, ENTITY_UPDATED, MAX_MOMENT, SEND_USER_PUSH
from push.json_text import CONTROL_CHARACTERS, MAX_ID_LENGTH
from push.protocol import MAX_ENTITIES, MAX_REQUEST_ID_LENGTH
from push.topics import CURSOR, MAX_EVENTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a value means and has to look like, over what its type says; named as in JSON Schema."""

    description: str = ""
    minLength: int | None = None
    maxLength: int | None = None
    pattern: str | None = None
    minimum: float | None = None
    exclusiveMaximum: float | None = None
    minItems: int | None = None
    maxItems: int | None = None
    uniqueItems: bool | None = None
    enum: tuple[str, ...] | None = None
    format: str | None = None


_NO_CONTROL_CHARACTERS = f"^[^{CONTROL_CHARACTERS}]*$"

# What frames and events are made of.

EntityId = Annotated[
    str,
    Form(
        description="Names an entity. No control characters, no lone surrogates.",
        minLength=1,
        maxLength=MAX_ID_LENGTH,
        pattern=_NO_CONTROL_CHARACTERS,
    ),
]
UserId = Annotated[
    str,
    Form(
        description="Names a user, as the claim `sub` of a token does. No control characters, no "
        "lone surrogates.",
        minLength=1,
        maxLength=MAX_ID_LENGTH,
        pattern=_NO_CONTROL_CHARACTERS,
    ),
]
Tenant = Annotated[
    str,
    Form(
        description="Names a tenant, where the stack has tenants (`TenantClaim`): then it must be "
        "there, and otherwise it is ignored.",
        minLength=1,
        maxLength=MAX_TENANT_LENGTH,
        pattern=_NO_CONTROL_CHARACTERS,
    ),
]
Cursor = Annotated[
    str,
    Form(
        description="A place in the log of an entity or a user, `<epoch>-<number>`. Numbers have "
        "no holes; they are compared only where the epochs are equal.",
        pattern=f"^{CURSOR.pattern}$",
    ),
]
Since = Annotated[
    Cursor | Literal["last"] | None,
    Form(
        description="The cursor up to which the client misses nothing, for what came after it; or "
        "`last`, for the last event alone. Without it, or with null, nothing is brought.",
    ),
]
RequestId = Annotated[
    int | Annotated[str, Form(minLength=1, maxLength=MAX_REQUEST_ID_LENGTH)],
    Form(
        description="Chosen by the client; the reply has the same. An integer is written without a "
        "fraction or an exponent.",
    ),
]
Anything = Annotated[Any, Form(description="Any JSON, passed on as the publisher wrote it.")]
EventId = Annotated[
    str,
    Form(
        description="The event's id, as EventBridge gave it: a duplicate has the same.",
        minLength=1,
        maxLength=MAX_ID_LENGTH,
        pattern=_NO_CONTROL_CHARACTERS,
    ),
]
EventTime = Annotated[
    str,
    Form(
        description="When the event happened, as its publisher or EventBridge says: on AWS in ISO "
        "8601, in UTC.",
        minLength=1,
        maxLength=MAX_ID_LENGTH,
        pattern=_NO_CONTROL_CHARACTERS,
    ),
]


def _all_codes(cls: type[RequestRejected]) -> dict[str, str]:
    """Return the codes of errors that are answered to clients, each with what it means."""
    found = {cls.code: (cls.__doc__ or "").partition("\n")[0]} if hasattr(cls, "code") else {}
    for child in cls.__subclasses__():
        found |= _all_codes(child)
    return found


ERROR_CODES = _all_codes(RequestRejected)
ErrorCode = Annotated[
    str,
    Form(
        description="Why not. A code never changes its meaning; there may be new ones:\n\n"
        + "\n".join(f"- `{code}`: {meaning}" for code, meaning in ERROR_CODES.items()),
        enum=tuple(ERROR_CODES),
    ),
]

# Requests. What may never be there beside the rest has a member of type `Never`.


class _Request(TypedDict):
    requestId: NotRequired[RequestId | None]


class SubscribePart(TypedDict):
    """An entity of several, and from where on its events are asked for."""

    user: NotRequired[Never]
    entityId: EntityId
    since: NotRequired[Since]


class SubscribeUserPart(TypedDict):
    """The connection's user among several, and from where on its notifications are asked for."""

    entityId: NotRequired[Never]
    user: Literal[True]
    since: NotRequired[Since]


class SubscribeRequest(_Request):
    """Subscribe to an entity: from the reply on, each of its events comes.

    With `since` the reply brings what was missed. Whoever is subscribed already may say it again.
    """

    action: Literal["subscribe"]
    user: NotRequired[Never]
    entities: NotRequired[Never]
    entityIds: NotRequired[Never]
    entityId: EntityId
    since: NotRequired[Since]


class SubscribeUserRequest(_Request):
    """Recover the notifications of the connection's user.

    A connection with a token is subscribed to its user from the beginning; with `since` the reply
    brings what was missed.
    """

    action: Literal["subscribe"]
    entityId: NotRequired[Never]
    entities: NotRequired[Never]
    entityIds: NotRequired[Never]
    user: Literal[True]
    since: NotRequired[Since]


class SubscribeSeveralRequest(_Request):
    """Subscribe to several entities together, or to none.

    None is named twice. A part that is refused for its own sake, such as `Forbidden`, does not
    keep the others from being subscribed to.
    """

    action: Literal["subscribe"]
    entityId: NotRequired[Never]
    entities: Annotated[
        list[SubscribePart | SubscribeUserPart], Form(minItems=1, maxItems=MAX_ENTITIES)
    ]


class HistoryRequest(_Request):
    """Ask for what came after a cursor: further pages, and gaps. For a subscriber alone."""

    action: Literal["history"]
    user: NotRequired[Never]
    entityId: EntityId
    since: Annotated[
        Cursor | Literal["last"],
        Form(description="The cursor after which to begin; or `last`, for the last event alone."),
    ]


class HistoryUserRequest(_Request):
    """Ask for the notifications of the connection's user that came after a cursor."""

    action: Literal["history"]
    entityId: NotRequired[Never]
    user: Literal[True]
    since: Annotated[
        Cursor | Literal["last"],
        Form(description="The cursor after which to begin; or `last`, for the last alone."),
    ]


class UnsubscribeRequest(_Request):
    """Unsubscribe from an entity; a success also if there was no subscription.

    A frame that is under way may still come.
    """

    action: Literal["unsubscribe"]
    entities: NotRequired[Never]
    entityIds: NotRequired[Never]
    entityId: EntityId


class UnsubscribeSeveralRequest(_Request):
    """Unsubscribe from several entities; a success also where there was no subscription."""

    action: Literal["unsubscribe"]
    entityId: NotRequired[Never]
    entityIds: Annotated[list[EntityId], Form(minItems=1, maxItems=MAX_ENTITIES, uniqueItems=True)]


class SubscriptionsRequest(_Request):
    """Ask for the entities that the connection is subscribed to."""

    action: Literal["subscriptions"]


class PingRequest(_Request):
    """Keep an idle connection open, and learn whether the service still knows it."""

    action: Literal["ping"]


class AuthenticateRequest(_Request):
    """Let the connection go on with a new token of the same user, before the old one ends."""

    action: Literal["authenticate"]
    token: Annotated[str, Form(description="A JWT, as presented when connecting.")]


# Pushes.


class _Event(TypedDict):
    message: NotRequired[Anything]
    data: NotRequired[Anything]
    id: EventId
    time: EventTime
    cursor: Cursor


class EntityUpdated(_Event):
    """An entity has changed: an event of detail-type `Entity Updated`, for each of its subscribers.

    Frames may overtake each other; `cursor` tells their order. A duplicate has the same `id` and
    `cursor`.
    """

    type: Literal["Entity Updated"]
    entityId: EntityId


class UserPushNotification(_Event):
    """An event of detail-type `Send User Push Notification`, on each connection of the user."""

    type: Literal["User Push Notification"]
    callback: NotRequired[Anything]


DisconnectCode = Annotated[
    Literal["SlowClient", "Kicked", "TokenExpired"],
    Form(
        description="Why the service closes the connection; there may be new ones:\n\n"
        "- `SlowClient`: it could not be reached for about five minutes. `reconnect` is true: come "
        "back, and recover.\n"
        "- `Kicked`: an event `Disconnect User` said so. `reconnect` is false.\n"
        "- `TokenExpired`: its token has ended. `reconnect` is true: come back with a new one.",
    ),
]


class Disconnect(TypedDict):
    """The service is about to close the connection. No other end of one is announced."""

    type: Literal["Disconnect"]
    code: DisconnectCode
    reconnect: Annotated[bool, Form(description="Whether another connection is of any use.")]
    reason: NotRequired[
        Annotated[str, Form(description="What the event `Disconnect User` gave as its reason.")]
    ]


class SubscriptionEnded(TypedDict):
    """A subscription has ended, for a new token of the connection does not cover it."""

    type: Literal["Unsubscribed"]
    entityId: EntityId
    code: Literal["Forbidden"]


# Replies.


class _Reply(TypedDict):
    requestId: NotRequired[RequestId]


_Recovered = Annotated[
    bool,
    Form(
        description="Only with `since`: whether `events` are all there is after it, up to "
        "`cursor`. False says that not all can be brought any more: `events` is empty then."
    ),
]
_More = Annotated[
    Literal[True],
    Form(description="There is more after `cursor`: ask for it with `history`. Else it is absent."),
]


class _Entity(TypedDict):
    """What a reply says about an entity."""

    entityId: EntityId
    cursor: Cursor
    recovered: NotRequired[_Recovered]
    events: NotRequired[
        Annotated[
            list[EntityUpdated],
            Form(description="Only with `since`: what came after it.", maxItems=MAX_EVENTS),
        ]
    ]
    more: NotRequired[_More]


class _User(TypedDict):
    """What a reply says about the connection's user."""

    user: Literal[True]
    cursor: Cursor
    recovered: NotRequired[_Recovered]
    events: NotRequired[
        Annotated[
            list[UserPushNotification],
            Form(description="Only with `since`: what came after it.", maxItems=MAX_EVENTS),
        ]
    ]
    more: NotRequired[_More]


class SubscribedPart(_Entity):
    """An entity that the connection is subscribed to now, and where its log stands."""


class SubscribedUserPart(_User):
    """The connection's user, and where its log stands."""


class RefusedPart(TypedDict):
    """A part of a request about several entities that was refused for its own sake."""

    entityId: NotRequired[
        Annotated[
            str,
            Form(
                description="As the request had it, if it is a string that is not too long. Parts "
                "are in the order of the request.",
                maxLength=MAX_ID_LENGTH,
            ),
        ]
    ]
    code: Literal["InvalidEntityId", "InvalidSince", "Forbidden"]
    message: Annotated[str, Form(description="For people.")]


class Subscribed(_Entity, _Reply):
    """The connection is subscribed to the entity."""

    type: Literal["Subscribed"]


class SubscribedUser(_User, _Reply):
    """Where the log of the connection's user stands, and with `since` what was missed."""

    type: Literal["Subscribed"]


class SubscribedSeveral(_Reply):
    """The connection is subscribed to each part that is not refused."""

    type: Literal["Subscribed"]
    entities: Annotated[
        list[SubscribedPart | SubscribedUserPart | RefusedPart],
        Form(description="In the order of the request.", minItems=1, maxItems=MAX_ENTITIES),
    ]


class History(_Entity, _Reply):
    """What came after the cursor of the request."""

    type: Literal["History"]


class UserHistory(_User, _Reply):
    """What came after the cursor of the request."""

    type: Literal["History"]


class Unsubscribed(_Reply):
    """The connection is not subscribed to the entity any more."""

    type: Literal["Unsubscribed"]
    entityId: EntityId


class UnsubscribedSeveral(_Reply):
    """The connection is not subscribed to the entities any more."""

    type: Literal["Unsubscribed"]
    entityIds: Annotated[list[EntityId], Form(minItems=1, maxItems=MAX_ENTITIES)]


class Subscriptions(_Reply):
    """The entities that the connection is subscribed to, sorted; its user is not among them."""

    type: Literal["Subscriptions"]
    entityIds: list[EntityId]


class Pong(_Reply):
    """The service knows the connection."""

    type: Literal["Pong"]
    time: Annotated[str, Form(description="The time of the service, in UTC.", format="date-time")]


class Authenticated(_Reply):
    """The connection goes on with the new token."""

    type: Literal["Authenticated"]
    expiresAt: Annotated[
        int, Form(description="When the new token ends, in seconds since the epoch.", minimum=0)
    ]


class Error(_Reply):
    """The request was not carried out; the connection stays open.

    `requestId` is missing where the request had none, or none that can be echoed.
    """

    type: Literal["Error"]
    code: ErrorCode
    message: Annotated[str, Form(description="For people; programs go by `code`.")]


class GatewayError(TypedDict):
    """API Gateway's own answer, where it could not hand a request on, or got no reply in time.

    It has no `type`, and its `requestId` is API Gateway's. `Too Many Requests` and `Internal server
    error` are passing.
    """

    message: str
    connectionId: str
    requestId: str


# What the code hands to `Reply`. The others are made of frames that are JSON texts already.
PlainReply = Unsubscribed | UnsubscribedSeveral | Subscriptions | Pong | Authenticated | Error


@dataclass(frozen=True, slots=True)
class Action:
    """What a client can ask for.

    Attributes:
        name: of the action, and of its route.
        requests: the forms of a request.
        replies: what it is answered with, besides `Error`.
        codes: of the `Error` frames that may answer it.
    """

    name: str
    summary: str
    requests: tuple[type, ...]
    replies: tuple[type, ...]
    codes: tuple[type[RequestRejected], ...]


# Of any request. That a frame is no JSON is found by the service alone where its parser is stricter
# than API Gateway's.
_OF_ANY = (errors.InvalidJson, errors.InvalidRequestId, errors.ServiceUnavailable)
_OF_TOKENS = (errors.Forbidden, errors.TokenExpired)

ACTIONS = (
    Action(
        "subscribe",
        "subscribe, and recover what was missed",
        (SubscribeRequest, SubscribeUserRequest, SubscribeSeveralRequest),
        (Subscribed, SubscribedUser, SubscribedSeveral),
        (
            errors.InvalidEntityId,
            errors.InvalidEntities,
            errors.InvalidSince,
            errors.TooManySubscriptions,
            *_OF_TOKENS,
            errors.ConnectionGone,
            *_OF_ANY,
        ),
    ),
    Action(
        "history",
        "ask for what came after a cursor",
        (HistoryRequest, HistoryUserRequest),
        (History, UserHistory),
        (
            errors.InvalidEntityId,
            errors.InvalidSince,
            errors.NotSubscribed,
            *_OF_TOKENS,
            errors.ConnectionGone,
            *_OF_ANY,
        ),
    ),
    Action(
        "unsubscribe",
        "end subscriptions",
        (UnsubscribeRequest, UnsubscribeSeveralRequest),
        (Unsubscribed, UnsubscribedSeveral),
        (errors.InvalidEntityId, errors.InvalidEntities, errors.ConnectionGone, *_OF_ANY),
    ),
    Action(
        "subscriptions",
        "list the subscriptions",
        (SubscriptionsRequest,),
        (Subscriptions,),
        (errors.ConnectionGone, *_OF_ANY),
    ),
    Action(
        "ping",
        "keep the connection open, and see that it is known",
        (PingRequest,),
        (Pong,),
        (errors.ConnectionGone, *_OF_ANY),
    ),
    Action(
        "authenticate",
        "go on with another token",
        (AuthenticateRequest,),
        (Authenticated,),
        (*_OF_TOKENS, errors.ConnectionGone, *_OF_ANY),
    ),
)
# Of frames that name no action.
OTHERWISE = (errors.InvalidJson, errors.InvalidFrame, errors.InvalidRequestId, errors.UnknownAction)
PUSHES = (EntityUpdated, UserPushNotification, Disconnect, SubscriptionEnded)

# Events in.


class EntityUpdatedDetail(TypedDict):
    """An entity has changed."""

    entityId: EntityId
    message: NotRequired[Anything]
    data: NotRequired[Anything]
    tenant: NotRequired[Tenant]


class SendUserPushNotificationDetail(TypedDict):
    """A user is to be told something, on each connection."""

    userId: UserId
    message: NotRequired[Anything]
    callback: NotRequired[Anything]
    data: NotRequired[Anything]
    tenant: NotRequired[Tenant]


class DisconnectUserDetail(TypedDict):
    """A user's connections are to be closed."""

    userId: UserId
    reason: NotRequired[
        Annotated[
            Annotated[
                str,
                Form(minLength=1, maxLength=MAX_ID_LENGTH, pattern=_NO_CONTROL_CHARACTERS),
            ]
            | None,
            Form(description="What the clients are told, if anything."),
        ]
    ]
    revokeIssuedBefore: NotRequired[
        Annotated[
            Annotated[str, Form(format="date-time")]
            | Annotated[float, Form(minimum=0, exclusiveMaximum=MAX_MOMENT)]
            | None,
            Form(
                description="Tokens of the user that were issued before are refused: ISO 8601 with "
                "its zone, or seconds since the epoch."
            ),
        ]
    ]
    tenant: NotRequired[Tenant]


EventEnvelope = TypedDict(
    "EventEnvelope",
    {
        "version": NotRequired[str],
        "id": EventId,
        "detail-type": str,
        "source": NotRequired[Annotated[str, Form(description="The publisher; any.")]],
        "account": NotRequired[str],
        "time": EventTime,
        "region": NotRequired[str],
        "resources": NotRequired[list[str]],
        "detail": Any,
    },
)


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event that publishers put on the bus.

    Attributes:
        name: in the contract.
        detail_type: tells it from others; its rule goes by nothing else.
        detail: what the publisher says.
        becomes: the frame that clients get for it.
    """

    name: str
    detail_type: str
    detail: type
    becomes: type


EVENTS = (
    PublishedEvent("EntityUpdatedEvent", ENTITY_UPDATED, EntityUpdatedDetail, EntityUpdated),
    PublishedEvent(
        "SendUserPushNotificationEvent",
        SEND_USER_PUSH,
        SendUserPushNotificationDetail,
        UserPushNotification,
    ),
    PublishedEvent("DisconnectUserEvent", DISCONNECT_USER, DisconnectUserDetail, Disconnect),
)
