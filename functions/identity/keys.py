"""The keys by which tokens are signed: those of an issuer's JWKS address, or a shared secret.

Which key is used with which algorithm is settled here, before any token comes: a token names both,
and is refused unless there is a key for just that pair.
"""

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

from identity.errors import InvalidToken, KeysUnavailable
from identity.fetch import fetch_bounded, require_safe
from identity.form import parse_object

# RFC 7518, section 3.2: a key of at least the size of the hash.
MIN_SECRET_BYTES = 32
# How old keys may become before they are asked for again.
LIFESPAN_SECONDS = 600.0
# At most so often, whoever sends tokens with ids that nobody knows, and whether or not it answers.
PAUSE_SECONDS = 30.0
# An issuer has a handful of keys.
_MAX_KEYS = 100
# RFC 7518, section 3.3; and larger ones cost more time to verify than they are worth.
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
# By type and curve, the one algorithm of a key.
_KINDS = (("RSA", None, "RS256"), ("EC", "P-256", "ES256"), ("OKP", "Ed25519", "EdDSA"))
# The parts of a private or a shared key. Published, they let any reader sign.
_SECRET_PARTS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_log = logging.getLogger(__name__)

# The id that an issuer gave to a key, if it did, and the algorithm.
_Name = tuple[str | None, str]


class Keys(Protocol):
    """Finds the key that a token names."""

    def find(self, algorithm: str, key_id: str | None) -> Any:
        """Return the key, which is for this algorithm and no other.

        Raises:
            InvalidToken: there is none.
            KeysUnavailable: the keys cannot be had now.
        """


class SecretKeys:
    """One secret, shared with whoever signs; a key id says nothing then."""

    def __init__(self, secret: str) -> None:
        """Take a secret of at least 32 bytes.

        Raises:
            ValueError: it is shorter, or a public key, which everybody knows.
        """
        self._secret = secret.encode()
        if len(self._secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret has fewer than {MIN_SECRET_BYTES} bytes")
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(self._secret)
        except InvalidKeyError:
            raise ValueError("the secret is a key of another kind") from None

    def find(self, algorithm: str, key_id: str | None) -> Any:
        if algorithm != "HS256":
            raise InvalidToken("an algorithm that is not allowed")
        return self._secret


class JwksKeys:
    """The keys of an address, kept; the last good ones also while the address is down.

    A key without an id is found by tokens without an id, and by no others. Many threads may ask:
    who names a known key never waits for another's request, and for none while the keys are young.
    """

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], bytes] = fetch_bounded,
        # Not the monotonic clock, which may stand still while a function is frozen.
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take an address; nothing is asked yet.

        Raises:
            ValueError: it is neither https nor on this machine.
        """
        require_safe(url)
        self._url = url
        self._fetch = fetch
        self._clock = clock
        # Replaced as a whole, so that it is read without a lock.
        self._keys: dict[_Name, Any] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._asking = Lock()

    def find(self, algorithm: str, key_id: str | None) -> Any:
        if algorithm not in (each for *_, each in _KINDS):
            raise InvalidToken("an algorithm that is not allowed")
        name = (key_id, algorithm)
        key = self._keys.get(name)
        if key is None or not self._is_within(LIFESPAN_SECONDS, self._fetched_at):
            # Who has a key, if an old one, does not wait until somebody else has a new one.
            if self._asking.acquire(blocking=key is None):
                try:
                    self._refresh()
                finally:
                    self._asking.release()
            key = self._keys.get(name)
        if not self._keys:
            raise KeysUnavailable("no keys were ever had")
        if key is None:
            raise InvalidToken("no key of this id and algorithm")
        return key

    def _refresh(self) -> None:
        """Ask for the keys, unless somebody just did; keep the old ones if there are no new."""
        if self._is_within(PAUSE_SECONDS, self._tried_at):
            return
        self._tried_at = self._clock()
        try:
            keys = _read(self._fetch(self._url))
        except Exception as exc:
            # What an address may do wrong has no end, and is no reason to refuse what is known.
            _log.warning("The keys were not had: %.200r", exc)
            return
        self._keys, self._fetched_at = keys, self._clock()

    def _is_within(self, seconds: float, moment: float) -> bool:
        # A moment to come is none: the clock was set back.
        return 0 <= self._clock() - moment < seconds


def _read(text: bytes) -> dict[_Name, Any]:
    """Return the keys of a JWKS that are for signatures and of a known kind.

    Raises:
        ValueError: it is no JWKS, or none of its keys is usable.
    """
    listed = (parse_object(text) or {}).get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError("not a JWKS")
    keys: dict[_Name, Any] = {}
    ambiguous = set()
    for jwk in listed:
        name = _name(jwk) if isinstance(jwk, dict) else None
        key = _key(jwk, name[1]) if name else None
        # Entra lists some keys twice; of two different ones by one name, neither can be meant.
        if name and key and keys.setdefault(name, key) != key:
            ambiguous.add(name)
    keys = {name: key for name, key in keys.items() if name not in ambiguous}
    if not keys:
        raise ValueError("no usable key")
    return keys


def _name(jwk: dict[str, Any]) -> _Name | None:
    """Return the id and algorithm of a key that is for signatures; None for others."""
    kind = (jwk.get("kty"), jwk.get("crv"))
    algorithm = next((each for kty, crv, each in _KINDS if kind == (kty, crv)), None)
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if (
        algorithm is None
        or jwk.get("alg", algorithm) != algorithm
        or jwk.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or ("kid" in jwk and not (isinstance(key_id, str) and key_id))
        or _SECRET_PARTS & jwk.keys()
    ):
        return None
    return key_id, algorithm


def _key(jwk: dict[str, Any], algorithm: str) -> Any:
    """Return the key; None if there is none, or a weak one."""
    try:
        key: Any = PyJWK(jwk, algorithm).key
    except Exception:
        # PyJWT's, cryptography's, and those of whatever stands where a number should.
        return None
    if algorithm == "RS256" and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return None
    return key
