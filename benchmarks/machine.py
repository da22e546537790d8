"""What benchmarks have in common: cores, servers, measured processes, and tables of figures."""

import json
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What a function finds in Lambda; the token is as long as those that Lambda hands out.
AWS_ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "t" * 900,
    "AWS_EC2_METADATA_DISABLED": "true",
}

# What the template sets for the functions that the benchmarks run.
FUNCTION = {
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "CONNECTIONS_ENDPOINT": "https://abcd123456.execute-api.us-east-1.amazonaws.com/v1",
    "TABLE_NAME": "table",
    "QUEUE_URL": "https://queues/notifications",
    "DELIVERY_QUEUE_URL": "https://queues/deliveries",
    "DEAD_LETTER_QUEUE_URL": "https://queues/dead-letters",
    "POSTS_PER_SECOND": "8000",
    "NOTIFIER_MAX_CONCURRENCY": "2",
    "DELIVER_MAX_CONCURRENCY": "2",
    "SUBSCRIBERS_PER_DELIVERY": "1000",
    "MAX_SUBSCRIPTIONS_PER_CONNECTION": "100",
    "HISTORY_SECONDS": "604800",
    "LOG_UNWATCHED": "false",
    "AUTHENTICATION": "NONE",
    "GRANTS_DELIMITER": "/",
    "TENANT_CLAIM": "",
    "LONGEST_TOKEN_SECONDS": "86400",
    "MAX_CONNECTIONS_PER_USER": "100",
    "POWERTOOLS_SERVICE_NAME": "benchmark",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}


def cores() -> tuple[int | None, int | None]:
    """Return the cores of client and servers; `None` where they cannot be told apart."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def stay_on(core: int | None) -> None:
    """Keep this process, and those that it starts from now on, on a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def facts() -> str:
    """Return a line about the machine."""
    return (
        f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION}"
    )


def processor() -> str:
    """Return the model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Server:
    """A server on loopback, in a process of its own."""

    port: int
    pid: int


@contextmanager
def server(module: str, *options: str, core: int | None) -> Iterator[Server]:
    """Run a server of this folder, which prints its port, on a core if there is one for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        assert process.stdout
        yield Server(int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.communicate()


def measured(
    command: Sequence[str], environment: Mapping[str, str], functions: Path = ROOT / "functions"
) -> Any:
    """Run a command that prints JSON, with the functions of a folder; return what it says."""
    output = subprocess.run(
        command,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(functions)]),
            **AWS_ENVIRONMENT,
            **environment,
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(output)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column to the left and the others to the right."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [columns, tuple("-" * width for width in widths), *rows]
    )


def say(text: str) -> None:
    """Tell how far a benchmark has come."""
    sys.stderr.write(f"{text}\n")
