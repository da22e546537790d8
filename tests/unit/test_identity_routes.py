"""The routes where tokens are asked for: who may come in, and what each connection may do."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import authorize.app
import connect.app
import expire.app
import history.app
import ping.app
import subscribe.app
import subscriptions.app
import unsubscribe.app
from identity.claims import MAX_TENANT_LENGTH, MAX_USER_LENGTH, Identity
from identity.errors import KeysUnavailable
from push import wiring
from push.connection import RouteEvent, authorizer_context
from push.events import SEND_USER_PUSH
from push.topics import ENTITY, USER, Log, Topic
from support import events
from support.exchange import FakeExchange
from support.issuer import ABSENT, AUDIENCE, ISSUER, SECRET, Issuer
from support.rows import topics_of

Rows = Callable[[], list[dict[str, Any]]]
Send = Callable[..., dict[str, Any]]
Arrive = Callable[..., int]

HANDLERS = {
    "subscribe": subscribe.app.lambda_handler,
    "history": history.app.lambda_handler,
    "unsubscribe": unsubscribe.app.lambda_handler,
    "subscriptions": subscriptions.app.lambda_handler,
    "ping": ping.app.lambda_handler,
}
HERE = "c="
METHOD_ARN = "arn:aws:execute-api:us-east-1:123456789012:abcd123456/v1/$connect"

pytestmark = pytest.mark.usefixtures("dynamodb")


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch, remade: Callable[[], None]) -> Callable[[str], None]:
    """Ask for tokens; with a claim, for tokens of tenants."""

    def ask(tenant_claim: str) -> None:
        for name, value in {"AUTHENTICATION": "JWT", "TENANT_CLAIM": tenant_claim}.items():
            monkeypatch.setenv(name, value)
        remade()

    return ask


@pytest.fixture
def tokens(asked_for: Callable[[str], None]) -> None:
    asked_for("")


@pytest.fixture
def tenants(asked_for: Callable[[str], None]) -> None:
    asked_for("tenant")


@pytest.fixture(params=["", "acme"])
def tenant(request: pytest.FixtureRequest, asked_for: Callable[[str], None]) -> str:
    """The tenant of a user, with tenants and without."""
    tenant = str(request.param)
    asked_for("tenant" if tenant else "")
    return tenant


def alice(*grants: str, seconds: int = 600, **changes: Any) -> Identity:
    now = int(time.time())
    return replace(Identity("alice", "", grants or ("**",), now - 60, now + seconds), **changes)


def handshake(identity: Identity | None, connection_id: str = HERE) -> dict[str, Any]:
    event: dict[str, Any] = events.load("connect")
    context = event["requestContext"]
    context |= {"connectionId": connection_id, "connectedAt": int(time.time() * 1000)}
    if identity:
        context["authorizer"] = {"principalId": "x", **authorizer_context(identity)}
    return event


@pytest.fixture
def arrive(context: Any) -> Arrive:
    """Connect, as somebody whom the authorizer has let in; return the status."""

    def arrive(identity: Identity | None, connection_id: str = HERE) -> int:
        response = connect.app.lambda_handler(handshake(identity, connection_id), context)
        return int(response["statusCode"])

    return arrive


@pytest.fixture
def send(context: Any) -> Send:
    """Send a frame to a route and return its reply."""

    def send(route: str, body: object = None, connection_id: str = HERE) -> dict[str, Any]:
        event = events.message(route, body or {}, connection_id)
        event["requestContext"]["connectedAt"] = int(time.time() * 1000)
        response = HANDLERS[route](event, context)
        assert response["statusCode"] == 200
        reply: dict[str, Any] = json.loads(response["body"])
        return reply

    return send


def publish(topic: Topic, *event_ids: str) -> None:
    """Log events of a topic that is watched."""
    log = Log(wiring.table(), kept_seconds=604_800)
    for event_id in event_ids:
        said = events.entity_updated(event_id, entityId=topic.id)
        if topic.kind == USER:
            said |= {"detail-type": SEND_USER_PUSH, "detail": {"userId": topic.id}}
        event = replace(events.parsed(events.encoded(said)), topic=topic)
        head = wiring.table().head(topic)
        assert head
        assert log.append(event, head, head.cursor)


def during(operation: str, act: Callable[[], object]) -> None:
    """Have something happen once, before an operation of the table is carried out."""
    acts = [act]

    def happen(**_: Any) -> None:
        while acts:
            acts.pop()()

    wiring._client("dynamodb").meta.events.register(f"before-call.dynamodb.{operation}", happen)


def codes(reply: dict[str, Any]) -> list[str | None]:
    return [part.get("code") for part in reply["entities"]]


# $connect.


def test_who_comes_with_a_token_is_known_subscribed_to_itself_and_noted(
    arrive: Arrive, rows: Rows, tenant: str
) -> None:
    identity = alice("a/*", "b", tenant=tenant)
    user = Topic.user("alice", tenant)

    assert arrive(identity) == 200

    by_kind = {(row["pk"], row["sk"]): row for row in rows()}
    note = (f"EXPIRY#{identity.expires_at // 60}", f"CONNECTION#{HERE}")
    subscription = (user.key, f"CONNECTION#{HERE}")
    assert by_kind.keys() == {
        (f"CONNECTION#{HERE}", "CONNECTION"),
        subscription,
        (user.key, "HEAD"),
        note,
    }
    assert by_kind[subscription]["until"] == identity.expires_at
    row = wiring.table().connection(HERE)
    assert row
    assert (row.identity, row.topics) == (identity, frozenset({user}))


def test_who_comes_without_a_token_where_none_is_asked_for_is_nobody(
    arrive: Arrive, rows: Rows, send: Send
) -> None:
    assert arrive(None) == 200

    (row,) = rows()
    assert row.keys() == {"pk", "sk", "connectionId", "ipAddress", "connectedAt", "ttl"}
    assert send("subscribe", {"user": True})["code"] == "Forbidden"


def test_a_token_that_outlives_its_connection_is_not_noted(
    arrive: Arrive, rows: Rows, tokens: None
) -> None:
    arrive(alice(seconds=3 * 3600))

    assert not [row for row in rows() if row["pk"].startswith("EXPIRY")]


def test_whose_token_is_revoked_is_refused_and_forgotten(
    arrive: Arrive, rows: Rows, tenant: str
) -> None:
    identity = alice(tenant=tenant)
    wiring.table().revoke(Topic.user("alice", tenant), identity.issued_at + 1, 2_000_000_000)

    assert arrive(identity) == 403

    assert wiring.table().connection(HERE) is None
    assert not [row for row in rows() if row["sk"] == f"CONNECTION#{HERE}" and "until" in row]
    assert arrive(replace(identity, issued_at=identity.issued_at + 1)) == 200


@pytest.mark.parametrize("namesake", [("alice", "other"), ("alice2", "acme"), ("alice", "")])
def test_another_s_revocation_refuses_nobody(
    arrive: Arrive, tenants: None, namesake: tuple[str, str]
) -> None:
    wiring.table().revoke(Topic.user(*namesake), 1_900_000_000, 2_000_000_000)

    assert arrive(alice(tenant="acme")) == 200


def test_a_revocation_that_comes_during_the_handshake_is_seen(arrive: Arrive, tokens: None) -> None:
    """Whoever revokes writes first, and then reads the connections."""
    identity = alice()
    seen: list[list[str]] = []

    def revoke() -> None:
        table = wiring.table()
        seen.append(table.subscribers(Topic.user("alice"), "", "~")[0])
        table.revoke(Topic.user("alice"), identity.issued_at + 1, 2_000_000_000)

    during("TransactWriteItems", revoke)

    assert arrive(identity) == 403
    assert seen == [[]]


@pytest.mark.usefixtures("tokens")
def test_a_user_has_so_many_connections_and_no_more(
    arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CONNECTIONS_PER_USER", "2")

    assert [arrive(alice(), each) for each in ("1=", "2=", "3=")] == [200, 200, 429]
    assert wiring.table().connection("3=") is None
    assert arrive(alice(user_id="bob"), "4=") == 200


# subscribe.


def test_only_what_the_token_allows_can_be_subscribed_to(
    arrive: Arrive, send: Send, tenant: str
) -> None:
    arrive(alice("alice/*", tenant=tenant))

    assert send("subscribe", {"entityId": "alice/x"})["type"] == "Subscribed"
    assert send("subscribe", {"entityId": "alice2/x"})["code"] == "Forbidden"
    assert send("subscribe", {"entityId": "alice"})["code"] == "Forbidden"
    assert topics_of(wiring.table(), HERE) == frozenset(
        {
            Topic.user("alice", tenant),
            Topic.entity("alice/x", tenant),
        }
    )


@pytest.mark.usefixtures("tokens")
def test_who_is_granted_nothing_hears_what_is_for_him_alone(arrive: Arrive, send: Send) -> None:
    arrive(alice(grants=()))

    assert send("subscribe", {"entityId": "a"})["code"] == "Forbidden"
    assert send("subscribe", {"user": True})["type"] == "Subscribed"


@pytest.mark.usefixtures("tokens")
def test_of_a_list_only_what_is_not_allowed_is_refused(arrive: Arrive, send: Send) -> None:
    arrive(alice("a", "b"))

    parts = [{"entityId": each} for each in ("a", "x", "", "b")] + [{"user": True}]
    reply = send("subscribe", {"entities": parts})

    assert codes(reply) == [None, "Forbidden", "InvalidEntityId", None, None]
    assert reply["entities"][1]["entityId"] == "x"
    assert reply["entities"][4]["user"] is True
    assert send("subscriptions")["entityIds"] == ["a", "b"]


@pytest.mark.usefixtures("tokens")
def test_a_list_of_which_nothing_is_allowed_writes_nothing(
    arrive: Arrive, send: Send, rows: Rows
) -> None:
    arrive(alice("a"))
    before = rows()

    assert codes(send("subscribe", {"entities": [{"entityId": "x"}]})) == ["Forbidden"]
    assert rows() == before


@pytest.mark.usefixtures("tokens")
def test_its_user_takes_none_of_a_connection_s_room(arrive: Arrive, send: Send) -> None:
    arrive(alice())

    for each in ("1", "2", "3"):
        assert send("subscribe", {"entityId": each})["type"] == "Subscribed"
    assert send("subscribe", {"entityId": "4"})["code"] == "TooManySubscriptions"
    assert send("subscribe", {"user": True})["type"] == "Subscribed"
    assert send("subscribe", {"entityId": "3"})["type"] == "Subscribed"
    assert send("subscriptions")["entityIds"] == ["1", "2", "3"]


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize("held", [0, 1, 3])
def test_its_user_takes_none_of_a_list_s_room(arrive: Arrive, send: Send, held: int) -> None:
    arrive(alice())
    for number in range(held):
        send("subscribe", {"entityId": str(number)})

    parts = [{"entityId": str(number)} for number in range(3)]

    assert codes(send("subscribe", {"entities": [*parts, {"user": True}]})) == [None] * 4
    too_many = [*parts, {"entityId": "3"}]
    assert send("subscribe", {"entities": too_many})["code"] == "TooManySubscriptions"


@pytest.mark.usefixtures("tokens")
def test_a_token_that_is_renewed_meanwhile_decides(arrive: Arrive, send: Send) -> None:
    """What the old one allowed is not written under the new one."""
    old = alice("a", "b")
    new = alice("b", "c", issued_at=old.issued_at + 1)
    arrive(old)
    during("TransactWriteItems", lambda: wiring.table().renew(HERE, old, new))

    reply = send("subscribe", {"entities": [{"entityId": each} for each in "abc"]})

    assert codes(reply) == ["Forbidden", None, None]
    rows = {each: wiring.table().ends_at(HERE, Topic.entity(each)) for each in "abc"}
    assert rows == {"a": 0, "b": new.expires_at, "c": new.expires_at}


@pytest.mark.usefixtures("tokens")
def test_a_token_of_the_same_second_that_allows_less_decides_too(
    arrive: Arrive, send: Send
) -> None:
    old = alice("a")
    new = replace(old, grants=("b",))
    arrive(old)
    during("TransactWriteItems", lambda: wiring.table().renew(HERE, old, new))

    assert send("subscribe", {"entityId": "a"})["code"] == "Forbidden"


@pytest.mark.usefixtures("tokens")
def test_a_connection_that_goes_meanwhile_is_gone(arrive: Arrive, send: Send) -> None:
    arrive(alice())

    during("TransactWriteItems", lambda: wiring.table().delete_connection(HERE))

    assert send("subscribe", {"entityId": "a"})["code"] == "ConnectionGone"
    assert not wiring.table().is_subscribed(HERE, Topic.entity("a"))


# Tokens that have ended, and connections that never had one.

REQUESTS: list[tuple[str, dict[str, object]]] = [
    ("subscribe", {"entityId": "a"}),
    ("subscribe", {"entities": [{"entityId": "a"}]}),
    ("subscribe", {"user": True}),
    ("history", {"entityId": "a", "since": "last"}),
    ("history", {"user": True, "since": "last"}),
]


@pytest.mark.usefixtures("tokens")
def test_without_an_authorizer_nobody_comes_in(arrive: Arrive, rows: Rows) -> None:
    """While a stack is changed, or should somebody take it away."""
    assert arrive(None) == 403
    assert arrive(alice(seconds=0)) == 403
    assert rows() == []


@pytest.mark.usefixtures("tokens")
def test_my_user_is_one_however_often_it_is_named(arrive: Arrive, send: Send) -> None:
    arrive(alice())

    reply = send("subscribe", {"entities": [{"user": True, "since": "last"}, {"user": True}]})

    assert reply["code"] == "InvalidEntities"


def ended(identity: Identity, seconds: int) -> None:
    """Let a connection's token have ended, as if time had passed."""
    old = replace(identity, expires_at=int(time.time()) + seconds)
    assert wiring.table().renew(HERE, identity, old) is not None


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize(("route", "body"), REQUESTS, ids=str)
@pytest.mark.parametrize("seconds", [0, -1, -3600])
def test_whose_token_has_ended_hears_nothing_more(
    arrive: Arrive, send: Send, seconds: int, route: str, body: dict[str, object]
) -> None:
    identity = alice()
    arrive(identity)
    ended(identity, seconds)

    assert send(route, body)["code"] == "TokenExpired"
    assert topics_of(wiring.table(), HERE) == frozenset({Topic.user("alice")})


