"""The Logger, Tracer and Metrics of all functions, and the one order of their decorators."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

LambdaHandler = Callable[[dict[str, Any], LambdaContext], Any]

logger = Logger()
# Only AWS calls are traced; patching every library the X-Ray SDK knows would cost a cold start.
tracer = Tracer(patch_modules=("botocore",))
# The service, a dimension of every metric, is the stack: see template.yaml.
metrics = Metrics(namespace="WebSocketNotifications")


def count(metric: str, value: int = 1) -> None:
    """Add `value` to a counter that is published when the invocation ends."""
    metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)


def instrumented(handler: LambdaHandler) -> LambdaHandler:
    """Give a handler its log context, trace and metrics.

    Events and responses are kept out of logs and traces: they carry users' data.
    """

    @logger.inject_lambda_context(clear_state=True)
    @tracer.capture_lambda_handler(capture_response=False)
    @metrics.log_metrics
    @wraps(handler)
    def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
        return handler(event, context)

    return lambda_handler  # type: ignore[no-any-return]
