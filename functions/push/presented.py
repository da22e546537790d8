"""Finds the token in a handshake."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from identity.errors import InvalidToken

SUBPROTOCOL = "websocket"
# For tokens with characters that a subprotocol may not hold; as Kubernetes writes them.
ENCODED = "base64url.bearer.authorization."
QUERY_NAME = "access_token"


def presented(event: Mapping[str, Any], *, in_query_string: bool) -> str:
    """Return the token of a REQUEST authorizer's event.

    Raises:
        InvalidToken: there is none, or more than one: which of them counts is nothing to guess.
    """
    headers = event.get("multiValueHeaders") or {}
    tokens = [
        *_of_subprotocols(_values(headers, "sec-websocket-protocol")),
        *_of_authorization(_values(headers, "authorization")),
    ]
    if in_query_string:
        query = event.get("multiValueQueryStringParameters") or {}
        tokens += query.get(QUERY_NAME) or []
    if len(tokens) != 1:
        raise InvalidToken("more than one token" if tokens else "no token")
    return str(tokens[0])


def _values(headers: Mapping[str, Any], name: str) -> list[str]:
    # Clients write the names of headers as they like.
    return [value for each, values in headers.items() if each.lower() == name for value in values]


def _of_subprotocols(lines: Iterable[str]) -> Iterable[str]:
    names = [name.strip() for line in lines for name in line.split(",")]
    for name in names:
        if name.startswith(ENCODED):
            yield _decoded(name.removeprefix(ENCODED))
        elif name and name != SUBPROTOCOL:
            yield name


def _of_authorization(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        scheme, _, token = line.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken("an authorization that is no bearer token")
        yield token.strip()


def _decoded(text: str) -> str:
    token = _decoded_or_nothing(text)
    # Raised here: the error that tells holds the token, and would be this one's context.
    if not token:
        raise InvalidToken("a subprotocol that is not base64url")
    return token


def _decoded_or_nothing(text: str) -> str:
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
