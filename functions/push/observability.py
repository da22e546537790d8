"""The Logger and Metrics of all functions, and what surrounds every handler.

Traces are Lambda's own (`Tracing: Active`), without an SDK: docs/adr/0008-no-x-ray-sdk.md. What is
logged and counted is listed in docs/operations.md.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import Any

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

LambdaHandler = Callable[[dict[str, Any], LambdaContext], Any]

logger = Logger()
# The service, a dimension of every metric, is the stack: see template.yaml.
metrics = Metrics(namespace="WebSocketNotifications")

# CloudWatch reads no longer array of a metric in one line of a log, and drops the whole line.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_VALUES_PER_LINE = 100

_counts: Counter[str] = Counter()
_measures: defaultdict[str, list[int]] = defaultdict(list)
# Records are handled in several threads.
_lock = Lock()


def count(metric: str, value: int = 1) -> None:
    """Add `value` to a counter that is published when the invocation ends."""
    if value:
        with _lock:
            _counts[metric] += value


def measure(metric: str, milliseconds: Iterable[int]) -> None:
    """Add values to a metric of durations, published when the invocation ends.

    Every value is published, so that percentiles are those of all of them, whichever invocation
    they come from. A hundred take a line of some 800 bytes.
    """
    with _lock:
        _measures[metric] += milliseconds


@contextmanager
def logged_with(**keys: object) -> Iterator[None]:
    """Put keys into every line that this thread logs in the block, and whatever `identify` adds."""
    logger.thread_safe_append_keys(**keys)
    try:
        yield
    finally:
        logger.thread_safe_clear_keys()


def identify(**keys: object) -> None:
    """Put further keys into every line of this thread's block of `logged_with`."""
    logger.thread_safe_append_keys(**keys)


def instrumented(handler: LambdaHandler) -> LambdaHandler:
    """Give a handler its log context and metrics.

    Events and responses are kept out of logs: they carry users' data.
    """

    @logger.inject_lambda_context(clear_state=True)
    @wraps(handler)
    def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
        try:
            return handler(event, context)
        finally:
            _publish()

    return lambda_handler


def _publish() -> None:
    """Print what was counted and measured, for CloudWatch to read from the log."""
    first: dict[str, Any] = {
        name: {"Unit": MetricUnit.Count.value, "Value": [value]} for name, value in _counts.items()
    }
    rows = max((len(values) for values in _measures.values()), default=0)
    for start in range(0, max(rows, 1), _VALUES_PER_LINE):
        line = first if start == 0 else {}
        for name, values in _measures.items():
            if some := values[start : start + _VALUES_PER_LINE]:
                line[name] = {"Unit": MetricUnit.Milliseconds.value, "Value": some}
        # Powertools warns of an invocation that counted nothing, and some have nothing to do.
        if line:
            text = json.dumps(metrics.serialize_metric_set(line), separators=(",", ":"))
            print(text)  # noqa: T201 - from the log, CloudWatch reads it without a request
    _counts.clear()
    _measures.clear()