@pytest.mark.parametrize(("route", "body"), REQUESTS, ids=str)
def test_who_came_before_tokens_were_asked_for_needs_one(
    arrive: Arrive, send: Send, asked_for: Callable[[str], None], route: str, body: dict[str, Any]
) -> None:
    arrive(None)
    send("subscribe", {"entityId": "a"})
    asked_for("tenant")

    assert send(route, body)["code"] == "TokenExpired"


@pytest.mark.parametrize("claim", ["", "tenant"])
@pytest.mark.parametrize("has_token", [False, True])
def test_who_may_hear_nothing_more_may_go_in_order(
    arrive: Arrive, send: Send, asked_for: Callable[[str], None], has_token: bool, claim: str
) -> None:
    if has_token:
        identity = alice()
        asked_for(claim)
        arrive(identity)
        ended(identity, -1)
    else:
        arrive(None)
        asked_for(claim)

    assert send("unsubscribe", {"entityId": "a"})["type"] == "Unsubscribed"
    assert send("subscriptions")["entityIds"] == []
    assert send("ping")["type"] == "Pong"


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize(
    ("route", "body"), [*REQUESTS, ("subscriptions", {}), ("ping", {})], ids=str
)
def test_a_connection_that_is_not_known_is_gone(
    send: Send, rows: Rows, route: str, body: dict[str, object]
) -> None:
    assert send(route, body)["code"] == "ConnectionGone"
    assert rows() == []


