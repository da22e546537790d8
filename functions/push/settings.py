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
class PostingSettings:
    """What the functions that post need besides the table.

    Attributes:
        connections_endpoint: the API's own address with the stage. An address built from an
            event's `domainName` would be wrong behind a custom domain.
        posts_per_second: this instance's share of the rate that all instances may reach together.
        subscribers_per_delivery: how many subscribers an event may have to be posted straight
            away, and how many of a larger one's go into one message.
        dead_letter_queue_url: of the queue that the function reads.
    """

    connections_endpoint: str
    delivery_queue_url: str
    dead_letter_queue_url: str
    posts_per_second: float
    subscribers_per_delivery: int

    @classmethod
    def from_environment(cls) -> "PostingSettings":
        return cls(
            connections_endpoint=_required("CONNECTIONS_ENDPOINT"),
            delivery_queue_url=_required("DELIVERY_QUEUE_URL"),
            dead_letter_queue_url=_required("DEAD_LETTER_QUEUE_URL"),
            posts_per_second=_share_of_rate(),
            subscribers_per_delivery=int(_required("SUBSCRIBERS_PER_DELIVERY")),
        )


def _share_of_rate() -> float:
    """Return the limit of all posting instances over how many of them there may be.

    CloudFormation cannot divide, so the template hands over the parts.
    """
    instances = int(_required("NOTIFIER_MAX_CONCURRENCY")) + int(
        _required("DELIVER_MAX_CONCURRENCY")
    )
    return int(_required("POSTS_PER_SECOND")) / instances


def notification_queue_url() -> str:
    """Return the URL of the notifier's own queue."""
    return _required("NOTIFICATION_QUEUE_URL")
