"""The gateway's control: faults that change while it runs, and connections that end on demand."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance import deploy
from conformance.targets import PATIENCE_SECONDS, Client, Target

pytestmark = pytest.mark.option

NOBODY = "L0SM9cOFvHcCIhw="
CREDENTIALS = {
    name.lower(): deploy.CREDENTIALS[name]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
}
CALM = {
    "429": 0, "5xx": 0, "410": 0, "reset": 0, "stall": 0, "duplicate": 0, "stallSeconds": 30,
    "latencyMs": 0, "loseDisconnect": 0, "loseNextDisconnects": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """Hold the control of a gateway, and the target and process that it controls."""

    port: int
    target: Target
    gateway: deploy.RunningGateway

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Send a request and return the status and the parsed body of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            text = body if isinstance(body, str) or body is None else json.dumps(body)
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
            return answer.status, found
        finally:
            connection.close()

    def change(self, **faults: Any) -> tuple[int, dict[str, Any]]:
        """Change faults, whose names may begin with a digit in the dictionary that it is."""
        return self.send("PATCH", "/faults", faults)

    def act(self, client: Client, action: str, body: Any = None) -> None:
        """Do something to the connection of a client."""
        status, answer = self.send("POST", f"/connections/{client.id}/{action}", body)
        assert (status, answer) == (200, {"id": client.id})

    def connections(self) -> list[dict[str, Any]]:
        """Return what is told of the open connections."""
        status, answer = self.send("GET", "/connections")
        assert status == 200
        found: list[dict[str, Any]] = answer["connections"]
        return found

    def post(self, connection_id: str, text: str = "post") -> int:
        """Post to a connection and return the status."""
        try:
            self.target.management().post_to_connection(
                ConnectionId=connection_id, Data=json.dumps(text).encode()
            )
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    def logs(self, text: str, times: int = 1) -> None:
        """Wait until the gateway has logged a text so often."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.gateway.log.count(text) < times:
            assert time.monotonic() < deadline, f"{text} is not in {self.gateway.log}"
            time.sleep(0.05)


Starter = Callable[..., Control]


@pytest.fixture
def controlled(with_options: Callable[..., Any]) -> Starter:
    """Give a function that starts a gateway with a control, and with further options."""

    def start(*options: str) -> Control:
        port = deploy.free_port()
        target, gateway = with_options("--control-port", str(port), *options)
        return Control(port, target, gateway)

    return start


@pytest.fixture(scope="module")
def running(local: Any) -> Iterator[Control]:
    """Run a gateway with a control and its other options as they are by default."""
    port, stack = deploy.free_port(), local.stack
    options = ("--control-port", str(port))
    with deploy.gateway(stack, stack.probe_api, local.directory, *options) as gateway:
        yield Control(port, Target({"probe": gateway.url}, deploy.REGION, CREDENTIALS), gateway)


@pytest.fixture
def control(running: Control) -> Iterator[Control]:
    """Give the control of that gateway, without the faults and connections of earlier cases."""
    yield running
    running.target.close()
    assert running.change(**CALM)[0] == 200


def test_faults_are_those_of_the_options(controlled: Starter) -> None:
    """own: the control tells with which faults the gateway was started."""
    control = controlled(
        *("--fault-429", "0.25", "--fault-duplicate", "0.5", "--fault-lose-disconnect", "1"),
        *("--fault-latency-ms", "3", "--fault-stall-seconds", "4"),
    )
    expected = {"429": 0.25, "duplicate": 0.5, "loseDisconnect": 1, "latencyMs": 3}
    assert control.send("GET", "/faults") == (200, {**CALM, **expected, "stallSeconds": 4})


def test_faults_change_while_it_runs(control: Control) -> None:
    """own: a changed share holds from the next request on, and leaves the others as they are."""
    client = control.target.connect()
    assert control.post(client.id) == 200
    assert control.change(**{"429": 1}) == (200, {**CALM, "429": 1})
    assert control.post(client.id) == 429
    assert control.change(**{"429": 0, "410": 1}) == (200, {**CALM, "410": 1})
    assert control.post(client.id) == 410
    assert control.change(**{"410": 0, "latencyMs": 300}) == (200, {**CALM, "latencyMs": 300})
    started = time.monotonic()
    assert control.post(client.id) == 200
    assert time.monotonic() - started >= 0.3
    assert [client.receive(), client.receive()] == ["post", "post"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"429": 1.1}, "429 is not between 0 and 1"),
        ({"duplicate": -0.1}, "duplicate is not between 0 and 1"),
        ({"410": "0.5"}, "410 is not a number"),
        ({"410": True}, "410 is not a number"),
        ({"410": None}, "410 is not a number"),
        ({"latencyMs": 1e10}, "latencyMs is not between"),
        ({"loseNextDisconnects": 0.5}, "loseNextDisconnects is not a whole number"),
        ({"418": 0.1}, "'418' is none of 429"),
        ({"429": 0.6, "duplicate": 0.6}, "exceed 1"),
        # Together with what there is already.
        ({"410": 0.6}, "exceed 1"),
    ],
    ids=str,
)
def test_faults_that_cannot_be_meant_change_nothing(
    control: Control, changes: dict[str, Any], said: str
) -> None:
    """own: what the options would refuse is refused here, as a whole."""
    control.change(**{"429": 0.5})
    status, answer = control.change(**{"stall": 0.1, **changes})
    assert (status, answer["code"]) == (400, "InvalidFaults")
    assert said in answer["message"]
    assert control.send("GET", "/faults") == (200, {**CALM, "429": 0.5})


