"""Tokens of an issuer, good ones and hostile ones."""

import base64
import hashlib
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given, settings
from hypothesis import strategies as st

import identity
from identity.claims import Identity
from identity.errors import IdentityError, InvalidToken, KeysUnavailable
from identity.keys import JwksKeys, SecretKeys
from identity.tokens import Rules, Verifier
from support.issuer import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    SECRET,
    Issuer,
    encoded,
    mac,
    private_jwk,
    private_key,
    public_jwk,
    segment,
    signed,
)

_NOW = 1_790_000_000
_URL = "https://issuer.example/jwks"
_ISSUER = Issuer(now=_NOW)


def _verifier(
    rules: Rules | None = None, keys: Any = None, now: float = _NOW, issuer: Issuer = _ISSUER
) -> Verifier:
    published = encoded(issuer.jwks())
    jwks = JwksKeys(_URL, fetch=lambda url: published, clock=lambda: now)
    return Verifier(keys or jwks, rules or Rules(ISSUER, AUDIENCE), clock=lambda: now)


_VERIFIER = _verifier()
_SECRET_VERIFIER = _verifier(keys=SecretKeys(SECRET))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_good_token_says_whose_it_is(algorithm: str) -> None:
    assert _VERIFIER.verify(_ISSUER.token(algorithm)) == Identity(
        user_id="alice",
        tenant="",
        grants=("alice/*",),
        issued_at=_NOW,
        expires_at=_NOW + 3600,
    )


def test_a_good_token_of_a_shared_secret_says_whose_it_is() -> None:
    assert _SECRET_VERIFIER.verify(_ISSUER.token("HS256")).user_id == "alice"


# As the issuers write them, with what nobody here asks for.
_COGNITO_ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_abcdefghi"
_ISSUED: dict[str, tuple[Rules, dict[str, Any], dict[str, Any]]] = {
    "cognito-id": (
        Rules(_COGNITO_ISSUER, "1example23456789", grants_claim="custom:entities"),
        {"typ": ABSENT},
        {
            "iss": _COGNITO_ISSUER,
            "aud": "1example23456789",
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "token_use": "id",
            "auth_time": _NOW,
            "cognito:username": "alice",
            "cognito:groups": ["readers"],
            "email_verified": True,
            "custom:entities": "alice/* public/**",
            "entities": ABSENT,
        },
    ),
    "cognito-access": (
        Rules(
            _COGNITO_ISSUER,
            "1example23456789",
            audience_claim="client_id",
            grants_claim="cognito:groups",
        ),
        {"typ": ABSENT},
        {
            "iss": _COGNITO_ISSUER,
            "aud": ABSENT,
            "client_id": "1example23456789",
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "token_use": "access",
            "scope": "openid",
            "version": 2,
            "cognito:groups": ["alice/*", "public/**"],
            "entities": ABSENT,
        },
    ),
    "auth0": (
        Rules("https://example.eu.auth0.com/", "https://api.example", grants_claim="scope"),
        {},
        {
            "iss": "https://example.eu.auth0.com/",
            "aud": ["https://api.example", "https://example.eu.auth0.com/userinfo"],
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "azp": "my_client_id",
            "scope": "alice/* public/**",
            "exp": _NOW + 86_400,
            "entities": ABSENT,
        },
    ),
    "auth0-rfc9068": (
        Rules("https://example.eu.auth0.com/", "https://api.example", grants_claim="scope"),
        {"typ": "at+jwt"},
        {
            "iss": "https://example.eu.auth0.com/",
            "aud": "https://api.example",
            "sub": "my_client_id@clients",
            "jti": "MQeFlfJxMPhWFlXC",
            "scope": "alice/* public/**",
            "entities": ABSENT,
        },
    ),
    "entra": (
        Rules(
            "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0",
            "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            tenant_claim="tid",
            grants_claim="roles",
        ),
        {"x5t": "rsa"},
        {
            "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0",
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
            "oid": "00000000-0000-0000-66f3-3332eca7ea81",
            "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
            "nbf": _NOW,
            "ver": "2.0",
            "roles": ["alice/*", "public/**"],
            "entities": ABSENT,
        },
    ),
    "keycloak": (
        Rules("https://keycloak.example/realms/main", "account"),
        {},
        {
            "iss": "https://keycloak.example/realms/main",
            "aud": ["account", "realm-management"],
            "sub": "f:2b5a:alice",
            "typ": "Bearer",
            "azp": "app",
            "acr": "1",
            "realm_access": {"roles": ["offline_access"]},
            "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
            "exp": _NOW + 300,
            "entities": ["alice/*", "public/**"],
        },
    ),
}


