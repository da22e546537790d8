"""What is a token at all, before anybody looks for its key."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import InvalidToken
from identity.form import MAX_BYTES, check, parse_object
from support.issuer import encoded, segment

_HEADER = segment(b'{"alg":"RS256","kid":"rsa"}')
_CLAIMS = segment(b'{"sub":"alice"}')
_SIGNATURE = segment(b"signature")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_SEGMENTS = "not three segments"
_BASE64 = "a segment is empty, or not base64url in its one form"
_JSON = "a segment is not a strict JSON object"
_SIZE = "too long, or not ASCII"


def test_a_token_is_read() -> None:
    form = check(f"{_HEADER}.{_CLAIMS}.{_SIGNATURE}")
    assert form == ("RS256", "rsa", {"sub": "alice"})


def test_a_key_id_may_be_missing() -> None:
    assert check(_with_header({"alg": "RS256"})).key_id is None


@pytest.mark.parametrize(
    "media_type", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt"]
)
def test_the_types_of_id_and_access_tokens_are_read(media_type: str) -> None:
    assert check(_with_header({"alg": "RS256", "typ": media_type}))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", _SEGMENTS),
        ("a", _SEGMENTS),
        (f"{_HEADER}.{_CLAIMS}", _SEGMENTS),
        (f"{_HEADER}.{_CLAIMS}.{_SIGNATURE}.", _SEGMENTS),
        (f"{_HEADER}.{_CLAIMS}.{_SIGNATURE}.{_CLAIMS}.{_CLAIMS}", _SEGMENTS),
        ("." * MAX_BYTES, _SEGMENTS),
        ("..", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.", _BASE64),
        (f".{_CLAIMS}.{_SIGNATURE}", _BASE64),
        (f"{_HEADER}..{_SIGNATURE}", _BASE64),
        (f"{_HEADER}=.{_CLAIMS}.{_SIGNATURE}", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.{base64.urlsafe_b64encode(b'x').decode()}", _BASE64),
        (f" {_HEADER}.{_CLAIMS}.{_SIGNATURE}", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.{_SIGNATURE}\n", _BASE64),
        (f"{_HEADER}.{_CLAIMS}\x00.{_SIGNATURE}", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.ab+/", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.a", _BASE64),
        # The two last bits are behind the last byte: `QQ` is the one form of it.
        (f"{_HEADER}.{_CLAIMS}.QR", _BASE64),
        (f"{_HEADER}.{_CLAIMS}.é", _SIZE),
        (f"{_HEADER}.{_CLAIMS}.\udcff", _SIZE),
        # Digits to Python, but not to base64.
        (f"{_HEADER}.{_CLAIMS}.١٢٣٤", _SIZE),
    ],
)
def test_what_is_no_token_is_refused(token: str, reason: str) -> None:
    _assert_refused(token, reason)


def test_a_token_may_have_8_kb_and_no_more() -> None:
    shorter = f"{_HEADER}.{_CLAIMS}."
    signature = "A" * (MAX_BYTES - len(shorter))
    assert len(shorter + signature) == MAX_BYTES
    assert check(shorter + signature)
    _assert_refused(shorter + signature + "AAAA", _SIZE)
    _assert_refused("a" * 1_000_000, _SIZE)


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"",
        b"{",
        b"{}{}",
        b"{'sub':'alice'}",
        b'{"sub":"alice","sub":"bob"}',
        b'{"sub":"alice","s\\u0075b":"bob"}',
        b'{"inner":{"a":1,"a":1}}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":-Infinity}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'\xef\xbb\xbf{"sub":"alice"}',
        '{"sub":"alice"}'.encode("utf-16"),
        '{"sub":"alice"}'.encode("utf-16-le"),
        '{"sub":"alice"}'.encode("utf-32"),
        b'{"sub":"\xff"}',
        b'{"sub":"\xed\xa0\x80"}',
        b'{"sub":"\n"}',
        b'{"a":' * 9 + b"1" + b"}" * 9,
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"a":' * 1200,
    ],
)
def test_what_parsers_disagree_about_is_no_object(text: bytes) -> None:
    assert parse_object(text) is None
    _assert_refused(f"{_HEADER}.{segment(text)}.{_SIGNATURE}", None)
    _assert_refused(f"{segment(text)}.{_CLAIMS}.{_SIGNATURE}", None)


def test_claims_may_be_as_deep_as_those_of_keycloak() -> None:
    deep = {"resource_access": {"app": {"roles": ["reader", {"of": [{"a": {}}]}]}}}
    assert parse_object(encoded(deep)) == deep


@pytest.mark.parametrize("name", ["crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"])
@pytest.mark.parametrize("value", [None, True, [], "https://evil.example"])
def test_a_header_that_brings_a_key_or_changes_what_is_signed_is_refused(
    name: str, value: Any
) -> None:
    _assert_refused(_with_header({"alg": "RS256", name: value}), f"a header with {name}")


@pytest.mark.parametrize("value", [None, "", 1, ["JWT"], "JWE", "dpop+jwt", "logout+jwt", "JWT "])
def test_a_token_of_another_type_is_refused(value: Any) -> None:
    _assert_refused(_with_header({"alg": "RS256", "typ": value}), "a token of another type")


@pytest.mark.parametrize("value", [None, 1, True, ["RS256"], {"RS256": 1}])
def test_an_algorithm_that_is_no_string_is_refused(value: Any) -> None:
    _assert_refused(_with_header({"alg": value}), "alg is no string")


def test_a_header_without_an_algorithm_is_refused() -> None:
    _assert_refused(_with_header({"typ": "JWT"}), "alg is no string")


@pytest.mark.parametrize("value", [None, "", 1, 1.5, False, ["rsa"], {"a": "rsa"}])
def test_a_key_id_that_is_no_string_is_refused(value: Any) -> None:
    header = {"alg": "RS256", "kid": value}
    _assert_refused(_with_header(header), "kid is no string, or empty")


@given(st.text() | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*"))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    with suppress(InvalidToken):
        check(text)


@given(st.binary())
def test_any_bytes_are_parsed_or_are_none(text: bytes) -> None:
    value = parse_object(text)
    assert value is None or value == json.loads(text)


@given(st.binary(min_size=1, max_size=40))
def test_bytes_have_one_text(content: bytes) -> None:
    text = segment(content)
    padding = "=" * (-len(text) % 4)
    others = [text[:-1] + last for last in _LETTERS if last != text[-1]]
    same = [each for each in others if base64.urlsafe_b64decode(each + padding) == content]
    # Two or four bits of the last letter are behind the last byte, or none.
    assert len(same) == {0: 0, 1: 15, 2: 3}[len(content) % 3]
    for other in same:
        _assert_refused(f"{_HEADER}.{_CLAIMS}.{other}", _BASE64)
    assert check(f"{_HEADER}.{_CLAIMS}.{text}")


def _with_header(header: dict[str, Any]) -> str:
    return f"{segment(encoded(header))}.{_CLAIMS}.{_SIGNATURE}"


def _assert_refused(token: str, reason: str | None) -> None:
    with pytest.raises(InvalidToken) as caught:
        check(token)
    assert reason is None or str(caught.value) == reason
