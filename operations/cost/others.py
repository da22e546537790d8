"""The same load elsewhere. What is compared, and what is not, is in docs/cost.md."""

from dataclasses import replace
from math import ceil

from operations.cost import usage
from operations.cost.bill import Bill, Item, items_of
from operations.cost.load import DAYS_PER_MONTH, LEAST_RECONNECTS, SECONDS_PER_MONTH, Load
from operations.cost.prices import prices

_OPERATION_BYTES = 5 * usage.KB
_FREE_MESSAGES = 1_000_000


def appsync(load: Load) -> Bill:
    """Price AppSync Events: it ends connections after a day, and clients need not ping.

    Events still come from EventBridge, by an API destination.
    """
    listed = prices()
    steps = ceil(load.frame / _OPERATION_BYTES)
    opened = load.connections * (load.reconnects - LEAST_RECONNECTS + 1) * DAYS_PER_MONTH
    chunks = load.events * ceil((load.frame + usage.KB) / usage.CHUNK_BYTES)
    sent = load.frames * load.frame / usage.GB
    minutes = load.connections * SECONDS_PER_MONTH / 60

    def one(service: str, what: str, price: str, quantity: float, unit: str) -> Item:
        return Item(service, what, quantity, unit, listed[price].of(quantity))

    return Bill(
        load,
        (
            *items_of(
                "AppSync",
                listed["appsync_operation"],
                "operations",
                {
                    "frames": load.frames * steps,
                    "events in": load.events * steps,
                    "handshakes, subscriptions": opened * (1 + load.topics),
                },
            ),
            one("AppSync", "connections", "appsync_minute", minutes, "minutes"),
            one("EventBridge", "events", "eventbridge_event", chunks, "events"),
            one("EventBridge", "to AppSync", "eventbridge_api_destination", chunks, "events"),
            one("Data transfer", "to clients", "transfer_gb", sent, "GB"),
        ),
    )


def hotsock(load: Load) -> Bill:
    """Price what is known of Hotsock: what API Gateway takes for the same, and the licence.

    What its functions, table and queues use is not known, so this is a bound from below.
    """
    listed = prices()
    messages = usage.messages(load)
    minutes = load.connections * SECONDS_PER_MONTH / 60
    licence = listed["hotsock_licence"].of(sum(messages.values()) > _FREE_MESSAGES)
    sent = usage.sent_gb(replace(load, missed=0))
    return Bill(
        load,
        (
            *items_of("API Gateway", listed["websocket_message"], "messages", messages),
            Item(
                "API Gateway", "connections", minutes, "minutes",
                listed["websocket_minute"].of(minutes),
            ),
            Item("Hotsock", "licence", 1, "months", licence),
            Item("Data transfer", "to clients", sent, "GB", listed["transfer_gb"].of(sent)),
        ),
    )  # fmt: skip
