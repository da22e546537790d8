"""Ask a REQUEST authorizer, and read the policy that it answers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from . import discretion, events, refusals
from .api import Authorizer
from .errors import FunctionRaisedError, IntegrationError
from .events import Handshake, Session
from .refusals import RefusedError
from .runtime import Runtime


class BadPolicyError(Exception):
    """Say that an authorizer's answer is not one that API Gateway accepts."""


async def authorize(
    runtime: Runtime, authorizer: Authorizer, session: Session, request_id: str
) -> dict[str, Any]:
    """Return what later events carry as ``requestContext.authorizer``.

    Raises:
        RefusedError: The client is not let in.
    """
    stage, options = session.stage, runtime.options
    if not has_identity(authorizer.identity_sources, session.handshake, stage.variables):
        raise RefusedError(refusals.UNAUTHORIZED, "an identity source is missing")
    function = stage.resolve(authorizer.function)
    arn = method_arn(function, options.region, session)
    event = events.authorize(session, request_id, arn)
    started = time.perf_counter()
    try:
        answer = await runtime.lambdas.invoke(function, event, options.integration_timeout_ms)
        latency_ms = round((time.perf_counter() - started) * 1000)
        context = read_policy(answer, arn)
    except (IntegrationError, BadPolicyError) as error:
        if isinstance(error, FunctionRaisedError) and error.error_message == "Unauthorized":
            # The one message that API Gateway turns into a 401.
            raise RefusedError(refusals.UNAUTHORIZED, "the authorizer said so") from error
        cause = discretion.cause(error, runtime.options, session)
        raise RefusedError(refusals.AUTHORIZER_FAILED, f"authorizer: {cause}") from error
    if context is None:
        raise RefusedError(refusals.DENIED, "denied by the authorizer")
    # As in events that users have published.
    return {**context, "integrationLatency": latency_ms}


def method_arn(function: str, region: str, session: Session) -> str:
    """Return the ARN of the ``$connect`` route, which policies are held against."""
    # Partition and account are known from the function's ARN only.
    parts = dict(enumerate(function.split(":")))
    partition, account = (parts.get(1, "aws"), parts.get(4)) if parts[0] == "arn" else ("aws", None)
    resource = f"{session.api.id}/{session.stage.name}/$connect"
    return f"arn:{partition}:execute-api:{region}:{account or '000000000000'}:{resource}"


def has_identity(
    sources: tuple[str, ...], handshake: Handshake, stage_variables: Mapping[str, str]
) -> bool:
    """Tell whether every identity source is present and not empty."""
    for source in sources:
        name = source.removeprefix("route.request.")
        if name.startswith("stageVariables."):
            value = stage_variables.get(name.removeprefix("stageVariables."))
        else:
            value = handshake.parameter(name)
        if not value:
            return False
    return True


def read_policy(answer: Any, method_arn: str) -> dict[str, str] | None:
    """Return the authorizer's context as strings; None for a denial.

    Raises:
        BadPolicyError: The answer has no principal or policy, or a nested context.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("principalId"), str):
        raise BadPolicyError("no principalId")
    context = {"principalId": answer["principalId"]}
    for name, value in (answer.get("context") or {}).items():
        if isinstance(value, bool):
            context[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            context[name] = str(value)
        else:
            raise BadPolicyError(f"context.{name} is not a string, number or boolean")
    return context if _allows(answer.get("policyDocument"), method_arn) else None


def _allows(policy: Any, method_arn: str) -> bool:
    if not isinstance(policy, dict):
        raise BadPolicyError("no policyDocument")
    allowed = False
    for statement in _listed(policy.get("Statement")):
        if not isinstance(statement, dict):
            raise BadPolicyError("a statement is not an object")
        if unsupported := {"Condition", "NotAction", "NotResource"} & statement.keys():
            # Guessing here could let somebody in whom API Gateway would not.
            raise BadPolicyError(f"{unsupported.pop()} is not evaluated here")
        if _any_matches(
            statement.get("Action"), "execute-api:Invoke", re.IGNORECASE
        ) and _any_matches(statement.get("Resource"), method_arn):
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _any_matches(patterns: Any, value: str, flags: int = 0) -> bool:
    expressions = (
        re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
        for pattern in _listed(patterns)
    )
    return any(re.fullmatch(expression, value, flags | re.DOTALL) for expression in expressions)
