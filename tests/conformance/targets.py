"""Connect to whatever is under test."""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.config import Config
from botocore.session import get_session
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websocket_connect

# Generous: AWS, and cold starts on a busy machine. Waiting ends when the condition holds.
PATIENCE_SECONDS = 15.0


@dataclass
class Client:
    """Hold one WebSocket connection to the target."""

    ws: ClientConnection
    caller: str
    connection_id: str = ""

    def send(self, message: dict[str, Any] | str) -> None:
        """Send a text frame."""
        self.ws.send(message if isinstance(message, str) else json.dumps(message))

    def receive(self, timeout: float = PATIENCE_SECONDS) -> Any:
        """Return the next frame, parsed from JSON."""
        return json.loads(self.ws.recv(timeout=timeout))

    def ask(self, message: dict[str, Any] | str) -> Any:
        """Send a message and return the next frame, parsed from JSON."""
        self.send(message)
        return self.receive()

    def closed(self, timeout: float = PATIENCE_SECONDS) -> ConnectionClosed:
        """Wait for the end of the connection, passing over frames, and return how it ended."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.ws.recv(timeout=max(deadline - time.monotonic(), 0))
            except ConnectionClosed as end:
                return end

    @property
    def id(self) -> str:
        """Return the connection id, which only the back end learns."""
        if not self.connection_id:
            answer = self.ask({"action": "echo"})
            self.connection_id = answer["event"]["requestContext"]["connectionId"]
        return self.connection_id


class Target:
    """Know the addresses of the APIs under test, and connect to them."""

    def __init__(self, urls: dict[str, str], region: str, credentials: dict[str, str]) -> None:
        self._urls = urls
        self._region = region
        self._credentials = credentials
        self._open = ExitStack()
        self._observer: Client | None = None

    def url(self, stage: str, api: str = "probe") -> str:
        """Return the address of a stage."""
        return f"{self._urls[api]}/{stage}"

    def http_url(self, stage: str, api: str = "probe") -> str:
        """Return the address that @connections of a stage is below."""
        return re.sub("^ws", "http", self.url(stage, api))

    def connect(
        self,
        stage: str = "probe",
        api: str = "probe",
        *,
        query: dict[str, str] | None = None,
        **options: Any,
    ) -> Client:
        """Connect, allowed by the authorizer unless ``query`` says otherwise.

        Raises:
            websockets.exceptions.InvalidStatus: The handshake was refused.
        """
        caller = uuid.uuid4().hex
        if api == "probe":
            query = {"token": "allow", "caller": caller, **(query or {})}
        # An empty value stands for a parameter that is left out.
        text = urlencode({name: value for name, value in (query or {}).items() if value})
        url = f"{self.url(stage, api)}?{text}" if text else self.url(stage, api)
        settings = {"max_size": None, "ping_interval": None, "close_timeout": 1, **options}
        ws = self._open.enter_context(
            websocket_connect(url, open_timeout=PATIENCE_SECONDS, **settings)
        )
        return Client(ws, (query or {}).get("caller", caller))

    def refused(self, stage: str = "probe", api: str = "probe", **options: Any) -> Response:
        """Connect, expecting a refusal, and return it."""
        with pytest.raises(InvalidStatus) as refusal:
            self.connect(stage, api, **options)
        return refusal.value.response

    def management(
        self, stage: str = "probe", api: str = "probe", verify: str | None = None
    ) -> Any:
        """Return an SDK client of @connections that does not try again."""
        return get_session().create_client(
            "apigatewaymanagementapi",
            self._region,
            endpoint_url=self.http_url(stage, api),
            verify=verify,
            config=Config(retries={"total_max_attempts": 1}),
            aws_access_key_id=self._credentials.get("aws_access_key_id"),
            aws_secret_access_key=self._credentials.get("aws_secret_access_key"),
        )

    def events(self, caller: str) -> list[Any]:
        """Return every event that the functions recorded for a caller, oldest first."""
        if self._observer is None:
            self._observer = self.connect()
        found: list[Any] = self._observer.ask({"action": "recall", "caller": caller})["events"]
        return found

    def event(self, caller: str, event_type: str) -> Any:
        """Wait for an event of a type (CONNECT, MESSAGE, DISCONNECT) and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            for event in self.events(caller):
                context = event["requestContext"]
                if context["eventType"] == event_type and "type" not in event:
                    return event
            if time.monotonic() > deadline:
                raise AssertionError(f"no {event_type} event of {caller}")
            # Recorded by a function that nobody can wait for; ask again.
            time.sleep(0.05)

    def close(self) -> None:
        """Close every connection that is still open."""
        self._open.close()
        self._observer = None


def aws_target(url: str) -> Target:
    """Return the target of a deployed stack, given the URL of its probe stage."""
    # The probe API tells the ids of its siblings, so that one URL is all that is needed.
    parts = urlsplit(url)
    host = parts.netloc
    region = host.split(".")[2]
    probe = Target({"probe": f"{parts.scheme}://{host}"}, region, {})
    answer = probe.connect().ask({"action": "echo"})
    probe.close()
    hosts = {"probe": host} | {
        name: host.replace(host.split(".")[0], answer[f"{name}Api"], 1)
        for name in ("plain", "mapped")
    }
    return Target({name: f"{parts.scheme}://{each}" for name, each in hosts.items()}, region, {})
