"""Measure cold starts: what functions import and make while they initialize, beside `import boto3`.

Each is a new process, as in Lambda with the clients made at initialization; the processes take
turns. The interpreter's own start is left out, and so is what Lambda adds. The ratio is that of
the least processor times: those are what other processes disturb least.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import median

from benchmarks.machine import FUNCTION, cores, facts, measured, say, stay_on, table

_BASELINE = "boto3"
# With the milliseconds to reach.
_MODULES = {
    _BASELINE: "",
    "default.app": "<= 80",
    "ping.app": "<= 170",
    "subscribe.app": "<= 170",
    "notifier.app": "<= 190",
}
_ROUNDS = 15
# Not a module of this folder: what it needed itself would be imported already.
_MEASURE = """
import sys, time
cpu, wall = time.process_time(), time.perf_counter()
__import__(sys.argv[1])
print([1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)])
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round: does it run at all?")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"default {_ROUNDS}")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    stay_on(cores()[0])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in _MODULES}
    say(f"{rounds} rounds of {', '.join(_MODULES)}")
    for _ in range(rounds):
        for name, taken in times.items():
            cpu_ms, wall_ms = measured([sys.executable, "-c", _MEASURE, name], FUNCTION)
            taken.append((cpu_ms, wall_ms))
    least_of_baseline = min(cpu_ms for cpu_ms, _ in times[_BASELINE])
    rows = []
    for name, taken in times.items():
        cpu, wall = zip(*taken, strict=True)
        figures = (min(cpu), median(cpu), min(wall), median(wall))
        ratio = min(cpu) / least_of_baseline
        rows.append((name, *(f"{ms:.0f}" for ms in figures), f"x {ratio:.2f}", _MODULES[name]))
    columns = (
        "import", "least CPU ms", "median", "least wall ms", "median", "to boto3", "to reach",
    )  # fmt: skip
    print(f"{facts()}\na process each, clients made, {rounds} rounds in turn\n")
    print(table(columns, rows))


if __name__ == "__main__":
    main()
