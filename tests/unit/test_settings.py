"""What the functions are told by their environment."""

from collections.abc import Callable

import pytest

from push import settings, wiring
from push.settings import DeliverySettings, LogSettings
from support.queues import NAMES

READERS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "table": (settings.table_name, ["TABLE_NAME"]),
    "limit": (
        settings.max_subscriptions_per_connection,
        ["MAX_SUBSCRIPTIONS_PER_CONNECTION"],
    ),
    "delivery": (
        DeliverySettings.from_environment,
        [
            *("CONNECTIONS_ENDPOINT", "QUEUE_URL", "DELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
            *("POSTS_PER_SECOND", "NOTIFIER_MAX_CONCURRENCY", "DELIVER_MAX_CONCURRENCY"),
            "SUBSCRIBERS_PER_DELIVERY",
        ],
    ),
    "log": (LogSettings.from_environment, ["HISTORY_SECONDS", "LOG_UNWATCHED"]),
}
VARIABLES = [(reader, name) for reader, (_, names) in READERS.items() for name in names]


@pytest.fixture(autouse=True)
def queue_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in NAMES.items():
        monkeypatch.setenv(variable, f"https://sqs/{name}")


@pytest.mark.parametrize(("reader", "name"), VARIABLES)
def test_a_missing_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, reader: str, name: str
) -> None:
    read, _ = READERS[reader]
    read()

    monkeypatch.setenv(name, "")
    with pytest.raises(RuntimeError, match=name):
        read()
    monkeypatch.delenv(name)
    with pytest.raises(RuntimeError, match=name):
        read()


def test_an_instance_posts_its_share_of_the_rate() -> None:
    """8,000 a second, over five notifiers and three couriers."""
    assert DeliverySettings.from_environment().posts_per_second == 1_000


@pytest.mark.parametrize(("value", "wanted"), [("true", True), ("false", False)])
def test_unwatched_events_are_logged_only_if_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool
) -> None:
    monkeypatch.setenv("LOG_UNWATCHED", value)

    assert LogSettings.from_environment().log_unwatched is wanted


def test_parts_are_made_when_lambda_initializes_and_elsewhere_when_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    wiring.at_initialization(lambda: made.append("elsewhere"))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "notifier")
    wiring.at_initialization(lambda: made.append("lambda"))

    assert made == ["lambda"]


def test_clients_are_made_once_for_all_parts(dynamodb: object) -> None:
    assert wiring.table() is wiring.table()
    assert wiring._client("dynamodb") is dynamodb
