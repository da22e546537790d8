"""Strict JSON, and the text of its parts.

Python's parser accepts NaN and Infinity, which are not JSON, rounds numbers to what a double or its
own limits hold, and answers thousands of nested brackets with `RecursionError`. What is passed on
for others is therefore passed on as the text it came in.
"""

import json
import math
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Any, NoReturn

# As a class of a regular expression. No visible id holds them.
CONTROL_CHARACTERS = r"\x00-\x1f\x7f"
# Nor lone surrogates, which UTF-8 cannot encode.
_UNUSABLE = re.compile(rf"[{CONTROL_CHARACTERS}\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\n\r]*")
MAX_ID_LENGTH = 256
# The digits of the largest double. With fewer, no integer is out of range.
_MAX_DOUBLE_DIGITS = 308


def parse(text: str) -> Any:
    """Parse strict JSON; raise `ValueError`, in words for a publisher, for whatever else."""
    try:
        text.encode()
        return _DECODER.decode(text)
    except UnicodeEncodeError as exc:
        raise ValueError(f"half a surrogate pair at character {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(f"{exc.msg} at character {exc.pos}") from exc
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def members(text: str) -> dict[str, str]:
    """Return the text of each member of an object, by name, as it stands there.

    A name that comes twice has its last value, as with every parser in use.

    Args:
        text: of an object that `parse` accepts.
    """
    found: dict[str, str] = {}
    position = _after_space(text, text.index("{") + 1)
    while text[position] != "}":
        name, position = scanstring(text, position + 1, True)
        start = _after_space(text, text.index(":", position) + 1)
        _, end = _DECODER.raw_decode(text, start)
        found[name] = text[start:end]
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return found


def encode(value: Any) -> str:
    """Return compact JSON, always encodable in UTF-8.

    Text beyond ASCII is kept as it is, since an escape takes up to three times the bytes. Lone
    surrogates exist only as escapes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def encode_object(members: dict[str, str]) -> str:
    """Return a compact object of members that are JSON texts already."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def id_problem(value: object, name: str, max_length: int = MAX_ID_LENGTH) -> str | None:
    """Say what keeps a value from being an id, and part of a key; None if nothing does."""
    if not isinstance(value, str):
        return f"{name} must be a string."
    if not 1 <= len(value) <= max_length:
        return f"{name} must have 1 to {max_length} characters."
    if _UNUSABLE.search(value):
        return f"{name} must not contain control characters or lone surrogates."
    return None


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    return value


def _int(text: str) -> int | float:
    # Longer ones are for their size alone: Python refuses to convert them to integers.
    return int(text) if len(text) <= _MAX_DOUBLE_DIGITS else _float(text)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_float, parse_int=_int)
