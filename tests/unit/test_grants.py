"""What patterns cover, compared with a model that knows nothing of how it is done."""

import time
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from push.grants import cover

COVERED = [
    ("a", "a"),
    ("alice/x", "alice/x"),
    ("alice/*", "alice/x"),
    ("alice/*", "alice/*"),
    ("alice/*", "alice/**"),
    # An empty segment is a segment.
    ("alice/*", "alice/"),
    ("*/x", "/x"),
    ("*/*", "/"),
    ("a//b", "a//b"),
    ("a/*/b", "a//b"),
    ("*", "a"),
    ("*/*", "a/b"),
    ("*/b/*", "a/b/c"),
    ("**", "a"),
    ("**", "a/b/c"),
    ("**", "/"),
    ("a/**", "a"),
    ("a/**", "a/"),
    ("a/**", "a/b"),
    ("a/**", "a/b/c/d"),
    ("*/**", "a"),
    ("*/**", "a/b/c"),
    ("a/*/**", "a/b"),
    # What is more than that is literal.
    ("a*", "a*"),
    ("**/a", "**/a"),
    ("a/**/b", "a/**/b"),
    ("***", "***"),
    ("**a", "**a"),
    ("", ""),
    ("a/", "a/"),
]
NOT_COVERED = [
    ("a", "b"),
    ("a", "A"),
    ("a", "a/"),
    ("a/", "a"),
    ("a", "a/b"),
    ("alice/*", "alice"),
    ("alice/*", "alice2/x"),
    ("alice/*", "xalice/x"),
    ("alice/*", "alice/x/y"),
    ("alice/*", "alice//"),
    ("alice/*", "Alice/x"),
    ("alice/*", "alice\\x"),
    ("*", "a/b"),
    ("*", "/"),
    ("*/*", "a"),
    ("a/**", "b"),
    ("a/**", "ab"),
    ("a/**", "ab/c"),
    ("a/b/**", "a"),
    ("*/*/**", "a"),
    ("a*", "ab"),
    ("a*", "a"),
    ("*a", "ba"),
    ("a/b*", "a/bc"),
    ("**/a", "b/a"),
    ("**/a", "a"),
    ("a/**/b", "a/x/b"),
    ("a/**/b", "a/b"),
    ("a/**/b", "a/**/c"),
    ("**/a", "**"),
    ("***", "a"),
    ("", "a"),
    # No signs of other languages of patterns.
    (".", "a"),
    ("a.c", "abc"),
    ("?", "a"),
    ("[ab]", "a"),
    ("a|b", "a"),
    ("a+", "aa"),
    ("(a)", "a"),
    ("^a$", "a"),
    ("!a", "b"),
    ("\\*", "a"),
    ("%", "a"),
    # Look-alikes.
    ("caf\u00e9", "cafe\u0301"),
    ("a", "\u0430"),
    ("a", "a\u200b"),
    ("\uff0a", "a"),
    ("a\uff0f*", "a/b"),
    ("\u212a", "K"),
]


@pytest.mark.parametrize(("pattern", "entity_id"), COVERED)
def test_a_pattern_covers_what_it_says(pattern: str, entity_id: str) -> None:
    assert cover([pattern], entity_id, "/")


@pytest.mark.parametrize(("pattern", "entity_id"), NOT_COVERED)
def test_a_pattern_covers_nothing_else(pattern: str, entity_id: str) -> None:
    assert not cover([pattern], entity_id, "/")


@pytest.mark.parametrize("delimiter", [":", ".", "#", "-", "|", "\\", "^", "+", "?", "$"])
def test_any_sign_may_stand_between_segments(delimiter: str) -> None:
    def written(text: str) -> str:
        return text.replace("/", delimiter)

    assert cover([written("alice/*")], written("alice/x"), delimiter)
    assert not cover([written("alice/*")], written("alice/x/y"), delimiter)
    assert cover([written("alice/**")], written("alice/x/y"), delimiter)
    # The usual one is a sign like any other then.
    assert cover([written("alice/*")], written("alice/") + "x/y", delimiter)
    assert not cover(["alice/*"], "alice/x", delimiter)


# A model: a pattern is walked through segment by segment, and nothing is cut off.

signs = st.sampled_from(["a", "b", "*", "**", "", "a*", "*a", "***"])
paths = st.lists(signs, min_size=1, max_size=5).map("/".join)


def model(pattern: str, entity_id: str) -> bool:
    parts, segments = pattern.split("/"), entity_id.split("/")

    @cache
    def fits(part: int, segment: int) -> bool:
        if part == len(parts):
            return segment == len(segments)
        if parts[part] == "**" and part == len(parts) - 1:
            return True
        if segment == len(segments):
            return False
        is_met = parts[part] == "*" or parts[part] == segments[segment]
        return is_met and fits(part + 1, segment + 1)

    return fits(0, 0)


@given(paths, paths)
@example("a/**", "a")
@example("**", "")
def test_it_is_as_the_model_says(pattern: str, entity_id: str) -> None:
    assert cover([pattern], entity_id, "/") is model(pattern, entity_id)


@given(st.lists(paths, max_size=5), paths)
def test_what_one_pattern_covers_is_allowed_whatever_the_others_are(
    patterns: list[str], entity_id: str
) -> None:
    allowed = any(cover([pattern], entity_id, "/") for pattern in patterns)

    assert cover(patterns, entity_id, "/") is allowed
    assert cover(reversed(patterns), entity_id, "/") is allowed
    assert not cover([], entity_id, "/")


@given(st.text().filter(lambda text: "*" not in text), st.text())
def test_a_pattern_without_an_asterisk_covers_itself_alone(pattern: str, entity_id: str) -> None:
    assert cover([pattern], entity_id, "/") is (pattern == entity_id)
    assert cover([pattern], pattern, "/")


@given(st.text(), st.text())
def test_one_s_own_folder_is_one_s_own(user: str, entity_id: str) -> None:
    if cover([f"{user}/**"], entity_id, "/") and not set("*/") & set(user):
        assert entity_id == user or entity_id.startswith(f"{user}/")


def seconds(pattern: str, entity_id: str) -> float:
    begun = time.process_time()
    for _ in range(20):
        cover([pattern], entity_id, "/")
    return time.process_time() - begun


@pytest.mark.parametrize("pattern", ["*/", "**/", "a/", "*a/", "*"])
@pytest.mark.parametrize("entity_id", ["a/", "*/", "a"])
def test_nothing_takes_longer_than_it_is_long(pattern: str, entity_id: str) -> None:
    """Of what is 20 times as long, 20 times as long; as the square, it would be 400 times."""
    short = min(seconds(pattern * 1_000, entity_id * 1_000 + "b") for _ in range(3))
    long = min(seconds(pattern * 20_000, entity_id * 20_000 + "b") for _ in range(3))

    assert long < 5 * max(20 * short, 0.01)
