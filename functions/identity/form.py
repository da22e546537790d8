"""What a token has to look like before anybody looks for its key.

Parsers disagree about what is not quite a token: which of two members of the same name counts,
whether padding or a trailing bit is read over, how large a thing may be. Here it is refused, so
that what is verified afterwards is what was checked.
"""

import base64
import binascii
import json
from typing import Any, NamedTuple, NoReturn

from identity.errors import InvalidToken

# Larger than any token of a usual issuer, and as much as API Gateway takes of headers.
MAX_BYTES = 8192
# The roles of Keycloak are four deep; deeper is for whoever looks for a parser's limit.
_MAX_DEPTH = 8
# Headers by which a token brings its own key, or changes what is signed. Keys come from one place,
# so a token that names another is not worth a look, even if its signature were right.
_REFUSED_HEADERS = frozenset({"crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"})
# With the same keys an issuer may sign logout tokens and security events, which do not say who
# connects (RFC 8725, section 3.11).
_TYPES = frozenset({"jwt", "at+jwt"})


class Form(NamedTuple):
    """What a token says, none of it trusted yet."""

    algorithm: str
    key_id: str | None
    claims: dict[str, Any]


def check(token: str) -> Form:
    """Read a token that is well-formed.

    Raises:
        InvalidToken: it is not.
    """
    if len(token) > MAX_BYTES or not token.isascii():
        raise InvalidToken("too long, or not ASCII")
    segments = token.split(".")
    if len(segments) != 3:
        raise InvalidToken("not three segments")
    header_text, claims_text, signature = (_decoded(segment) for segment in segments)
    if not header_text or not claims_text or not signature:
        raise InvalidToken("a segment is empty, or not base64url in its one form")
    header, claims = parse_object(header_text), parse_object(claims_text)
    if header is None or claims is None:
        raise InvalidToken("a segment is not a strict JSON object")
    if refused := _REFUSED_HEADERS & header.keys():
        raise InvalidToken(f"a header with {min(refused)}")
    media_type = header.get("typ", "JWT")
    if (
        not isinstance(media_type, str)
        or media_type.lower().removeprefix("application/") not in _TYPES
    ):
        raise InvalidToken("a token of another type")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise InvalidToken("alg is no string")
    if "kid" in header and not (isinstance(key_id, str) and key_id):
        raise InvalidToken("kid is no string, or empty")
    return Form(algorithm, key_id, claims)


def parse_object(text: bytes) -> dict[str, Any] | None:
    """Parse strict JSON in UTF-8; return None unless it is an object that all parsers read alike.

    It raises nothing, since the errors of the parser hold the text.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _is_shallow(value, _MAX_DEPTH) else None


def _decoded(segment: str) -> bytes | None:
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        return None
    # The decoder reads over padding, letters of another alphabet, and bits behind the last byte:
    # each would be another text for the same token.
    again = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode()
    return decoded if again == segment else None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name twice")
    return members


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)
