"""Choose the route of a message by the API's route selection expression."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

# Never reachable by a message: these two belong to the gateway. API Gateway's own
# answer to {"action": "$connect"} is not documented; letting a client forge either
# event would be the worse guess.
RESERVED = frozenset({"$connect", "$disconnect"})

_VARIABLE = re.compile(r"\\\$|\$\{request\.body\.([^}]+)\}|\$request\.body\.([\w.-]+)")


class NotSelectableError(Exception):
    """Say that the expression has no value for this message."""


def evaluate(expression: str, body: str) -> str:
    """Return the route key that ``expression`` yields for a message.

    Raises:
        NotSelectableError: The body is not a JSON object, or lacks a named member.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotSelectableError("not JSON") from error

    def replace(found: re.Match[str]) -> str:
        path = found[1] or found[2]
        if path is None:
            return "$"
        value = document
        for name in path.split("."):
            if not isinstance(value, dict) or name not in value:
                raise NotSelectableError(f"no member {path}")
            value = value[name]
        if value is None or isinstance(value, dict | list):
            raise NotSelectableError(f"member {path} is not a scalar")
        return value if isinstance(value, str) else json.dumps(value)

    return _VARIABLE.sub(replace, expression)


def select(routes: Mapping[str, T], expression: str, body: str) -> T | None:
    """Return the route of a message, the ``$default`` one, or None."""
    try:
        key = evaluate(expression, body)
    except NotSelectableError:
        key = "$default"
    if key not in routes or key in RESERVED:
        key = "$default"
    return routes.get(key)