# history and unsubscribe.


def test_history_is_of_the_tenant_and_of_what_is_allowed(
    arrive: Arrive, send: Send, asked_for: Callable[[str], None]
) -> None:
    asked_for("tenant")
    for tenant in ("acme", "other"):
        arrive(alice("a", tenant=tenant), tenant)
        send("subscribe", {"entityId": "a"}, tenant)
        publish(Topic.entity("a", tenant), f"for {tenant}")
        publish(Topic.user("alice", tenant), f"for the user of {tenant}")

    for tenant in ("acme", "other"):
        entity = send("history", {"entityId": "a", "since": "last"}, tenant)
        user = send("history", {"user": True, "since": "last"}, tenant)
        assert [event["id"] for event in entity["events"]] == [f"for {tenant}"]
        assert [event["id"] for event in user["events"]] == [f"for the user of {tenant}"]
        assert send("history", {"entityId": "b", "since": "last"}, tenant)["code"] == "Forbidden"


@pytest.mark.usefixtures("tenant")
def test_history_is_for_subscribers(arrive: Arrive, send: Send, tenant: str) -> None:
    arrive(alice(tenant=tenant), "other=")
    send("subscribe", {"entityId": "a"}, "other=")
    arrive(alice(tenant=tenant))

    assert send("history", {"entityId": "a", "since": "last"})["code"] == "NotSubscribed"


