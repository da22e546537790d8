"""What a token lets its holder hear: patterns over the segments of entity ids.

A pattern is segments between delimiters. `*` stands for one whole segment, a last `**` for any
number of them, none included; everything else is literal, an asterisk within a segment too. What
one pattern covers is allowed; nothing is denied. So `alice/*` covers `alice/x`, and neither
`alice2/x` nor `alice/x/y`.
"""

from collections.abc import Iterable

_ONE, _REST = "*", "**"


def cover(patterns: Iterable[str], entity_id: str, delimiter: str) -> bool:
    """Whether one of the patterns covers an entity."""
    segments = entity_id.split(delimiter)
    return any(_covers(pattern.split(delimiter), segments) for pattern in patterns)


def _covers(pattern: list[str], segments: list[str]) -> bool:
    if pattern[-1] == _REST:
        pattern = pattern[:-1]
        segments = segments[: len(pattern)]
    return len(pattern) == len(segments) and all(
        part in (_ONE, segment) for part, segment in zip(pattern, segments, strict=True)
    )
