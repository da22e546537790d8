"""Who may connect, what they may hear, and when it ends; behind the real authorizer."""

import asyncio
import http.server
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from integration.conftest import deployment
from integration.dialogue import Dialogue, dialogues
from integration.harness import Application, Client, Frame, eventually, unique
from integration.test_clients import CLIENTS, following, require
from integration.test_smoke import scene_of, stack_of
from local.aws import HOST
from operations.smoke.__main__ import look
from operations.smoke.report import Report, Status
from operations.smoke.tokens import OfSecret
from support.documents import Block
from support.issuer import Issuer, signed

ISSUER = Issuer()
MOST_CONNECTIONS = 5


@contextmanager
def served(jwks: Frame) -> Iterator[str]:
    """Serve keys; yield their address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(jwks).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}/jwks.json"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def secured(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application, deployed for those who have a token of a tenant."""
    folder = tmp_path_factory.mktemp("secured")
    with served(ISSUER.jwks()) as keys_url:
        parameters = {
            "Authentication": "JWT",
            "TokenIssuer": ISSUER.issuer,
            "TokenAudience": ISSUER.audience,
            "TokenKeysUrl": keys_url,
            "TenantClaim": "tenant",
            "MaxConnectionsPerUser": str(MOST_CONNECTIONS),
        }
        with deployment(built, folder, parameters) as application:
            yield application
            # Whatever was done, no token is written down anywhere.
            logs = [path.read_text(errors="replace") for path in folder.glob("*.log")]
            assert logs
            for shown in TOKENS:
                assert not any(part in log for log in logs for part in shown.split(".")[1:] if part)
            # Of the authorizer, and of `$connect`.
            assert {body and json.loads(body)["message"] for body in BODIES} <= {
                "User is not authorized to access this resource",
                "",
            }


# All that were shown, and all that was said to who was refused.
TOKENS: list[str] = []
BODIES: list[str] = []


def token(user: str = "alice", *entities: str, tenant: str = "acme", **claims: Any) -> str:
    minted = ISSUER.token("ES256", sub=user, entities=entities, tenant=tenant, **claims)
    TOKENS.append(minted)
    return minted


async def status(secured: Application, query: str = "", **options: Any) -> int:
    """Return with which status a handshake is refused; 101 if it is not."""
    try:
        async with connect(secured.outputs["WebsocketUri"] + query, **options):
            return 101
    except InvalidStatus as refused:
        BODIES.append((refused.response.body or b"").decode())
        return refused.response.status_code


def subprotocols(*names: str) -> dict[str, Any]:
    return {"subprotocols": [Subprotocol(name) for name in names]}


async def test_a_token_may_stand_in_a_subprotocol_or_a_header_and_nowhere_else(
    secured: Application,
) -> None:
    good = token()
    assert await status(secured, **subprotocols("websocket", good)) == 101
    bearer = {"Authorization": f"Bearer {good}"}
    assert await status(secured, additional_headers=bearer) == 101
    assert await status(secured, f"?access_token={good}") == 403
    assert await status(secured, **subprotocols("websocket")) == 403
    both = subprotocols("websocket", good) | {"additional_headers": bearer}
    assert await status(secured, **both) == 403
    async with secured.client(token=good) as client:
        assert client.socket.subprotocol == "websocket"


async def test_who_has_no_good_token_does_not_come_in(secured: Application) -> None:
    for bad in (
        token(exp=int(time.time()) - 60),
        token(aud="somebody else"),
        token(iss="https://elsewhere.test"),
        token("", "**"),
        token("alice", tenant=""),
        token("alice")[:-4] + "AAAA",
        "x",
    ):
        assert await status(secured, **subprotocols("websocket", bad)) == 403


@pytest.mark.parametrize("block", dialogues(with_tokens=True), ids=str)
async def test_the_dialogues_of_the_document_go_as_they_are_written(
    secured: Application, block: Block
) -> None:
    await Dialogue(secured, token, tenant="acme").play(block)


async def refusal(client: Client, action: str, **fields: object) -> str | None:
    return (await client.request(action, **fields)).get("code")


async def test_only_what_the_token_allows_is_heard(secured: Application) -> None:
    mine, other = f"alice/{unique('a')}", f"alice2/{unique('a')}"
    async with secured.client(token=token("alice", "alice/*")) as client:
        reply = await client.request(
            "subscribe", entities=[{"entityId": mine}, {"entityId": other}, {"entityId": "alice"}]
        )
        codes = [part.get("code") for part in reply["entities"]]
        assert codes == [None, "Forbidden", "Forbidden"]
        assert [part["entityId"] for part in reply["entities"]] == [mine, other, "alice"]
        assert await refusal(client, "subscribe", entityId=other) == "Forbidden"
        assert await refusal(client, "history", entityId=other, since="last") == "Forbidden"
        assert (await client.request("subscriptions"))["entityIds"] == [mine]
        secured.publish(other, tenant="acme")
        secured.publish(mine, tenant="acme", message=1)
        assert (await client.next_frame())["message"] == 1
        assert (await client.request("unsubscribe", entityId=mine))["type"] == "Unsubscribed"
        assert (await client.request("subscriptions"))["entityIds"] == []