def test_unsubscribing_ends_the_subscription_of_the_tenant(
    arrive: Arrive, send: Send, tenant: str
) -> None:
    arrive(alice(tenant=tenant))
    send("subscribe", {"entities": [{"entityId": each} for each in "abc"]})

    send("unsubscribe", {"entityId": "a"})
    send("unsubscribe", {"entityIds": ["b", "x"]})

    table = wiring.table()
    assert send("subscriptions")["entityIds"] == ["c"]
    assert topics_of(table, HERE) == frozenset(
        {Topic.user("alice", tenant), Topic.entity("c", tenant)}
    )
    subscribed = [each for each in "abc" if table.is_subscribed(HERE, Topic.entity(each, tenant))]
    assert subscribed == ["c"]


# No way from one topic to another's.

NASTY = [
    *("#", "/", "*", "**", "%", "%23", "%25", "TENANT#", "TENANT#acme#ENTITY#a", "USER#alice"),
    *("ENTITY#a", "acme#USER#alice", "HEAD", "REVOKED", "CONNECTION#c=", "EXPIRY#1", "a#"),
    *("#USER#alice", "../a", "a\\", "\U0001f600", "a\u0301", "\u00e1"),
]
usable = st.text(
    st.sampled_from("#/*%ab 0123525TENAUSRIY") | st.characters(exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=30,
) | st.sampled_from(NASTY)
some_topic = st.builds(Topic, st.sampled_from([ENTITY, USER]), usable, st.just("") | usable)


@given(some_topic)
def test_a_topic_is_read_back_from_its_key(topic: Topic) -> None:
    assert Topic.of_key(topic.key) == topic


@given(some_topic, some_topic)
@example(Topic.entity("a", "b"), Topic.entity("TENANT#b#ENTITY#a"))
@example(Topic.entity("b#ENTITY#c", "a"), Topic.entity("c", "a#ENTITY#b"))
@example(Topic.entity("a", "#"), Topic.entity("a", "%23"))
@example(Topic.user("a"), Topic.entity("a"))
def test_no_two_topics_have_the_same_key(one: Topic, other: Topic) -> None:
    assert (one.key == other.key) is (one == other)


@given(some_topic)
def test_no_topic_has_the_key_of_anything_else(topic: Topic) -> None:
    assert topic.key.startswith(("ENTITY#", "USER#", "TENANT#"))


def test_the_longest_user_and_tenant_fit_into_a_key() -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""
    for sign in ("\U0001f600", "#", "%"):
        topic = Topic.user("\U0001f600" * MAX_USER_LENGTH, sign * MAX_TENANT_LENGTH)
        assert len(topic.key.encode()) <= 2048


@pytest.mark.parametrize("name", NASTY)
def test_whatever_an_id_is_it_leads_to_an_entity_of_one_s_own_tenant(
    arrive: Arrive, send: Send, tenant: str, name: str
) -> None:
    """`**` allows every entity, and nothing that is none."""
    arrive(alice(tenant=tenant))
    arrive(alice(user_id="bob", tenant="other" if tenant else ""), "bob=")

    for body in ({"entityId": name}, {"entities": [{"entityId": name}]}):
        assert send("subscribe", body)["type"] == "Subscribed"
    assert topics_of(wiring.table(), HERE) == frozenset(
        {
            Topic.user("alice", tenant),
            Topic.entity(name, tenant),
        }
    )
    assert send("history", {"entityId": name, "since": "last"})["type"] == "History"
    assert send("subscriptions")["entityIds"] == [name]
    send("unsubscribe", {"entityId": name})
    assert topics_of(wiring.table(), HERE) == frozenset({Topic.user("alice", tenant)})
    assert wiring.table().is_subscribed(HERE, Topic.user("alice", tenant))
    assert wiring.table().is_subscribed("bob=", Topic.user("bob", "other" if tenant else ""))


@pytest.mark.parametrize("name", NASTY)
def test_whatever_a_user_s_name_is_it_hears_what_is_for_it_alone(
    arrive: Arrive, send: Send, tenant: str, name: str
) -> None:
    arrive(alice(user_id=name, tenant=tenant))
    arrive(alice(tenant=tenant), "alice=")
    publish(Topic.user(name, tenant), "for it")
    publish(Topic.user("alice", tenant), "for alice")

    reply = send("history", {"user": True, "since": "last"})

    assert [event["id"] for event in reply["events"]] == ["for it"]
    assert send("subscriptions")["entityIds"] == []


@pytest.mark.parametrize("name", NASTY)
def test_whatever_a_tenant_s_name_is_its_topics_are_its_own(
    arrive: Arrive, send: Send, tenants: None, name: str
) -> None:
    arrive(alice(tenant=name))
    arrive(alice(tenant="acme"), "acme=")
    for connection_id in (HERE, "acme="):
        send("subscribe", {"entityId": "a"}, connection_id)
    publish(Topic.entity("a", name), "for it")
    publish(Topic.entity("a", "acme"), "for acme")

    reply = send("history", {"entityId": "a", "since": "last"})

    assert [event["id"] for event in reply["events"]] == ["for it"]


@pytest.mark.usefixtures("tenants")
@pytest.mark.parametrize(
    "body",
    [
        {"entityId": "a", "tenant": "other"},
        {"entityId": "a", "tenantId": "other", "userId": "bob"},
        {"entities": [{"entityId": "a", "tenant": "other"}], "tenant": "other"},
    ],
    ids=str,
)
def test_a_tenant_in_a_frame_says_nothing(arrive: Arrive, send: Send, body: object) -> None:
    arrive(alice(tenant="acme"))

    assert send("subscribe", body)["type"] == "Subscribed"
    assert Topic.entity("a", "acme") in (topics_of(wiring.table(), HERE) or ())


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize("user", [False, None, "bob", "alice", 1, {}, ["alice"], "true"])
def test_only_one_s_own_user_can_be_asked_for(arrive: Arrive, send: Send, user: object) -> None:
    arrive(alice())

    for route in ("subscribe", "history"):
        assert send(route, {"user": user, "since": "last"})["code"] == "InvalidEntityId"
        both = {"user": True, "entityId": "a", "since": "last"}
        assert send(route, both)["code"] == "InvalidEntityId"
    assert codes(send("subscribe", {"entities": [{"user": user}]})) == ["InvalidEntityId"]


@pytest.mark.usefixtures("tokens")
def test_nobody_unsubscribes_from_itself(arrive: Arrive, send: Send) -> None:
    arrive(alice())

    assert send("unsubscribe", {"user": True})["code"] == "InvalidEntityId"
    assert wiring.table().is_subscribed(HERE, Topic.user("alice"))


# The authorizer.


@pytest.fixture
def authorizer(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, remade: Callable[[], None]
) -> Callable[..., None]:
    """Set the authorizer up, with a secret of the stack's own."""
    secrets = wiring._client("secretsmanager")
    arn = secrets.create_secret(Name="tokens", SecretString=SECRET)["ARN"]
    variables = {
        "AUTHENTICATION": "JWT",
        "TOKEN_ISSUER": ISSUER,
        "TOKEN_AUDIENCE": AUDIENCE,
        "TOKEN_AUDIENCE_CLAIM": "aud",
        "TOKEN_KEYS_URL": "",
        "TOKEN_SECRET_ARN": arn,
        "TOKEN_IN_QUERY_STRING": "false",
        "GRANTS_CLAIM": "entities",
    }

    def set_up(**changes: str) -> None:
        for name, value in (variables | changes).items():
            monkeypatch.setenv(name, value)
        remade()

    set_up()
    return set_up


Headers = dict[str, list[str]]


def shown(headers: Headers | None = None, query: Headers | None = None) -> dict[str, Any]:
    """Return what API Gateway asks the authorizer."""
    event: dict[str, Any] = events.load("authorize")
    del event["multiValueHeaders"]["Sec-WebSocket-Protocol"]
    event["multiValueHeaders"] |= headers or {}
    event["multiValueQueryStringParameters"] = query
    return event


def encoded(token: str) -> str:
    text = base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    return f"base64url.bearer.authorization.{text}"


def effect(answer: dict[str, Any]) -> str:
    (statement,) = answer["policyDocument"]["Statement"]
    assert answer["policyDocument"]["Version"] == "2012-10-17"
    assert (statement["Action"], statement["Resource"]) == ("execute-api:Invoke", METHOD_ARN)
    return str(statement["Effect"])


@pytest.fixture
def token(authorizer: Callable[..., None]) -> str:
    return Issuer().token("HS256")


PLACES: dict[str, Callable[[str], Headers]] = {
    "subprotocol": lambda token: {"Sec-WebSocket-Protocol": [f"websocket, {token}"]},
    "lines": lambda token: {"sec-websocket-protocol": ["websocket", token]},
    "alone": lambda token: {"Sec-WebSocket-Protocol": [token]},
    "encoded": lambda token: {"SEC-WEBSOCKET-PROTOCOL": [f"{encoded(token)},websocket"]},
    "authorization": lambda token: {"Authorization": [f"Bearer {token}"]},
    "lower case": lambda token: {"authorization": [f"bearer  {token} "]},
}


@pytest.mark.parametrize("place", PLACES)
def test_who_shows_a_good_token_is_let_in_and_its_claims_are_handed_on(
    context: Any, token: str, place: str
) -> None:
    answer = authorize.app.lambda_handler(shown(PLACES[place](token)), context)

    assert effect(answer) == "Allow"
    assert answer["principalId"] == "alice"
    assert all(isinstance(value, str) for value in answer["context"].values())
    event = handshake(None)
    event["requestContext"]["authorizer"] = {"principalId": "alice", **answer["context"]}
    identity = RouteEvent.of(event).identity
    assert identity
    assert (identity.user_id, identity.tenant, identity.grants) == ("alice", "", ("alice/*",))
    assert identity.expires_at - identity.issued_at == 3600


@given(
    user=usable,
    tenant=st.just("") | usable,
    grants=st.lists(usable, max_size=5, unique=True).map(tuple),
    times=st.tuples(st.integers(0, 10**11), st.integers(0, 10**11)),
)
def test_what_is_handed_on_arrives_as_it_was(
    user: str, tenant: str, grants: tuple[str, ...], times: tuple[int, int]
) -> None:
    identity = Identity(user, tenant, grants, *times)

    assert RouteEvent.of(handshake(identity)).identity == identity


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"aud": "another"},
        {"iss": "another"},
        {"sub": ""},
        {"sub": ABSENT},
        {"entities": [7]},
    ],
    ids=["ended", "for another", "by another", "of nobody", "without sub", "grants are no texts"],
)
def test_who_shows_a_bad_token_is_refused(
    context: Any, token: str, place: str, claims: dict[str, Any]
) -> None:
    bad = Issuer().token("HS256", **claims)
    answer = authorize.app.lambda_handler(shown(PLACES[place](bad)), context)

    assert (effect(answer), answer["principalId"]) == ("Deny", "nobody")
    assert "context" not in answer


