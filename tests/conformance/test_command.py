"""The command: its help, its failures to start, its stop, and what it reads anew."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from conformance import deploy
from conformance.targets import Target

pytestmark = pytest.mark.log

Starter = Callable[..., Any]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "local.gateway", *arguments],
        check=False, cwd=deploy.ROOT, env={**clean, **deploy.CREDENTIALS, **environment},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def check_one_line(result: subprocess.CompletedProcess[str], pattern: str) -> None:
    """Check that the command failed, and said why in one line."""
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert re.search(pattern, result.stderr), result.stderr


def test_help_explains_every_option_with_its_default() -> None:
    """own: --help says of each option what it does, in which unit, by default."""
    result = run("--help")
    assert result.returncode == 0
    text = re.sub(r"\s+", " ", result.stdout)
    options = set(re.findall(r"--[a-z0-9-]+", text)) - {"--help"}
    assert len(options) >= 20
    for name in ("--api-id", "--idle-timeout-seconds", "--fault-seed"):
        assert name in options
    assert text.count("(default: ") >= len(options) - 1
    assert "(default: 600.0)" in text and "(default: 29000)" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fault-429", "1.5"),
        ("--fault-429", "0.6", "--fault-410", "0.6"),
        ("--idle-timeout-seconds", "0"),
        ("--integration-timeout-ms", "29001"),
        ("--port", "70000"),
        ("--tls-key", "key.pem"),
    ],
    ids=" ".join,
)
def test_option_out_of_bounds_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    """own: a value that cannot be meant is refused before anything starts."""
    result = run(*arguments, "--endpoint-url", "http://127.0.0.1:9")
    assert result.returncode == 2
    assert "usage:" in result.stderr


def test_endpoint_that_does_not_answer() -> None:
    """own: one line and a status that is not 0."""
    url = f"http://127.0.0.1:{deploy.free_port()}"
    check_one_line(run("--endpoint-url", url), re.escape(url))


def test_port_in_use(local: Any) -> None:
    """own: one line and a status that is not 0."""
    stack = local.stack
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        endpoint = ("--endpoint-url", stack.endpoint_url, "--api-id", stack.probe_api)
        check_one_line(run(*endpoint, "--port", port), f"cannot listen on 127.0.0.1:{port}")


def test_api_must_be_named_when_there_are_several(local: Any) -> None:
    """own: the line lists what there is to choose from."""
    stack = local.stack
    result = run("--endpoint-url", stack.endpoint_url)
    check_one_line(result, f"--api-id.*{stack.probe_api}.*{stack.plain_api}|{stack.plain_api}.*")
    result = run("--endpoint-url", stack.endpoint_url, "--api-id", "nothing")
    check_one_line(result, "no WebSocket API nothing; .*conformance-probe")


def test_missing_credentials_are_named() -> None:
    """own: one line and a status that is not 0."""
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    result = subprocess.run(
        [sys.executable, "-m", "local.gateway", "--endpoint-url", "http://127.0.0.1:9"],
        check=False, cwd=deploy.ROOT, env={**clean, **nowhere},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    check_one_line(result, "no AWS credentials")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_closes_connections_and_reports_them(
    target: Target, with_options: Starter, number: signal.Signals
) -> None:
    """own: on a signal clients get 1001, $disconnect runs, and the status is 0."""
    mine, gateway = with_options()
    client = mine.connect()
    # Connections that have said nothing, or are kept alive, must not hold up the stop.
    host, port = gateway.url.rpartition("/")[2].split(":")
    mine.management().get_connection(ConnectionId=client.id)
    with socket.create_connection((host, int(port))):
        gateway.process.send_signal(number)
        end = client.closed()
        assert end.rcvd and end.rcvd.code == 1001
        assert gateway.process.wait(10) == 0
    context = target.event(client.caller, "DISCONNECT")["requestContext"]
    assert context["disconnectStatusCode"] == 1001
    # The gateway waited for the function, rather than leave while it ran.
    assert re.search(r"route \$disconnect .*: 200", gateway.log)
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("how", ["in time", "on SIGHUP"])
def test_redeploy_goes_live(local: Any, with_options: Starter, how: str) -> None:
    """own: a new route is served without a restart, to those connected too."""
    seconds = "0.2" if how == "in time" else "0"
    target, gateway = with_options("--refresh-seconds", seconds, api="plain")
    client = target.connect("open", "plain")
    key = f"new-v{time.time_ns()}"
    message = {"target": {"name": "new"}, "version": key.removeprefix("new-v")}
    assert client.ask(message)["event"]["requestContext"]["routeKey"] == "$default"
    apis = deploy.client("apigatewayv2", local.stack.endpoint_url)
    integration = apis.get_integrations(ApiId=local.stack.plain_api)["Items"][0]
    route = apis.create_route(
        ApiId=local.stack.plain_api, RouteKey=key, RouteResponseSelectionExpression="$default",
        Target=f"integrations/{integration['IntegrationId']}",
    )  # fmt: skip
    apis.create_route_response(
        ApiId=local.stack.plain_api, RouteId=route["RouteId"], RouteResponseKey="$default"
    )
    if how == "on SIGHUP":
        gateway.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while "the API has changed" not in gateway.log:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # A reading may fall between the route and its response.
    while True:
        client.send(message)
        try:
            answer = client.receive(timeout=1)
            break
        except TimeoutError:
            assert time.monotonic() < deadline
    assert answer["event"]["requestContext"]["routeKey"] == key


def test_tls(local: Any, tmp_path: Path, with_options: Starter) -> None:
    """own: with a certificate the one port speaks TLS for both protocols."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
         "-out", certificate, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    target, gateway = with_options("--tls-cert", certificate, "--tls-key", key)
    assert gateway.url.startswith("wss://")
    trust = ssl.create_default_context(cafile=certificate)
    client = target.connect(ssl=trust)
    connection_id = client.id
    assert client.ask({"action": "echo"})["event"]["requestContext"]["connectionId"]
    management = target.management(verify=certificate)
    management.post_to_connection(ConnectionId=connection_id, Data=b'"safe"')
    assert client.receive() == "safe"


def test_silent_tcp_connection_is_cut_off(with_options: Starter) -> None:
    """own: who sends no request within 5 s does not hold a descriptor."""
    _, gateway = with_options()
    host, port = gateway.url.rpartition("/")[2].split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        silent.sendall(b"GET /probe HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
    assert 4 < time.monotonic() - started < 10


def test_bytes_may_come_one_by_one(with_options: Starter) -> None:
    """own: how a request's head is cut into packets does not matter."""
    _, gateway = with_options(api="plain")
    host, port = gateway.url.rpartition("/")[2].split(":")

    class Slow(socket.socket):
        def sendall(self, data: Any, flags: int = 0) -> None:
            for at in range(len(data)):
                super().sendall(data[at : at + 1], flags)

    sock = Slow()
    sock.connect((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connect(f"{gateway.url}/open", sock=sock) as client:
        client.send("{}")
        assert client.recv(timeout=10)
