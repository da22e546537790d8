"""Measure the local gateway: memory of idle connections, and what it adds to a round trip.

From the repository's root, with EMULATOR_PYTHON as for the suite (see docs/local-gateway.md)::

    PYTHONPATH=tests python -m benchmarks.gateway

Memory: the gateway runs in a process of its own, and so do the clients, which are raw
sockets that have done the handshake, so that nothing of theirs is counted. What is printed
is the resident set of the gateway before and after. The stage has no ``$connect`` route:
functions are not part of the question.

Round trip: in one run, in turns, (a) a message through the gateway to a two-way route, from
sending the frame to receiving the reply's, and (b) the same event passed to the same function
through the Lambda API, by the client that the gateway itself uses. The difference of each
pair is what the gateway, and a second hop on the loopback, add.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from botocore.credentials import Credentials
from websockets.asyncio.client import connect

from conformance import deploy
from local.gateway.lambdas import Lambdas

TARGET_RSS_MB = 400
TARGET_ADDED_MS = 5.0

HANDSHAKE = (
    "GET /open HTTP/1.1\r\nHost: benchmark\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def raise_descriptor_limit() -> int:
    """Take all the descriptors that are allowed, and return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def rss_mb(process_id: int) -> float:
    """Return the resident set of a process, in MB of 10^6 bytes."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def hold(url: str, count: int) -> None:
    """Open ``count`` idle connections, print ``open``, and hold them until standard input ends."""
    raise_descriptor_limit()
    parts = urlsplit(url)
    gate = asyncio.Semaphore(100)

    async def open_one() -> asyncio.StreamWriter:
        async with gate:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(HANDSHAKE.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head.split(b"\r\n")[0], head
            return writer

    writers = await asyncio.gather(*(open_one() for _ in range(count)))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for writer in writers:
        writer.close()


def measure_memory(stack: deploy.Stack, directory: Path, count: int) -> float:
    """Print the gateway's memory under ``count`` idle connections; return it in MB."""
    # The account quota of requests would refuse handshakes at this pace.
    options = ("--throttle-rate", "1000000", "--throttle-burst", "1000000")
    quiet = ("--log-level", "WARNING")
    with deploy.gateway(stack, stack.plain_api, directory, *options, *quiet) as gateway:
        before = rss_mb(gateway.process.pid)
        started = time.perf_counter()
        clients = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gateway", "--hold", gateway.url, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert clients.stdin and clients.stdout
        line = clients.stdout.readline().strip()
        assert line == "open", "the clients could not all connect"
        took = time.perf_counter() - started
        after = rss_mb(gateway.process.pid)
        clients.stdin.close()
        clients.wait(60)
    print(
        f"memory: {count} idle connections: {after:.0f} MB RSS ({before:.0f} MB without,"
        f" {(after - before) * 1000 / count:.1f} kB each; target < {TARGET_RSS_MB} MB);"
        f" opened in {took:.1f} s"
    )
    return after


async def measure_round_trip(stack: deploy.Stack, url: str, count: int) -> float:
    """Print the medians of ``count`` pairs; return what is added, in ms."""
    functions = deploy.client("lambda", stack.endpoint_url).list_functions()["Functions"]
    names = {function["FunctionName"]: function["FunctionArn"] for function in functions}
    arn = next(arn for name, arn in names.items() if "-MessageFunction-" in name)
    key = deploy.CREDENTIALS
    credentials = Credentials(key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"])
    lambdas = Lambdas(stack.endpoint_url, deploy.REGION, credentials)
    through, direct, added = [], [], []
    async with connect(f"{url}/open", compression=None, ping_interval=None) as client:
        await client.send("{}")
        event = json.loads(await client.recv())["event"]
        for number in range(count + 10):
            started = time.perf_counter()
            await client.send("{}")
            await client.recv()
            sent = time.perf_counter()
            await lambdas.invoke(arn, event, 29_000)
            ended = time.perf_counter()
            # The first few warm the connections and the function.
            if number >= 10:
                through.append((sent - started) * 1000)
                direct.append((ended - sent) * 1000)
                added.append(through[-1] - direct[-1])
    await lambdas.close()
    deciles = statistics.quantiles(added, n=10)
    print(
        f"round trip: {count} pairs: through the gateway {statistics.median(through):.2f} ms,"
        f" Lambda API alone {statistics.median(direct):.2f} ms (medians);"
        f" added {statistics.median(added):.2f} ms at the median, 10th to 90th percentile"
        f" {deciles[0]:.2f} to {deciles[-1]:.2f} ms (target < {TARGET_ADDED_MS} ms)"
    )
    return statistics.median(added)


def main() -> int:
    """Measure both, and return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=5000, help="idle connections to hold")
    parser.add_argument("--pairs", type=int, default=300, help="round trips to measure")
    parser.add_argument("--hold", nargs=2, metavar=("URL", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        asyncio.run(hold(options.hold[0], int(options.hold[1])))
        return 0
    limit = raise_descriptor_limit()
    if limit < options.connections + 100:
        print(f"{limit} descriptors are too few: raise the hard limit (ulimit -Hn)")
        return 1
    print(
        f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} processors,"
        f" Python {platform.python_version()}"
    )
    python = os.environ.get("EMULATOR_PYTHON", str(deploy.ROOT / ".local/emulator/bin/python"))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with deploy.emulator(python, directory) as url:
            stack = deploy.deploy(url, python, directory)
            with deploy.gateway(stack, stack.plain_api, directory) as gateway:
                added = asyncio.run(measure_round_trip(stack, gateway.url, options.pairs))
            used = measure_memory(stack, directory, options.connections)
    return 0 if used < TARGET_RSS_MB and added < TARGET_ADDED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
