"""Verifies tokens, and says whose they are."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jwt import PyJWS

from identity.claims import MAX_TENANT_LENGTH, MAX_USER_LENGTH, Identity
from identity.errors import InvalidToken
from identity.form import check
from identity.keys import Keys

# How far the clocks of issuer and service may be apart.
LEEWAY_SECONDS = 30
# They are kept with each connection, and are compared to each entity.
MAX_GRANTS = 100
MAX_GRANT_LENGTH = 256
_MAX_AUDIENCES = 20
_LAST_TIME = 1e12
# Control characters, which no visible id holds, and lone surrogates, which UTF-8 cannot encode.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_SIGNATURES = PyJWS(
    ["HS256", "RS256", "ES256", "EdDSA"],
    {"verify_signature": True, "enforce_minimum_key_length": True},
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token has to say.

    Attributes:
        issuer: its `iss`, character by character.
        audience: its audience, or one of them: Auth0 names two.
        audience_claim: `aud`; access tokens of Cognito have theirs in `client_id`.
        tenant_claim: the claim that names the tenant, which then must be there; empty for none.
        grants_claim: the claim that lists what may be heard, as a list, or as scopes are written.
        longest_seconds: no token may live longer; so it is known when one that was revoked is gone.
    """

    issuer: str
    audience: str
    audience_claim: str = "aud"
    tenant_claim: str = ""
    grants_claim: str = "entities"
    longest_seconds: int = 86_400

    def __post_init__(self) -> None:
        # An empty one would be met by a token that says nothing.
        for name in ("issuer", "audience", "audience_claim", "grants_claim"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")


class Verifier:
    """Verifies tokens by some keys and rules; many threads may share one."""

    def __init__(self, keys: Keys, rules: Rules, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._rules = rules
        self._clock = clock

    def verify(self, token: str) -> Identity:
        """Return whose token it is.

        Raises:
            InvalidToken: it is not to be accepted; the text says why, and holds nothing of it.
            KeysUnavailable: the keys of the issuer cannot be had now.
        """
        form = check(token)
        key = self._keys.find(form.algorithm, form.key_id)
        if problem := _problem_of_signature(token, form.algorithm, key):
            raise InvalidToken(problem)
        # What was signed is the text that `check` read the claims of.
        return self._identity(form.claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        """Return what the claims say, if it is acceptable.

        PyJWT checks claims too, but takes strings for times, and an empty `sub`.
        """
        rules = self._rules
        if claims.get("iss") != rules.issuer:
            raise InvalidToken("another issuer")
        if rules.audience not in _audiences(claims, rules.audience_claim):
            raise InvalidToken("another audience")
        now = self._clock()
        issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
        if expires_at <= now - LEEWAY_SECONDS:
            raise InvalidToken("expired")
        if issued_at > now + LEEWAY_SECONDS:
            raise InvalidToken("issued in the future")
        if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY_SECONDS:
            raise InvalidToken("not valid yet")
        if expires_at - issued_at > rules.longest_seconds:
            raise InvalidToken("it lives too long")
        return Identity(
            user_id=_id(claims, "sub", MAX_USER_LENGTH),
            tenant=_id(claims, rules.tenant_claim, MAX_TENANT_LENGTH) if rules.tenant_claim else "",
            grants=_grants(claims, rules.grants_claim),
            issued_at=int(issued_at),
            expires_at=int(expires_at),
        )


def _problem_of_signature(token: str, algorithm: str, key: Any) -> str | None:
    try:
        _SIGNATURES.decode(token, key, [algorithm])
    except Exception as exc:
        # Whatever it is, nothing was verified, and the error may hold the token.
        return f"not verified: {type(exc).__name__}"
    return None


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # A boolean is an integer in Python, and "1790000000" one to some libraries.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST_TIME:
        raise InvalidToken(f"{name} is no time")
    return value


def _id(claims: Mapping[str, Any], name: str, max_length: int) -> str:
    value = claims.get(name)
    if not _is_id(value, max_length):
        raise InvalidToken(f"{name} is no usable id")
    return str(value)


def _audiences(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claims.get(name)
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or len(audiences) > _MAX_AUDIENCES:
        raise InvalidToken(f"{name} is no short list")
    if not all(isinstance(audience, str) for audience in audiences):
        raise InvalidToken(f"{name} is no list of strings")
    return audiences


def _grants(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, [])
    # Scopes stand between spaces; other white space would be part of one.
    grants = [each for each in value.split(" ") if each] if isinstance(value, str) else value
    if not isinstance(grants, list) or len(grants) > MAX_GRANTS:
        raise InvalidToken(f"{name} is no list, or too long")
    if not all(_is_id(grant, MAX_GRANT_LENGTH) for grant in grants):
        raise InvalidToken(f"{name} holds what is no pattern")
    # Sets in the table hold nothing twice.
    return tuple(dict.fromkeys(grants))


def _is_id(value: object, max_length: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= max_length and not _UNUSABLE.search(value)
