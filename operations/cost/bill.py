"""The bill: what a load uses, times prices."""

from dataclasses import dataclass
from math import ceil

from operations.cost import usage
from operations.cost.load import SECONDS_PER_MONTH, Load
from operations.cost.prices import Price, Prices, prices
from operations.cost.stack import Stack, stack

# Of the bytes that came, what CloudWatch bills for keeping them: AWS's calculator takes this.
_COMPRESSED = 0.15


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill.

    Attributes:
        quantity: in `unit`s, in a month.
    """

    service: str
    what: str
    quantity: float
    unit: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Bill:
    """What a load costs in a month."""

    load: Load
    items: tuple[Item, ...]

    @property
    def dollars(self) -> float:
        return sum(item.dollars for item in self.items)

    def of(self, service: str) -> float:
        return sum(item.dollars for item in self.items if item.service == service)

    @property
    def per_million_frames(self) -> float | None:
        return self.dollars / self.load.frames * 1e6 if self.load.frames else None


def items_of(service: str, price: Price, unit: str, quantities: dict[str, float]) -> list[Item]:
    """Return lines that share a price: its tiers count them together, each pays its part."""
    total = sum(quantities.values())
    each = price.of(total) / total if total else 0
    return [
        Item(service, what, quantity, unit, quantity * each)
        for what, quantity in quantities.items()
    ]


def bill(load: Load, listed: Prices | None = None, parts: Stack | None = None) -> Bill:
    """Return the bill of a load."""
    listed, parts = listed or prices(), parts or stack()

    def one(service: str, what: str, price: str, quantity: float, unit: str) -> Item:
        return Item(service, what, quantity, unit, listed[price].of(quantity))

    minutes = load.connections * SECONDS_PER_MONTH / 60
    messages = listed["websocket_message"]
    work = usage.work(load)
    units = usage.units(load)
    stored = usage.stored_gb(load)
    logged = usage.logged_gb(load)
    kept = logged * _COMPRESSED * load.retention * 24 * 3600 / SECONDS_PER_MONTH
    alarms = parts.alarm_metrics_with_tokens if load.tokens else parts.alarm_metrics
    chunks = load.events * ceil((load.frame + usage.KB) / usage.CHUNK_BYTES)
    items = [
        *items_of("API Gateway", messages, "messages", usage.messages(load)),
        one("API Gateway", "connections", "websocket_minute", minutes, "minutes"),
        *items_of(
            "Lambda",
            listed["lambda_request"],
            "requests",
            {"requests": sum(each.invocations for each in work)},
        ),
        *items_of(
            "Lambda",
            listed[f"lambda_gb_second_{load.architecture}"],
            "GB-s",
            {each.function: usage.gb_seconds(each, parts) for each in work},
        ),
        one("DynamoDB", "writes", "dynamodb_write_unit", units.writes, "units"),
        one("DynamoDB", "reads", "dynamodb_read_unit", units.reads, "units"),
        one("DynamoDB", "storage", "dynamodb_gb_month", stored, "GB"),
        *items_of(
            "SQS",
            listed["sqs_request"],
            "requests",
            usage.queue_requests(load, parts.polled),
        ),
        one("EventBridge", "events", "eventbridge_event", chunks, "events"),
        one("CloudWatch", "logs", "logs_gb", logged, "GB"),
        one("CloudWatch", "logs kept", "logs_gb_month", kept, "GB"),
        one("CloudWatch", "metrics", "metric", parts.metrics, "metrics"),
        one("CloudWatch", "alarms", "alarm_metric", alarms, "metrics"),
        one("X-Ray", "traces, at most", "trace", usage.traces(load), "traces"),
        one("Data transfer", "to clients", "transfer_gb", usage.sent_gb(load), "GB"),
    ]
    if load.recovery:
        items.append(one("DynamoDB", "recovery", "dynamodb_recovery_gb_month", stored, "GB"))
    if load.dashboard:
        items.append(one("CloudWatch", "dashboard", "dashboard", parts.dashboards, "dashboards"))
    if load.tokens:
        items.append(one("Secrets Manager", "secret", "secret", 1, "secrets"))
    order = list(dict.fromkeys(item.service for item in items))
    return Bill(load, tuple(sorted(items, key=lambda item: order.index(item.service))))
