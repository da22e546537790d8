"""The page's server: what a request may say, and what it sees and does of the stack."""

import asyncio
import json
import logging
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
from aiohttp import ClientSession, UnixConnector, web

from local import lines
from local.issuer import AUDIENCE, Issuer, published_keys
from local.page import requests
from local.page.application import Application, kind_of
from local.page.errors import BadRequest, Unavailable
from local.page.server import PageServer, policy
from local.page.tokens import Tokens

OUTPUTS = {
    "WebsocketUri": "ws://127.0.0.1:3001/v1",
    "AwsEndpointUrl": "http://127.0.0.1:4566",
    "EventBusName": "default",
    "TableName": "connections",
}
QUEUES = (
    "NotificationQueue",
    "NotificationDeadLetterQueue",
    "DeliveryQueue",
    "DeliveryDeadLetterQueue",
    "UndeliveredEventsQueue",
)


class Bus:
    """EventBridge, as far as PutEvents goes; it refuses what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.refuses = 0

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.batches.append(Entries)
        ids = [f"event-{len(self.batches)}-{number}" for number, _ in enumerate(Entries)]
        return {
            "FailedEntryCount": self.refuses,
            "Entries": [{"EventId": event_id} for event_id in ids],
        }

    @property
    def details(self) -> list[dict[str, Any]]:
        return [json.loads(entry["Detail"]) for batch in self.batches for entry in batch]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def sqs(services: None) -> Any:
    return boto3.client("sqs")


@pytest.fixture
def urls(sqs: Any) -> dict[str, str]:
    return {f"{name}Url": str(sqs.create_queue(QueueName=name)["QueueUrl"]) for name in QUEUES}


@pytest.fixture
def application(bus: Bus, dynamodb: Any, sqs: Any, urls: dict[str, str]) -> Application:
    clients = {"events": bus, "dynamodb": dynamodb, "sqs": sqs}
    return Application(clients.__getitem__, OUTPUTS | urls)


def test_events_are_published_in_batches_of_ten_each_with_its_number_and_time(
    application: Application, bus: Bus
) -> None:
    ids = application.publish("order-1", 23, "Hello")

    assert [len(batch) for batch in bus.batches] == [10, 10, 3]
    assert len(set(ids)) == 23
    assert [detail["data"]["n"] for detail in bus.details] == list(range(1, 24))
    assert {detail["entityId"] for detail in bus.details} == {"order-1"}
    assert {detail["message"] for detail in bus.details} == {"Hello"}
    times = [detail["data"]["publishedAt"] for detail in bus.details]
    assert times == sorted(times)
    assert {entry["DetailType"] for entry in bus.batches[0]} == {"Entity Updated"}


def test_an_event_without_a_message_has_none(application: Application, bus: Bus) -> None:
    application.publish("order-1", 1, None)

    assert bus.details[0].keys() == {"entityId", "data"}


def test_an_empty_message_is_a_message(application: Application, bus: Bus) -> None:
    application.publish("order-1", 1, "")

    assert bus.details[0]["message"] == ""


def test_a_poison_event_names_no_entity(application: Application, bus: Bus) -> None:
    assert len(application.publish_poison()) == 1
    assert "entityId" not in bus.details[0]


def test_what_the_bus_refuses_is_told(application: Application, bus: Bus) -> None:
    bus.refuses = 2

    with pytest.raises(Unavailable, match="refused 2 events"):
        application.publish("order-1", 5, None)


@pytest.mark.parametrize(
    ("sort_key", "kind"),
    [
        ("CONNECTION", "connections"),
        ("CONNECTION#L0SM9cOFvHcCIhw=", "subscriptions"),
        ("HEAD", "heads"),
        ("EVENT#5f0c2a9be41d#000000000000001", "events"),
        ("JOB", "jobs"),
        ("CONNECTIONS", "others"),
        ("", "others"),
    ],
)
def test_items_are_told_apart_by_their_sort_keys(sort_key: str, kind: str) -> None:
    assert kind_of(sort_key) == kind


def test_the_newest_items_are_shown_by_kind_with_how_many_there_are(
    application: Application, dynamodb: Any
) -> None:
    for number in range(30):
        put(dynamodb, f"ENTITY#e{number}", "HEAD", ttl=1000 + number, seq=number)
    dynamodb.put_item(
        TableName="connections",
        Item={
            "pk": {"S": "CONNECTION#c"},
            "sk": {"S": "CONNECTION"},
            "topics": {"SS": ["ENTITY#b", "ENTITY#a"]},
            "frame": {"S": "x" * 5000},
        },
    )

    found = application.items()

    assert found["isWhole"]
    kinds = {each["kind"]: each for each in found["kinds"]}
    assert {kind: each["total"] for kind, each in kinds.items()} == {
        "connections": 1,
        "subscriptions": 0,
        "heads": 30,
        "events": 0,
        "jobs": 0,
    }
    heads = kinds["heads"]["newest"]
    assert [head["seq"] for head in heads] == [str(number) for number in range(29, 9, -1)]
    (connection,) = kinds["connections"]["newest"]
    assert list(connection)[:2] == ["pk", "sk"]
    assert connection["topics"] == "ENTITY#a, ENTITY#b"
    assert len(connection["frame"]) < 700


def test_the_history_of_one_entity_is_trimmed_and_nothing_else(
    application: Application, dynamodb: Any, rows: Callable[[], list[dict[str, Any]]]
) -> None:
    for number in range(30):
        put(dynamodb, "ENTITY#a", f"EVENT#5f0c2a9be41d#{number:015}")
    kept = [("ENTITY#a", "HEAD"), ("ENTITY#a", "CONNECTION#c"), ("ENTITY#ab", "EVENT#1#1")]
    for pk, sk in kept:
        put(dynamodb, pk, sk)

    assert application.trim("a") == 30

    assert [(row["pk"], row["sk"]) for row in rows()] == sorted(kept)
    assert application.trim("a") == 0


def test_queues_are_told_with_all_that_is_in_them(
    application: Application, sqs: Any, urls: dict[str, str]
) -> None:
    for _ in range(3):
        sqs.send_message(QueueUrl=urls["NotificationQueueUrl"], MessageBody="event")
    sqs.receive_message(QueueUrl=urls["NotificationQueueUrl"])
    sqs.send_message(QueueUrl=urls["DeliveryQueueUrl"], MessageBody="letter", DelaySeconds=60)

    assert application.queues() == {
        "notifications": {"waiting": 2, "inFlight": 1, "delayed": 0},
        "deliveries": {"waiting": 0, "inFlight": 0, "delayed": 1},
    }


def test_dead_letters_are_looked_at_and_left_where_they_are(
    application: Application, sqs: Any, urls: dict[str, str]
) -> None:
    sqs.send_message(
        QueueUrl=urls["NotificationDeadLetterQueueUrl"],
        MessageBody="poison",
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value}
            for name, value in (("errorCode", "InvalidEvent"), ("reason", "It is none."))
        },
    )
    sqs.send_message(QueueUrl=urls["UndeliveredEventsQueueUrl"], MessageBody="undelivered")

    for _ in range(2):
        letters = application.letters()
        assert letters["total"] == 2
        for letter in letters["some"]:
            del letter["id"]
        assert letters["some"] == [
            {
                "queue": "NotificationDeadLetterQueue",
                "errorCode": "InvalidEvent",
                "reason": "It is none.",
                "body": "poison",
            },
            {
                "queue": "UndeliveredEventsQueue",
                "errorCode": None,
                "reason": None,
                "body": "undelivered",
            },
        ]


def test_all_dead_letters_are_sent_back(
    application: Application, sqs: Any, urls: dict[str, str]
) -> None:
    for name in ("NotificationDeadLetterQueueUrl", "DeliveryDeadLetterQueueUrl"):
        sqs.send_message(QueueUrl=urls[name], MessageBody=name)

    assert application.redrive() == 2

    assert application.letters()["total"] == 0
    assert {name: depths["waiting"] for name, depths in application.queues().items()} == {
        "notifications": 1,
        "deliveries": 1,
    }


def put(dynamodb: Any, pk: str, sk: str, **numbers: int) -> None:
    item = {"pk": {"S": pk}, "sk": {"S": sk}}
    dynamodb.put_item(
        TableName="connections",
        Item=item | {name: {"N": str(value)} for name, value in numbers.items()},
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        requests.parse(body)
    assert refusal.value.code == "InvalidJson"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "InvalidEntityId"),
        ({"entityId": ""}, "InvalidEntityId"),
        ({"entityId": 7}, "InvalidEntityId"),
        ({"entityId": "e" * 257}, "InvalidEntityId"),
        ({"entityId": "a\nb"}, "InvalidEntityId"),
        ({"entityId": "\ud800"}, "InvalidEntityId"),
        ({"entityId": "e", "count": 0}, "InvalidCount"),
        ({"entityId": "e", "count": 501}, "InvalidCount"),
        ({"entityId": "e", "count": 1.0}, "InvalidCount"),
        ({"entityId": "e", "count": True}, "InvalidCount"),
        ({"entityId": "e", "count": "1"}, "InvalidCount"),
        ({"entityId": "e", "message": 7}, "InvalidMessage"),
        ({"entityId": "e", "message": "m" * 1001}, "InvalidMessage"),
        ({"entityId": "e", "message": "\udfff"}, "InvalidMessage"),
        ({"entityId": "e", "data": {}}, "UnknownField"),
        ({"kind": "venom"}, "InvalidKind"),
        ({"kind": "poison", "entityId": "e"}, "UnknownField"),
    ],
    ids=str,
)
def test_what_cannot_be_published_is_refused_with_the_reason(
    fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        requests.publication(fields)
    assert refusal.value.code == code
    assert refusal.value.status == 400


def test_what_can_be_published_is_taken_as_it_is_said() -> None:
    longest = "é" * 256
    assert requests.publication({"entityId": longest}) == requests.Publication(longest)
    assert requests.publication({"entityId": "e", "count": 500, "message": ""}) == (
        requests.Publication("e", 500, "")
    )
    assert requests.publication({"kind": "poison"}).entity_id is None


@pytest.mark.parametrize("name", [None, "", "a b", "a/b", "a" * 65, 7, "ä"])
def test_a_name_that_no_client_of_the_page_has_is_refused(name: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        requests.act("cut", {"name": name})
    assert refusal.value.code == "InvalidName"


def test_only_a_close_has_a_code_and_a_reason() -> None:
    close = {"name": "left-1", "code": 4000, "reason": "why"}

    assert requests.act("close", close) == requests.Act("left-1", {"code": 4000, "reason": "why"})
    assert requests.act("cut", {"name": "left-1"}) == requests.Act("left-1", None)
    with pytest.raises(BadRequest):
        requests.act("cut", close)


def test_fields_where_none_belong_are_refused() -> None:
    requests.nothing({})
    with pytest.raises(BadRequest):
        requests.nothing({"queue": "all"})
    with pytest.raises(BadRequest):
        requests.trim({"entityId": "e", "before": 7})


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("ws://127.0.0.1:3001/v1", "ws://127.0.0.1:3001"),
        ("wss://example.com/v1", "wss://example.com"),
    ],
)
def test_the_page_may_speak_to_its_server_and_to_the_websocket(uri: str, source: str) -> None:
    directives = policy(uri).split("; ")

    assert "default-src 'self'" in directives
    assert f"connect-src 'self' {source}" in directives


def test_the_lines_to_paste_are_of_this_run() -> None:
    assert lines.wscat(OUTPUTS) == "npx wscat -c ws://127.0.0.1:3001/v1 -s websocket"
    words = shlex.split(lines.put_events(OUTPUTS))
    assert words[words.index("--endpoint-url") + 1] == "http://127.0.0.1:4566"
    assert words[-1] == "file://events/entity-updated.json"


# Tokens, and users


class Page:
    """The server of the page, spoken to as a browser does."""

    def __init__(self, path: Path, folder: Path | None, outputs: dict[str, str]) -> None:
        self.bus = Bus()
        self._path = str(path)
        self._folder = folder
        self._outputs = outputs

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the parsed body of the answer."""
        return asyncio.run(self._ask("POST", path, body, headers))

    def get(self, path: str) -> dict[str, Any]:
        return asyncio.run(self._ask("GET", path, None, {}))[1]

    def mint(self, **wish: Any) -> dict[str, Any]:
        """Return what a token says that was minted for the page."""
        status, answer = self.post("/api/token", {"user": "alice", "entities": ["**"], **wish})
        assert status == 200, answer
        assert answer.keys() == {"token"}
        assert self._folder
        (key,) = json.loads(published_keys(self._folder).read_text())["keys"]
        claims: dict[str, Any] = jwt.decode(
            answer["token"], jwt.PyJWK(key).key, algorithms=["ES256"], audience=AUDIENCE
        )
        assert jwt.get_unverified_header(answer["token"])["kid"] == key["kid"]
        return claims

    async def _ask(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        accepted = Issuer.of_outputs(self._outputs)
        tokens = Tokens(accepted, self._folder) if accepted and self._folder else None
        unused: Any = None
        application = Application(lambda name: self.bus, self._outputs)
        server = PageServer(4002, self._outputs, application, unused, tokens=tokens)
        runner = web.AppRunner(server.app())
        await runner.setup()
        await web.UnixSite(runner, self._path).start()
        sent = {"Origin": ORIGIN, "Content-Type": "application/json", **headers}
        try:
            async with (
                ClientSession(connector=UnixConnector(self._path)) as session,
                session.request(
                    method, ORIGIN + path, data=body and json.dumps(body), headers=sent
                ) as response,
            ):
                return response.status, await response.json()
        finally:
            await runner.cleanup()


ORIGIN = "http://127.0.0.1:4002"
OWN = Issuer.own(4002)
WISH = {"user": "alice", "entities": ["**"]}
USERS = {
    "/api/users/push": {"userId": "alice", "message": "Hello"},
    "/api/users/disconnect": {"userId": "alice"},
}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """With the issuer of this folder."""
    return Page(tmp_path / "page", tmp_path / "issuer", OUTPUTS | OWN.outputs())


@pytest.fixture
def strangers(tmp_path: Path) -> Page:
    """With tokens of somebody else."""
    theirs = Issuer("https://login.example", "shop", "https://login.example/keys")
    return Page(tmp_path / "strangers", None, OUTPUTS | theirs.outputs())


@pytest.fixture
def open_to_all(tmp_path: Path) -> Page:
    """Without authentication, though there is a key of an earlier run."""
    return Page(tmp_path / "open", tmp_path / "issuer", OUTPUTS)


def test_a_token_is_minted_for_the_page_as_it_wishes(page: Page) -> None:
    claims = page.mint(user="bob", entities=["order-17", "shop/*"], minutes=5)

    assert (claims["iss"], claims["sub"]) == (OWN.name, "bob")
    assert claims["entities"] == ["order-17", "shop/*"]
    assert claims["exp"] - claims["iat"] == 300
    assert abs(claims["iat"] - time.time()) < 30
    hour = page.mint()
    assert hour["exp"] - hour["iat"] == 3600


def test_a_token_may_end_while_one_looks(page: Page) -> None:
    claims = page.mint(seconds=8)

    assert claims["exp"] - claims["iat"] == 8
    assert claims["entities"] == ["**"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user": ""}, "InvalidClaims"),
        ({"user": "a" * 257}, "InvalidClaims"),
        ({"user": 7}, "InvalidUserId"),
        ({"user": None}, "InvalidUserId"),
        ({"entities": "**"}, "InvalidEntities"),
        ({"entities": [7]}, "InvalidEntities"),
        ({"entities": ["a\nb"]}, "InvalidClaims"),
        ({"entities": ["e"] * 101}, "InvalidClaims"),
        ({"entities": ["e" * 250] * 40}, "InvalidClaims"),
        ({"minutes": 0}, "InvalidClaims"),
        ({"minutes": 1441}, "InvalidClaims"),
        ({"minutes": True}, "InvalidLife"),
        ({"minutes": 1.5}, "InvalidLife"),
        ({"seconds": 0}, "InvalidLife"),
        ({"seconds": 60}, "InvalidLife"),
        ({"seconds": "8"}, "InvalidLife"),
        ({"seconds": 8, "minutes": 1}, "InvalidLife"),
        ({"tenant": "acme"}, "UnknownField"),
    ],
    ids=str,
)
def test_what_no_token_can_say_is_refused_with_the_reason(
    page: Page, changes: dict[str, Any], code: str
) -> None:
    status, answer = page.post("/api/token", WISH | changes)

    assert (status, answer["code"]) == (400, code)


