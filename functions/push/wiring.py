"""Puts the parts of the functions together. Nothing else makes a client, or reads a setting.

Lambda gives a function a whole core while it initializes, and a share of one afterwards; so what
can be made then is made then, once for all invocations.
"""

import gc
import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

from push.access import Access
from push.adapters.table import Table
from push.settings import (
    DeliverySettings,
    LogSettings,
    TokenSettings,
    connections_endpoint,
    grants_delimiter,
    longest_token_seconds,
    max_subscriptions_per_connection,
    table_name,
    with_tenants,
    with_tokens,
)
from push.subscriptions import Subscriptions
from push.topics import Log

if TYPE_CHECKING:
    from identity.tokens import Verifier
    from management_api import Exchange
    from push.batches import Posting
    from push.closing import ShuttingOut
    from push.renewal import Renewal

T = TypeVar("T")

# Of a function that closes connections or says something to one: far below any quota.
_MODEST_RATE = 100.0

# A call to a service in the same Region takes milliseconds. Short timeouts leave time for another
# try inside the ten seconds that a route has. What is sent is checked by tests, not at every call.
_FAST = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=20,
    parameter_validation=False,
    # botocore would compose its own anew for every request, for an eighth of what that costs.
    user_agent="websocket-notifications",
)


def _is_in_lambda() -> bool:
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


# Modules and clients are hundreds of thousands of small objects, over which the garbage collector
# would go again and again in vain. Every function that imports this ends it with the next.
if _is_in_lambda():
    gc.disable()


def at_initialization(make: Callable[[], T]) -> Callable[[], T]:
    """Return a cached function; in Lambda, call it now, while the function initializes."""
    if _is_in_lambda():
        try:
            make()
        finally:
            # What there is now stays as long as the function does.
            gc.freeze()
            gc.enable()
    return make


@cache
def _client(service: str) -> Any:
    """Return a client; those of boto3 are the same, a little later."""
    return _session().create_client(service, config=_FAST)


@cache
def _session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _Loader())
    return session


class _Loader(Loader):
    """Finds the descriptions of services.

    Before it loads one, botocore looks through the folders of all 400, twice, and reads a list of
    all services' endpoints that it does not need: rules beside each description say where requests
    go. That is a fifth of the cold start of a function that makes a client.
    """

    def list_available_services(self, type_name: str) -> list[str]:
        return ["dynamodb", "sqs", "secretsmanager"]

    def load_data_with_path(self, name: str) -> Any:
        if name == "endpoints":
            return {"partitions": []}, self.BUILTIN_DATA_PATH
        return super().load_data_with_path(name)


@cache
def table() -> Table:
    return Table(_client("dynamodb"), table_name())


def access() -> Access | None:
    """Return the rules where tokens are asked for."""
    return Access(grants_delimiter(), with_tenants()) if with_tokens() else None


@cache
def subscriptions() -> Subscriptions:
    return Subscriptions(table(), access=access())


@cache
def limited_subscriptions() -> Subscriptions:
    """Return those that can be added to, up to the limit."""
    return Subscriptions(
        table(), access=access(), max_per_connection=max_subscriptions_per_connection()
    )


@cache
def verifier() -> "Verifier":
    """Return what verifies tokens, by the keys of the issuer, or by the stack's secret."""
    # Here, and not above: cryptography takes as long to import as everything else together.
    from identity.keys import JwksKeys, SecretKeys  # noqa: PLC0415
    from identity.tokens import Rules, Verifier  # noqa: PLC0415

    settings = TokenSettings.from_environment()
    rules = Rules(
        issuer=settings.issuer,
        audience=settings.audience,
        audience_claim=settings.audience_claim,
        tenant_claim=settings.tenant_claim,
        grants_claim=settings.grants_claim,
        longest_seconds=settings.longest_seconds,
    )
    if settings.keys_url:
        return Verifier(JwksKeys(settings.keys_url), rules)
    secrets = _client("secretsmanager")
    secret = secrets.get_secret_value(SecretId=settings.secret_arn)["SecretString"]
    return Verifier(SecretKeys(secret), rules)


@cache
def shutting_out() -> "tuple[Exchange, ShuttingOut]":
    from push.closing import ShuttingOut  # noqa: PLC0415

    exchange = _exchange()
    return exchange, ShuttingOut(table(), exchange.window)


@cache
def renewal() -> "Renewal | None":
    """Return what takes new tokens; None where they are not asked for."""
    if (rules := access()) is None:
        return None
    # Only now: it needs the posting engine.
    from push.renewal import Renewal  # noqa: PLC0415

    return Renewal(table(), verifier(), rules, _exchange())


@cache
def notifier() -> "Posting":
    settings = LogSettings.from_environment()
    log = Log(table(), kept_seconds=settings.history_seconds)
    return _posting(
        log, log_unwatched=settings.log_unwatched, revoked_seconds=longest_token_seconds()
    )


@cache
def courier() -> "Posting":
    return _posting(Log(table()), log_unwatched=False)


def _posting(log: Log, *, log_unwatched: bool, revoked_seconds: int = 0) -> "Posting":
    # Here, and not above: a route's cold start would pay for what it never uses.
    from push.adapters.queues import DeadLetters, Letters, Receipts  # noqa: PLC0415
    from push.batches import RECORDS_PER_BATCH, Posting  # noqa: PLC0415
    from push.delivery import Unresponsive  # noqa: PLC0415

    settings, sqs = DeliverySettings.from_environment(), _client("sqs")
    return Posting(
        table=table(),
        log=log,
        log_unwatched=log_unwatched,
        access=access(),
        with_tenants=with_tenants(),
        revoked_seconds=revoked_seconds,
        subscribers_per_delivery=settings.subscribers_per_delivery,
        exchange=_exchange(settings.posts_per_second, RECORDS_PER_BATCH),
        letters=Letters(sqs, settings.delivery_queue_url),
        dead_letters=DeadLetters(sqs, settings.dead_letter_queue_url),
        receipts=Receipts(sqs, settings.queue_url),
        unresponsive=Unresponsive(),
    )


def _exchange(rate_per_second: float = _MODEST_RATE, threads: int = 1) -> "Exchange":
    from management_api import Exchange, ManagementApi  # noqa: PLC0415

    api = ManagementApi(connections_endpoint(), rate_per_second=rate_per_second, session=_session())
    return Exchange(api, threads)
