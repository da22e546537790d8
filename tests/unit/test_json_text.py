"""Strict JSON: what is let in, and that it is passed on as it came."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push import json_text

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_json_is_parsed(value: Any) -> None:
    assert json_text.parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value at character 0"),
        ("{", "at character 1"),
        ('{"a":1} x', "Extra data at character 8"),
        ('{"a":"\n"}', "at character 6"),
        ("{'a':1}", "at character 1"),
        ("NaN", "NaN is not a JSON value"),
        ('{"a":[Infinity]}', "Infinity is not a JSON value"),
        ("-Infinity", "-Infinity is not a JSON value"),
        ("1e999", "a number is out of range"),
        ("-1e999", "a number is out of range"),
        ('{"a":1e999}', "a number is out of range"),
        ("9" * 5_000, "a number is out of range"),
        ("-" + "9" * 5_000, "a number is out of range"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a":"\ud800"}', "half a surrogate pair at character 6"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_is_refused_in_words_for_a_publisher(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        json_text.parse(text)

    assert words in str(caught.value)
    # Python's own advice is about Python.
    assert "set_int_max_str_digits" not in str(caught.value)


@given(st.text(st.characters(codec=None), max_size=30))
def test_no_text_does_anything_but_be_parsed_or_refused(text: str) -> None:
    with suppress(ValueError):
        json_text.parse(text)


@pytest.mark.parametrize("digits", [300, 308, 309])
def test_an_integer_up_to_the_largest_double_is_a_number(digits: int) -> None:
    text = "1" + "0" * (digits - 1)

    assert json_text.parse(text) == pytest.approx(float(text))


def test_an_integer_keeps_all_its_digits() -> None:
    assert json_text.parse("-12345678901234567890123") == -12345678901234567890123


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{}", {}),
        (" \n{ } ", {}),
        ('{"a":1}', {"a": "1"}),
        ('{"a":1.50,"b":1E5,"c":-0}', {"a": "1.50", "b": "1E5", "c": "-0"}),
        ('{"n":123456789012345678901234567890}', {"n": "123456789012345678901234567890"}),
        ('{"n":0.1234567890123456789012345}', {"n": "0.1234567890123456789012345"}),
        ('{"a":{"b":1,"a":2,"b":3}}', {"a": '{"b":1,"a":2,"b":3}'}),
        ('{"a":[1, {"x":  2}]}', {"a": '[1, {"x":  2}]'}),
        ('{ "a" : "\\u0041" , "b" :\t"\u00e9" }', {"a": '"\\u0041"', "b": '"\u00e9"'}),
        ('{"a":"}","b":"\\"}"}', {"a": '"}"', "b": '"\\"}"'}),
        ('{"a:b":1,"c,d":2}', {"a:b": "1", "c,d": "2"}),
        ('{"":null,"t":true}', {"": "null", "t": "true"}),
    ],
    ids=str,
)
def test_members_are_the_texts_that_stand_there(text: str, members: dict[str, str]) -> None:
    assert json_text.members(text) == members


def test_a_member_that_comes_twice_has_its_last_value_as_with_the_parser() -> None:
    text = '{"\\u0061":1,"b":2,"a":3}'

    assert json_text.parse(text)["a"] == 3
    assert json_text.members(text) == {"a": "3", "b": "2"}


@given(st.dictionaries(st.text(), json_values), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_members_are_those_of_the_parser(
    value: dict[str, Any], indent: int | str | None, escape: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escape)

    texts = json_text.members(text)

    assert {name: json.loads(each) for name, each in texts.items()} == json_text.parse(text)
    assert all(each in text for each in texts.values())


@given(json_values)
def test_what_is_encoded_can_always_be_sent_and_read(value: Any) -> None:
    text = json_text.encode(value)

    text.encode()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ("\u00e9\U0001f600", '"\u00e9\U0001f600"'),
        ("\ud800", '"\\ud800"'),
        ("a\x00\n", '"a\\u0000\\n"'),
        (("a", "b"), '["a","b"]'),
    ],
    ids=repr,
)
def test_text_is_compact_and_escaped_only_where_it_must_be(value: object, text: str) -> None:
    assert json_text.encode(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_value_is_not_encoded(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text.encode(value)


def test_an_object_of_texts_is_put_together_as_they_are() -> None:
    members = {"a": "1.50", "b": '{"x": 1}'}

    assert json_text.encode_object(members) == '{"a":1.50,"b":{"x": 1}}'
    assert json_text.members(json_text.encode_object(members)) == members


@pytest.mark.parametrize(
    "value", ["x", "x" * 256, "\U0001f600" * 256, "a#b", " ", "\u2028", "\uffff", "\U0010ffff"]
)
def test_an_id_is_any_text_of_1_to_256_characters(value: str) -> None:
    assert json_text.id_problem(value, "id") is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "must be a string"),
        (5, "must be a string"),
        (True, "must be a string"),
        (["a"], "must be a string"),
        ("", "1 to 256 characters"),
        ("x" * 257, "1 to 256 characters"),
        ("a\x00", "control characters"),
        ("\n", "control characters"),
        ("a\x7f", "control characters"),
        ("\ud800", "lone surrogates"),
        ("a\udfff", "lone surrogates"),
    ],
    ids=repr,
)
def test_what_can_be_no_key_is_no_id(value: object, words: str) -> None:
    problem = json_text.id_problem(value, "entityId")

    assert problem is not None
    assert problem.startswith("entityId must ")
    assert words in problem