@pytest.mark.parametrize("name", _ISSUED)
def test_the_tokens_of_usual_issuers_are_accepted(name: str) -> None:
    rules, header, claims = _ISSUED[name]
    identity = _verifier(rules).verify(_ISSUER.token(header=header, **claims))
    assert identity.user_id == claims["sub"]
    assert identity.grants == ("alice/*", "public/**")
    assert identity.tenant == claims.get("tid", "")


@pytest.mark.parametrize(("name", "other"), [("cognito-id", "cognito-access")])
def test_id_and_access_tokens_of_cognito_are_not_taken_for_each_other(
    name: str, other: str
) -> None:
    for mine, theirs in ((name, other), (other, name)):
        _, header, claims = _ISSUED[theirs]
        with pytest.raises(InvalidToken, match="is no short list"):
            _verifier(_ISSUED[mine][0]).verify(_ISSUER.token(header=header, **claims))


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": _NOW + 30},
        {"nbf": _NOW + 30},
        {"nbf": 0},
        {"iat": _NOW - 3600, "exp": _NOW - 29},
        {"iat": _NOW + 0.5, "exp": _NOW + 60.5},
        {"exp": _NOW + 86_400},
        {"sub": "a" * 256},
        {"sub": "\N{GRINNING FACE}" * 256},
        {"sub": "user with spaces|and#marks"},
        {"aud": [AUDIENCE]},
        {"aud": ["other", AUDIENCE]},
        {"entities": []},
        {"entities": ["x" * 256]},
        {"entities": [f"entity-{number}" for number in range(100)]},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_what_is_just_within_bounds_is_accepted(changes: dict[str, Any]) -> None:
    assert _VERIFIER.verify(_ISSUER.token("EdDSA", **changes))


@pytest.mark.parametrize(
    ("claim", "grants"),
    [
        (ABSENT, ()),
        ([], ()),
        ("", ()),
        ("a/* b/**", ("a/*", "b/**")),
        ("  a/*  b/** ", ("a/*", "b/**")),
        # A space of another kind is part of a pattern, not between two.
        ("a/\u2003**", ("a/\u2003**",)),
        (["a b", "c"], ("a b", "c")),
        (["b", "a", "b"], ("b", "a")),
    ],
)
def test_grants_are_a_list_or_written_as_scopes(claim: Any, grants: tuple[str, ...]) -> None:
    assert _VERIFIER.verify(_ISSUER.token("EdDSA", entities=claim)).grants == grants


def test_the_tenant_is_read_where_the_rules_say() -> None:
    rules = Rules(ISSUER, AUDIENCE, tenant_claim="custom:tenant")
    token = _ISSUER.token("EdDSA", {}, **{"custom:tenant": "acme"})
    assert _verifier(rules).verify(token).tenant == "acme"
    assert _VERIFIER.verify(token).tenant == ""


@pytest.mark.parametrize("value", [ABSENT, None, "", 5, ["acme"], "a" * 129, "a\x00", "\ud800"])
def test_a_token_without_a_usable_tenant_is_refused(value: Any) -> None:
    rules = Rules(ISSUER, AUDIENCE, tenant_claim="tenant")
    with pytest.raises(InvalidToken, match=r"^tenant is no usable id$"):
        _verifier(rules).verify(_ISSUER.token("EdDSA", tenant=value))


@pytest.mark.parametrize("name", ["issuer", "audience", "audience_claim", "grants_claim"])
def test_rules_that_a_silent_token_would_meet_are_refused(name: str) -> None:
    changes: dict[str, Any] = {name: ""}
    with pytest.raises(ValueError, match=f"{name} is empty"):
        replace(Rules(ISSUER, AUDIENCE), **changes)


# --- The table of hostile tokens -----------------------------------------------------------------

_ALGORITHM = "an algorithm that is not allowed"
_KEY = "no key of this id and algorithm"
_SIGNATURE = "not verified: InvalidSignatureError"
_JSON = "a segment is not a strict JSON object"
_BASE64 = "a segment is empty, or not base64url in its one form"
_SEGMENTS = "not three segments"
_SIZE = "too long, or not ASCII"
_ISS, _EXPIRED = "another issuer", "expired"
_AUD, _AUD_LIST = "another audience", "aud is no short list"
_AUD_TEXTS = "aud is no list of strings"
_SUB, _IAT, _EXP, _NBF = "sub is no usable id", "iat is no time", "exp is no time", "nbf is no time"
_LIFE = "it lives too long"
_GRANTS, _PATTERN = "entities is no list, or too long", "entities holds what is no pattern"
_KID = "kid is no string, or empty"


