"""What clients send stays out of the log, and nothing that they begin takes for ever."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from conformance import deploy
from conformance.targets import Target
from conformance.test_log import lines

pytestmark = pytest.mark.log

Starter = Callable[..., Any]

# Letters that no id of the gateway's own is long enough to hold.
MARK = "hush-hush-hush-hush"
QUERY = f"token={MARK}&caller={MARK}"
SECRETS = (
    f"Authorization: Bearer {MARK}\r\nCookie: session={MARK}\r\nUser-Agent: {MARK}\r\n"
    f"X-Odd: {MARK}\r\n"
)
HOST = "Host: 127.0.0.1\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
OFFER = f"Sec-WebSocket-Protocol: websocket, {MARK}\r\n"
SIGNED = f"Authorization: AWS4-HMAC-SHA256 {MARK}\r\n"
POST_TO_NOBODY = f"POST /probe/@connections/L0SM9cOFvHcCIhw=?{QUERY} HTTP/1.1\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"


def handshake(*, target: str = f"/probe?{QUERY}", headers: str = HOST + OFFER) -> str:
    return f"GET {target} HTTP/1.1\r\n{headers}{UPGRADE}{SECRETS}\r\n"


ODD = {
    "a handshake": handshake(),
    "a stage that holds it": handshake(target=f"/{MARK}?{QUERY}"),
    "a path that holds it": handshake(target=f"/probe/{MARK}?{QUERY}"),
    "an address that is none": handshake(target=f"//[{MARK}?{QUERY}"),
    "an absolute address": handshake(target=f"http://{MARK}:x/probe?{QUERY}"),
    "two hosts": handshake(headers=HOST + f"Host: {MARK}\r\n" + OFFER),
    "two user agents": handshake(headers=HOST + OFFER + f"User-Agent: {MARK}\r\n"),
    "no host": handshake(headers=OFFER),
    "two keys": handshake(headers=HOST + OFFER + f"Sec-WebSocket-Key: {MARK}\r\n"),
    "a subprotocol that is none": handshake(
        headers=HOST + f'Sec-WebSocket-Protocol: websocket, "{MARK}"; {MARK}\r\n'
    ),
    "an extension that is none": handshake(
        headers=HOST + OFFER + f"Sec-WebSocket-Extensions: ={MARK};;\r\n"
    ),
    "a handshake by POST": handshake().replace("GET", "POST", 1),
    "a handshake with a body": handshake(headers=HOST + "Content-Length: 19\r\n" + OFFER) + MARK,
    "a handshake with a header that is none": handshake(headers=HOST + f"{MARK}\r\n" + OFFER),
    "a folded header": handshake(headers=HOST + f"X-Folded: a\r\n {MARK}\r\n" + OFFER),
    "a header that is too long": handshake(headers=HOST + f"X-Long: {MARK * 600}\r\n" + OFFER),
    "a method of its own": f"{MARK} /probe?{QUERY} HTTP/1.1\r\n{HOST}{SECRETS}\r\n",
    "a method that is a word": f"HUSH /probe?{QUERY} HTTP/1.1\r\n{HOST}{SECRETS}\r\n",
    "a version of its own": f"GET /probe?{QUERY} HTTP/{MARK}\r\n{HOST}{SECRETS}\r\n",
    "no HTTP": f"{MARK}\r\n\r\n",
    "control characters": f"GET /probe?{MARK}\x00\x01 HTTP/1.1\r\n{HOST}{SECRETS}\r\n",
    "a header without a name": f"GET /probe?{QUERY} HTTP/1.1\r\n{HOST}: {MARK}\r\n\r\n",
    "a header without a colon": f"GET /probe?{QUERY} HTTP/1.1\r\n{HOST}{MARK}\r\n\r\n",
    "a length that is none": f"{POST_TO_NOBODY}{HOST}{SIGNED}Content-Length: {MARK}\r\n\r\n",
    "two lengths": f"{POST_TO_NOBODY}{HOST}{SIGNED}Content-Length: 1\r\nContent-Length: 19\r\n\r\n"
    + MARK,
    "a chunk that is none": f"{POST_TO_NOBODY}{HOST}{SIGNED}{CHUNKED}{MARK}\r\n",
    "a chunk that ends otherwise": f"{POST_TO_NOBODY}{HOST}{SIGNED}{CHUNKED}5\r\nhello{MARK}",
    "a body of a request that is refused": f"POST /probe?{QUERY} HTTP/1.1\r\n{HOST}"
    f"Content-Length: 19\r\n\r\n{MARK}",
    "a connection id that is none": f"GET /probe/@connections/{MARK}?{QUERY} HTTP/1.1\r\n{HOST}"
    f"{SIGNED}\r\n",
    "a second request that is none": f"GET /probe?{QUERY} HTTP/1.1\r\n{HOST}{SECRETS}\r\n"
    f"{MARK}: {MARK}\r\n\r\n",
    "another upgrade": f"GET /probe?{QUERY} HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n"
    f"Upgrade: {MARK}\r\n{SECRETS}\r\n{MARK}",
    "a proxy's request": f"CONNECT {MARK}:443 HTTP/1.1\r\n{HOST}{SECRETS}\r\n",
}


def connected(gateway: Any) -> socket.socket:
    host, _, port = gateway.url.rpartition("/")[2].partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answer_to(gateway: Any, request: str) -> bytes:
    """Send a request, and return the beginning of the answer; nothing if the connection ends."""
    with connected(gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request.encode("latin-1"))
        return sock.recv(65536)
    return b""


def status_of(sock: socket.socket) -> int:
    """Return the status of the response that comes next."""
    return int(sock.recv(65536).split(b" ")[1])


@pytest.mark.parametrize(
    ("level", "without_extensions"), [("INFO", ""), ("DEBUG", ""), ("INFO", "1")]
)
def test_nothing_that_a_client_sends_is_logged_however_odd(
    with_options: Starter, monkeypatch: pytest.MonkeyPatch, level: str, without_extensions: str
) -> None:
    """own: what is wrong is said in one line, in the gateway's own words."""
    # The HTTP server has a second parser, where it could not be compiled, which takes other things.
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", without_extensions)
    target, gateway = with_options("--log-level", level, own=True)

    for kind, request in ODD.items():
        before = len(gateway.log.splitlines())
        answer_to(gateway, request)
        assert len(lines(gateway, "")) >= before, kind
        # A method may be logged in capitals.
        assert MARK not in gateway.log.lower(), kind
    clients = []
    for frame in odd_frames():
        client = target.connect(subprotocols=[Subprotocol("websocket"), Subprotocol(MARK)])
        client.ws.socket.sendall(frame)
        clients.append(client)
    ends = time.monotonic() + 0.5
    for client in clients:
        # Some are answered, some are closed, and some ignored: these share one wait.
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            client.ws.recv(timeout=max(ends - time.monotonic(), 0))
    client = target.connect(query={"colour": MARK})
    client.ws.close(4000, MARK)
    assert lines(gateway, "closed: 4000")

    for secret in ("hush", "traceback", "colour"):
        assert secret not in gateway.log.lower()
    # It has lived through all that, and said something of what is no request.
    assert target.connect().id
    assert lines(gateway, r"aiohttp\.server: .*\(\w+\)$")


def odd_frames() -> list[bytes]:
    """Return frames of a client that break the protocol, or are only odd; masked with zeros."""
    text = MARK.encode()
    head = bytes([0x80 | len(text)]) + bytes(4)
    return [
        b"\x81" + head + text,
        b"\x82" + head + text,
        # A text that is not UTF-8.
        b"\x81" + bytes([0x80 | len(text) + 1]) + bytes(4) + text + b"\xff",
        # Reserved bits, and a reserved opcode.
        b"\xf1" + head + text,
        b"\x83" + head + text,
        # Not masked.
        b"\x81" + bytes([len(text)]) + text,
        # A continuation of nothing, and a close code that is none.
        b"\x80" + head + text,
        b"\x88" + bytes([0x80 | len(text) + 2]) + bytes(4) + b"\x03\xed" + text,
        # A ping, and what follows a close.
        b"\x89" + head + text,
        b"\x88" + bytes([0x82]) + bytes(4) + b"\x03\xe8" + text,
    ]


def test_tls_that_is_broken_off_is_said(with_options: Starter) -> None:
    """own: a client that does not trust the certificate is told of; the name it wants is not."""
    _, gateway = with_options()
    context = ssl.create_default_context()

    with pytest.raises((ssl.SSLError, OSError)), connected(gateway) as sock:
        context.wrap_socket(sock, server_hostname=f"{MARK}.example")

    assert lines(gateway, "cut off: no TLS .*UNKNOWN_CA.*AWS_CA_BUNDLE")
    assert MARK not in gateway.log
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("hello", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" + b"\xff" * 99])
def test_tls_that_is_none_is_said(with_options: Starter, hello: bytes) -> None:
    """own: what begins as TLS and is none, or ends early, has one line and no traceback."""
    _, gateway = with_options()

    with connected(gateway) as sock:
        sock.sendall(hello)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1024):
                pass

    assert lines(gateway, r"cut off: no TLS \(")
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize(
    ("returned", "told"), [("websocket", "websocket"), (MARK, "another"), ("", "none")]
)
def test_the_log_tells_no_subprotocol_but_websocket(
    with_options: Starter, returned: str, told: str
) -> None:
    """own: a subprotocol that $connect took may be a token."""
    target, gateway = with_options()

    client = target.connect(
        query={"subprotocol": returned},
        subprotocols=[Subprotocol("websocket"), Subprotocol(MARK)],
    )

    assert client.ws.subprotocol == (returned or None)
    assert lines(gateway, f"opened subprotocol={told}$")
    assert MARK not in gateway.log


@pytest.mark.parametrize("kind", ["handshake", "request"])
@pytest.mark.parametrize("hosts", ["", HOST + "Host: other\r\n", HOST + HOST])
def test_anything_but_one_host_is_a_bad_request(
    with_options: Starter, kind: str, hosts: str
) -> None:
    """A request that has not one Host header is answered 400.

    https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    """
    _, gateway = with_options()
    post = f"{POST_TO_NOBODY}{hosts}{SIGNED}Content-Length: 0\r\n\r\n"
    request = handshake(headers=hosts + OFFER) if kind == "handshake" else post

    assert answer_to(gateway, request).split(b" ")[1] == b"400"
    assert "Traceback" not in gateway.log


def test_a_body_that_never_ends_is_answered_and_ended(with_options: Starter) -> None:
    """own: who does not send the body in time, here 2 s, gets 408, and holds nothing."""
    _, gateway = with_options("--body-timeout-seconds", "2")
    head = f"{POST_TO_NOBODY}{HOST}{SIGNED}Content-Length: 19\r\n\r\n"
    started = time.monotonic()

    with connected(gateway) as sock:
        sock.sendall(head.encode() + b"begun")
        assert status_of(sock) == 408
        assert 1.5 < time.monotonic() - started < 7
        assert sock.recv(65536) == b""
        assert time.monotonic() - started < 10

    assert lines(gateway, "refused: 408 RequestTimeoutException")


def test_a_later_head_of_a_kept_connection_that_never_ends_is_cut_off(
    with_options: Starter,
) -> None:
    """own: who begins a second request has as long for its head, here 1 s, as for the first."""
    _, gateway = with_options("--head-timeout-seconds", "1")
    request = f"GET /probe/@connections/L0SM9cOFvHcCIhw= HTTP/1.1\r\n{HOST}{SIGNED}\r\n"

    with connected(gateway) as sock:
        for _ in range(2):
            sock.sendall(request.encode())
            assert status_of(sock) == 410
        sock.sendall(request[:20].encode())
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        assert 0.7 < time.monotonic() - begun < 6

    assert lines(gateway, "cut off: no whole head in 1 s")