@pytest.mark.parametrize("body", ["", "{", "[]", '"429"', "NaN", "[" * 4000, "\x00"])
def test_what_is_no_object_of_json_is_refused(control: Control, body: str) -> None:
    """own: a body that cannot be read is a coded 400."""
    status, answer = control.send("PATCH", "/faults", body)
    assert (status, answer["code"]) == (400, "InvalidJson")


def test_bodies_are_bounded(control: Control) -> None:
    """own: more than 4 KB are not read."""
    status, answer = control.send("PATCH", "/faults", " " * 5000)
    assert (status, answer["code"]) == (413, "RequestEntityTooLarge")


def test_what_there_is_not_is_not_found(control: Control) -> None:
    """own: paths and methods that are not served have a coded answer."""
    assert control.send("GET", "/") == (404, {"code": "NotFound", "message": "Not Found"})
    status, answer = control.send("DELETE", "/faults")
    assert (status, answer["code"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:3002"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "example.com"},
        {"Host": "127.0.0.1"},
        {"Host": "rebound.example.com:{port}"},
        {"Host": "127.0.0.1:1"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/faults"), ("PATCH", "/faults"), ("POST", f"/connections/{NOBODY}/cut")],
)
def test_no_web_page_gets_in(
    control: Control, method: str, path: str, headers: dict[str, str]
) -> None:
    """own: a request that a browser sends for a page, or to a name led here, is refused."""
    headers = {name: value.format(port=control.port) for name, value in headers.items()}
    status, answer = control.send(method, path, {"429": 1}, **headers)
    assert (status, answer["code"]) == (403, "Forbidden")
    assert control.send("GET", "/faults", Host=f"localhost:{control.port}") == (200, CALM)


def test_it_is_a_port_of_its_own_on_loopback(controlled: Starter) -> None:
    """own: the API's port answers as API Gateway does, whatever --host is."""
    control = controlled("--host", "0.0.0.0")  # noqa: S104 - what must not widen the control
    # The whole of 127.0.0.0/8 is this machine, and 0.0.0.0 listens on all of it.
    api_port = int(control.gateway.url.rpartition(":")[2])
    socket.create_connection(("127.0.0.2", api_port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", control.port), timeout=5)


def test_without_the_option_nothing_is_controlled(with_options: Callable[..., Any]) -> None:
    """own: the API's port has no faults to tell."""
    _, gateway = with_options()
    port = int(gateway.url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/faults")
    assert connection.getresponse().status == 403
    connection.close()
    assert "control" not in gateway.log


def test_connections_are_listed(control: Control) -> None:
    """own: of what a client connected with only its name is told."""
    named = control.target.connect(query={"name": "left", "secret": "s3cret"})
    nameless = control.target.connect()
    found = {connection["id"]: connection for connection in control.connections()}
    assert {named.id, nameless.id} <= found.keys()
    connection = found[named.id]
    described = control.target.management().get_connection(ConnectionId=named.id)
    assert (
        connection.pop("connectedAt")
        == f"{described['ConnectedAt']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    )
    assert connection.pop("lastActiveAt")
    assert connection == {"id": named.id, "stage": "probe", "name": "left", "frozen": False}
    assert found[nameless.id]["name"] is None
    assert "s3cret" not in json.dumps(control.send("GET", "/connections"))


def test_connection_is_cut(control: Control) -> None:
    """own: the client finds the line broken, and $disconnect says 1006."""
    client = control.target.connect()
    control.act(client, "cut")
    end = client.closed()
    assert end.rcvd is None
    context = control.target.event(client.caller, "DISCONNECT")["requestContext"]
    assert context["disconnectStatusCode"] == 1006
    assert control.post(client.id) == 410


def test_connection_is_closed(control: Control) -> None:
    """own: the client gets the code and reason that were asked for, and so does $disconnect."""
    client = control.target.connect()
    control.act(client, "close", {"code": 4001, "reason": "go away"})
    end = client.closed()
    assert end.rcvd
    assert (end.rcvd.code, end.rcvd.reason) == (4001, "go away")
    context = control.target.event(client.caller, "DISCONNECT")["requestContext"]
    assert context["disconnectStatusCode"] == 4001
    assert context["disconnectReason"] == "go away"


@pytest.mark.parametrize(
    "body",
    [
        {"code": 1006},
        {"code": 999},
        {"code": 5000},
        {"code": "1000"},
        {"code": True},
        {"reason": "r" * 124},
        {"reason": "\ud800"},
        {"reason": 7},
        {"reson": "go away"},
    ],
    ids=str,
)
def test_close_that_no_frame_can_say_is_refused(control: Control, body: dict[str, Any]) -> None:
    """own: the connection stays open."""
    client = control.target.connect()
    status, answer = control.send("POST", f"/connections/{client.id}/close", body)
    assert (status, answer["code"]) == (400, "InvalidClose")
    assert client.ask({"action": "echo"})


def test_frozen_connection_is_half_open(control: Control) -> None:
    """own: the client hears nothing and is not heard, and nobody is told."""
    client = control.target.connect()
    connection_id = client.id
    control.act(client, "freeze")
    (found,) = [each for each in control.connections() if each["id"] == connection_id]
    assert found["frozen"] is True
    assert [control.post(connection_id) for _ in range(3)] == [200, 200, 200]
    # Far more than any buffer of the gateway holds: it is not kept.
    assert {control.post(connection_id, "x" * 100_000) for _ in range(5)} == {200}
    client.send({"action": "oneway", "caller": client.caller})
    pong = client.ws.ping()
    with pytest.raises(TimeoutError):
        client.receive(timeout=0.5)
    assert not pong.is_set()
    types = [event["requestContext"]["eventType"] for event in control.target.events(client.caller)]
    assert not {"MESSAGE", "DISCONNECT"} & set(types[2:])


def test_frozen_connection_outlives_its_client(control: Control) -> None:
    """own: that the client has left is not seen, though another was heard since."""
    client = control.target.connect()
    control.act(client, "freeze")
    client.ws.socket.shutdown(socket.SHUT_RDWR)
    assert control.target.connect().id
    assert control.post(client.id) == 200


def test_frozen_connection_ends_by_the_clock(controlled: Starter) -> None:
    """own: posts that are swallowed are no activity; what the client is told does not reach it."""
    control = controlled("--idle-timeout-seconds", "1")
    client = control.target.connect()
    connection_id = client.id
    control.act(client, "freeze")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while control.post(connection_id) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    end = client.closed()
    assert end.rcvd is None
    context = control.target.event(client.caller, "DISCONNECT")["requestContext"]
    assert context["disconnectStatusCode"] == 1001


def test_frozen_connection_does_not_hold_up_the_stop(controlled: Starter) -> None:
    """own: the gateway does not wait for an answer to its close frame."""
    control = controlled()
    client = control.target.connect()
    control.act(client, "freeze")
    started = time.monotonic()
    control.gateway.process.terminate()
    assert control.gateway.process.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - started < 5
    assert "Traceback" not in control.gateway.log


@pytest.mark.parametrize("action", ["cut", "freeze", "close"])
def test_connection_that_is_not_there_is_not_found(control: Control, action: str) -> None:
    """own: a connection may have ended a moment ago."""
    status, answer = control.send("POST", f"/connections/{NOBODY}/{action}", {})
    assert (status, answer["code"]) == (404, "UnknownConnection")


def test_next_disconnect_events_are_lost(controlled: Starter) -> None:
    """own: as many as were asked for, and then no more."""
    control = controlled()
    assert control.change(loseNextDisconnects=2) == (200, {**CALM, "loseNextDisconnects": 2})
    clients = [control.target.connect() for _ in range(3)]
    for number, client in enumerate(clients, 1):
        client.ws.close()
        control.logs("route $disconnect", number)
    assert control.gateway.log.count("lost on demand") == 2
    assert control.target.event(clients[2].caller, "DISCONNECT")
    assert control.send("GET", "/faults") == (200, CALM)


def test_port_of_the_control_in_use(local: Any) -> None:
    """own: one line and a status that is not 0."""
    stack = local.stack
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "local.gateway", "--endpoint-url", stack.endpoint_url,
             "--api-id", stack.probe_api, "--port", "0", "--control-port", str(port)],
            check=False, cwd=deploy.ROOT, env={**os.environ, **deploy.CREDENTIALS},
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
