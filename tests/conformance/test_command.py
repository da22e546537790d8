"""The command: its help, its failures to start, its stop, and what it reads anew."""

from __future__ import annotations

import contextlib
import json
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
from botocore.exceptions import ClientError
from botocore.session import get_session
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conformance import deploy
from conformance.targets import Target
from local.gateway import certificates

pytestmark = pytest.mark.log

Starter = Callable[..., Any]

CREDENTIALS = {
    "aws_access_key_id": deploy.CREDENTIALS["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": deploy.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
}


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
        ("--endpoint-url", "emulator:4566"),
    ],
    ids=" ".join,
)
def test_option_out_of_bounds_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    """own: a value that cannot be meant is refused before anything starts."""
    result = run("--endpoint-url", "http://127.0.0.1:9", *arguments)
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


@pytest.mark.parametrize(
    ("variables", "told"),
    [({"AWS_PROFILE": "missing"}, "missing"), ({"AWS_REGION": "no region"}, "no region")],
    ids=["profile", "region"],
)
def test_settings_of_the_sdk_that_are_wrong_are_named(variables: dict[str, str], told: str) -> None:
    """own: one line and a status that is not 0."""
    result = subprocess.run(
        [sys.executable, "-m", "local.gateway", "--endpoint-url", "http://127.0.0.1:9"],
        check=False, cwd=deploy.ROOT, env={**os.environ, **deploy.CREDENTIALS, **variables},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    check_one_line(result, told)


@pytest.mark.parametrize(
    "content", ["[]", '{"models": []}', '{"integrations": {"a": 3}}'], ids=["list", "models", "a"]
)
def test_file_that_is_no_supplement_is_named(local: Any, tmp_path: Path, content: str) -> None:
    """own: one line and a status that is not 0."""
    path = tmp_path / "supplement.json"
    path.write_text(content)
    url = local.stack.endpoint_url
    result = run("--endpoint-url", url, "--all", "--supplement", str(path))
    check_one_line(result, f"{path} is no supplement")


def test_what_was_trusted_before_stays_in_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """own: AWS_CA_BUNDLE replaces what the SDK trusts, so that the bundle has that in it, too.

    Also when the variable names the bundle itself, and the certificate is made anew.
    """
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    first = certificates.ensure(tmp_path)
    own = first.authority.read_text()
    assert first.bundle.read_text().count("BEGIN CERTIFICATE") > 50
    monkeypatch.setenv("AWS_CA_BUNDLE", str(first.bundle))
    second = certificates.ensure(tmp_path, ["another.example"])
    assert second.authority.read_text() != own
    assert second.bundle.read_text().count("BEGIN CERTIFICATE") > 50
    assert oct(second.chain.stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_closes_connections_and_reports_them(
    target: Target, with_options: Starter, number: signal.Signals
) -> None:
    """own: on a signal clients get 1001, $disconnect runs, and the status is 0."""
    mine, gateway = with_options(own=True)
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
    """own: a certificate of the user's own is spoken TLS with, for both protocols."""
    made = certificates.ensure(tmp_path)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    private, found, public = made.chain.read_text().partition("-----BEGIN CERTIFICATE")
    key.write_text(private)
    certificate.write_text(found + public)
    target, gateway = with_options("--tls-cert", str(certificate), "--tls-key", str(key))
    assert gateway.url.startswith("wss://")
    check_tls(target, str(made.authority))


def test_tls_and_plain_on_one_port(target: Target, with_options: Starter) -> None:
    """own: the first byte tells, and the start names what the certificate is checked by."""
    mine, gateway = with_options()
    found = re.search(r"AWS_CA_BUNDLE=(\S+) NODE_EXTRA_CA_CERTS=(\S+)", gateway.greeting)
    assert found, gateway.greeting
    bundle, authority = found.groups()
    plain = mine.connect()
    secured = Target({"probe": gateway.url.replace("ws:", "wss:")}, deploy.REGION, CREDENTIALS)
    check_tls(secured, bundle)
    check_tls(secured, authority)
    # A client over TLS is posted to without, and the other way round.
    client = secured.connect(ssl=ssl.create_default_context(cafile=bundle))
    mine.management().post_to_connection(ConnectionId=client.id, Data=b'"down"')
    assert client.receive() == "down"
    secured.management(verify=bundle).post_to_connection(ConnectionId=plain.id, Data=b'"up"')
    assert plain.receive() == "up"
    secured.close()


def check_tls(target: Target, authority: str) -> None:
    """Check a connection and a post over TLS, with the address that an event tells."""
    trust = ssl.create_default_context(cafile=authority)
    client = target.connect(ssl=trust)
    context = client.ask({"action": "echo"})["event"]["requestContext"]
    # The idiom of AWS's own samples.
    session: Any = get_session()
    management = session.create_client(
        "apigatewaymanagementapi",
        deploy.REGION,
        endpoint_url=f"https://{context['domainName']}/{context['stage']}",
        verify=authority,
        **CREDENTIALS,
    )
    management.post_to_connection(ConnectionId=context["connectionId"], Data=b'"safe"')
    assert client.receive() == "safe"


def test_domain_name_of_events_is_an_option(with_options: Starter) -> None:
    """own: --domain-name is what events have, for functions that expect no port."""
    target, _ = with_options("--domain-name", "api.example.test")
    event = target.connect().ask({"action": "echo"})["event"]
    assert event["requestContext"]["domainName"] == "api.example.test"


@pytest.mark.parametrize("arguments", [(), ("deploy", "template.yaml")], ids=["serve", "deploy"])
def test_without_an_endpoint_nothing_starts(arguments: tuple[str, ...]) -> None:
    """own: AWS itself is never reached by accident; to serve it takes --aws."""
    result = run(*arguments)
    assert result.returncode == 2
    assert "must name the emulator; --aws means AWS itself" in result.stderr


def test_aws_excludes_an_endpoint() -> None:
    """own: --aws beside an endpoint is a contradiction, wherever that comes from."""
    result = run("--aws", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert result.returncode == 2
    assert "--aws means no --endpoint-url" in result.stderr


def test_several_apis_in_one_process(local: Any, with_options: Starter) -> None:
    """own: each is found by its id or name in the path, or by its id as the first label of Host."""
    stack = local.stack
    _, gateway = with_options("--stack", deploy.STACK, api=None)
    assert set(re.findall(r"api=(\w+)", gateway.greeting)) == set(stack.apis.values())
    for prefix in (stack.plain_api, f"{deploy.STACK}-plain"):
        with connect(f"{gateway.root}/{prefix}/open") as client:
            client.send("hello")
            context = json.loads(client.recv(timeout=15))["event"]["requestContext"]
        assert context["apiId"] == stack.plain_api
        # What a function calls back at leads to the same API.
        assert context["domainName"] == f"{gateway.root.rpartition('/')[2]}/{prefix}"
    port = int(gateway.root.rpartition(":")[2])
    host = f"{stack.plain_api}.execute-api.localhost:{port}"
    sock = socket.create_connection(("127.0.0.1", port))
    with connect(f"ws://{host}/open", sock=sock) as client:
        client.send("hello")
        context = json.loads(client.recv(timeout=15))["event"]["requestContext"]
    assert (context["apiId"], context["domainName"]) == (stack.plain_api, host)
    # A stage alone is of none of them.
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"{gateway.root}/open")
    assert refusal.value.response.status_code == 403
    probe = Target({"probe": f"{gateway.root}/{stack.probe_api}"}, deploy.REGION, CREDENTIALS)
    mine = probe.connect()
    probe.management().post_to_connection(ConnectionId=mine.id, Data=b'"mine"')
    assert mine.receive() == "mine"
    other = Target({"probe": f"{gateway.root}/{stack.mapped_api}"}, deploy.REGION, CREDENTIALS)
    with pytest.raises(ClientError) as error:
        other.management("mapped").post_to_connection(ConnectionId=mine.id, Data=b"{}")
    assert error.value.response["Error"]["Code"] == "GoneException"
    probe.close()


def test_api_is_found_anew_by_its_name(local: Any, with_options: Starter) -> None:
    """own: an API that was made anew under its name has another id, and is served on."""
    apis = deploy.client("apigatewayv2", local.stack.endpoint_url)

    def make() -> str:
        made = apis.create_api(
            Name="phoenix", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.a"
        )
        apis.create_stage(ApiId=made["ApiId"], StageName="open", AutoDeploy=True)
        return str(made["ApiId"])

    first = make()
    target, gateway = with_options(
        "--api-name", "phoenix", "--refresh-seconds", "0.2", "--throttle-burst", "100", api=None
    )
    client = target.connect("open", "plain")
    assert client.ask("hello")["message"] == "Forbidden"
    apis.delete_api(ApiId=first)
    second = make()
    try:
        deadline = time.monotonic() + 10
        while f"phoenix ({second})" not in gateway.log:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.ask("hello")["message"] == "Forbidden"
        assert target.connect("open", "plain").ask("hello")["message"] == "Forbidden"
    finally:
        apis.delete_api(ApiId=second)


def test_silent_tcp_connection_is_cut_off(with_options: Starter) -> None:
    """own: who sends no request in time, here 1 s, does not hold a descriptor."""
    _, gateway = with_options("--head-timeout-seconds", "1")
    host, port = gateway.url.rpartition("/")[2].split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        silent.sendall(b"GET /probe HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
    assert 0.7 < time.monotonic() - started < 6


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