async def test_two_tenants_with_the_same_entity_never_meet(secured: Application) -> None:
    entity_id = unique("entity")
    async with (
        secured.client(token=token("alice", "**")) as acme,
        secured.client(token=token("alice", "**", tenant="acme#ENTITY#x")) as other,
    ):
        (cursor,) = await acme.subscribe(entity_id)
        await other.subscribe(entity_id)
        secured.publish(entity_id, tenant="acme", message="for acme")
        secured.publish(entity_id, tenant="acme#ENTITY#x", message="for the other")
        assert (await acme.next_frame())["message"] == "for acme"
        assert (await other.next_frame())["message"] == "for the other"
        history = await acme.request("history", entityId=entity_id, since=cursor)
        assert [event["message"] for event in history["events"]] == ["for acme"]
        await secured.settled()
        assert await acme.arrived() == await other.arrived() == []


async def test_an_event_without_a_tenant_is_poison(secured: Application) -> None:
    marker = unique("entity")
    secured.publish(marker)
    letter = await secured.dead_letter(marker)
    assert letter["errorCode"] == "InvalidTenant"


async def test_a_user_hears_what_is_for_him_on_all_devices_and_recovers_it(
    secured: Application,
) -> None:
    user = unique("user")

    def push(to: str, tenant: str = "acme", **detail: object) -> str:
        entry = {
            "Source": "tests",
            "DetailType": "Send User Push Notification",
            "Detail": json.dumps({"userId": to, "tenant": tenant, **detail}),
        }
        return secured.put_entry(entry)

    async with (
        secured.client(token=token(user)) as phone,
        secured.client(token=token(user)) as laptop,
        secured.client(token=token(user, tenant="other")) as stranger,
    ):
        event_id = push(user, message="", callback="/orders/17", data={"n": 1})
        frames = [await phone.next_frame(), await laptop.next_frame()]
        assert frames[0] == frames[1]
        cursor = frames[0].pop("cursor")
        assert frames[0].pop("time")
        assert frames[0] == {
            "type": "User Push Notification",
            "message": "",
            "callback": "/orders/17",
            "data": {"n": 1},
            "id": event_id,
        }
        await secured.settled()
        assert await stranger.arrived() == []
        assert (await phone.request("subscriptions"))["entityIds"] == []
    push(user, message="missed")
    await secured.settled()
    async with secured.client(token=token(user)) as phone:
        reply = await phone.request("subscribe", user=True, since=cursor)
        assert (reply["type"], reply["user"], reply["recovered"]) == ("Subscribed", True, True)
        assert [event["message"] for event in reply["events"]] == ["missed"]
        assert await refusal(phone, "subscribe", user="bob") == "InvalidEntityId"
        assert await refusal(phone, "subscribe", user=True, entityId="x") == "InvalidEntityId"


async def test_nothing_reaches_a_connection_whose_token_has_expired(secured: Application) -> None:
    entity_id = unique("entity")
    lives = 6
    expires_at = int(time.time()) + lives
    async with (
        secured.client(token=token("short", "**", exp=expires_at)) as short,
        secured.client(token=token("long", "**")) as long,
    ):
        for client in (short, long):
            await client.subscribe(entity_id)
        published = 0
        while time.time() < expires_at + 3:
            secured.publish(entity_id, tenant="acme", data=time.time())
            published += 1
            await asyncio.sleep(0.25)
        await secured.settled()
        heard = [frame["data"] for frame in await short.arrived()]
        assert heard
        assert max(heard) <= expires_at
        assert len(await long.arrived()) == published
        for action in ("subscribe", "history"):
            assert await refusal(short, action, entityId=entity_id, since="last") == "TokenExpired"


async def test_the_connection_is_forgotten_whole(secured: Application) -> None:
    user = unique("user")
    async with secured.client(token=token(user, "**")) as client:
        await client.subscribe(unique("entity"))
        assert secured.rows(userId=user)
    await eventually(lambda: not secured.rows(userId=user), "the connection is forgotten")


def kick(secured: Application, user: str, tenant: str = "acme", **detail: object) -> str:
    entry = {
        "Source": "tests",
        "DetailType": "Disconnect User",
        "Detail": json.dumps({"userId": user, "tenant": tenant, **detail}),
    }
    return secured.put_entry(entry)