@pytest.mark.parametrize("path", ["/api/token", *USERS])
def test_tokens_and_users_are_for_this_page_alone(page: Page, path: str) -> None:
    for headers in (
        {"Origin": "http://localhost:4002"},
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Host": "evil.example:4002", "Origin": "http://evil.example:4002"},
        {"Content-Type": "text/plain"},
    ):
        status, answer = page.post(path, USERS.get(path, WISH), **headers)
        assert (status, answer["code"]) == (403, "Forbidden"), headers
    assert page.bus.batches == []
    assert page.post(path, USERS.get(path, WISH))[0] == 200


def test_tokens_are_minted_only_where_the_issuer_is_the_own_one(
    page: Page, strangers: Page, open_to_all: Page
) -> None:
    assert page.get("/api/configuration")["authentication"] == {
        "issuer": OWN.name, "audience": AUDIENCE, "isOwn": True,
    }  # fmt: skip
    for without in (strangers, open_to_all):
        assert without.post("/api/token", WISH)[0] == 404
    assert strangers.get("/api/configuration")["authentication"] == {
        "issuer": "https://login.example", "audience": "shop", "isOwn": False,
    }  # fmt: skip
    assert open_to_all.get("/api/configuration")["authentication"] is None


def test_no_token_is_logged(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = page.post("/api/token", WISH)[1]["token"]
    assert page.post("/api/token", WISH | {"minutes": 0})[0] == 400

    # What is not written down is looked for where something is.
    assert "/api/token" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))


