"""Tokens, where the stack asks for them."""

import secrets
import time
from collections.abc import Mapping
from typing import Any, Protocol

import jwt

from local.errors import LocalRunError
from local.issuer import Claims, Issuer, signing_key
from operations.smoke.outcome import Skipped

TENANT = "smoke"
_DEFAULT_SECONDS = 900


class Tokens(Protocol):
    """Where tokens come from.

    Attributes:
        tenant: whose they are; empty where there are no tenants.
    """

    tenant: str

    def mint(self, user: str, seconds: int = _DEFAULT_SECONDS) -> str:
        """Return a token of a user, for the entities of smoke tests; raise `Skipped`."""


class Given:
    """A token that the caller has: its user may be somebody's."""

    def __init__(self, token: str, tenant_claim: str) -> None:
        """Take a token, and read its tenant; raise `ValueError` if it is no token."""
        self._token = token
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise ValueError("TOKEN is no token") from None
        self.tenant = str(claims.get(tenant_claim, "")) if tenant_claim else ""

    def mint(self, user: str, seconds: int = _DEFAULT_SECONDS) -> str:
        if user:
            raise Skipped("it needs a user of its own, and TOKEN is of somebody")
        return self._token


class OfSecret:
    """Signed with the secret that the stack made."""

    def __init__(self, secret: str, parameters: Mapping[str, str]) -> None:
        self._secret = secret
        self._parameters = parameters
        self.tenant = TENANT if parameters["TenantClaim"] else ""

    def mint(self, user: str, seconds: int = _DEFAULT_SECONDS) -> str:
        now = int(time.time())
        named = self._parameters
        claims: dict[str, Any] = {
            "iss": named["TokenIssuer"],
            named["TokenAudienceClaim"]: named["TokenAudience"],
            "sub": user or _anybody(),
            "iat": now,
            "exp": now + seconds,
            named["GrantsClaim"]: [f"smoke{named['GrantsDelimiter']}**"],
        }
        if self.tenant:
            claims[named["TenantClaim"]] = self.tenant
        return jwt.encode(claims, self._secret, algorithm="HS256")


class OfLocalIssuer:
    """Signed with the key of `make local AUTH=jwt`."""

    tenant = ""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._key = signing_key()

    def mint(self, user: str, seconds: int = _DEFAULT_SECONDS) -> str:
        if seconds % 60:
            raise Skipped("a token of make local lives for whole minutes")
        claims = Claims(user or _anybody(), ("smoke/**",), minutes=seconds // 60)
        try:
            return self._key.mint(self._issuer, claims)
        except LocalRunError as exc:
            raise Skipped(str(exc)) from exc


def _anybody() -> str:
    return f"smoke-{secrets.token_hex(6)}"