async def farewell(client: Client) -> Frame:
    """Wait for the end of a connection; return the last frame, which says why."""
    frames = []
    with pytest.raises(ConnectionClosed):
        while True:
            frames.append(await client.next_frame(90))
    return frames[-1]


async def test_a_kicked_user_is_told_and_closed_everywhere_and_nobody_else_is(
    secured: Application,
) -> None:
    user, entity_id = unique("user"), unique("entity")
    async with (
        secured.client(token=token(user, "**")) as phone,
        secured.client(token=token(user, "**")) as laptop,
        secured.client(token=token(user, "**", tenant="other")) as namesake,
        secured.client(token=token(f"{user}2", "**")) as neighbour,
    ):
        for client in (phone, laptop, namesake, neighbour):
            await client.subscribe(entity_id)
        kick(secured, user, reason="lost phone")
        goodbye = {
            "type": "Disconnect",
            "code": "Kicked",
            "reconnect": False,
            "reason": "lost phone",
        }
        assert [await farewell(phone), await farewell(laptop)] == [goodbye, goodbye]
        secured.publish(entity_id, tenant="acme")
        await neighbour.next_frame()
        await secured.settled()
        assert await namesake.arrived() == []
        assert (await namesake.request("ping"))["type"] == "Pong"
    await eventually(
        lambda: not secured.rows(userId=user, tenant="acme"), "the connections are forgotten"
    )
    # Without a revocation, the same token opens again.
    async with secured.client(token=token(user)) as client:
        assert (await client.request("ping"))["type"] == "Pong"


async def test_tokens_issued_before_a_revocation_are_refused_and_later_ones_are_not(
    secured: Application,
) -> None:
    user = unique("user")
    now = int(time.time())
    old, new = token(user, "**", iat=now - 10), token(user, "**", iat=now)
    async with secured.client(token=old) as client:
        kick(secured, user, revokeIssuedBefore=now - 5)
        assert (await farewell(client))["code"] == "Kicked"
    assert await status(secured, **subprotocols("websocket", old)) == 403
    assert secured.rows(userId=user) == []
    async with secured.client(token=new) as client:
        assert await refusal(client, "authenticate", token=old) == "Forbidden"
        assert (await client.request("ping"))["type"] == "Pong"
    # An earlier word does not take a later one back.
    kick(secured, user, revokeIssuedBefore="2020-01-01T00:00:00Z")
    await secured.settled()
    assert await status(secured, **subprotocols("websocket", old)) == 403


async def test_a_connection_whose_token_has_ended_is_closed_by_who_looks_every_minute(
    secured: Application,
) -> None:
    user, ends_at = unique("user"), int(time.time()) + 2
    async with (
        secured.client(token=token(user, exp=ends_at)) as client,
        secured.client(token=token(user)) as other,
    ):
        secured.invoke("ExpireFunction")
        assert (await client.request("ping"))["type"] == "Pong"
        await eventually(lambda: time.time() > ends_at, "the token has ended")
        # Not waiting for the minute, which the emulator counts too.
        secured.invoke("ExpireFunction")
        assert await farewell(client) == {
            "type": "Disconnect",
            "code": "TokenExpired",
            "reconnect": True,
        }
        assert (await other.request("ping"))["type"] == "Pong"
    await eventually(lambda: not secured.rows(userId=user), "the connection is forgotten")


async def test_another_token_in_time_lets_a_connection_go_on(secured: Application) -> None:
    user, kept, lost = unique("user"), unique("kept"), unique("lost")
    first_ends_at = int(time.time()) + 8
    async with (
        secured.client(token=token(user, "**", exp=first_ends_at)) as client,
        secured.client(token=token("other", "**")) as other,
    ):
        await client.subscribe(kept, lost)
        somebody_elses = token("other", "**")
        assert await refusal(client, "authenticate", token=somebody_elses) == "Forbidden"
        assert await refusal(client, "authenticate", token="x") == "Forbidden"
        assert await refusal(client, "authenticate") == "Forbidden"
        ends_at = int(time.time()) + 600
        reply = await client.request("authenticate", token=token(user, "kept-*", kept, exp=ends_at))
        assert reply == {"type": "Authenticated", "expiresAt": ends_at}
        assert await client.next_frame() == {
            "type": "Unsubscribed",
            "entityId": lost,
            "code": "Forbidden",
        }
        assert (await client.request("subscriptions"))["entityIds"] == [kept]
        await eventually(lambda: time.time() > first_ends_at, "the first token has ended")
        for entity_id in (kept, lost):
            secured.publish(entity_id, tenant="acme", message=entity_id)
        assert (await client.next_frame())["message"] == kept
        assert await refusal(client, "subscribe", entityId=lost) == "Forbidden"
        await secured.settled()
        assert await client.arrived() == await other.arrived() == []


