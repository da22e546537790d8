"""The keys of an issuer that is slow, down, rotates, or sends nonsense."""

import json
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from identity.errors import InvalidToken, KeysUnavailable
from identity.keys import LIFESPAN_SECONDS, PAUSE_SECONDS, JwksKeys, SecretKeys
from support.issuer import ABSENT, Issuer, encoded, private_jwk, private_key, public_jwk, segment

_URL = "https://issuer.example/jwks"
# So long that only a test that is stuck comes to it.
_STUCK_SECONDS = 10


class Address:
    """What stands at the address: answers as it is told, and counts."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0
        self.now = 1_790_000_000.0

    def fetch(self, url: str) -> bytes:
        assert url == _URL
        self.asked += 1
        answer = self.answer() if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return encoded(answer)

    def keys(self) -> JwksKeys:
        return JwksKeys(_URL, fetch=self.fetch, clock=lambda: self.now)


@pytest.fixture
def address() -> Address:
    return Address(Issuer().jwks())


@pytest.fixture
def keys(address: Address) -> JwksKeys:
    return address.keys()


@pytest.mark.parametrize(
    ("algorithm", "key_id"), [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")]
)
def test_a_key_is_found_by_its_id_and_algorithm(
    keys: JwksKeys, algorithm: str, key_id: str
) -> None:
    found = keys.find(algorithm, key_id)
    assert found == Issuer().key(algorithm)[0].public_key()


def test_nothing_is_asked_before_a_token_comes(address: Address) -> None:
    address.keys()
    assert address.asked == 0


def test_keys_are_kept(address: Address, keys: JwksKeys) -> None:
    for _ in range(100):
        keys.find("RS256", "rsa")
        keys.find("ES256", "ec")
    address.now += LIFESPAN_SECONDS - 1
    keys.find("RS256", "rsa")
    assert address.asked == 1


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_is_not_found_for_another_algorithm(keys: JwksKeys, algorithm: str) -> None:
    _assert_refused(keys, algorithm, "rsa", "no key of this id and algorithm")


@pytest.mark.parametrize("algorithm", ["none", "nOnE", "HS256", "RS512", "PS256", "ES384", ""])
def test_an_algorithm_that_is_not_allowed_asks_for_nothing(
    address: Address, keys: JwksKeys, algorithm: str
) -> None:
    _assert_refused(keys, algorithm, "rsa", "an algorithm that is not allowed")
    assert address.asked == 0


def test_unknown_ids_are_asked_for_once_in_thirty_seconds(address: Address, keys: JwksKeys) -> None:
    keys.find("RS256", "rsa")
    address.now += PAUSE_SECONDS
    for number in range(500):
        _assert_refused(keys, "RS256", f"unknown-{number}", "no key of this id and algorithm")
    _assert_refused(keys, "RS256", None, "no key of this id and algorithm")
    assert address.asked == 2
    address.now += PAUSE_SECONDS - 1
    _assert_refused(keys, "RS256", "unknown", "no key of this id and algorithm")
    assert address.asked == 2
    address.now += 1
    _assert_refused(keys, "RS256", "unknown", "no key of this id and algorithm")
    assert address.asked == 3


def test_a_new_key_is_found_as_soon_as_it_is_asked_for(address: Address, keys: JwksKeys) -> None:
    keys.find("RS256", "rsa")
    new = private_key("P-256", "new")
    address.answer = {"keys": [*Issuer().jwks()["keys"], public_jwk(new, kid="new")]}
    address.now += PAUSE_SECONDS
    assert keys.find("ES256", "new") == new.public_key()
    assert keys.find("RS256", "rsa")


def test_a_key_that_is_replaced_under_its_id_is_taken_when_the_old_one_is_old(
    address: Address, keys: JwksKeys
) -> None:
    keys.find("ES256", "ec")
    address.answer = Issuer(name="second").jwks()
    address.now += LIFESPAN_SECONDS
    assert keys.find("ES256", "ec") == private_key("P-256", "second").public_key()


def test_a_key_that_was_withdrawn_is_refused_when_it_is_old(
    address: Address, keys: JwksKeys
) -> None:
    keys.find("RS256", "rsa")
    address.answer = {"keys": [public_jwk(private_key("P-256"), kid="ec")]}
    keys.find("RS256", "rsa")
    address.now += LIFESPAN_SECONDS
    _assert_refused(keys, "RS256", "rsa", "no key of this id and algorithm")
    assert keys.find("ES256", "ec")


_NONSENSE: list[Any] = [
    OSError("down"),
    TimeoutError(),
    ValueError("status 500"),
    RuntimeError("can't start new thread"),
    b"",
    b"<html>",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'{"keys":null}',
    b'{"keys":{}}',
    b'{"keys":[]}',
    b'{"keys":[null,1,"x",[]]}',
    b'{"keys":[{}]}',
    b"[" * 100_000,
    b'{"keys":[],"keys":[]}',
    {"keys": [{"kty": ["RSA"], "crv": {}, "kid": {}}]},
    {"keys": [{"kty": "RSA", "kid": "rsa", "n": 5, "e": "AQAB"}]},
    {"keys": [{"kty": "RSA", "kid": "rsa", "n": "", "e": ""}]},
    {"keys": [{"kty": "RSA", "kid": "rsa", "n": "\ud800", "e": "AQAB"}]},
    {"keys": [{"kty": "EC", "crv": "P-256", "kid": "ec", "x": "AAAA", "y": "AAAA"}]},
    {"keys": [{"kty": "EC", "crv": "P-256", "kid": "ec", "x": "A" * 43, "y": "A" * 43}]},
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AAAA"}]},
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed"}]},
    {"keys": [{"kty": "oct", "kid": "rsa", "k": "A" * 43}]},
    {"keys": Issuer().jwks()["keys"] * 34},
]


@pytest.mark.parametrize("answer", _NONSENSE, ids=lambda answer: repr(answer)[:40])
def test_the_last_good_keys_are_kept_when_the_address_is_down_or_sends_nonsense(
    address: Address, keys: JwksKeys, answer: Any
) -> None:
    keys.find("RS256", "rsa")
    address.answer = answer
    for _ in range(3):
        address.now += LIFESPAN_SECONDS * 10
        assert keys.find("RS256", "rsa")
        assert keys.find("ES256", "ec")
    # Once each time, although the keys are old for everybody.
    assert address.asked == 4


@pytest.mark.parametrize("answer", _NONSENSE, ids=lambda answer: repr(answer)[:40])
def test_without_keys_nothing_can_be_said_until_the_address_is_well(
    address: Address, keys: JwksKeys, answer: Any
) -> None:
    good, address.answer = address.answer, answer
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            keys.find("RS256", "rsa")
    assert address.asked == 1
    address.answer = good
    address.now += PAUSE_SECONDS
    assert keys.find("RS256", "rsa")


def test_what_went_wrong_with_the_address_is_logged(
    address: Address, keys: JwksKeys, caplog: pytest.LogCaptureFixture
) -> None:
    address.answer = ValueError("status 500")
    with pytest.raises(KeysUnavailable):
        keys.find("RS256", "rsa")
    assert "status 500" in caplog.text


def test_a_clock_that_is_set_back_does_not_keep_keys_for_ever(
    address: Address, keys: JwksKeys
) -> None:
    keys.find("RS256", "rsa")
    address.now -= 1_000_000
    keys.find("RS256", "rsa")
    assert address.asked == 2


def test_who_knows_a_key_does_not_wait_while_another_asks(address: Address) -> None:
    keys = address.keys()
    keys.find("RS256", "rsa")
    asking, answer = Event(), Event()

    def slow() -> Any:
        asking.set()
        assert answer.wait(_STUCK_SECONDS)
        return Issuer().jwks()

    address.answer = slow
    address.now += LIFESPAN_SECONDS
    other = Thread(target=keys.find, args=("RS256", "rsa"))
    other.start()
    assert asking.wait(_STUCK_SECONDS)
    try:
        # Old, and known: this would be stuck behind the other.
        assert _in_time(lambda: keys.find("ES256", "ec"))
        assert address.asked == 2
    finally:
        answer.set()
        other.join()


def test_who_knows_a_young_key_does_not_wait_while_an_unknown_one_is_asked_for(
    address: Address,
) -> None:
    keys = address.keys()
    keys.find("RS256", "rsa")
    asking, answer = Event(), Event()

    def slow() -> Any:
        asking.set()
        assert answer.wait(_STUCK_SECONDS)
        return OSError("down")

    address.answer = slow
    address.now += PAUSE_SECONDS
    refused: list[bool] = []

    def unknown() -> None:
        with pytest.raises(InvalidToken):
            keys.find("RS256", "unknown")
        refused.append(True)

    others = [Thread(target=unknown) for _ in range(5)]
    for other in others:
        other.start()
    assert asking.wait(_STUCK_SECONDS)
    try:
        assert _in_time(lambda: keys.find("RS256", "rsa"))
    finally:
        answer.set()
        for other in others:
            other.join()
    assert refused == [True] * 5
    assert address.asked == 2


def test_who_waits_for_the_first_keys_gets_those_that_another_asked_for(address: Address) -> None:
    keys = address.keys()
    asking, answer, good = Event(), Event(), address.answer

    def slow() -> Any:
        asking.set()
        assert answer.wait(_STUCK_SECONDS)
        return good

    address.answer = slow
    found: list[Any] = []
    others = [Thread(target=lambda: found.append(keys.find("RS256", "rsa"))) for _ in range(5)]
    for other in others:
        other.start()
    assert asking.wait(_STUCK_SECONDS)
    answer.set()
    for other in others:
        other.join()
    assert found == [private_key("RSA-2048").public_key()] * 5
    assert address.asked == 1


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": None},
        {"alg": "RS512"},
        {"alg": "PS256"},
        {"alg": "HS256"},
        {"alg": ""},
        {"alg": ["RS256"]},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": 5},
        {"crv": "P-256"},
        {"kty": "EC"},
        {"kid": None},
        {"kid": ""},
        {"kid": 5},
        {"d": "AQAB"},
        {"p": "AQAB"},
        {"k": "AQAB"},
        # 9000 bits.
        {"n": segment(b"\x80" + b"\x01" * 1124)},
        {"e": "AQ"},
        {"e": "Ag"},
    ],
    ids=lambda members: repr(members)[:30],
)
def test_a_key_that_is_not_for_this_is_passed_over(
    address: Address, keys: JwksKeys, members: dict[str, Any]
) -> None:
    rsa = public_jwk(private_key("RSA-2048"), **{"kid": "rsa", "alg": "RS256", **members})
    address.answer = {"keys": [rsa, public_jwk(private_key("P-256"), kid="ec")]}
    assert keys.find("ES256", "ec")
    _assert_refused(keys, "RS256", rsa.get("kid"), "no key of this id and algorithm")


def test_what_a_key_does_not_say_is_not_asked_for(address: Address, keys: JwksKeys) -> None:
    address.answer = {"keys": [public_jwk(private_key("RSA-2048"), kid="rsa", use=ABSENT)]}
    assert keys.find("RS256", "rsa")


def test_a_key_may_be_for_verification_among_others(address: Address, keys: JwksKeys) -> None:
    rsa = public_jwk(private_key("RSA-2048"), kid="rsa", key_ops=["sign", "verify"])
    address.answer = {"keys": [rsa]}
    assert keys.find("RS256", "rsa")


@pytest.mark.parametrize("kind", ["RSA-2048", "P-256", "Ed25519"])
def test_a_private_key_that_was_published_is_not_believed(
    address: Address, keys: JwksKeys, kind: str
) -> None:
    address.answer = {"keys": [private_jwk(private_key(kind), kid="leaked")]}
    with pytest.raises(KeysUnavailable):
        keys.find("RS256", "leaked")


@pytest.mark.parametrize("kind", ["RSA-1024", "P-384", "P-521", "secp256k1"])
def test_weak_keys_and_those_of_other_curves_are_passed_over(
    address: Address, keys: JwksKeys, kind: str
) -> None:
    address.answer = {"keys": [public_jwk(private_key(kind), kid="other")]}
    for algorithm in ("RS256", "ES256", "EdDSA"):
        with pytest.raises(KeysUnavailable):
            keys.find(algorithm, "other")


def test_two_keys_with_one_id_are_told_apart_by_their_algorithm(
    address: Address, keys: JwksKeys
) -> None:
    kinds = {"RS256": "RSA-2048", "ES256": "P-256", "EdDSA": "Ed25519"}
    listed = [public_jwk(private_key(kind), kid="same") for kind in kinds.values()]
    address.answer = {"keys": listed}
    for algorithm, kind in kinds.items():
        assert keys.find(algorithm, "same") == private_key(kind).public_key()


def test_of_two_keys_with_one_id_and_algorithm_neither_is_believed(
    address: Address, keys: JwksKeys
) -> None:
    first, second, third = (private_key("P-256", name) for name in ("first", "second", "third"))
    listed = [public_jwk(each, kid="same") for each in (first, second, first)]
    address.answer = {"keys": [*listed, public_jwk(third, kid="third")]}
    assert keys.find("ES256", "third") == third.public_key()
    _assert_refused(keys, "ES256", "same", "no key of this id and algorithm")


def test_a_key_may_be_listed_twice(address: Address, keys: JwksKeys) -> None:
    address.answer = {"keys": [public_jwk(private_key("P-256"), kid="ec")] * 2}
    assert keys.find("ES256", "ec")


def test_a_key_without_an_id_is_for_tokens_without_one(address: Address, keys: JwksKeys) -> None:
    address.answer = {"keys": [public_jwk(private_key("P-256"))]}
    assert keys.find("ES256", None) == private_key("P-256").public_key()
    _assert_refused(keys, "ES256", "ec", "no key of this id and algorithm")


def test_a_token_without_an_id_finds_no_key_that_has_one(keys: JwksKeys) -> None:
    _assert_refused(keys, "ES256", None, "no key of this id and algorithm")


def test_of_two_keys_without_ids_neither_is_believed(address: Address, keys: JwksKeys) -> None:
    listed = [public_jwk(private_key("P-256", name)) for name in ("first", "second")]
    address.answer = {"keys": [*listed, public_jwk(private_key("RSA-2048"), kid="rsa")]}
    assert keys.find("RS256", "rsa")
    _assert_refused(keys, "ES256", None, "no key of this id and algorithm")


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks",
        "http://127.0.0.1.issuer.example/jwks",
        "http://localhost.issuer.example/jwks",
        "http://10.0.0.1/jwks",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/jwks",
        "http:///jwks",
        "https:///jwks",
        "https://",
        "https://user:password@issuer.example/jwks",
        "https://127.0.0.1@issuer.example/jwks",
        "https://issuer.example:99999/jwks",
        "https://issuer.example:port/jwks",
        "https://issuer.example/j wks",
        "https://issuer.example/jwks\r\nHost: evil",
        "https://issuer.example/é",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "ftp://issuer.example/jwks",
        "data:application/json,{}",
        "issuer.example/jwks",
        "",
    ],
)
def test_an_address_that_cannot_be_trusted_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"[Pp]ort|must be https"):
        JwksKeys(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/jwks?version=1",
        "HTTPS://issuer.example",
        "http://127.0.0.1:8080/jwks",
        "http://localhost/jwks",
        "http://[::1]:8080/jwks",
    ],
)
def test_https_and_this_machine_are_trusted(url: str) -> None:
    assert JwksKeys(url)


@pytest.mark.parametrize("key_id", [None, "any"])
def test_a_secret_is_found_whatever_the_id(key_id: str | None) -> None:
    assert SecretKeys("s" * 32).find("HS256", key_id) == b"s" * 32


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512", "RS256", "hs256", ""])
def test_a_secret_is_for_one_algorithm(algorithm: str) -> None:
    with pytest.raises(InvalidToken, match="an algorithm that is not allowed"):
        SecretKeys("s" * 32).find(algorithm, None)


@pytest.mark.parametrize("secret", ["", "s" * 31])
def test_a_short_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="fewer than 32 bytes"):
        SecretKeys(secret)


def test_a_public_key_is_no_secret() -> None:
    pem = (
        private_key("P-256")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for text in (pem.decode(), json.dumps(public_jwk(private_key("P-256")))):
        with pytest.raises(ValueError, match="of another kind") as caught:
            SecretKeys(text)
        assert text not in repr(caught.value)


def _assert_refused(keys: JwksKeys, algorithm: str, key_id: str | None, reason: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        keys.find(algorithm, key_id)
    assert str(caught.value) == reason


def _in_time(call: Callable[[], Any]) -> Any:
    """Return what a call returns, unless it waits."""
    results: list[Any] = []
    thread = Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(_STUCK_SECONDS / 2)
    assert results, "it waits"
    return results[0]
