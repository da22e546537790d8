"""The authorizer of `$connect`: lets in who has a token.

Whoever is refused gets a 403 and no reason, which is in the log; the token is nowhere. A refusal is
an answer, not an error: strangers must not be able to ring the alarms.
"""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from identity.errors import InvalidToken
from push import wiring
from push.connection import authorizer_context
from push.observability import count, instrumented, logger
from push.presented import presented
from push.settings import token_in_query_string

# API Gateway takes 8 KB of an authorizer, and answers more with 500.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_ANSWER_BYTES = 8192

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
    answer = _policy(identity.user_id, "Allow", event["methodArn"]) | {
        "context": authorizer_context(identity)
    }
    if len(json.dumps(answer)) > MAX_ANSWER_BYTES:
        count("TokensRefused")
        logger.info("token refused", reason="it allows more than API Gateway hands on")
        return _policy("nobody", "Deny", event["methodArn"])
    return answer


def _policy(principal: str, effect: str, method_arn: str) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }
