"""Measure the notifier: events a second, a client that does not read, and events of large topics.

The functions run as in Lambda, against DynamoDB and SQS that answer after 4 ms and posts that are
answered after 10 ms, all over HTTP on loopback. They have one core, the services another. Each
part is measured in a process of its own, and the table holds medians of some rounds.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks.machine import FUNCTION, ROOT, cores, facts, measured, say, server, stay_on, table

_SERVICE_MS, _POST_MS = 4, 10
# So high that the notifier's share of it limits nothing.
_NO_LIMIT = 40_000
# Notifiers and couriers at once; each has an equal share of the rate.
_INSTANCES = sum(int(FUNCTION[f"{name}_MAX_CONCURRENCY"]) for name in ("NOTIFIER", "DELIVER"))
# How the ids begin of clients that the sink does not answer as others.
_BUSY, _MUTE = "busy", "mute"
_SECOND, _FIRST = "notifier", "first edition"


@dataclass(frozen=True)
class Plan:
    """How long to measure; `share` is the rate of the event with 1,000 subscribers."""

    rounds: int = 3
    seconds: float = 5
    # A client that keeps posts waiting is waited for again and again, half a minute or more apart.
    most_seconds: float = 120
    warm_up: int = 10
    subscribers: int = 1_000
    share: int = 80
    many: int = 10_000


# Enough to see that everything runs; the figures mean nothing.
_QUICK = Plan(1, seconds=0.3, most_seconds=4, warm_up=1, subscribers=200, share=800, many=1_010)


@dataclass(frozen=True)
class Invoker:
    """Runs parts of `benchmarks.invoker` with one edition of the functions."""

    services: int
    sink: int
    functions: Path = ROOT / "functions"
    batch: int = 10
    """Events of an invocation."""

    def run(self, part: str, *, posts_per_second: int = _NO_LIMIT, **options: object) -> Any:
        """Measure a part in a new process."""
        command = [sys.executable, "-m", "benchmarks.invoker", part, "--batch", str(self.batch)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        return measured(command, self._environment(posts_per_second), self.functions)

    def _environment(self, posts_per_second: int) -> dict[str, str]:
        """Return where the services are, with a table of its own."""
        return FUNCTION | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.services}",
            "CONNECTIONS_ENDPOINT": f"http://127.0.0.1:{self.sink}/v1",
            "TABLE_NAME": f"table-{uuid4()}",
            "POSTS_PER_SECOND": str(posts_per_second),
            # The first edition's name.
            "NOTIFICATION_QUEUE_URL": FUNCTION["QUEUE_URL"],
        }


Row = tuple[str, str, str]


def small_events(editions: dict[str, Invoker], plan: Plan) -> Iterator[Row]:
    """Yield lines about events with one subscriber."""
    taken: dict[str, list[Any]] = {name: [] for name in editions}
    for number in range(plan.rounds):
        for name, invoker in editions.items():
            say(f"round {number + 1} of {plan.rounds}: small events, {name}")
            run = invoker.run("batches", subscribers=1, seconds=plan.seconds, warm_up=plan.warm_up)
            taken[name].append(run)
    for name, runs in taken.items():

        def each(figure: str, runs: list[Any] = runs) -> float:
            return median(float(run[figure] / run["events"]) for run in runs)

        meter, events = runs[-1]["meter"]["tables"], runs[-1]["events"]
        goals = ("", "", "", "") if name == _FIRST else (">= 150", "<= 10", "", "<= 4")
        yield (
            f"{name}: events/s, ten topics, one subscriber each",
            f"{1 / each('seconds'):,.0f}",
            goals[0],
        )
        yield "    billed ms per event", f"{each('billed_ms'):.1f}", goals[1]
        yield "    CPU ms per event", f"{each('cpu_ms'):.1f}", goals[2]
        yield "    write units per event", f"{meter['write_units'] / events:.1f}", goals[3]
        yield "    read units per event", f"{meter['read_units'] / events:.1f}", ""
        yield "    requests to the table per event", f"{meter['requests'] / events:.1f}", ""


def client_that_does_not_read(editions: dict[str, Invoker], plan: Plan) -> Iterator[Row]:
    """Yield lines about one among the subscribers of all events, of which each has five others."""
    invoker = editions[_SECOND]
    runs = []
    for number in range(plan.rounds):
        say(f"round {number + 1} of {plan.rounds}: a client whose buffer is full")
        runs.append(_beside(invoker, _BUSY, 2 * plan.seconds, plan))
    say("a client that never answers")
    mute = _beside(invoker, _MUTE, plan.most_seconds, plan)
    without = median(run["without_ms"] for run in (*runs, mute))
    yield "ten events, five subscribers each: ms", f"{without:.1f}", ""
    slower = median(run["with_ms"] / run["without_ms"] for run in runs)
    yield "    with a client whose posts are answered 429", f"x {slower:.2f}", "<= 1.10"
    if first := editions.get(_FIRST):
        say("a client whose buffer is full, first edition")
        run = _beside(first, _BUSY, 2 * plan.seconds, plan)
        yield f"        {_FIRST}", f"x {run['with_ms'] / run['without_ms']:.1f}", ""
    between = mute["with_ms"] / mute["without_ms"]
    waited_seconds = mute["waited_ms"] / 1000
    slower = between / (1 - waited_seconds / mute["cycle_seconds"])
    yield "    with a client whose posts are not answered", f"x {slower:.2f}", "<= 1.10"
    yield (
        "        of it, waiting for that client",
        f"{waited_seconds:.1f} of {mute['cycle_seconds']:.0f} s",
        "",
    )
    yield "        of it, all else", f"x {between:.2f}", ""


def _beside(invoker: Invoker, other: str, seconds: float, plan: Plan) -> Any:
    return invoker.run("beside", subscribers=5, other=other, seconds=seconds, warm_up=plan.warm_up)


def large_events(invoker: Invoker, plan: Plan) -> Iterator[Row]:
    """Yield lines about an event with 1,000 subscribers, and one with 10,000."""
    say(f"{plan.subscribers:,} subscribers at {plan.share} posts/s")
    slow = invoker.run(
        "large", subscribers=plan.subscribers, posts_per_second=plan.share * _INSTANCES
    )
    say(f"{plan.subscribers:,} subscribers, without a limit; {plan.many:,} subscribers")
    fast = invoker.run("large", subscribers=plan.subscribers)
    many = invoker.run("large", subscribers=plan.many)
    name = f"an event with {plan.subscribers:,} subscribers"
    for rate, run, goal in ((f"{plan.share} posts/s", slow, "<= 16"), ("no limit", fast, "")):
        units = run["meter"]["tables"]["write_units"]
        yield f"{name}, {rate}: write units", f"{units}", goal
        yield "    s", f"{run['seconds']:.2f}", ""
    name = f"an event with {plan.many:,} subscribers"
    yield f"{name}: s until handed on", f"{many['seconds']:.2f}", ""
    yield "    write units", f"{many['meter']['tables']['write_units']}", ""
    yield "    requests to the queue", f"{many['meter']['queues']['requests']}", ""


@contextmanager
def _invokers(old: Path | None, core: int | None) -> Iterator[dict[str, Invoker]]:
    service_ms = str(_SERVICE_MS)
    with (
        server(
            "services", "--table-ms", service_ms, "--queue-ms", service_ms, core=core
        ) as services,
        server(
            "sink", "--service-ms", str(_POST_MS), "--refuse", _BUSY, "--ignore", _MUTE, core=core
        ) as sink,
    ):  # fmt: skip
        editions = {_SECOND: Invoker(services.port, sink.port)}
        if old:
            # Its event source hands over one event at a time.
            editions[_FIRST] = Invoker(services.port, sink.port, old / "functions", batch=1)
        yield editions


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: does it run at all?")
    parser.add_argument("--old", type=Path, help="a checkout of the first edition, to compare with")
    options = parser.parse_args(arguments)
    plan = _QUICK if options.quick else Plan()
    core, services_core = cores()
    stay_on(core)
    with _invokers(options.old, services_core) as editions:
        rows = [
            *small_events(editions, plan),
            *client_that_does_not_read(editions, plan),
            *large_events(editions[_SECOND], plan),
        ]
    where = "functions and services on a core each" if core is not None else "on the same cores"
    print(f"{facts()}\nHTTP; DynamoDB and SQS {_SERVICE_MS} ms, posts {_POST_MS} ms; {where}\n")
    print(table(("what", "measured", "to reach"), rows))


if __name__ == "__main__":
    main()
