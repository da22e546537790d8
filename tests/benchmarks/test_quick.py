"""What `make bench` runs does run, whatever its figures are; posting has a test of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows(benchmark: str) -> dict[str, list[str]]:
    """Run a benchmark for a moment; return the lines that it prints, by their first column."""
    output = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "functions:tests"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    lines = [line.strip().partition("  ") for line in output.splitlines()]
    return {first: rest.split() for first, _, rest in lines}


def test_the_notifier_is_measured() -> None:
    found = rows("notifier")

    assert float(found["billed ms per event"][0]) > 0
    assert float(found["write units per event"][0]) > 0
    assert float(found["with a client whose posts are answered 429"][1]) > 0
    # Three seconds of patience, of the four that it is measured for.
    assert float(found["of it, waiting for that client"][0]) > 2.5
    assert int(found["requests to the queue"][0]) > 0


def test_cold_starts_are_measured() -> None:
    found = rows("cold_start")

    assert {"boto3", "ping.app", "subscribe.app", "notifier.app"} <= found.keys()
    assert found["boto3"][4:6] == ["x", "1.00"]


def test_what_operations_cost_is_counted() -> None:
    found = rows("units")

    assert found["connect"][:4] == ["1", "1", "0", "1/1/0"]
    assert found["event nobody watches"][:3] == ["1", "0", "1"]
    assert "event, 100 subscribers" in found
