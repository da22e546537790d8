"""Read a WebSocket API from ``apigatewayv2``."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_apigatewayv2 import ApiGatewayV2Client
    from mypy_boto3_apigatewayv2.type_defs import RouteSettingsTypeDef

log = logging.getLogger(__name__)

# Account quota of a large Region, for a stage that sets no limit of its own:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
ACCOUNT_RATE = 10_000.0
ACCOUNT_BURST = 5_000

_FUNCTION_URI = re.compile(r"functions/(?P<function>.+)/invocations$")
_STAGE_VARIABLE = re.compile(r"\$\{stageVariables\.(\w+)\}")


class ApiNotFoundError(Exception):
    """Say that there is no such API, or that one must be chosen."""


@dataclass(frozen=True)
class Limit:
    """Hold a rate in requests per second and a burst in requests."""

    rate: float
    burst: int


@dataclass(frozen=True)
class Authorizer:
    """Hold a REQUEST authorizer: the function to ask and what must be present first."""

    function: str
    identity_sources: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """Hold a route; ``function`` is None when its integration cannot be served here."""

    key: str
    function: str | None
    timeout_ms: int
    two_way: bool
    authorizer: Authorizer | None


@dataclass(frozen=True)
class Stage:
    """Hold a stage; ``limits`` has only the routes with a limit of their own."""

    name: str
    variables: Mapping[str, str]
    limit: Limit
    limits: Mapping[str, Limit]

    def resolve(self, function: str) -> str:
        """Put the stage's variables into a function name or ARN."""
        return _STAGE_VARIABLE.sub(lambda found: self.variables.get(found[1], ""), function)


@dataclass(frozen=True)
class Api:
    """Hold one reading of an API."""

    id: str
    selection_expression: str
    routes: Mapping[str, Route]
    stages: Mapping[str, Stage]


class ApiReader:
    """Read the API anew at each call. Blocks: call it from a thread."""

    def __init__(self, client: ApiGatewayV2Client, api_id: str | None) -> None:
        self._client = client
        self._api_id = api_id
        self._warned: set[str] = set()

    def read(self) -> Api:
        """Return the API as it is now.

        Raises:
            ApiNotFoundError: There is no such API, or several and none was named.
            botocore.exceptions.BotoCoreError, ClientError: The endpoint failed.
        """
        client = self._client
        apis = {
            api["ApiId"]: api
            for page in client.get_paginator("get_apis").paginate()
            for api in page["Items"]
            if api["ProtocolType"] == "WEBSOCKET"
        }
        api_id = self._api_id or (next(iter(apis)) if len(apis) == 1 else None)
        if api_id not in apis:
            found = ", ".join(f"{key} ({api['Name']})" for key, api in apis.items()) or "none"
            problem = f"no WebSocket API {api_id}" if api_id else "--api-id must choose the API"
            raise ApiNotFoundError(f"{problem}; WebSocket APIs found: {found}")
        authorizers = {
            item["AuthorizerId"]: Authorizer(
                _function_of(item.get("AuthorizerUri", "")) or "",
                tuple(item.get("IdentitySource", ())),
            )
            for page in client.get_paginator("get_authorizers").paginate(ApiId=api_id)
            for item in page["Items"]
        }
        integrations = {
            item["IntegrationId"]: item
            for page in client.get_paginator("get_integrations").paginate(ApiId=api_id)
            for item in page["Items"]
        }
        routes = {}
        for page in client.get_paginator("get_routes").paginate(ApiId=api_id):
            for item in page["Items"]:
                key = item["RouteKey"]
                integration = integrations.get(item.get("Target", "").removeprefix("integrations/"))
                function = None
                if integration and integration.get("IntegrationType") == "AWS_PROXY":
                    function = _function_of(integration.get("IntegrationUri", ""))
                if function is None:
                    self._warn(
                        f"route {key}: only Lambda proxy integrations are served; it will fail"
                    )
                if item.get("AuthorizationType") == "AWS_IAM":
                    self._warn(f"route {key}: AWS_IAM is not checked here; every client is let in")
                if item.get("ApiKeyRequired"):
                    self._warn(f"route {key}: API keys are not checked here")
                routes[key] = Route(
                    key=key,
                    function=function,
                    timeout_ms=(integration or {}).get("TimeoutInMillis") or 29_000,
                    two_way=self._is_two_way(
                        api_id, item["RouteId"], key, item.get("RouteResponseSelectionExpression")
                    ),
                    authorizer=authorizers.get(item.get("AuthorizerId", "")),
                )
        stages = {
            item["StageName"]: Stage(
                name=item["StageName"],
                variables=item.get("StageVariables", {}),
                limit=_limit_of(item.get("DefaultRouteSettings", {}))
                or Limit(ACCOUNT_RATE, ACCOUNT_BURST),
                limits={
                    key: limit
                    for key, settings in item.get("RouteSettings", {}).items()
                    if (limit := _limit_of(settings))
                },
            )
            for page in client.get_paginator("get_stages").paginate(ApiId=api_id)
            for item in page["Items"]
        }
        expression = apis[api_id]["RouteSelectionExpression"]
        return Api(api_id, expression, routes, stages)

    def _is_two_way(self, api_id: str, route_id: str, key: str, expression: str | None) -> bool:
        # API Gateway evaluates the route's expression to a key and looks that key up
        # among the route's responses, so a reply needs both; $default is the only key.
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-selection-expressions.html
        if (expression or "").replace("\\", "") != "$default":
            return False
        pages = self._client.get_paginator("get_route_responses").paginate(
            ApiId=api_id, RouteId=route_id
        )
        found = any(r["RouteResponseKey"] == "$default" for page in pages for r in page["Items"])
        if not found:
            self._warn(
                f"route {key}: has a response expression but no route response: replies are dropped"
            )
        return found

    def _warn(self, text: str) -> None:
        # Once: the API is read every few seconds.
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text)


def _function_of(uri: str) -> str | None:
    found = _FUNCTION_URI.search(uri)
    if found:
        return found["function"]
    return uri if uri.startswith("arn:") and ":function:" in uri else None


def _limit_of(settings: RouteSettingsTypeDef) -> Limit | None:
    rate, burst = settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit")
    if rate is None and burst is None:
        return None
    return Limit(ACCOUNT_RATE if rate is None else rate, ACCOUNT_BURST if burst is None else burst)