def several(token: str) -> list[Headers]:
    good = {name: place(token) for name, place in PLACES.items()}
    return [
        {},
        {"Sec-WebSocket-Protocol": ["websocket"]},
        {"Sec-WebSocket-Protocol": [f"{token}, {token}"]},
        {"Sec-WebSocket-Protocol": [f"chat, {token}"]},
        {"Sec-WebSocket-Protocol": [token, encoded(token)]},
        good["alone"] | good["authorization"],
        {"Authorization": [f"Bearer {token}", f"Bearer {token}"]},
        {"Authorization": [f"Basic {token}"]},
        {"Authorization": [token]},
        {"Authorization": ["Bearer"]},
        {"Authorization": [""]},
        {"Sec-WebSocket-Protocol": ["base64url.bearer.authorization."]},
        {"Sec-WebSocket-Protocol": ["base64url.bearer.authorization.=="]},
        {"Sec-WebSocket-Protocol": ["base64url.bearer.authorization.a"]},
        {"Sec-WebSocket-Protocol": ["base64url.bearer.authorization.\u00e9"]},
        {"Sec-WebSocket-Protocol": ["base64url.bearer.authorization._w"]},
        good["alone"] | {"authorization": ["Basic eA=="]},
    ]


@pytest.mark.parametrize("number", range(17))
def test_who_shows_no_token_or_more_than_one_is_refused(
    context: Any, token: str, number: int
) -> None:
    answer = authorize.app.lambda_handler(shown(several(token)[number]), context)

    assert effect(answer) == "Deny"


