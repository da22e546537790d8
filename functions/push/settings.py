"""Configuration: what `template.yaml` hands to the functions through their environment."""

import os
from dataclasses import dataclass


def _required(name: str) -> str:
    """Return a variable of the environment; raise `RuntimeError` with its name if it is empty."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"environment variable {name} is not set")
    return value


def table_name() -> str:
    return _required("TABLE_NAME")


def max_subscriptions_per_connection() -> int:
    return int(_required("MAX_SUBSCRIPTIONS_PER_CONNECTION"))


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What the functions that post need besides the table.

    Attributes:
        connections_endpoint: the API's own address with the stage. An address built from an
            event's `domainName` would be wrong behind a custom domain.
        queue_url: of the queue that the function reads.
        dead_letter_queue_url: of that queue's dead letters.
        posts_per_second: this instance's share of the rate that all instances may reach together.
        subscribers_per_delivery: how many subscribers one walk may have.
    """

    connections_endpoint: str
    queue_url: str
    delivery_queue_url: str
    dead_letter_queue_url: str
    posts_per_second: float
    subscribers_per_delivery: int

    @classmethod
    def from_environment(cls) -> "DeliverySettings":
        return cls(
            connections_endpoint=_required("CONNECTIONS_ENDPOINT"),
            queue_url=_required("QUEUE_URL"),
            delivery_queue_url=_required("DELIVERY_QUEUE_URL"),
            dead_letter_queue_url=_required("DEAD_LETTER_QUEUE_URL"),
            posts_per_second=_share_of_rate(),
            subscribers_per_delivery=int(_required("SUBSCRIBERS_PER_DELIVERY")),
        )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the function that appends to the logs needs.

    Attributes:
        history_seconds: how long events are kept.
        log_unwatched: whether also those of entities that nobody has subscribed to.
    """

    history_seconds: int
    log_unwatched: bool

    @classmethod
    def from_environment(cls) -> "LogSettings":
        return cls(
            history_seconds=int(_required("HISTORY_SECONDS")),
            log_unwatched=_required("LOG_UNWATCHED") == "true",
        )


def _share_of_rate() -> float:
    """Return the limit of all posting instances over how many of them there may be.

    CloudFormation cannot divide, so the template hands over the parts.
    """
    instances = int(_required("NOTIFIER_MAX_CONCURRENCY")) + int(
        _required("DELIVER_MAX_CONCURRENCY")
    )
    return int(_required("POSTS_PER_SECOND")) / instances
