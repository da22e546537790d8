"""`make bench` runs, whatever its figures are."""

import subprocess
import sys
from pathlib import Path


def test_the_benchmark_prints_its_table() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.posting", "--quick"],
        cwd=Path(__file__).parents[2],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout

    rows = {line.partition("  ")[0]: line.split() for line in output.splitlines()}
    assert {"way of posting", "this engine", "boto3, 32 threads"} <= rows.keys()
    cpu_ms_per_post = float(rows["this engine"][2])
    assert cpu_ms_per_post > 0
    assert "OpenSSL" in output
    assert "API Gateway $1.00" in output
