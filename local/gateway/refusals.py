"""List what API Gateway answers when it refuses or fails."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """Hold an HTTP status, the type by which SDKs choose an exception, and the text."""

    status: int
    error_type: str = ""
    message: str | None = None


BAD_REQUEST = Refusal(400, "BadRequestException", "Bad Request")
FORBIDDEN = Refusal(403, "ForbiddenException", "Forbidden")
LIMITED = Refusal(429, "LimitExceededException", "Too Many Requests")

# Of a handshake; a frame about a failed message has the same texts.
BAD_BODY = Refusal(400, "BadRequestException", "Bad request body")
UNAUTHORIZED = Refusal(401, "UnauthorizedException", "Unauthorized")
DENIED = Refusal(403, "AccessDeniedException", "User is not authorized to access this resource")
AUTHORIZER_FAILED = Refusal(500, "AuthorizerConfigurationException", "Internal server error")
FAILED = Refusal(502, "InternalServerErrorException", "Internal server error")
TIMED_OUT = Refusal(504, "IntegrationTimeoutException", "Endpoint request timed out")

# Of @connections.
UNSIGNED = Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
GONE = Refusal(410, "GoneException")
TOO_SLOW = Refusal(408, "RequestTimeoutException", "Request Timeout")
TOO_LARGE = Refusal(413, "PayloadTooLargeException", "Message too long")


class RefusedError(Exception):
    """Carry a refusal to the place that answers; ``cause`` is for the log only."""

    def __init__(self, refusal: Refusal, cause: str | None = None) -> None:
        super().__init__(cause or refusal.error_type)
        self.refusal = refusal
