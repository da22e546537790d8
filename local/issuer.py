"""Whom the local stack believes: an issuer of its own, or somebody else's.

The own issuer is a key in `.local/issuer`, which never leaves that folder; its public half is
beside it, and the page's server hands that out. Nothing here is deployed.
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from local.aws import HOST
from local.errors import LocalRunError

FOLDER = Path(__file__).parent.parent / ".local/issuer"
KEYS_PATH = "/.well-known/jwks.json"
AUDIENCE = "websocket-notifications"
DEFAULT_USER = "alice"
# A last `**` covers any number of segments: everything.
EVERYTHING = "**"
DEFAULT_MINUTES = 60
# The application takes no token that lives longer than a day.
MAX_MINUTES = 24 * 60
# It travels in a line of a request's head, of which the gateway reads 8 KB.
MAX_TOKEN_BYTES = 8000
# What the application takes.
_MAX_CHARACTERS = {"USER": 256, "TENANT": 128, "ENTITIES": 256}
_MAX_ENTITIES = 100
_ALGORITHM = "ES256"
_KEY_FILE, _KEYS_FILE = "key.pem", "jwks.json"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are accepted: what they have as `iss` and `aud`, and where the keys are."""

    name: str
    audience: str
    keys_url: str

    @classmethod
    def own(cls, page_port: int) -> Self:
        """Return this folder's own, whose keys the page on that port hands out."""
        name = f"http://{HOST}:{page_port}"
        return cls(name, AUDIENCE, name + KEYS_PATH)

    @classmethod
    def of_outputs(cls, outputs: Mapping[str, str]) -> Self | None:
        """Return the issuer that a running stack believes; None if it asks for no token."""
        if "TokenIssuer" not in outputs:
            return None
        return cls(outputs["TokenIssuer"], outputs["TokenAudience"], outputs["TokenKeysUrl"])

    def outputs(self) -> dict[str, str]:
        """Return what is written beside the stack's outputs; these names are parameters, too."""
        return {
            "TokenIssuer": self.name,
            "TokenAudience": self.audience,
            "TokenKeysUrl": self.keys_url,
        }

    def parameters(self) -> dict[str, str]:
        """Return the template's parameters that make the stack believe it."""
        return {"Authentication": "JWT", **self.outputs()}


def chosen(auth: str, page_port: int, *, keys_url: str, name: str, audience: str) -> Issuer | None:
    """Return the issuer that the variables of `make local` ask for; None for no authentication.

    Raises:
        LocalRunError: they do not fit together.
    """
    others = {"JWKS_URL": keys_url, "ISSUER": name, "AUDIENCE": audience}
    given = [variable for variable, value in others.items() if value]
    if auth not in ("", "jwt"):
        raise LocalRunError(f"AUTH is '{auth}': leave it out, or make local AUTH=jwt")
    if not auth:
        if given:
            raise LocalRunError(f"{given[0]} is for tokens: make local AUTH=jwt {given[0]}=...")
        return None
    if not given:
        return Issuer.own(page_port)
    if missing := [variable for variable in others if variable not in given]:
        raise LocalRunError(
            f"Somebody else's tokens need all of {', '.join(others)}; missing: {', '.join(missing)}"
        )
    for variable, value in others.items():
        # SAM splits parameters at some of these, and unquotes them.
        if not value.isprintable() or not value.isascii() or set(value) & set(" '\",\\"):
            raise LocalRunError(f"{variable} has a character that the SAM CLI does not hand on")
    _require_address(keys_url)
    return Issuer(name, audience, keys_url)