def test_a_token_in_the_address_counts_only_where_that_is_allowed(
    context: Any, authorizer: Callable[..., None], token: str
) -> None:
    event = shown(query={"access_token": [token]})

    assert effect(authorize.app.lambda_handler(event, context)) == "Deny"
    # Nor does it stand in the way of another.
    both = shown(PLACES["alone"](token), {"access_token": [token]})
    assert effect(authorize.app.lambda_handler(both, context)) == "Allow"

    authorizer(TOKEN_IN_QUERY_STRING="true")
    assert effect(authorize.app.lambda_handler(event, context)) == "Allow"
    assert effect(authorize.app.lambda_handler(both, context)) == "Deny"
    twice = shown(query={"access_token": [token, token]})
    assert effect(authorize.app.lambda_handler(twice, context)) == "Deny"
    assert effect(authorize.app.lambda_handler(shown(query={"token": [token]}), context)) == "Deny"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        *("x", ".", "..", "a.b.c", "a.b.c.d", "eyJhbGciOiJub25lIn0.e30.", "\x00", "\ud800"),
        *("\u00e9", "x" * 9_000, "." * 9_000, "[" * 9_000),
    ],
    ids=range(12),
)
def test_nothing_that_is_shown_is_an_error(context: Any, token: str, place: str, text: str) -> None:
    """Strangers must not be able to ring the alarms."""
    if place == "encoded" and text == "\ud800":
        text = "\udcff"
        headers = {"Sec-WebSocket-Protocol": [f"base64url.bearer.authorization.{text}"]}
    else:
        headers = PLACES[place](text)

    assert effect(authorize.app.lambda_handler(shown(headers), context)) == "Deny"