async def test_it_is_too_late_for_another_token_when_the_first_has_ended(
    secured: Application,
) -> None:
    user = unique("user")
    ends_at = int(time.time()) + 2
    async with secured.client(token=token(user, exp=ends_at)) as client:
        await eventually(lambda: time.time() > ends_at, "the token has ended")
        assert await refusal(client, "authenticate", token=token(user)) == "TokenExpired"


async def test_a_user_has_no_more_connections_than_may_be(secured: Application) -> None:
    user = unique("user")
    many = token(user)
    async with AsyncExitStack() as sockets:
        for _ in range(MOST_CONNECTIONS):
            await sockets.enter_async_context(secured.client(token=many))
        assert await status(secured, **subprotocols("websocket", many)) == 429
        assert await status(secured, **subprotocols("websocket", token(f"{user}2"))) == 101
        assert len(secured.rows(userId=user)) == MOST_CONNECTIONS
    await eventually(lambda: not secured.rows(userId=user), "they are disconnected")
    assert await status(secured, **subprotocols("websocket", many)) == 101


async def test_who_is_tried_again_is_looked_up_and_gets_each_frame_once(
    secured: Application,
) -> None:
    entity_id = unique("entity")
    secured.start_gateway("--fault-429", "0.3", "--fault-seed", "3")
    try:
        async with AsyncExitStack() as sockets:
            clients = [
                await sockets.enter_async_context(secured.client(token=token(unique("u"), "**")))
                for _ in range(5)
            ]
            for client in clients:
                await client.subscribe(entity_id)
            for number in range(3):
                secured.publish(entity_id, tenant="acme", message=number)
            await secured.settled()
            for client in clients:
                messages = sorted(frame["message"] for frame in await client.arrived())
                assert messages == list(range(3))
    finally:
        secured.start_gateway()


async def test_with_a_secret_of_the_stack_whoever_reads_it_can_sign(
    built: Path, tmp_path: Path
) -> None:
    parameters = {
        "Authentication": "JWT",
        "TokenIssuer": ISSUER.issuer,
        "TokenAudience": ISSUER.audience,
    }
    with deployment(built, tmp_path, parameters) as application:
        secret = application.secret("TokenSecret")
        assert len(secret) >= 32
        header = {"alg": "HS256", "typ": "JWT"}
        good, bad = (
            signed(header, ISSUER.claims(entities=["**"]), key.encode(), "HS256")
            for key in (secret, secret[::-1])
        )
        async with application.client(token=good) as client:
            (cursor,) = await client.subscribe("entity")
            application.publish("entity")
            assert (await client.next_frame())["cursor"] > cursor
        assert await status(application, **subprotocols("websocket", bad)) == 403
        # Keys of another kind are nobody's here.
        assert await status(application, **subprotocols("websocket", token())) == 403
        await is_found_well(application)


async def is_found_well(application: Application) -> None:
    """See `make smoke` find nothing wrong, with tokens that it signs itself."""
    stack = stack_of(application)
    scene = scene_of(application, OfSecret(stack.secret(), stack.parameters))
    reported = Report()
    looking = asyncio.create_task(look(scene, reported))
    # Not waiting for the minute, which the emulator counts too.
    while not looking.done():
        await asyncio.to_thread(application.invoke, "ExpireFunction")
        await asyncio.wait([looking], timeout=2)
    assert looking.result(), reported.results
    assert all(result.status is Status.OK for result in reported.results), reported.results


async def test_clients_that_renew_their_tokens_in_time_miss_nothing(
    secured: Application, tmp_path: Path
) -> None:
    names = [name for name in CLIENTS if name == "python" or shutil.which("node")]
    for name in names:
        require(name)
    user, entity_id, lives = unique("user"), unique("entity"), 14
    file = tmp_path / "token"

    def issue() -> None:
        file.with_suffix(".new").write_text(token(user, "**", exp=int(time.time()) + lives))
        file.with_suffix(".new").replace(file)

    issue()
    environment = {"CLIENT_TOKEN_COMMAND": f"sh -c 'cat {file}' cat"}
    url = secured.outputs["WebsocketUri"]
    async with AsyncExitStack() as commands:
        clients = [
            await commands.enter_async_context(
                following(name, url, entity_id, environment=environment)
            )
            for name in names
        ]
        await eventually(
            lambda: len(secured.rows(entityId=entity_id)) == len(names), "they subscribe"
        )
        ends_at, published = time.time() + 1.6 * lives, 0
        while time.time() < ends_at:
            issue()
            secured.publish(entity_id, tenant="acme")
            published += 1
            await asyncio.sleep(0.5)
        await eventually(
            lambda: all(len(client.events) == published for client in clients), "they get all"
        )
    for client in clients:
        assert client.numbers(entity_id) == list(range(1, published + 1))
        # On one connection, with two tokens.
        assert [said["state"] for said in client.said] == ["connecting", "connected", "closed"]
