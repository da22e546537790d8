"""What the functions are told by their environment."""

from collections.abc import Callable

import pytest

from push import settings, wiring
from push.settings import DeliverySettings, LogSettings, TokenSettings
from support.queues import NAMES

TOKENS = ("TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_AUDIENCE_CLAIM", "GRANTS_CLAIM")
READERS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "table": (settings.table_name, ["TABLE_NAME"]),
    "limit": (
        settings.max_subscriptions_per_connection,
        ["MAX_SUBSCRIPTIONS_PER_CONNECTION"],
    ),
    "delivery": (
        DeliverySettings.from_environment,
        [
            *("QUEUE_URL", "DELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
            *("POSTS_PER_SECOND", "NOTIFIER_MAX_CONCURRENCY", "DELIVER_MAX_CONCURRENCY"),
            "SUBSCRIBERS_PER_DELIVERY",
        ],
    ),
    "endpoint": (settings.connections_endpoint, ["CONNECTIONS_ENDPOINT"]),
    "authentication": (settings.with_tokens, ["AUTHENTICATION"]),
    "delimiter": (settings.grants_delimiter, ["GRANTS_DELIMITER"]),
    "longest": (settings.longest_token_seconds, ["LONGEST_TOKEN_SECONDS"]),
    "connections": (settings.max_connections_per_user, ["MAX_CONNECTIONS_PER_USER"]),
    "query": (settings.token_in_query_string, ["TOKEN_IN_QUERY_STRING"]),
    "tokens": (TokenSettings.from_environment, [*TOKENS, "LONGEST_TOKEN_SECONDS"]),
    "log": (LogSettings.from_environment, ["HISTORY_SECONDS", "LOG_UNWATCHED"]),
}
VARIABLES = [(reader, name) for reader, (_, names) in READERS.items() for name in names]


@pytest.fixture(autouse=True)
def what_only_some_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in NAMES.items():
        monkeypatch.setenv(variable, f"https://sqs/{name}")
    for name in (*TOKENS, "TOKEN_IN_QUERY_STRING"):
        monkeypatch.setenv(name, "x")


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


@pytest.mark.parametrize(
    ("authentication", "claim", "wanted"),
    [
        ("JWT", "tenant", (True, True)),
        ("JWT", "", (True, False)),
        # What says nothing of tokens has no tenants.
        ("NONE", "tenant", (False, False)),
        ("NONE", "", (False, False)),
    ],
)
def test_there_are_tenants_only_where_tokens_name_them(
    monkeypatch: pytest.MonkeyPatch, authentication: str, claim: str, wanted: tuple[bool, bool]
) -> None:
    monkeypatch.setenv("AUTHENTICATION", authentication)
    monkeypatch.setenv("TENANT_CLAIM", claim)

    assert (settings.with_tokens(), settings.with_tenants()) == wanted
    assert bool(wiring.access()) is wanted[0]


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