def _rsa_header(**changes: Any) -> dict[str, Any]:
    members = {"alg": "RS256", "typ": "JWT", "kid": "rsa", **changes}
    return {name: value for name, value in members.items() if value is not ABSENT}


def _pem(kind: str, encoding: Any = serialization.Encoding.PEM) -> bytes:
    key = private_key(kind).public_key()
    text = key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(text, bytes)
    return text


def _parts(token: str) -> list[str]:
    return token.split(".")


def _resigned(token: str, signature: bytes) -> str:
    return ".".join([*_parts(token)[:2], segment(signature)])


def _mac(header: dict[str, Any], key: bytes, digest: Any = hashlib.sha256) -> str:
    text = f"{segment(encoded(header))}.{segment(encoded(_ISSUER.claims()))}"
    return f"{text}.{segment(mac(text.encode(), key, digest))}"


def _by_stranger(**header: Any) -> str:
    """Return a token that is good, but for whose key signed it."""
    return signed(
        _rsa_header(**header), _ISSUER.claims(), private_key("RSA-2048", "stranger"), "RS256"
    )


def _with_header(**changes: Any) -> str:
    """Return a token that the issuer signed, with other headers."""
    return signed(_rsa_header(**changes), _ISSUER.claims(), private_key("RSA-2048"), "RS256")


def _with_texts(header: bytes = b'{"alg":"RS256","kid":"rsa"}', claims: bytes | None = None) -> str:
    text = encoded(_ISSUER.claims()) if claims is None else claims
    return signed(header, text, private_key("RSA-2048"), "RS256")


def _with_member(text: str) -> str:
    """Return a token that the issuer signed, with one member more."""
    return _with_texts(claims=encoded(_ISSUER.claims())[:-1] + b"," + text.encode() + b"}")


def _mixed() -> str:
    header, _, signature = _parts(_ISSUER.token())
    return ".".join([header, _parts(_ISSUER.token(sub="bob"))[1], signature])


def _der_signed() -> str:
    token = _ISSUER.token("ES256")
    raw = base64.urlsafe_b64decode(_parts(token)[2] + "==")
    numbers = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    return _resigned(token, encode_dss_signature(*numbers))


def _changed(**changes: Any) -> Callable[[], str]:
    return lambda: _ISSUER.token(**changes)


_HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    # No signature.
    "none": (lambda: _with_header(alg="none"), _ALGORITHM),
    "nOnE": (lambda: _with_header(alg="nOnE"), _ALGORITHM),
    "NONE": (lambda: _with_header(alg="NONE"), _ALGORITHM),
    "none, with a space": (lambda: _with_header(alg="none "), _ALGORITHM),
    "none, unsigned": (
        lambda: ".".join([*_parts(_with_header(alg="none"))[:2], ""]),
        _BASE64,
    ),
    "unsigned": (lambda: ".".join([*_parts(_ISSUER.token())[:2], ""]), _BASE64),
    "without the last dot": (lambda: ".".join(_parts(_ISSUER.token())[:2]), _SEGMENTS),
    "empty algorithm": (lambda: _with_header(alg=""), _ALGORITHM),
    "no algorithm": (lambda: _with_header(alg=ABSENT), "alg is no string"),
    "algorithm that is null": (lambda: _with_header(alg=None), "alg is no string"),
    "list of algorithms": (lambda: _with_header(alg=["RS256", "none"]), "alg is no string"),
    # Algorithms that are confused or not allowed.
    "lower case": (lambda: _with_header(alg="rs256"), _ALGORITHM),
    "RS384": (
        lambda: signed(
            _rsa_header(alg="RS384"), _ISSUER.claims(), private_key("RSA-2048"), "RS384"
        ),
        _ALGORITHM,
    ),
    "RS512": (
        lambda: signed(
            _rsa_header(alg="RS512"), _ISSUER.claims(), private_key("RSA-2048"), "RS512"
        ),
        _ALGORITHM,
    ),
    "PS256": (
        lambda: signed(
            _rsa_header(alg="PS256"), _ISSUER.claims(), private_key("RSA-2048"), "PS256"
        ),
        _ALGORITHM,
    ),
    "PS256 as RS256": (
        lambda: signed(_rsa_header(), _ISSUER.claims(), private_key("RSA-2048"), "PS256"),
        _SIGNATURE,
    ),
    "RS512 as RS256": (
        lambda: signed(_rsa_header(), _ISSUER.claims(), private_key("RSA-2048"), "RS512"),
        _SIGNATURE,
    ),
    "public key in PEM as HMAC key": (
        lambda: _mac(_rsa_header(alg="HS256"), _pem("RSA-2048")),
        _ALGORITHM,
    ),
    "public key in PEM as HMAC key, without the last line end": (
        lambda: _mac(_rsa_header(alg="HS256"), _pem("RSA-2048").strip()),
        _ALGORITHM,
    ),
    "public key in DER as HMAC key": (
        lambda: _mac(_rsa_header(alg="HS256"), _pem("RSA-2048", serialization.Encoding.DER)),
        _ALGORITHM,
    ),
    "public key as JWK as HMAC key": (
        lambda: _mac(
            _rsa_header(alg="HS256"), encoded(public_jwk(private_key("RSA-2048"), kid="rsa"))
        ),
        _ALGORITHM,
    ),
    "public key in PEM as HMAC key, which says RS256": (
        lambda: _mac(_rsa_header(), _pem("RSA-2048")),
        _SIGNATURE,
    ),
    "public key in PEM as HMAC key, HS384": (
        lambda: _mac(_rsa_header(alg="HS384"), _pem("RSA-2048"), hashlib.sha384),
        _ALGORITHM,
    ),
    "HMAC with an empty key": (lambda: _mac(_rsa_header(alg="HS256"), b""), _ALGORITHM),
    "key of an elliptic curve, said to be RSA": (
        lambda: _with_header(kid="ec"),
        _KEY,
    ),
    "RSA, said to be of an elliptic curve": (
        lambda: signed(
            _rsa_header(alg="ES256"), _ISSUER.claims(), private_key("RSA-2048"), "RS256"
        ),
        _KEY,
    ),
    "RSA signature by the id of the curve": (
        lambda: signed(
            _rsa_header(alg="ES256", kid="ec"), _ISSUER.claims(), private_key("RSA-2048"), "RS256"
        ),
        _SIGNATURE,
    ),
    "Ed25519 as its own name": (
        lambda: signed(
            _rsa_header(alg="Ed25519", kid="ed"), _ISSUER.claims(), private_key("Ed25519"), "EdDSA"
        ),
        _ALGORITHM,
    ),
    # Other curves and other keys.
    "P-384 as ES384": (
        lambda: signed(
            _rsa_header(alg="ES384", kid="ec"), _ISSUER.claims(), private_key("P-384"), "ES384"
        ),
        _ALGORITHM,
    ),
    "P-384 as ES256": (
        lambda: signed(
            _rsa_header(alg="ES256", kid="ec"), _ISSUER.claims(), private_key("P-384"), "ES256"
        ),
        _SIGNATURE,
    ),
    "secp256k1 as ES256": (
        lambda: signed(
            _rsa_header(alg="ES256", kid="ec"), _ISSUER.claims(), private_key("secp256k1"), "ES256"
        ),
        _SIGNATURE,
    ),
    "secp256k1 as ES256K": (
        lambda: signed(
            _rsa_header(alg="ES256K", kid="ec"),
            _ISSUER.claims(),
            private_key("secp256k1"),
            "ES256K",
        ),
        _ALGORITHM,
    ),
    "another Ed25519 key": (
        lambda: signed(
            _rsa_header(alg="EdDSA", kid="ed"),
            _ISSUER.claims(),
            private_key("Ed25519", "stranger"),
            "EdDSA",
        ),
        _SIGNATURE,
    ),
    "a stranger's key": (_by_stranger, _SIGNATURE),
    # Keys that the token brings or names.
    "unknown key id": (lambda: _by_stranger(kid="unknown"), _KEY),
    "key id of a path": (lambda: _by_stranger(kid="../../../../dev/null"), _KEY),
    "key id of SQL": (lambda: _by_stranger(kid="x' UNION SELECT 'secret"), _KEY),
    "key id of a megabyte less": (lambda: _by_stranger(kid="x" * 4000), _KEY),
    "no key id": (lambda: _with_header(kid=ABSENT), _KEY),
    "empty key id": (lambda: _with_header(kid=""), _KID),
    "key id that is null": (lambda: _with_header(kid=None), _KID),
    "key id that is a number": (lambda: _with_header(kid=0), _KID),
    "key id that is a list": (lambda: _with_header(kid=["rsa"]), _KID),
    "key id that is an object": (lambda: _with_header(kid={"rsa": "rsa"}), _KID),
    "jwk of the stranger": (
        lambda: _by_stranger(jwk=public_jwk(private_key("RSA-2048", "stranger"))),
        "a header with jwk",
    ),
    "jwk of the issuer": (
        lambda: _with_header(jwk=public_jwk(private_key("RSA-2048"))),
        "a header with jwk",
    ),
    "jku": (lambda: _by_stranger(jku="https://evil.example/jwks"), "a header with jku"),
    "jku of the issuer": (lambda: _with_header(jku=_URL), "a header with jku"),
    "x5u": (lambda: _by_stranger(x5u="https://evil.example/c.pem"), "a header with x5u"),
    "x5c": (lambda: _by_stranger(x5c=["MIIB"]), "a header with x5c"),
    # Headers that change what is signed.
    "crit": (lambda: _with_header(crit=["exp"], exp=1), "a header with crit"),
    "crit, empty": (lambda: _with_header(crit=[]), "a header with crit"),
    "b64": (lambda: _with_header(b64=False, crit=["b64"]), "a header with b64"),
    "b64 that is true": (lambda: _with_header(b64=True), "a header with b64"),
    "zip": (lambda: _with_header(zip="DEF"), "a header with zip"),
    "enc": (lambda: _with_header(enc="A256GCM"), "a header with enc"),
    "five segments": (lambda: _ISSUER.token() + "." + _ISSUER.token().rsplit(".", 1)[0], _SEGMENTS),
    "logout token": (lambda: _with_header(typ="logout+jwt"), "a token of another type"),
    "proof of possession": (lambda: _with_header(typ="dpop+jwt"), "a token of another type"),
    "type that is a number": (lambda: _with_header(typ=1), "a token of another type"),
    # Signatures.
    "claims of another token": (_mixed, _SIGNATURE),
    "signature of zeros, RSA": (lambda: _resigned(_ISSUER.token(), bytes(256)), _SIGNATURE),
    "signature of zeros, ES256": (
        lambda: _resigned(_ISSUER.token("ES256"), bytes(64)),
        _SIGNATURE,
    ),
    "signature of zeros, EdDSA": (
        lambda: _resigned(_ISSUER.token("EdDSA"), bytes(64)),
        _SIGNATURE,
    ),
    "signature of ones": (lambda: _resigned(_ISSUER.token("ES256"), b"\xff" * 64), _SIGNATURE),
    "signature of a byte": (lambda: _resigned(_ISSUER.token("EdDSA"), b"\0"), _SIGNATURE),
    "signature with a byte more": (
        lambda: _resigned(
            _ISSUER.token(), base64.urlsafe_b64decode(_parts(_ISSUER.token())[2] + "==") + b"\0"
        ),
        _SIGNATURE,
    ),
    "signature in DER": (_der_signed, _SIGNATURE),
    "padding": (lambda: _ISSUER.token() + "==", _BASE64),
    "line end": (lambda: _ISSUER.token() + "\n", _BASE64),
    "scheme before it": (lambda: "Bearer " + _ISSUER.token(), _BASE64),
    # Sizes, nesting, names twice.
    "8 KB and more": (_changed(padding="x" * 8192), _SIZE),
    "a megabyte": (_changed(padding="x" * 1_000_000), _SIZE),
    "a million dots": (lambda: "." * 1_000_000, _SIZE),
    "nested arrays": (lambda: _with_member('"a":' + "[" * 2000 + "]" * 2000), _JSON),
    "nested a little": (lambda: _with_member('"a":' + "[" * 8 + "]" * 8), _JSON),
    "a token within": (
        lambda: signed(_rsa_header(cty="JWT"), b"a.b.c", private_key("RSA-2048"), "RS256"),
        _JSON,
    ),
    "claims that are a list": (lambda: _with_texts(claims=b"[]"), _JSON),
    "claims that are null": (lambda: _with_texts(claims=b"null"), _JSON),
    "no claims": (lambda: _with_texts(claims=b"{}"), _ISS),
    "subject twice": (lambda: _with_member('"sub":"bob"'), _JSON),
    "subject twice, once escaped": (lambda: _with_member('"s\\u0075b":"bob"'), _JSON),
    "algorithm twice": (
        lambda: _with_texts(header=b'{"alg":"none","alg":"RS256","kid":"rsa"}'),
        _JSON,
    ),
    "key id twice": (
        lambda: _with_texts(header=b'{"alg":"RS256","kid":"ec","kid":"rsa"}'),
        _JSON,
    ),
    "not UTF-8": (lambda: _with_texts(claims=b'{"sub":"\xff"}'), _JSON),
    "UTF-16": (
        lambda: _with_texts(claims=json.dumps(_ISSUER.claims()).encode("utf-16")),
        _JSON,
    ),
    "NaN": (lambda: _with_member('"nbf":NaN'), _JSON),
    # Issuer.
    "another issuer": (_changed(iss="https://evil.example"), _ISS),
    "issuer with a slash": (_changed(iss=ISSUER + "/"), _ISS),
    "issuer in capitals": (_changed(iss=ISSUER.upper()), _ISS),
    "no issuer": (_changed(iss=ABSENT), _ISS),
    "list of issuers": (_changed(iss=[ISSUER]), _ISS),
    # Audience.
    "another audience": (_changed(aud="other"), _AUD),
    "audience with more": (_changed(aud=AUDIENCE + "-admin"), _AUD),
    "audience with less": (_changed(aud=AUDIENCE[:-1]), _AUD),
    "other audiences": (_changed(aud=["other", "another"]), _AUD),
    "no audience": (_changed(aud=ABSENT), _AUD_LIST),
    "audience that is null": (_changed(aud=None), _AUD_LIST),
    "audience that is an object": (_changed(aud={AUDIENCE: 1}), _AUD_LIST),
    "empty list of audiences": (_changed(aud=[]), _AUD),
    "audiences that are no strings": (_changed(aud=[AUDIENCE, 1]), _AUD_TEXTS),
    "list in a list of audiences": (_changed(aud=[[AUDIENCE]]), _AUD_TEXTS),
    "hundreds of audiences": (_changed(aud=[AUDIENCE, *map(str, range(300))]), _AUD_LIST),
    # Times.
    "expired": (_changed(iat=_NOW - 7200, exp=_NOW - 3600), _EXPIRED),
    "expired by the leeway": (_changed(iat=_NOW - 3600, exp=_NOW - 30), _EXPIRED),
    "no expiry": (_changed(exp=ABSENT), _EXP),
    "expiry that is a string": (_changed(exp=str(_NOW + 60)), _EXP),
    "expiry that is null": (_changed(exp=None), _EXP),
    "expiry that is true": (_changed(exp=True), _EXP),
    "expiry that is a list": (_changed(exp=[_NOW + 60]), _EXP),
    "negative expiry": (_changed(exp=-1), _EXP),
    "expiry in milliseconds": (_changed(exp=(_NOW + 60) * 1000), _EXP),
    "expiry of many digits": (lambda: _with_texts(claims=_with_exp("9" * 3000)), _EXP),
    "expiry of too many digits": (lambda: _with_texts(claims=_with_exp("9" * 5000)), _JSON),
    "expiry beyond doubles": (lambda: _with_texts(claims=_with_exp("1e999")), _EXP),
    "ten years": (_changed(exp=_NOW + 315_360_000), _LIFE),
    "a second too long": (_changed(exp=_NOW + 86_401), _LIFE),
    "issued in the future": (_changed(iat=_NOW + 31), "issued in the future"),
    "not issued": (_changed(iat=ABSENT), _IAT),
    "issued at a string": (_changed(iat=str(_NOW)), _IAT),
    "issued at false": (_changed(iat=False), _IAT),
    "not before a time to come": (_changed(nbf=_NOW + 31), "not valid yet"),
    "not before a string": (_changed(nbf=str(_NOW)), _NBF),
    "not before null": (_changed(nbf=None), _NBF),
    # Subject.
    "no subject": (_changed(sub=ABSENT), _SUB),
    "empty subject": (_changed(sub=""), _SUB),
    "subject that is null": (_changed(sub=None), _SUB),
    "subject that is a number": (_changed(sub=5), _SUB),
    "subject that is a list": (_changed(sub=["alice"]), _SUB),
    "subject too long": (_changed(sub="a" * 257), _SUB),
    "subject with a zero byte": (_changed(sub="alice\x00"), _SUB),
    "subject with a line end": (_changed(sub="alice\n"), _SUB),
    "subject with half a surrogate pair": (_changed(sub="alice\ud83d"), _SUB),
    # Grants.
    "grants that are null": (_changed(entities=None), _GRANTS),
    "grants that are an object": (_changed(entities={"**": 1}), _GRANTS),
    "too many grants": (_changed(entities=[f"e{n}" for n in range(101)]), _GRANTS),
    "too many scopes": (_changed(entities=" ".join(f"e{n}" for n in range(101))), _GRANTS),
    "a grant that is no string": (_changed(entities=["a", 1]), _PATTERN),
    "an empty grant": (_changed(entities=[""]), _PATTERN),
    "a grant too long": (_changed(entities=["x" * 257]), _PATTERN),
    "a grant with a zero byte": (_changed(entities=["a\x00"]), _PATTERN),
}
# Of those whose issuer and service share a secret.
_HOSTILE_TO_A_SECRET: dict[str, tuple[Callable[[], str], str]] = {
    "none": (lambda: _mac({"alg": "none"}, SECRET.encode()), _ALGORITHM),
    "HS512": (lambda: _mac({"alg": "HS512"}, SECRET.encode(), hashlib.sha512), _ALGORITHM),
    "RS256": (_ISSUER.token, _ALGORITHM),
    "HS256 with an empty key": (lambda: _mac({"alg": "HS256"}, b""), _SIGNATURE),
    "HS256 with another key": (lambda: _mac({"alg": "HS256"}, SECRET[:-1].encode()), _SIGNATURE),
    "HS256 cut short": (
        lambda: _ISSUER.token("HS256").rsplit(".", 1)[0] + "." + segment(bytes(16)),
        _SIGNATURE,
    ),
    "HS512 as HS256": (
        lambda: _mac({"alg": "HS256"}, SECRET.encode(), hashlib.sha512),
        _SIGNATURE,
    ),
    "key id that is a number": (
        lambda: _mac({"alg": "HS256", "kid": 1}, SECRET.encode()),
        _KID,
    ),
    "expired": (
        lambda: _ISSUER.token("HS256", iat=_NOW - 3600, exp=_NOW - 30),
        _EXPIRED,
    ),
}
_TABLE = [
    pytest.param(verifier, token, reason, id=name)
    for verifier, table in ((_VERIFIER, _HOSTILE), (_SECRET_VERIFIER, _HOSTILE_TO_A_SECRET))
    for name, (token, reason) in table.items()
]


