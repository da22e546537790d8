"""What a million notifications cost, at the prices of `make cost`: operations/cost/prices.toml.

They are those of the first tier, of us-east-1, without free tiers.
"""

from dataclasses import dataclass

from operations.cost.prices import prices

_PRICES = prices()
LAMBDA_GB_SECOND = {
    architecture: _PRICES[f"lambda_gb_second_{architecture}"].first
    for architecture in ("arm64", "x86_64")
}
WEBSOCKET_MESSAGE_OF_32_KB = _PRICES["websocket_message"].first
SQS_REQUEST = _PRICES["sqs_request"].first
DYNAMODB_READ_UNIT = _PRICES["dynamodb_read_unit"].first
DYNAMODB_WRITE_UNIT = _PRICES["dynamodb_write_unit"].first

# With 1,769 MB a function has the equivalent of one processor.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
LAMBDA_GB = 1769 / 1024
# API Gateway's default for an account and Region, shared with everything else.
QUOTA_POSTS_PER_SECOND = 10_000

MILLION = 1_000_000
# A strongly consistent read unit is 4 KB of items; a subscription is some 150 bytes.
_SUBSCRIPTIONS_PER_READ_UNIT = 4096 / 150
# Each range of ids is sent, received and deleted, and its walk noted: see benchmarks/units.py.
_IDS_PER_RANGE = 1000
_SQS_REQUESTS_PER_RANGE = 3
_WRITE_UNITS_PER_RANGE = 7


@dataclass(frozen=True)
class ServicePrices:
    """The parts of the price that do not depend on who posts."""

    api_gateway: float = MILLION * WEBSOCKET_MESSAGE_OF_32_KB
    sqs: float = MILLION / _IDS_PER_RANGE * _SQS_REQUESTS_PER_RANGE * SQS_REQUEST
    dynamodb: float = (
        MILLION / _SUBSCRIPTIONS_PER_READ_UNIT * DYNAMODB_READ_UNIT
        + MILLION / _IDS_PER_RANGE * _WRITE_UNITS_PER_RANGE * DYNAMODB_WRITE_UNIT
    )


def lambda_dollars_per_million(posts_per_second: float, architecture: str) -> float:
    """Return the price of the time in which one function posts a million times.

    Lambda bills time, not processor time, so a function gains nothing from posting faster than
    the account's quota lets it. That arm64 is as fast as this machine is an assumption.
    """
    seconds = MILLION / min(posts_per_second, QUOTA_POSTS_PER_SECOND)
    return seconds * LAMBDA_GB * LAMBDA_GB_SECOND[architecture]
