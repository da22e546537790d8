"""The engine's requests are signed as botocore would sign them."""

import random
import string
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.utils import percent_encode
from hypothesis import given
from hypothesis import strategies as st

from management_api import Payload, Request
from management_api.endpoint import Endpoint
from management_api.signer import Signer

AWS = "https://abc123.execute-api.eu-central-1.amazonaws.com/v1"
Keys = tuple[str, str, str | None]
KEYS: Keys = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session/token+==")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Held:
    """Credentials that a test rotates."""

    def __init__(self, *keys: *Keys) -> None:
        self.keys = keys

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return ReadOnlyCredentials(*self.keys)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now.timestamp()


def signer(
    *,
    url: str = AWS,
    region: str = "eu-central-1",
    keys: Keys = KEYS,
    now: datetime = NOON,
) -> Signer:
    return Signer(Endpoint.parse(url), region, Held(*keys), now=Clock(now))


def request_of(connection_id: str, body: bytes | None = b"frame") -> Request:
    """Return a post of the body; without one, a request that closes the connection."""
    if body is None:
        return Request.close(connection_id)
    return Request.post(connection_id, Payload(body))


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return request line, headers by lower-case name, and body."""
    head, _, body = request.partition(b"\r\n\r\n")
    request_line, *lines = head.decode("ascii").split("\r\n")
    return request_line, dict(line.split(": ", 1) for line in lines), body


def signed_by_botocore(
    connection_id: str,
    body: bytes | None = b"frame",
    *,
    url: str = AWS,
    region: str = "eu-central-1",
    keys: Keys = KEYS,
    now: datetime = NOON,
) -> AWSRequest:
    method = "DELETE" if body is None else "POST"
    address = f"{url}/@connections/{percent_encode(connection_id)}"
    request = AWSRequest(method, address, data=body or b"")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
        SigV4Auth(Credentials(*keys), "execute-api", region).add_auth(request)
    return request


def assert_like_botocore(request: bytes, reference: AWSRequest) -> None:
    request_line, headers, body = parsed(request)
    parts = urlsplit(str(reference.url))
    assert request_line == f"{reference.method} {parts.path} HTTP/1.1"
    expected = {name.lower(): value for name, value in reference.headers.items()}
    assert headers == {
        **expected,
        "host": parts.netloc.removesuffix(":443" if parts.scheme == "https" else ":80"),
        "content-length": str(len(body)),
    }
    assert body == reference.data


def test_thousands_of_ids_are_signed_as_botocore_signs_them() -> None:
    chosen = random.Random(4)  # noqa: S311 - chooses examples, keeps no secret
    characters = string.ascii_letters + string.digits + string.punctuation + " \t\n\0é€😀"
    one = signer()
    for number in range(4000):
        # As those of API Gateway, and any.
        of = string.ascii_letters + "=-_" if number % 2 else characters
        connection_id = "".join(chosen.choices(of, k=chosen.randint(3, 40)))
        body = None if number % 8 < 2 else b"frame"
        reference = signed_by_botocore(connection_id, body)
        assert_like_botocore(one.signed(request_of(connection_id, body)), reference)


@pytest.mark.parametrize("character", [chr(code) for code in range(256)])
def test_every_character_is_encoded_as_botocore_encodes_it(character: str) -> None:
    connection_id = f"a{character}="
    reference = signed_by_botocore(connection_id)
    assert_like_botocore(signer().signed(request_of(connection_id)), reference)


# API Gateway gives out no such ids. In a path, dots would be taken for folders.
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in {".", ".."}
)
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
urls = st.sampled_from(
    [
        AWS,
        "https://abc123.execute-api.cn-north-1.amazonaws.com.cn/live",
        "https://abc123.execute-api.us-east-1.amazonaws.com:443/v1",
        "https://abc123.execute-api.us-east-1.amazonaws.com:8443/v1",
        "http://127.0.0.1:3001/v1",
        "http://localhost:80/a-b_c.d~e",
        "http://[::1]:3001/v1",
        "https://push.example.com",
        "https://push.example.com/base/v1",
    ]
)


@given(
    connection_id=ids,
    body=st.none() | st.binary(),
    url=urls,
    region=st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2", "cn-north-1"]),
    access_key=printable,
    secret_key=printable,
    token=st.none() | printable,
    now=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the time zone
)
def test_any_request_is_signed_as_botocore_signs_it(
    connection_id: str,
    body: bytes | None,
    url: str,
    region: str,
    access_key: str,
    secret_key: str,
    token: str | None,
    now: datetime,
) -> None:
    keys = (access_key, secret_key, token)
    signed = signer(url=url, region=region, keys=keys, now=now)
    reference = signed_by_botocore(connection_id, body, url=url, region=region, keys=keys, now=now)
    assert_like_botocore(signed.signed(request_of(connection_id, body)), reference)


@pytest.mark.parametrize("body", [b"frame", None])
def test_what_is_signed_is_what_boto3_would_send(
    monkeypatch: pytest.MonkeyPatch, body: bytes | None
) -> None:
    """The reference above is a signer alone; this one is the whole client."""

    class Stop(Exception):
        pass

    seen: list[Any] = []

    def before_send(request: Any, **_: Any) -> None:
        seen.append(request)
        raise Stop

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOON)
    client = boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=AWS,
        region_name="eu-central-1",
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        aws_session_token=KEYS[2],
    )
    client.meta.events.register("before-send", before_send)
    with pytest.raises(Stop):
        if body is None:
            client.delete_connection(ConnectionId="L0SM9cOFvHcCIhw=")
        else:
            client.post_to_connection(ConnectionId="L0SM9cOFvHcCIhw=", Data=body)

    request_line, headers, _ = parsed(signer().signed(request_of("L0SM9cOFvHcCIhw=", body)))
    (sent,) = seen
    assert request_line == f"{sent.method} {urlsplit(sent.url).path} HTTP/1.1"
    assert headers["authorization"] == sent.headers["Authorization"].decode()
    assert headers["content-length"] == sent.headers["Content-Length"]


def test_the_date_follows_the_clock() -> None:
    clock = Clock(NOON)
    signed = Signer(Endpoint.parse(AWS), "eu-central-1", Held(*KEYS), now=clock)

    # The last step is past midnight, where the key of the day changes.
    for step in (timedelta(), timedelta(milliseconds=999), timedelta(1 / 86400), timedelta(0.6)):
        clock.now = NOON + step
        reference = signed_by_botocore("a", now=clock.now)
        assert_like_botocore(signed.signed(request_of("a")), reference)


def test_credentials_that_rotate_are_used_within_a_second() -> None:
    clock, held = Clock(NOON), Held(*KEYS)
    signed = Signer(Endpoint.parse(AWS), "eu-central-1", held, now=clock)
    signed.signed(request_of("a"))

    rotated: list[Keys] = [("AKID2", "secret2", "token2"), ("AKID2", "secret3", None)]
    for keys in rotated:
        held.keys = keys
        clock.now += timedelta(seconds=1)
        reference = signed_by_botocore("a", keys=keys, now=clock.now)
        assert_like_botocore(signed.signed(request_of("a")), reference)


def test_a_payload_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def counting(data: bytes) -> Any:
        hashed.append(data)
        return sha256(data)

    for module in ("request", "signer"):
        monkeypatch.setattr(f"management_api.{module}.sha256", counting)
    payload, signed = Payload(b"a payload"), signer()
    for connection_id in "abc":
        signed.signed(Request.post(connection_id, payload))

    assert hashed.count(b"a payload") == 1


def test_what_has_no_part_in_a_request_is_written_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where each request has a payload of its own."""
    clock, held = Clock(NOON), Held(*KEYS)
    signed = Signer(Endpoint.parse(AWS), "eu-central-1", held, now=clock)
    asked = 0
    frozen = held.get_frozen_credentials

    def counting() -> ReadOnlyCredentials:
        nonlocal asked
        asked += 1
        return frozen()

    monkeypatch.setattr(held, "get_frozen_credentials", counting)
    clock.now += timedelta(seconds=1)
    for number in range(10):
        signed.signed(request_of("a", b"%d" % number))

    assert asked == 1


@pytest.mark.parametrize(
    "url", ["", "abc.example.com/v1", "wss://abc.example.com/v1", "https:///v1"]
)
def test_an_endpoint_that_is_no_http_address_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https address"):
        Endpoint.parse(url)
