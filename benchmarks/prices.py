"""What a million notifications cost in us-east-1, from AWS's list prices.

The prices are those of the first tier, without free tiers, in dollars, as quoted by others between
2024 and 2026; they were not read off these pages, which are what counts:

    https://aws.amazon.com/lambda/pricing/
    https://aws.amazon.com/api-gateway/pricing/
    https://aws.amazon.com/sqs/pricing/
    https://aws.amazon.com/dynamodb/pricing/on-demand/
"""

from dataclasses import dataclass

LAMBDA_GB_SECOND = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
WEBSOCKET_MESSAGE_OF_32_KB = 1.00e-6
SQS_REQUEST = 0.40e-6
DYNAMODB_READ_UNIT = 0.125e-6
DYNAMODB_WRITE_UNIT = 0.625e-6

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
