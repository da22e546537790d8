"""Compare ways to post to many connections: processor time, speed, memory and dollars.

A sink on one core answers each post after 10 ms over TLS 1.3; each run of a way is a process of
its own on another core, warmed up before it is measured. The ways take turns, and the table holds
their medians.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from benchmarks.certificate import write_certificate
from benchmarks.machine import cores, facts, measured, say, server, stay_on, table
from benchmarks.prices import (
    MILLION,
    QUOTA_POSTS_PER_SECOND,
    ServicePrices,
    lambda_dollars_per_million,
)

_NODE = Path(__file__).parent / "node"
_SERVICE_MS = 10
# Above this share of its core, the sink slows down what it measures.
_SINK_TOO_BUSY = 0.9


@dataclass(frozen=True)
class Way:
    """A way of posting, and how many posts make a run of a few seconds."""

    name: str
    title: str
    posts: int
    warm_up: int
    many: int
    """The larger number of ids for memory; with slow ways, 100,000 would take minutes."""


WAYS = [
    Way("engine", "this engine", 30_000, 3_000, 100_000),
    Way("asyncio", "asyncio protocols, same signer", 15_000, 3_000, 100_000),
    Way("boto3", "boto3, 32 threads", 3_000, 500, 5_000),
    Way("node", "Node, AWS SDK v3, Promise.all", 3_000, 500, 5_000),
]
_FEW = 1_000
# Enough to see that everything runs; the figures mean nothing.
_QUICK_WAYS = [
    replace(way, posts=300, warm_up=100, many=2_000) for way in WAYS if way.name != "node"
]


@dataclass(frozen=True)
class Run:
    posts_per_second: float
    cpu_ms: float
    peak_mb: float
    sink_share: float


@dataclass(frozen=True)
class Sink:
    endpoint: str
    pid: int
    certificate: Path


@contextmanager
def running_sink(folder: Path, core: int | None) -> Iterator[Sink]:
    """Run the sink in a process of its own, on `core` if the machine lets us choose."""
    certificate = folder / "sink.pem"
    write_certificate(certificate)
    options = ("--service-ms", str(_SERVICE_MS), "--certificate", str(certificate))
    with server("sink", *options, core=core) as sink:
        yield Sink(f"https://127.0.0.1:{sink.port}/v1", sink.pid, certificate)


def run(way: Way, sink: Sink, posts: int, warm_up: int) -> Run:
    """Measure one run in a new process."""
    if way.name == "node":
        command = ["node", str(_NODE / "post.mjs"), sink.endpoint, str(posts), str(warm_up)]
    else:
        command = [
            sys.executable, "-m", "benchmarks.client", way.name, "--endpoint", sink.endpoint,
            "--posts", str(posts), "--warm-up", str(warm_up), "--sink-pid", str(sink.pid),
        ]  # fmt: skip
    environment = {
        "AWS_CA_BUNDLE": str(sink.certificate),
        "NODE_EXTRA_CA_CERTS": str(sink.certificate),
        "NODE_NO_WARNINGS": "1",
    }
    return Run(**measured(command, environment))


def node_is_ready() -> bool:
    """Install what the Node way needs; say why if it has to be left out."""
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        say("Node is left out: there is no node, or no npm.")
        return False
    if not (_NODE / "node_modules").exists():
        say("Installing the AWS SDK for JavaScript ...")
        install = subprocess.run(
            [npm, "install", "--silent", "--no-fund", "--no-audit", "--no-package-lock"],
            cwd=_NODE, check=False,
        )  # fmt: skip
        if install.returncode:
            say("Node is left out: npm could not install the AWS SDK.")
            return False
    return True


@dataclass(frozen=True)
class Result:
    way: Way
    steady: Run
    few_mb: float
    many_mb: float

    @property
    def bytes_per_id(self) -> float:
        return (self.many_mb - self.few_mb) * 1024 * 1024 / (self.way.many - _FEW)


def measure(ways: Sequence[Way], sink: Sink, rounds: int) -> list[Result]:
    """Run all ways in turn, `rounds` times, then once each for memory with few and many ids."""
    runs: dict[Way, list[Run]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            say(f"round {number + 1} of {rounds}: {way.title}")
            runs[way].append(run(way, sink, way.posts, way.warm_up))
    results = []
    for way in ways:
        say(f"memory: {way.title}, {_FEW:,} and {way.many:,} ids")
        few_mb, many_mb = (run(way, sink, ids, 0).peak_mb for ids in (_FEW, way.many))
        results.append(Result(way, median(runs[way]), few_mb, many_mb))
    return results


def median(runs: Sequence[Run]) -> Run:
    """Return the median of each figure."""
    return Run(
        **{
            field.name: statistics.median(getattr(run, field.name) for run in runs)
            for field in fields(Run)
        }
    )


def report(results: Sequence[Result]) -> str:
    """Return the table."""
    baseline = next(result.steady.cpu_ms for result in results if result.way.name == "boto3")
    columns = (
        "way of posting", "CPU ms/post", "boto3 =", "posts/s",
        "MB, 1,000 ids", "MB, many ids", "bytes/id", "arm64 $/M", "x86 $/M",
    )  # fmt: skip
    rows = [
        (
            result.way.title,
            f"{result.steady.cpu_ms:.3f}",
            f"1/{baseline / result.steady.cpu_ms:.1f}",
            f"{result.steady.posts_per_second:,.0f}",
            f"{result.few_mb:.0f}",
            f"{result.many_mb:.0f} ({result.way.many:,})",
            f"{result.bytes_per_id:,.0f}",
            f"{lambda_dollars_per_million(result.steady.posts_per_second, 'arm64'):.4f}",
            f"{lambda_dollars_per_million(result.steady.posts_per_second, 'x86_64'):.4f}",
        )
        for result in results
    ]
    lines = [table(columns, rows)]
    busiest = max(result.steady.sink_share for result in results)
    lines += [
        "",
        f"The sink used up to {busiest:.0%} of its core"
        + (": it was the bottleneck of posts/s." if busiest > _SINK_TOO_BUSY else "."),
        "",
        _costs(),
    ]
    return "\n".join(lines)


def _costs() -> str:
    services = ServicePrices()
    return (
        f"$/M is Lambda's part in a million notifications: one function of 1,769 MB at the "
        f"measured posts/s,\nat most {QUOTA_POSTS_PER_SECOND:,}, the account's default quota "
        f"({MILLION // QUOTA_POSTS_PER_SECOND} s). To it come, whoever posts: API Gateway "
        f"${services.api_gateway:.2f}\n(frames of up to 32 KB), SQS ${services.sqs:.4f} "
        f"(ranges of 1,000 ids), DynamoDB ${services.dynamodb:.4f} (reading and noting them).\n"
        "Prices of us-east-1, without free tiers, without connection minutes: make cost."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: does it run at all?")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default 3)")
    parser.add_argument("--no-node", action="store_true", help="leave Node out")
    options = parser.parse_args(arguments)

    ways = WAYS
    if options.quick:
        ways, options.rounds = _QUICK_WAYS, 1
    elif options.no_node or not node_is_ready():
        ways = [way for way in WAYS if way.name != "node"]
    client_core, sink_core = cores()
    stay_on(client_core)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sink(Path(folder), sink_core) as sink,
    ):
        results = measure(ways, sink, options.rounds)
    where = "a core each" if client_core is not None else "the same cores"
    print(
        f"{facts()}\nTLS 1.3, keep-alive, {_SERVICE_MS} ms service time; client and sink on {where}"
        f"\n\n{report(results)}"
    )


if __name__ == "__main__":
    main()
