"""Check identity sources, and read a REQUEST authorizer's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .events import Handshake


class BadAuthorizerAnswerError(Exception):
    """Say that the answer is not one API Gateway accepts."""


def has_identity(
    sources: tuple[str, ...], handshake: Handshake, stage_variables: Mapping[str, str]
) -> bool:
    """Tell whether every identity source is present and not empty."""
    headers = {name.lower(): value for name, value in handshake.headers}
    query = dict(handshake.query)
    for source in sources:
        kind, _, name = source.removeprefix("route.request.").partition(".")
        match kind:
            case "header":
                value = headers.get(name.lower())
            case "querystring":
                value = query.get(name)
            case "stageVariables":
                value = stage_variables.get(name)
            case _:
                # `context.…` is filled by the gateway itself, so it is always there.
                value = "present"
        if not value:
            return False
    return True


def context_of(answer: Any, method_arn: str) -> dict[str, str] | None:
    """Return what later events carry as ``requestContext.authorizer``; None for a denial.

    Raises:
        BadAuthorizerAnswerError: The answer has no principal or policy, or a nested context.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("principalId"), str):
        raise BadAuthorizerAnswerError("no principalId")
    context = {"principalId": answer["principalId"]}
    for name, value in (answer.get("context") or {}).items():
        if isinstance(value, bool):
            context[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            context[name] = str(value)
        else:
            raise BadAuthorizerAnswerError(f"context.{name} is not a string, number or boolean")
    return context if _allows(answer.get("policyDocument"), method_arn) else None


def _allows(policy: Any, method_arn: str) -> bool:
    if not isinstance(policy, dict):
        raise BadAuthorizerAnswerError("no policyDocument")
    allowed = False
    for statement in _listed(policy.get("Statement")):
        if not isinstance(statement, dict):
            raise BadAuthorizerAnswerError("a statement is not an object")
        if unsupported := {"Condition", "NotAction", "NotResource"} & statement.keys():
            # Guessing here could let somebody in whom API Gateway would not.
            raise BadAuthorizerAnswerError(f"{unsupported.pop()} is not evaluated here")
        if any(
            _matches(action, "execute-api:Invoke", re.IGNORECASE)
            for action in _listed(statement.get("Action"))
        ) and any(
            _matches(resource, method_arn) for resource in _listed(statement.get("Resource"))
        ):
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _matches(pattern: Any, value: str, flags: int = 0) -> bool:
    expression = re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, flags | re.DOTALL) is not None
