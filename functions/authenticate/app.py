"""`authenticate`: a new token for a connection, of the same user, before the old one ends."""

from identity.errors import InvalidToken, KeysUnavailable
from push import wiring
from push.connection import Connection
from push.errors import Forbidden, ServiceUnavailable
from push.observability import count, logger
from push.protocol import Reply, Request
from push.routes import message_route

renewal = wiring.at_initialization(wiring.renewal)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    if (tokens := renewal()) is None:
        raise Forbidden("Tokens are not asked for here.")
    try:
        identity = tokens.verifier.verify(request.token)
    except InvalidToken as refusal:
        count("TokensRefused")
        logger.info("token refused", reason=str(refusal))
        raise Forbidden("The token is refused.") from refusal
    except KeysUnavailable as exc:
        raise ServiceUnavailable("The issuer's keys cannot be had now.") from exc
    tokens.renew(connection, identity)
    return Reply.of({"type": "Authenticated", "expiresAt": identity.expires_at})
