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


def with_tokens() -> bool:
    """Whether who connects needs a token."""
    return _required("AUTHENTICATION") == "JWT"


def with_tenants() -> bool:
    """Whether every topic is a tenant's, whom a claim of the token names."""
    return with_tokens() and bool(os.environ.get("TENANT_CLAIM"))


def max_connections_per_user() -> int:
    return int(_required("MAX_CONNECTIONS_PER_USER"))


def connections_endpoint() -> str:
    """Return the API's own address with the stage.

    One built from an event's `domainName` would be wrong behind a custom domain.
    """
    return _required("CONNECTIONS_ENDPOINT")


def longest_token_seconds() -> int:
    return int(_required("LONGEST_TOKEN_SECONDS"))


def token_in_query_string() -> bool:
    return _required("TOKEN_IN_QUERY_STRING") == "true"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What a token has to say, and whose keys it is signed with.

    Attributes:
        keys_url: address of a JWKS; empty if tokens are signed with the secret.
        secret_arn: of the secret, in Secrets Manager.
    """

    issuer: str
    audience: str
    audience_claim: str
    grants_claim: str
    tenant_claim: str
    longest_seconds: int
    keys_url: str
    secret_arn: str

    @classmethod
    def from_environment(cls) -> "TokenSettings":
        return cls(
            issuer=_required("TOKEN_ISSUER"),
            audience=_required("TOKEN_AUDIENCE"),
            audience_claim=_required("TOKEN_AUDIENCE_CLAIM"),
            grants_claim=_required("GRANTS_CLAIM"),
            tenant_claim=os.environ.get("TENANT_CLAIM", ""),
            longest_seconds=longest_token_seconds(),
            keys_url=os.environ.get("TOKEN_KEYS_URL", ""),
            secret_arn=os.environ.get("TOKEN_SECRET_ARN", ""),
        )


def grants_delimiter() -> str:
    return _required("GRANTS_DELIMITER")


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What the functions that post need besides the table.

    Attributes:
        queue_url: of the queue that the function reads.
        dead_letter_queue_url: of that queue's dead letters.
        posts_per_second: this instance's share of the rate that all instances may reach together.
        subscribers_per_delivery: how many subscribers one walk may have.
    """

    queue_url: str
    delivery_queue_url: str
    dead_letter_queue_url: str
    posts_per_second: float
    subscribers_per_delivery: int

    @classmethod
    def from_environment(cls) -> "DeliverySettings":
        return cls(
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