def test_a_kept_connection_may_be_idle_for_longer_than_a_head_may_take(
    with_options: Starter,
) -> None:
    """own: the clock of a head starts with its first byte, not with the answer before."""
    _, gateway = with_options("--head-timeout-seconds", "1")
    request = f"GET /probe/@connections/L0SM9cOFvHcCIhw= HTTP/1.1\r\n{HOST}{SIGNED}\r\n"

    with connected(gateway) as sock:
        sock.sendall(request.encode())
        assert status_of(sock) == 410
        # The case is about time in which nothing happens.
        sock.settimeout(1.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.sendall(request.encode())
        assert status_of(sock) == 410


def test_a_token_among_the_subprotocols_reaches_the_authorizer_as_it_was_sent(
    local: Any,
) -> None:
    """A header may be an identity source, and is in the authorizer's event as it came.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html
    """
    api_id = api_with_identity_source(local.stack, "route.request.header.Sec-WebSocket-Protocol")
    with deploy.gateway(local.stack, api_id, local.directory) as gateway:
        credentials = {
            "aws_access_key_id": deploy.CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": deploy.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
        target = Target({"probe": gateway.url}, deploy.REGION, credentials)
        offered = [Subprotocol("websocket"), Subprotocol(MARK)]
        client = target.connect(query={"subprotocol": "websocket"}, subprotocols=offered)
        event = next(
            event for event in target_events(local, client.caller) if event.get("type") == "REQUEST"
        )
        # Without the header the authorizer is not asked.
        assert target.refused().status_code == 401
        assert target.refused(subprotocols=offered, query={"token": "deny"}).status_code == 403
        target.close()

        assert client.ws.subprotocol == "websocket"
        names = {name.lower(): name for name in event["headers"]}
        name = names["sec-websocket-protocol"]
        assert event["headers"][name] == f"websocket, {MARK}"
        assert event["multiValueHeaders"][name] == [f"websocket, {MARK}"]
        assert event["queryStringParameters"]["token"] == "allow"
        assert MARK not in gateway.log


def api_with_identity_source(stack: deploy.Stack, source: str) -> str:
    """Return an API of the probe's functions whose authorizer has another identity source."""
    apis = deploy.client("apigatewayv2", stack.endpoint_url)
    (authorizer,) = apis.get_authorizers(ApiId=stack.probe_api)["Items"]
    routes = apis.get_routes(ApiId=stack.probe_api)["Items"]
    integrations = {
        each["IntegrationId"]: each
        for each in apis.get_integrations(ApiId=stack.probe_api)["Items"]
    }
    (connect,) = (each for each in routes if each["RouteKey"] == "$connect")
    lifecycle = integrations[connect["Target"].rpartition("/")[2]]
    api_id = str(
        apis.create_api(
            Name="subprotocol",
            ProtocolType="WEBSOCKET",
            RouteSelectionExpression="$request.body.action",
        )["ApiId"]
    )
    own = apis.create_authorizer(
        ApiId=api_id,
        Name="subprotocol",
        AuthorizerType="REQUEST",
        AuthorizerUri=authorizer["AuthorizerUri"],
        IdentitySource=[source],
    )
    integration = apis.create_integration(
        ApiId=api_id, IntegrationType="AWS_PROXY", IntegrationUri=lifecycle["IntegrationUri"]
    )
    apis.create_route(
        ApiId=api_id,
        RouteKey="$connect",
        AuthorizationType="CUSTOM",
        AuthorizerId=own["AuthorizerId"],
        Target=f"integrations/{integration['IntegrationId']}",
    )
    apis.create_stage(ApiId=api_id, StageName="probe", AutoDeploy=True)
    return api_id


def target_events(local: Any, caller: str) -> list[Any]:
    """Return the events that the probe's functions recorded, by the probe API's own gateway."""
    with deploy.gateway(local.stack, local.stack.probe_api, local.directory) as gateway:
        observer = Target({"probe": gateway.url}, deploy.REGION, {})
        try:
            return observer.events(caller)
        finally:
            observer.close()
