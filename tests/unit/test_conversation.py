"""The examples of the contract are what the service says: the functions play the conversation."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

import authenticate.app
import connect.app
import default.app
import history.app
import ping.app
import subscribe.app
import subscriptions.app
import unsubscribe.app
from contract.examples import Example, conversation
from identity.claims import Identity
from push import topics, wiring
from push.connection import authorizer_context
from support import events
from support.events import CONNECTION_ID
from support.exchange import FakeExchange
from support.queues import Queues

APPS = (authenticate, history, ping, subscribe, subscriptions, unsubscribe)
ROUTES = {app.__name__.partition(".")[0]: app.app.lambda_handler for app in APPS}


def alice(*grants: str) -> Identity:
    now = int(time.time())
    return Identity("alice", "", grants, now - 60, now + 600)


class Verifier:
    def verify(self, token: str) -> Identity:
        return alice("orders/17")


@pytest.fixture
def connected(
    queues: Queues,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    remade: Callable[[], None],
) -> None:
    """A connection of alice; logs have the names that the conversation gives them."""
    epochs = iter(("9d3e70c1b852", "5f0c2a9be41d", "2b61f09c7ad4"))
    monkeypatch.setenv("AUTHENTICATION", "JWT")
    remade()
    monkeypatch.setattr(topics, "new_epoch", lambda: next(epochs))
    monkeypatch.setattr(wiring, "verifier", Verifier)
    monkeypatch.setattr(ping.app, "iso_8601", lambda _: "2026-11-24T01:47:00.123Z")
    event = events.load("connect")
    event["requestContext"] |= {
        "connectedAt": int(time.time() * 1000),
        "authorizer": authorizer_context(alice("orders/*")),
    }
    assert connect.app.lambda_handler(event, context)["statusCode"] == 200


class Stage:
    """Plays what clients and publishers say, and gathers what the service says to the client."""

    def __init__(self, queues: Queues, exchange: FakeExchange, context: Any) -> None:
        self._queues, self._exchange, self._context = queues, exchange, context
        self._pushed = 0
        self.said: list[Any] = []

    def play(self, step: Example) -> None:
        replies = []
        if step.message.endswith("Event"):
            self._queues.send("events", step.payload)
            assert self._queues.run("events") == 1
        else:
            replies = [self._ask(step.payload)]
        pushes = self._exchange.frames(CONNECTION_ID)[self._pushed :]
        self._pushed += len(pushes)
        self.said += [json.loads(push) for push in pushes] + replies

    def _ask(self, frame: Any) -> Any:
        action = frame["action"] if isinstance(frame, dict) else ""
        route = action if action in ROUTES else "default"
        event = events.message(route, json.dumps(frame))
        event["requestContext"]["connectedAt"] = int(time.time() * 1000)
        response = ROUTES.get(action, default.app.lambda_handler)(event, self._context)
        return json.loads(response["body"])


def timeless(frame: Any) -> Any:
    """Return a frame without the time at which the new token ends, which is not long from now."""
    if frame.get("type") != "Authenticated":
        return frame
    assert isinstance(frame["expiresAt"], int)
    return frame | {"expiresAt": 0}


@pytest.mark.usefixtures("connected")
def test_the_service_says_what_the_examples_say(
    queues: Queues, exchange: FakeExchange, context: Any
) -> None:
    stage = Stage(queues, exchange, context)

    for step in conversation():
        if step.message.endswith(("Request", "Event", "AnyFrame")):
            assert stage.said == [], f"before {step}"
            stage.play(step)
        # API Gateway says that one.
        elif step.message != "GatewayError":
            assert timeless(stage.said.pop(0)) == timeless(step.payload)
    assert stage.said == []
