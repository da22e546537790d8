"""The engine's reading of HTTP responses, whole, in pieces and cut off."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management_api.response import BadResponse, Response, parse

names = st.sampled_from(["Date", "x-amzn-RequestId", "X-AMZN-ERRORTYPE", "Content-Type", "via"])
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip)
chunks = st.lists(st.binary(min_size=1, max_size=300), max_size=4)
in_any_case = st.sampled_from([str.lower, str.upper, str.title])


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, Response]:
    """Return the bytes of a response, and what has to be read from them."""
    status = draw(st.sampled_from([200, 204, 304, 400, 403, 410, 413, 429, 500, 503, 599]))
    minor = draw(st.sampled_from([0, 1, 1, 1]))
    fields = draw(st.dictionaries(names, values, max_size=5))
    connection = draw(st.sampled_from(["", "close", "keep-alive", "Keep-Alive, x", "x, Close"]))
    if connection:
        fields["Connection"] = connection
    body_chunks = draw(chunks)
    body = b"".join(body_chunks)
    framing = draw(st.sampled_from(["length", "chunked"]))
    if status in (204, 304):
        body = sent = b""
    elif framing == "length":
        fields["Content-Length"] = str(len(body))
        sent = body
    else:
        fields["Transfer-Encoding"] = draw(st.sampled_from(["chunked", "Chunked"]))
        extension = draw(st.sampled_from([b"", b";a=b", b" "]))
        sent = b"".join(b"%x%s\r\n%s\r\n" % (len(c), extension, c) for c in body_chunks)
        sent += b"0\r\n" + draw(st.sampled_from([b"", b"Trailer: x\r\n"])) + b"\r\n"
    interim = draw(st.sampled_from(["", "100 Continue", "103 Early Hints\r\nLink: x"]))
    interim = f"HTTP/1.1 {interim}\r\n\r\n" * draw(st.integers(1, 2)) if interim else ""
    case = draw(in_any_case)
    space = draw(st.sampled_from(["", " ", " \t "]))
    head = f"HTTP/1.{minor} {status}{draw(st.sampled_from([' ', ' OK', '']))}\r\n" + "".join(
        f"{case(name)}:{space}{value}\r\n" for name, value in fields.items()
    )
    options = connection.lower()
    reusable = "close" not in options if minor else "keep-alive" in options
    error_type = fields.get("X-AMZN-ERRORTYPE", "").encode()
    response = Response(status, error_type, body, reusable)
    return (interim + head).encode() + b"\r\n" + sent, response


@given(responses())
def test_a_whole_response_is_read(response: tuple[bytes, Response]) -> None:
    data, expected = response

    assert parse(data) == parse(data, ended=True) == expected


@given(responses(), st.data())
def test_split_at_any_byte_it_is_not_complete_before_its_end(
    response: tuple[bytes, Response], data: st.DataObject
) -> None:
    sent, expected = response
    cut = data.draw(st.integers(0, len(sent) - 1))

    assert parse(sent[:cut]) is None
    assert parse(sent[:cut] + sent[cut:]) == expected


@given(responses(), st.data())
def test_cut_off_at_any_byte_its_status_counts_from_the_end_of_the_head_on(
    response: tuple[bytes, Response], data: st.DataObject
) -> None:
    sent, expected = response
    cut = data.draw(st.integers(0, len(sent) - 1))

    try:
        cut_off = parse(sent[:cut], ended=True)
    except BadResponse:
        assert b"\r\n\r\n" not in sent[sent.rindex(b"HTTP/1.") : cut]
    else:
        assert cut_off is not None
        assert cut_off.status == expected.status
        assert not cut_off.reusable


@given(responses(), st.binary(min_size=1))
def test_what_follows_a_response_costs_its_connection(
    response: tuple[bytes, Response], surplus: bytes
) -> None:
    data, expected = response

    assert parse(data + surplus) == expected._replace(reusable=False)


@given(st.binary(max_size=200), st.booleans())
def test_garbage_raises_nothing_but_bad_response(garbage: bytes, ended: bool) -> None:
    for data in (garbage, b"HTTP/1.1 " + garbage, b"HTTP/1.1 200 OK\r\n" + garbage + b"\r\n\r\n"):
        with contextlib.suppress(BadResponse):
            parse(data, ended=ended)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 20 x",
        b"HTTP/1.1  200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000,
    ],
)
def test_a_head_that_is_not_http_is_no_answer(head: bytes) -> None:
    with pytest.raises(BadResponse):
        parse(head + b"\r\n\r\n")


@pytest.mark.parametrize("start", [b"h", b"HTTP/2", b"\r\n", b"GET ", b"\x15\x03\x03\x00\x02"])
def test_what_cannot_become_a_response_is_not_waited_for(start: bytes) -> None:
    with pytest.raises(BadResponse):
        parse(start)


def test_a_head_without_end_is_not_read_for_ever() -> None:
    with pytest.raises(BadResponse, match="too large"):
        parse(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 9999999", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"Server: x"],
)
def test_a_body_too_large_is_cut(framing: bytes) -> None:
    response = parse(b"HTTP/1.1 500 x\r\n" + framing + b"\r\n\r\n" + b"z" * 70_000)

    assert response is not None
    assert (response.status, response.reusable) == (500, False)
    assert len(response.body) <= 64 * 1024


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n\r\n",
        b"Content-Length: x\r\n\r\n",
        b"Content-Length: -1\r\n\r\nx",
        b"Content-Length: +1\r\n\r\nx",
        b"Content-Length: 0_1\r\n\r\nx",
        b"Content-Length: " + b"1" * 9_999 + b"\r\n\r\nx",
        b"Content-Length:\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    ],
)
def test_a_garbled_body_costs_only_the_connection(framing: bytes) -> None:
    response = parse(b"HTTP/1.1 410 Gone\r\n" + framing)

    assert response is not None
    assert (response.status, response.body, response.reusable) == (410, b"", False)


@pytest.mark.parametrize(
    "lines", [b"no colon", b": no name", b"Content-Length : 1", b"x: y\r\n Content-Length: 1"]
)
def test_a_field_that_is_malformed_is_not_there(lines: bytes) -> None:
    """The end of the connection is then the end of the body, as without any length."""
    data = b"HTTP/1.1 410 Gone\r\n" + lines + b"\r\n\r\nx"

    assert parse(data) is None
    assert parse(data, ended=True) == Response(410, b"", b"x", reusable=False)


def test_each_of_two_values_of_a_field_counts() -> None:
    response = parse(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: x\r\nContent-Length: 0\r\n\r\n"
    )

    assert response is not None
    assert not response.reusable


def test_a_length_that_is_repeated_is_one_length() -> None:
    response = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2 \r\ncontent-length: 2\r\n\r\n{}")

    assert response is not None
    assert (response.body, response.reusable) == (b"{}", True)
