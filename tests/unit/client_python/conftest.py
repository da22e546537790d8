"""A client with a service that is its own, and time that takes none."""

from collections.abc import Callable
from typing import Any

import pytest

from notifications_client import NotificationsClient, State
from notifications_client import client as client_module
from unit.client_python.service import Service

URL = "wss://example.com/v1"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """What clients connect to."""
    made = Service()
    monkeypatch.setattr(client_module, "open_socket", made.open_socket)
    return made


@pytest.fixture
def states() -> list[State]:
    return []


@pytest.fixture
def client(service: Service, states: list[State]) -> Callable[..., NotificationsClient]:
    """Make a client, which tells its states."""

    def make(**options: Any) -> NotificationsClient:
        return NotificationsClient(URL, **{"on_state": states.append, **options})

    return make
