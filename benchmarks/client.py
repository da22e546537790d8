"""One measured run of one way of posting, in a process of its own; prints what it cost as JSON."""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from management_api import Outcome, Payload, Request, Result

# About the size of a frame.
_BODY = json.dumps(
    {
        "type": "Entity Updated",
        "entityId": "order-4711",
        "message": "Your order has left the warehouse.",
        "id": "7b1c2d3e-0000-4000-8000-000000000000",
        "time": "2026-11-24T10:00:00Z",
        "cursor": "MDAwMDAwMDAwMDAwMDA0NzEx",
    }
).encode()


class Poster(Protocol):
    """A way of posting: sends each request once, and yields one outcome for each."""

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]: ...


def poster(way: str, endpoint: str) -> Poster:
    """Return a poster; its imports are part of no other way's memory."""
    match way:
        case "engine":
            from management_api import ManagementApi  # noqa: PLC0415

            return ManagementApi(endpoint)
        case "asyncio":
            from benchmarks.asyncio_poster import AsyncioPoster  # noqa: PLC0415

            return AsyncioPoster(endpoint)
        case "boto3":
            from benchmarks.boto3_poster import Boto3Poster  # noqa: PLC0415

            return Boto3Poster(endpoint)
    raise ValueError(way)


def posts(count: int) -> Iterator[Request]:
    """Yield posts of one payload to connection ids that look like those of API Gateway."""
    payload = Payload(_BODY)
    for number in range(count):
        yield Request.post(f"L0SM{number:08x}IhQ=", payload)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of another process, 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    ticks_per_second: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks_per_second


def peak_mb() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes.
    return kilobytes / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["engine", "asyncio", "boto3"])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--posts", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--sink-pid", type=int, required=True)
    arguments = parser.parse_args()

    measured = poster(arguments.way, arguments.endpoint)
    for _ in measured.run(posts(arguments.warm_up)):
        pass
    sink, cpu, start = cpu_seconds(arguments.sink_pid), time.process_time(), time.perf_counter()
    delivered = 0
    for outcome in measured.run(posts(arguments.posts)):
        delivered += outcome.result is Result.OK
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    sink = cpu_seconds(arguments.sink_pid) - sink
    if delivered != arguments.posts:
        raise SystemExit(f"{arguments.posts - delivered} posts were not delivered")
    json.dump(
        {
            "posts_per_second": arguments.posts / seconds,
            "cpu_ms": 1000 * cpu / arguments.posts,
            "peak_mb": peak_mb(),
            "sink_share": sink / seconds,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
