"""The authorizer of `$connect`: lets in who has a token.

Whoever is refused gets a 403 and no reason, which is in the log; the token is nowhere. A refusal is
an answer, not an error: strangers must not be able to ring the alarms.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from identity.errors import InvalidToken
from push import wiring
from push.connection import authorizer_context
from push.observability import count, instrumented, logger
from push.presented import presented
from push.settings import token_in_query_string

verifier = wiring.at_initialization(wiring.verifier)


@instrumented
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    logger.append_keys(connection_id=event["requestContext"]["connectionId"])
    try:
        token = presented(event, in_query_string=token_in_query_string())
        identity = verifier().verify(token)
    except InvalidToken as refusal:
        count("TokensRefused")
        logger.info("token refused", reason=str(refusal))
        return _policy("nobody", "Deny", event["methodArn"])
    return _policy(identity.user_id, "Allow", event["methodArn"]) | {
        "context": authorizer_context(identity)
    }


def _policy(principal: str, effect: str, method_arn: str) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }
