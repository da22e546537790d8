"""The name of what an authorizer is asked about."""

import pytest

from local.gateway.authorization import method_arn
from local.gateway.events import Handshake, Session
from local.gateway.handshake import NO_API, NO_STAGE

SESSION = Session(NO_API, NO_STAGE, Handshake("", (), (), "", "", ()), "")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("arn:aws:lambda:us-east-1:123456789012:function:f", "arn:aws:execute-api:r:123456789012"),
        (
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:f",
            "arn:aws-cn:execute-api:r:123456789012",
        ),
        ("arn:aws-us-gov:lambda:g:1:function:f:live", "arn:aws-us-gov:execute-api:r:1"),
        ("f", "arn:aws:execute-api:r:000000000000"),
    ],
)
def test_partition_and_account_are_those_of_the_function(function: str, expected: str) -> None:
    assert method_arn(function, "r", SESSION) == f"{expected}:-/-/$connect"
