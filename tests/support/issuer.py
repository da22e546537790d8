"""An issuer of tokens, honest or not: its keys, what it publishes, and whatever it is told to sign.

It signs with PyJWT's algorithms alone, below what refuses to make a bad token.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

ISSUER = "https://issuer.example/realms/notifications"
AUDIENCE = "notifications"
SECRET = "a secret of more than thirty-two bytes"
ABSENT: Any = object()
"""As a header or claim: leave it out."""


def private_key(kind: str, name: str = "first") -> Any:
    """Return the key of a kind and name, made once: those of RSA take a while."""
    return _made(kind, name)


@cache
def _made(kind: str, name: str) -> Any:
    match kind:
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "P-256" | "P-384" | "P-521" | "secp256k1":
            curves = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
            names = ("P-256", "P-384", "P-521", "secp256k1")
            return ec.generate_private_key(curves[names.index(kind)])
    return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))


def public_jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Return the public half of a key as an issuer publishes it."""
    return _jwk(key.public_key(), members)


def private_jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Return both halves of a key, as no issuer should publish them."""
    return _jwk(key, members)


def _jwk(key: Any, members: Mapping[str, Any]) -> dict[str, Any]:
    kind: Any = OKPAlgorithm
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        kind = RSAAlgorithm
    elif isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        kind = ECAlgorithm
    jwk = {"use": "sig", **kind.to_jwk(key, as_dict=True), "key_ops": ABSENT, **members}
    return {name: value for name, value in jwk.items() if value is not ABSENT}


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def encoded(value: Any) -> bytes:
    """Return what stands in a segment: bytes as they are, else JSON."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def mac(text: bytes, key: bytes, digest: Any = hashlib.sha256) -> bytes:
    return hmac.new(key, text, digest).digest()


def signed(header: Any, claims: Any, key: Any, algorithm: str) -> str:
    """Return a token of a header and claims (bytes are taken as they are), however wrong.

    Args:
        key: to sign with, as the algorithm takes it; bytes for HMAC, of any length.
        algorithm: the one to sign with, whatever the header says.
    """
    text = f"{segment(encoded(header))}.{segment(encoded(claims))}"
    signature = get_default_algorithms()[algorithm].sign(text.encode(), key)
    return f"{text}.{segment(signature)}"


@dataclass
class Issuer:
    """An issuer with a key of each kind, whose ids are `rsa`, `ec` and `ed`."""

    issuer: str = ISSUER
    audience: str = AUDIENCE
    name: str = "first"
    now: float = field(default_factory=time.time)
    """When it issues; set it to go on in time."""

    def key(self, algorithm: str) -> tuple[Any, str | None]:
        """Return the key of an algorithm, and its id."""
        kinds = {"RS256": ("RSA-2048", "rsa"), "ES256": ("P-256", "ec"), "EdDSA": ("Ed25519", "ed")}
        if algorithm == "HS256":
            return SECRET.encode(), None
        kind, key_id = kinds[algorithm]
        return private_key(kind, self.name), key_id

    def jwks(self) -> dict[str, Any]:
        """Return what it publishes."""
        keys = []
        for algorithm in ("RS256", "ES256", "EdDSA"):
            key, key_id = self.key(algorithm)
            keys.append(public_jwk(key, kid=key_id, alg=algorithm))
        return {"keys": keys}

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "alice",
            "iat": int(self.now),
            "exp": int(self.now) + 3600,
            "entities": ["alice/*"],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ABSENT}

    def token(
        self, algorithm: str = "RS256", header: Mapping[str, Any] | None = None, **changes: Any
    ) -> str:
        """Return a token that is good, save for the changes to its header and claims."""
        key, key_id = self.key(algorithm)
        members = {"alg": algorithm, "typ": "JWT", "kid": key_id or ABSENT, **(header or {})}
        members = {name: value for name, value in members.items() if value is not ABSENT}
        return signed(members, self.claims(**changes), key, algorithm)
