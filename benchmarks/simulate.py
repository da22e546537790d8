"""Simulate one event with many subscribers: how long until the last frame, and at what price.

    python -m benchmarks.simulate

What is simulated is the path of functions/push: one notifier walks the subscribers and hands
chunks to the delivery queue; as many couriers as may run at once take them, each at its share of
the rate. Times of single calls are assumptions, listed below, and posts are as fast as the share
allows: the engine's own speed is far above it (make bench).
"""

import argparse
import heapq
from dataclasses import dataclass

from benchmarks.prices import (
    DYNAMODB_READ_UNIT,
    LAMBDA_GB,
    LAMBDA_GB_SECOND,
    SQS_REQUEST,
    WEBSOCKET_MESSAGE_OF_32_KB,
)

# Seconds of a call within a Region, as one would hope for; DynamoDB's own figure is "single-digit
# milliseconds", a page of 1 MB takes longer.
PAGE_SECONDS = 0.040
NOTE_SECONDS = 0.005
SEND_BATCH_SECONDS = 0.015
RECEIVE_SECONDS = 0.020
# Measured (see docs/scaling.md): the processor time to read one subscriber, key only.
READ_SECONDS_PER_ID = 4.2e-6
IDS_PER_PAGE = 7_000
BYTES_PER_SUBSCRIPTION = 150
CHUNKS_PER_NOTE = 10

# First-tier on-demand price of a write request unit in us-east-1.
# https://aws.amazon.com/dynamodb/pricing/on-demand/
DYNAMODB_WRITE_UNIT = 0.625e-6


@dataclass(frozen=True)
class Scenario:
    """One event; `failing` is the share of posts that are answered 429 or 5xx, each time."""

    subscribers: int
    posts_per_second: int
    notifiers: int
    couriers: int
    chunk_size: int = 1_000
    failing: float = 0.0


@dataclass(frozen=True)
class Result:
    """Times in seconds, from the start of the notifier; prices in dollars."""

    half: float
    last: float
    invocations: int
    lambda_seconds: float
    posts: float
    dollars: float


def simulate(scenario: Scenario) -> Result:
    """Follow all chunks of an event through the couriers."""
    share = scenario.posts_per_second / (scenario.notifiers + scenario.couriers)
    posts_per_id = 1 / (1 - scenario.failing)
    if scenario.subscribers <= scenario.chunk_size:
        # Posted straight away: no queue, no other function.
        end = PAGE_SECONDS + 2 * NOTE_SECONDS + scenario.subscribers * posts_per_id / share
        return _result(scenario, [end], 1, end, messages=0)
    free = [0.0] * scenario.couriers
    heapq.heapify(free)
    ends = []
    busy = 0.0
    handed = _handed_over(scenario)
    for at, size in handed:
        start = max(at + RECEIVE_SECONDS, heapq.heappop(free))
        end = start + 2 * NOTE_SECONDS + size * posts_per_id / share
        busy += end - start
        ends.append(end)
        heapq.heappush(free, end)
    walk = handed[-1][0]
    return _result(scenario, sorted(ends), 1 + len(handed), walk + busy, messages=len(handed))


def _handed_over(scenario: Scenario) -> list[tuple[float, int]]:
    """Return when the walk hands each chunk to the queue, and its size."""
    now = 0.0
    read = 0
    handed: list[tuple[float, int]] = []
    sizes = [scenario.chunk_size] * (scenario.subscribers // scenario.chunk_size)
    if rest := scenario.subscribers % scenario.chunk_size:
        sizes.append(rest)
    for start in range(0, len(sizes), CHUNKS_PER_NOTE):
        group = sizes[start : start + CHUNKS_PER_NOTE]
        wanted = sum(group)
        pages = -(-(read + wanted) // IDS_PER_PAGE) - -(-read // IDS_PER_PAGE)
        read += wanted
        now += pages * PAGE_SECONDS + wanted * READ_SECONDS_PER_ID + SEND_BATCH_SECONDS
        handed += [(now, size) for size in group]
        now += NOTE_SECONDS
    return handed


def _result(
    scenario: Scenario, ends: list[float], invocations: int, seconds: float, messages: int
) -> Result:
    posts = scenario.subscribers / (1 - scenario.failing)
    reads = scenario.subscribers * BYTES_PER_SUBSCRIPTION / 4096
    # Two for each job, and one for each note of the walk.
    writes = 2 * invocations + messages / CHUNKS_PER_NOTE
    dollars = (
        posts * WEBSOCKET_MESSAGE_OF_32_KB
        + seconds * LAMBDA_GB * LAMBDA_GB_SECOND["arm64"]
        + invocations * 0.20e-6
        + (3 * messages + 3) * SQS_REQUEST
        + reads * DYNAMODB_READ_UNIT
        + writes * DYNAMODB_WRITE_UNIT
    )
    half = ends[len(ends) // 2]
    return Result(half, ends[-1], invocations, seconds, posts, dollars)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--posts-per-second", type=int, default=8_000, help="PostsPerSecond")
    parser.add_argument("--notifiers", type=int, default=5, help="NotifierMaxConcurrency")
    parser.add_argument("--couriers", type=int, default=5, help="DeliverMaxConcurrency")
    parser.add_argument("--failing", type=float, default=0.0, help="share of posts that fail")
    options = parser.parse_args()
    print("| subscribers | half after | last after | invocations | Lambda seconds | dollars |")
    print("|---:|---:|---:|---:|---:|---:|")
    for subscribers in (10, 1_000, 10_000, 100_000, 1_000_000):
        result = simulate(
            Scenario(
                subscribers,
                options.posts_per_second,
                options.notifiers,
                options.couriers,
                failing=options.failing,
            )
        )
        print(
            f"| {subscribers:,} | {result.half:.2f} s | {result.last:.2f} s "
            f"| {result.invocations:,} | {result.lambda_seconds:,.1f} | {result.dollars:.6f} |"
        )


if __name__ == "__main__":
    main()
