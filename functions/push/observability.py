"""The Logger and Metrics of all functions, and what surrounds every handler.

Traces are Lambda's own (`Tracing: Active`), without an SDK: docs/adr/0008-no-x-ray-sdk.md.
"""

from collections import Counter
from collections.abc import Callable
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

_counts: Counter[str] = Counter()
# Powertools' metrics are not for several threads.
_counts_lock = Lock()


def count(metric: str, value: int = 1) -> None:
    """Add `value` to a counter that is published when the invocation ends."""
    if value:
        with _counts_lock:
            _counts[metric] += value


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
            for name, value in _counts.items():
                metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
            # Powertools warns of an invocation that counted nothing, and some have nothing to do.
            if _counts:
                metrics.flush_metrics()
            _counts.clear()

    return lambda_handler