def _require_address(keys_url: str) -> None:
    try:
        address = urlsplit(keys_url)
        # Reading it checks it.
        port = address.port
    except ValueError:
        address, port = urlsplit(""), None
    here = address.scheme == "http" and address.hostname == HOST and port
    if "@" in address.netloc or not (here or (address.scheme == "https" and address.hostname)):
        raise LocalRunError(
            f"JWKS_URL is '{keys_url}', and takes https://..., or http://{HOST}:PORT/..."
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of its holder.

    Raises:
        LocalRunError: no token can say that.
    """

    user: str = DEFAULT_USER
    entities: Sequence[str] = (EVERYTHING,)
    tenant: str = ""
    minutes: int = DEFAULT_MINUTES

    def __post_init__(self) -> None:
        _require_name("USER", self.user)
        if self.tenant:
            _require_name("TENANT", self.tenant)
        for entity in self.entities:
            _require_name("ENTITIES", entity)
        if len(self.entities) > _MAX_ENTITIES:
            raise LocalRunError(
                f"ENTITIES has {len(self.entities)}, and may have {_MAX_ENTITIES}: "
                "patterns such as 'shop/*' say more"
            )
        if not 1 <= self.minutes <= MAX_MINUTES:
            raise LocalRunError(f"MINUTES is {self.minutes}, and may be 1 to {MAX_MINUTES}")


def _require_name(variable: str, value: str) -> None:
    most = _MAX_CHARACTERS[variable]
    # What is printable has no control character, and no half of a character.
    if not value.strip() or not value.isprintable() or len(value) > most:
        raise LocalRunError(
            f"{variable} has {value!r:.80}, and takes 1 to {most} printable characters"
        )


class SigningKey:
    """The key of the own issuer."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self._public = {name: public[name] for name in ("crv", "kty", "x", "y")}
        # RFC 7638: the members in order, without spaces.
        canonical = json.dumps(self._public, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).digest()
        self._id = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def jwks(self) -> dict[str, Any]:
        """Return the public half, as issuers publish it."""
        return {"keys": [{**self._public, "kid": self._id, "use": "sig", "alg": _ALGORITHM}]}

    def mint(self, issuer: Issuer, claims: Claims) -> str:
        """Return a token, good from now on.

        Raises:
            LocalRunError: it would be too long for a request.
        """
        now = int(time.time())
        said: dict[str, Any] = {
            "iss": issuer.name,
            "aud": issuer.audience,
            "sub": claims.user,
            "iat": now,
            "exp": now + 60 * claims.minutes,
            "entities": list(claims.entities),
        }
        if claims.tenant:
            said["tenant"] = claims.tenant
        token = jwt.encode(said, self._key, algorithm=_ALGORITHM, headers={"kid": self._id})
        if len(token) > MAX_TOKEN_BYTES:
            raise LocalRunError(
                f"The token would have {len(token)} bytes, and fits a request with at most "
                f"{MAX_TOKEN_BYTES}: name fewer ENTITIES, or patterns such as 'shop/*'"
            )
        return token


def signing_key(folder: Path = FOLDER) -> SigningKey:
    """Return the key in a folder, and see that its public half is beside it.

    It is made if there is none, and anew if what is there is no key of that kind.

    Raises:
        LocalRunError: the folder cannot be written.
    """
    path = folder / _KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # `make local` and `make token` may both be the first.
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            key = _read(path)
            if key is None:
                key = ec.generate_private_key(ec.SECP256R1())
                _put(path, _pem(key))
            signing = SigningKey(key)
            published = json.dumps(signing.jwks(), indent=2) + "\n"
            if _text(folder / _KEYS_FILE) != published:
                _put(folder / _KEYS_FILE, published.encode())
    except OSError as exc:
        raise LocalRunError(f"The key of AUTH=jwt cannot be kept in {folder}: {exc}") from exc
    return signing


def published_keys(folder: Path = FOLDER) -> Path:
    """Return where the public half is."""
    return folder / _KEYS_FILE


def _read(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """Return the key in a file that nobody else can read; None if there is none such."""
    try:
        # A link might lead out of the folder.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        pem = file.read()
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _put(path: Path, content: bytes) -> None:
    """Write a file that is whole from the beginning, and that nobody else can read."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None
