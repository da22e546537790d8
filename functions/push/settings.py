"""Configuration: what `template.yaml` hands to the functions through their environment."""

import os
from dataclasses import dataclass


def _required(name: str) -> str:
    """Return a variable of the environment; raise `RuntimeError` with its name if it is empty."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"environment variable {name} is not set")
    return value


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What every function that reads or writes the table needs."""

    table_name: str
    max_subscriptions_per_connection: int

    @classmethod
    def from_environment(cls) -> "StoreSettings":
        return cls(
            table_name=_required("TABLE_NAME"),
            max_subscriptions_per_connection=int(_required("MAX_SUBSCRIPTIONS_PER_CONNECTION")),
        )


@dataclass(frozen=True, slots=True)
class NotifierSettings:
    """What the notifier needs besides the table.

    `connections_endpoint` is the API's own address with the stage. An address built from an
    event's `domainName` would be wrong behind a custom domain.
    """

    connections_endpoint: str
    dead_letter_queue_url: str

    @classmethod
    def from_environment(cls) -> "NotifierSettings":
        return cls(
            connections_endpoint=_required("CONNECTIONS_ENDPOINT"),
            dead_letter_queue_url=_required("DEAD_LETTER_QUEUE_URL"),
        )