def test_a_tenant_s_token_needs_its_tenant(
    context: Any, authorizer: Callable[..., None], token: str
) -> None:
    authorizer(TENANT_CLAIM="org")
    good = Issuer().token("HS256", org="acme")

    answer = authorize.app.lambda_handler(shown(PLACES["alone"](good)), context)

    assert answer["context"]["tenant"] == "acme"
    assert effect(authorize.app.lambda_handler(shown(PLACES["alone"](token)), context)) == "Deny"


def test_without_keys_nobody_is_refused_for_it(
    context: Any, authorizer: Callable[..., None], token: str, logs: StringIO
) -> None:
    """An error: API Gateway answers with a 5xx, and the client tries again."""
    authorizer(TOKEN_KEYS_URL="https://issuer.example/jwks.json", TOKEN_SECRET_ARN="")
    good = Issuer().token("ES256")

    with pytest.raises(KeysUnavailable):
        authorize.app.lambda_handler(shown(PLACES["alone"](good)), context)
    assert not any(part in logs.getvalue() for part in good.split("."))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_good", [True, False])
def test_nothing_of_a_token_is_logged(
    context: Any, token: str, logs: StringIO, place: str, is_good: bool
) -> None:
    each = token if is_good else Issuer().token("HS256", sub="", secret="hush")
    authorize.app.lambda_handler(shown(PLACES[place](each)), context)

    logged = logs.getvalue()
    assert is_good or '"reason":"sub is no usable id"' in logged.replace('": "', '":"')
    assert not any(part in logged for part in [*each.split("."), encoded(each)[-40:], "hush"])


# The schedule.


def test_every_minute_those_whose_tokens_have_ended_are_shut_out(
    tokens: None, exchange: FakeExchange, arrive: Arrive, rows: Rows, context: Any
) -> None:
    arrive(alice(seconds=600), "on=")
    earlier = handshake(alice(seconds=-60), "off=")
    earlier["requestContext"]["connectedAt"] -= 120_000
    assert connect.app.lambda_handler(earlier, context)["statusCode"] == 200

    expire.app.lambda_handler(events.load("expire"), context)

    assert exchange.closed == ["off="]
    assert {row["pk"] for row in rows() if row["sk"] == "CONNECTION"} == {"CONNECTION#on="}
