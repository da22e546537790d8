"""Choose the route of a message by the API's route selection expression."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

# Never reachable by a message: these two belong to the gateway. API Gateway's own
# answer to {"action": "$connect"} is not documented; letting a client forge either
# event would be the worse guess.
RESERVED = frozenset({"$connect", "$disconnect"})

_VARIABLE = re.compile(
    r"\\\$"
    r"|\$\{(?:request\.body|(?P<of_response>integration\.response))\.(?P<braced>[^}]+)\}"
    r"|\$(?:request\.body|(?P<of_response_too>integration\.response))\.(?P<bare>[\w.-]+)"
)


class NotSelectableError(Exception):
    """Say that the expression has no value for this message."""


def evaluate(expression: str, body: str, response: Any = None) -> str:
    """Return the key that an expression yields.

    Args:
        body: what ``$request.body`` stands for, a message as it came.
        response: what ``$integration.response`` stands for, if there is one.

    Raises:
        NotSelectableError: The body is not a JSON object, or lacks a named member.
    """

    def replace(found: re.Match[str]) -> str:
        path = found["braced"] or found["bare"]
        if path is None:
            return "$"
        of_response = found["of_response"] or found["of_response_too"]
        value = response if of_response else _parsed(body)
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


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotSelectableError("not JSON") from error