def _with_exp(digits: str) -> bytes:
    text = encoded(_ISSUER.claims())
    return text.replace(str(_NOW + 3600).encode(), digits.encode())


@pytest.mark.parametrize(("verifier", "token", "reason"), _TABLE)
def test_a_hostile_token_is_refused_for_its_reason(
    verifier: Verifier, token: Callable[[], str], reason: str
) -> None:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(token())
    assert str(caught.value) == reason


@pytest.mark.parametrize(("verifier", "token", "reason"), _TABLE)
def test_a_refusal_holds_nothing_of_the_token(
    verifier: Verifier,
    token: Callable[[], str],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = token()
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(text)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.args == (reason,)
    assert not vars(error)
    assert not getattr(error, "__notes__", [])
    out, err = capfd.readouterr()
    said = "".join([*traceback.format_exception(error), repr(error), caplog.text, out, err])
    # The lines of this file, which tracebacks quote, hold no token.
    for part in (text, *(part for part in text.split(".") if len(part) > 8)):
        assert part not in said
    for part in text.split("."):
        with suppress(ValueError):
            decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            assert len(decoded) < 12 or decoded.decode("latin-1") not in said
    assert "alice" not in said


def test_keys_that_cannot_be_had_hold_nothing_of_the_token() -> None:
    def down(url: str) -> bytes:
        raise OSError("down")

    token = _ISSUER.token()
    with pytest.raises(KeysUnavailable) as caught:
        Verifier(JwksKeys(_URL, fetch=down), Rules(ISSUER, AUDIENCE)).verify(token)
    said = "".join(traceback.format_exception(caught.value))
    assert not any(part in said for part in token.split("."))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_what_a_library_does_wrong_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    token = _ISSUER.token()

    def broken(self: object, message: bytes, key: object, signature: bytes) -> bool:
        raise SystemError(token)

    monkeypatch.setattr("jwt.algorithms.RSAAlgorithm.verify", broken)
    with pytest.raises(InvalidToken, match=r"^not verified: SystemError$") as caught:
        _VERIFIER.verify(token)
    assert caught.value.__context__ is None


def test_a_private_key_that_was_published_signs_nothing() -> None:
    leaked = private_key("P-256", "leaked")
    listed = [private_jwk(leaked, kid="leaked"), *_ISSUER.jwks()["keys"]]
    keys = JwksKeys(_URL, fetch=lambda url: encoded({"keys": listed}), clock=lambda: _NOW)
    token = signed({"alg": "ES256", "kid": "leaked"}, _ISSUER.claims(), leaked, "ES256")
    with pytest.raises(InvalidToken, match=_KEY):
        _verifier(keys=keys).verify(token)


def test_a_token_without_a_key_id_is_accepted_if_the_one_key_has_none() -> None:
    key = private_key("P-256")
    listed = encoded({"keys": [public_jwk(key)]})
    keys = JwksKeys(_URL, fetch=lambda url: listed, clock=lambda: _NOW)
    assert _verifier(keys=keys).verify(_ISSUER.token("ES256", {"kid": ABSENT}))


def test_what_a_token_says_is_read_back_without_cryptography() -> None:
    # Functions that only know who is connected must not pay for the import.
    code = (
        "import sys, identity.claims, identity.errors;"
        "sys.exit(bool({'jwt', 'cryptography', 'identity.keys'} & sys.modules.keys()))"
    )
    functions = Path(identity.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=functions, check=True, timeout=60)


def test_claims_say_nothing_before_the_signature_is_right() -> None:
    token = signed(
        _rsa_header(), {"iss": "https://evil.example"}, private_key("RSA-2048", "x"), "RS256"
    )
    with pytest.raises(InvalidToken, match=_SIGNATURE):
        _VERIFIER.verify(token)


# --- Properties ----------------------------------------------------------------------------------

_ALGORITHMS = st.sampled_from(["RS256", "ES256", "EdDSA", "HS256"])
# Made once: some algorithms sign the same differently each time.
_GOOD = {algorithm: _ISSUER.token(algorithm) for algorithm in ("RS256", "ES256", "EdDSA", "HS256")}


def _of(algorithm: str) -> Verifier:
    return _SECRET_VERIFIER if algorithm == "HS256" else _VERIFIER


@given(_ALGORITHMS, st.data())
@settings(deadline=None)
def test_a_token_with_another_character_is_refused(algorithm: str, data: st.DataObject) -> None:
    token = _GOOD[algorithm]
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda each: each != token[place]))
    _assert_refused(algorithm, token[:place] + other + token[place + 1 :])


