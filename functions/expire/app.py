"""Every minute: close the connections whose tokens have ended."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from push import wiring
from push.observability import instrumented

# How far it looks back: what one minute could not close, the following ones find.
MINUTES = 15

shutting_out = wiring.at_initialization(wiring.shutting_out)


@instrumented
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    exchange, out = shutting_out()
    exchange.run(
        [lambda: out.expire(MINUTES, lambda: context.get_remaining_time_in_millis() / 1000)]
    )
