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

from push.adapters.table import Table
from push.settings import (
    DeliverySettings,
    LogSettings,
    max_subscriptions_per_connection,
    table_name,
)
from push.subscriptions import Subscriptions
from push.topics import Log

if TYPE_CHECKING:
    from push.batches import Posting

T = TypeVar("T")

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


def at_initialization(make: Callable[[], T]) -> Callable[[], T]:
    """Return a cached function; in Lambda, call it now, while the function initializes."""
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        make()
    return make


@cache
def _client(service: str) -> Any:
    """Return a client; those of boto3 are the same, a little later.

    A service's description is tens of thousands of small objects, over which the garbage collector
    would go again and again in vain: that is half the time that a client takes to be made.
    """
    gc.disable()
    try:
        return _session().create_client(service, config=_FAST)
    finally:
        # They stay as long as the function does.
        gc.freeze()
        gc.enable()


@cache
def _session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _Loader())
    return session


class _Loader(Loader):
    """Finds the descriptions of services.

    Before it loads one, botocore looks through the folders of all 400, twice. That is a tenth of
    the cold start of a function that makes a client.
    """

    def list_available_services(self, type_name: str) -> list[str]:
        return ["dynamodb", "sqs"]


@cache
def table() -> Table:
    return Table(_client("dynamodb"), table_name())


@cache
def subscriptions() -> Subscriptions:
    return Subscriptions(table())


@cache
def limited_subscriptions() -> Subscriptions:
    """Return those that can be added to, up to the limit."""
    return Subscriptions(table(), max_per_connection=max_subscriptions_per_connection())


@cache
def notifier() -> "Posting":
    settings = LogSettings.from_environment()
    log = Log(table(), kept_seconds=settings.history_seconds)
    return _posting(log, log_unwatched=settings.log_unwatched)


@cache
def courier() -> "Posting":
    return _posting(Log(table()), log_unwatched=False)


def _posting(log: Log, *, log_unwatched: bool) -> "Posting":
    # Here, and not above: a route's cold start would pay for what it never uses.
    from management_api import Exchange, ManagementApi  # noqa: PLC0415
    from push.adapters.queues import DeadLetters, Letters, Receipts  # noqa: PLC0415
    from push.batches import RECORDS_PER_BATCH, Posting  # noqa: PLC0415
    from push.delivery import Unresponsive  # noqa: PLC0415

    settings, sqs = DeliverySettings.from_environment(), _client("sqs")
    api = ManagementApi(
        settings.connections_endpoint,
        rate_per_second=settings.posts_per_second,
        session=_session(),
    )
    return Posting(
        table=table(),
        log=log,
        log_unwatched=log_unwatched,
        subscribers_per_delivery=settings.subscribers_per_delivery,
        exchange=Exchange(api, RECORDS_PER_BATCH),
        letters=Letters(sqs, settings.delivery_queue_url),
        dead_letters=DeadLetters(sqs, settings.dead_letter_queue_url),
        receipts=Receipts(sqs, settings.queue_url),
        unresponsive=Unresponsive(),
    )