@given(_ALGORITHMS, st.integers(0, 2), st.data())
@settings(deadline=None)
def test_a_token_with_another_bit_is_refused(
    algorithm: str, number: int, data: st.DataObject
) -> None:
    parts = _parts(_GOOD[algorithm])
    content = bytearray(base64.urlsafe_b64decode(parts[number] + "=="))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    parts[number] = segment(bytes(content))
    _assert_refused(algorithm, ".".join(parts))


@given(
    st.lists(
        st.sampled_from([part for token in _GOOD.values() for part in _parts(token)]),
        min_size=3,
        max_size=3,
    ),
    _ALGORITHMS,
)
@settings(deadline=None)
def test_segments_of_several_tokens_are_refused(parts: list[str], algorithm: str) -> None:
    token = ".".join(parts)
    if token not in _GOOD.values():
        _assert_refused(algorithm, token)


@given(_ALGORITHMS, st.sampled_from([0, 1]))
def test_a_token_that_is_written_differently_is_refused(algorithm: str, number: int) -> None:
    parts = _parts(_GOOD[algorithm])
    value = json.loads(base64.urlsafe_b64decode(parts[number] + "=="))
    parts[number] = segment(json.dumps(value).encode())
    _assert_refused(algorithm, ".".join(parts))


@given(_ALGORITHMS, st.data())
def test_a_token_that_is_cut_is_refused(algorithm: str, data: st.DataObject) -> None:
    token = _GOOD[algorithm]
    _assert_refused(algorithm, token[: data.draw(st.integers(0, len(token) - 1))])


@given(st.text())
@example("")
@example("\ud800..")
@example("." * 2)
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    for verifier in (_VERIFIER, _SECRET_VERIFIER):
        with pytest.raises(IdentityError):
            verifier.verify(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(_NOW),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "crit"]), _VALUES),
    st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "iat", "exp", "nbf", "entities", "tenant"]), _VALUES
    ),
)
@settings(deadline=None)
def test_whatever_is_signed_is_an_identity_within_bounds_or_a_refusal(
    header: dict[str, Any], changes: dict[str, Any]
) -> None:
    token = signed({"alg": "HS256", **header}, _ISSUER.claims(**changes), SECRET.encode(), "HS256")
    try:
        identity = _SECRET_VERIFIER.verify(token)
    except InvalidToken:
        return
    assert 1 <= len(identity.user_id) <= 256
    identity.user_id.encode()
    assert len(identity.grants) <= 100
    assert identity.issued_at - 30 <= _NOW < identity.expires_at + 31


def _assert_refused(algorithm: str, token: str) -> None:
    with pytest.raises(InvalidToken):
        _of(algorithm).verify(token)
