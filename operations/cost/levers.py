"""What changes the bill of a load."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from operations.cost.bill import bill
from operations.cost.load import Load

# One change each; where it is so already, it is left out.
LEVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping after 60 s of silence instead of 480", {"ping": 60}),
    ("history of a day instead of 7", {"history": 1}),
    ("history of 14 days instead of 7", {"history": 14}),
    ("events in bursts, ten to an invocation", {"batch": 10}),
    ("`LogLevel=WARN`", {"log": "WARN"}),
    ("`LogLevel=DEBUG`", {"log": "DEBUG"}),
    ("logs kept for 7 days instead of 30", {"retention": 7}),
    ("`AccessLogs=true`", {"access_logs": True}),
    ("`PointInTimeRecovery=true`", {"recovery": True}),
    ("`Dashboard=true`", {"dashboard": True}),
    ("`FunctionArchitecture=x86_64`", {"architecture": "x86_64"}),
    ("`Authentication=JWT`", {"tokens": True}),
    ("a frame of 1,000 bytes instead of 600", {"frame": 1_000}),
    ("a frame of 33 KB instead of 600 bytes", {"frame": 33 * 1024}),
    ("one entity for a connection instead of 5", {"topics": 1}),
    ("a line that breaks every hour", {"reconnects": 24}),
)

# It shows where events have many subscribers.
LARGE = Load(connections=100_000, events=10_000, subscribers=10_000)
LARGE_LEVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`SubscribersPerDelivery=500`", {"walk": 500}),
    ("`SubscribersPerDelivery=100`", {"walk": 100}),
)


def effects(
    load: Load, levers: tuple[tuple[str, dict[str, Any]], ...]
) -> Iterator[tuple[str, float]]:
    """Yield each lever, and how many dollars a month it adds."""
    before = bill(load).dollars
    for says, change in levers:
        if (after := replace(load, **change)) != load:
            yield says, bill(after).dollars - before