def test_a_user_is_pushed_to_and_disconnected(page: Page) -> None:
    assert page.post("/api/users/push", {"userId": "alice", "message": "Hello"})[0] == 200
    assert page.post("/api/users/disconnect", {"userId": "alice"})[0] == 200
    assert page.post("/api/users/disconnect", {"userId": "bob", "revoke": True})[0] == 200

    entries = [entry for batch in page.bus.batches for entry in batch]
    assert [entry["DetailType"] for entry in entries] == [
        "Send User Push Notification", "Disconnect User", "Disconnect User",
    ]  # fmt: skip
    pushed, kicked, revoked = page.bus.details
    assert pushed == {"userId": "alice", "message": "Hello"}
    assert kicked.keys() == {"userId", "reason"}
    assert revoked["userId"] == "bob"
    assert abs(revoked["revokeIssuedBefore"] - time.time()) < 30


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/users/push", {"userId": "", "message": "Hello"}, "InvalidUserId"),
        ("/api/users/push", {"userId": "a" * 257, "message": "Hello"}, "InvalidUserId"),
        ("/api/users/push", {"userId": "alice"}, "InvalidMessage"),
        ("/api/users/push", {"userId": "alice", "message": "m" * 1001}, "InvalidMessage"),
        ("/api/users/push", {"userId": "alice", "message": "", "data": 1}, "UnknownField"),
        ("/api/users/disconnect", {"userId": 7}, "InvalidUserId"),
        ("/api/users/disconnect", {"userId": "alice", "revoke": "yes"}, "InvalidRevocation"),
    ],
)
def test_what_cannot_be_said_to_a_user_is_refused_with_the_reason(
    page: Page, path: str, body: dict[str, Any], code: str
) -> None:
    status, answer = page.post(path, body)

    assert (status, answer["code"]) == (400, code)
    assert page.bus.batches == []


@pytest.mark.parametrize("path", USERS)
def test_where_nobody_needs_a_token_nobody_is_a_user(open_to_all: Page, path: str) -> None:
    assert open_to_all.post(path, USERS[path])[0] == 404
