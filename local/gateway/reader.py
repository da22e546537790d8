"""Read WebSocket APIs from ``apigatewayv2``."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .api import (
    ACCOUNT_BURST,
    ACCOUNT_RATE,
    Api,
    Authorizer,
    Limit,
    Route,
    Stage,
    Validation,
)
from .integrations import Integration
from .integrations.aws_service import AwsService
from .integrations.lambda_proxy import LambdaProxy
from .integrations.mapping import DataMapping, IntegrationResponse
from .integrations.mock import Mock
from .integrations.unreachable import Unreachable
from .supplement import Supplement, SupplementError

log = logging.getLogger(__name__)

_FUNCTION_URI = re.compile(r"functions/(?P<function>.+)/invocations$")
# arn:aws:apigateway:{region}:{service}:{path or action}/...
_SERVICE_URI = re.compile(r"^arn:[\w-]+:apigateway:[^:]*:(?P<service>[\w.-]+):")
_MAX_TIMEOUT_MS = 29_000

ReadingError = (BotoCoreError, ClientError, SupplementError)


class ApiNotFoundError(Exception):
    """Say that there is no such API, or that one must be chosen."""


@dataclass(frozen=True)
class Choice:
    """Say which of an endpoint's APIs are served: the union; if empty, the only one there is."""

    ids: Sequence[str] = ()
    names: Sequence[str] = ()
    stacks: Sequence[str] = ()
    all: bool = False


class ApiReader:
    """Read the chosen APIs anew at each call. Blocks: call it from a thread.

    Args:
        client: makes a client of a service, such as ``apigatewayv2``.
        supplement: a file with what the endpoint's own APIs cannot hold.
    """

    def __init__(
        self, client: Callable[[str], Any], choice: Choice, supplement: str | None = None
    ) -> None:
        self._client = client("apigatewayv2")
        self._cloudformation = client("cloudformation") if choice.stacks else None
        self._choice = choice
        self._supplement = supplement
        self._warned: set[str] = set()

    def read(self) -> tuple[Api, ...]:
        """Return the chosen APIs as they are now, found anew by their stack or name.

        Raises:
            ApiNotFoundError: There is no such API, or several and none was named.
            botocore.exceptions.BotoCoreError, ClientError, SupplementError: It cannot be read.
        """
        found = {
            each["ApiId"]: each
            for each in self._all("get_apis")
            if each["ProtocolType"] == "WEBSOCKET"
        }
        supplement = Supplement.read(self._supplement)
        return tuple(self._api(found[api_id], supplement) for api_id in self._chosen(found))

    def _chosen(self, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
        listed = ", ".join(f"{key} ({api['Name']})" for key, api in found.items()) or "none"
        choice = self._choice
        chosen = list(found) if choice.all else list(choice.ids)
        for name in choice.names:
            same = [key for key, api in found.items() if api["Name"] == name]
            if len(same) != 1:
                problem = f"{len(same) or 'no'} WebSocket APIs have the name {name}"
                raise ApiNotFoundError(f"{problem}; WebSocket APIs found: {listed}")
            chosen += same
        for stack in choice.stacks:
            if not (in_stack := [key for key in self._in_stack(stack) if key in found]):
                raise ApiNotFoundError(f"no WebSocket API in the stack {stack}")
            chosen += in_stack
        if not chosen and len(found) == 1:
            chosen = list(found)
        if not chosen and (choice.all or not found):
            raise ApiNotFoundError("no WebSocket API; WebSocket APIs found: none")
        if not chosen:
            problem = "--api-id, --api-name, --stack or --all must choose"
            raise ApiNotFoundError(f"{problem}; WebSocket APIs found: {listed}")
        for api_id in chosen:
            if api_id not in found:
                raise ApiNotFoundError(f"no WebSocket API {api_id}; WebSocket APIs found: {listed}")
        return list(dict.fromkeys(chosen))

    def _in_stack(self, stack: str) -> list[str]:
        assert self._cloudformation is not None
        resources = self._cloudformation.describe_stack_resources(StackName=stack)
        return [
            each["PhysicalResourceId"]
            for each in resources["StackResources"]
            if each["ResourceType"] == "AWS::ApiGatewayV2::Api"
        ]

    def _api(self, api: Mapping[str, Any], supplement: Supplement) -> Api:
        api_id = api["ApiId"]
        authorizers = {
            each["AuthorizerId"]: Authorizer(
                _function_of(each.get("AuthorizerUri", "")) or "",
                tuple(each.get("IdentitySource", ())),
            )
            for each in self._all("get_authorizers", ApiId=api_id)
        }
        integrations = {
            each["IntegrationId"]: {**each, **supplement.integration(each["IntegrationId"])}
            for each in self._all("get_integrations", ApiId=api_id)
        }
        routes = {}
        for item in self._all("get_routes", ApiId=api_id):
            integration_id = item.get("Target", "").removeprefix("integrations/")
            integration = integrations.get(integration_id)
            routes[item["RouteKey"]] = Route(
                key=item["RouteKey"],
                integration=self._integration(api_id, item["RouteKey"], integration),
                two_way=self._is_two_way(api_id, item),
                authorizer=authorizers.get(item.get("AuthorizerId", "")),
                validation=self._validation(api_id, item, supplement),
                required=_required(item),
            )
            self._warn_of_unchecked(item)
        stages = {each["StageName"]: _stage(each) for each in self._all("get_stages", ApiId=api_id)}
        return Api(api_id, api["Name"], api["RouteSelectionExpression"], routes, stages)

    def _integration(
        self, api_id: str, route_key: str, item: Mapping[str, Any] | None
    ) -> Integration:
        kind = item.get("IntegrationType", "") if item else ""
        uri = (item or {}).get("IntegrationUri", "")
        function = _function_of(uri)
        timeout_ms = (item or {}).get("TimeoutInMillis") or _MAX_TIMEOUT_MS
        if item is None:
            what = "a route without an integration"
        elif kind == "AWS_PROXY" and function:
            return LambdaProxy(function, timeout_ms)
        elif kind == "MOCK":
            return Mock(self._mapping(api_id, item))
        elif kind == "AWS" and function:
            invocation = item.get("RequestParameters", {}).get(
                "integration.request.header.X-Amz-Invocation-Type"
            )
            return AwsService(
                function, timeout_ms, self._mapping(api_id, item), invocation == "'Event'"
            )
        elif kind.startswith("AWS"):
            service = _SERVICE_URI.match(uri)
            what = f"an integration with {service['service'] if service else 'a service of AWS'}"
        else:
            what = f"an integration of type {kind}"
        self._warn(f"route {route_key}: {what} is not served here; it answers with an error")
        return Unreachable(what)

    def _mapping(self, api_id: str, item: Mapping[str, Any]) -> DataMapping:
        responses = self._all(
            "get_integration_responses", ApiId=api_id, IntegrationId=item["IntegrationId"]
        )
        return DataMapping(
            selection=item.get("TemplateSelectionExpression") or "",
            templates=item.get("RequestTemplates") or {},
            passthrough=item.get("PassthroughBehavior") or "WHEN_NO_MATCH",
            responses=tuple(
                IntegrationResponse(
                    each["IntegrationResponseKey"],
                    each.get("TemplateSelectionExpression") or "",
                    each.get("ResponseTemplates") or {},
                )
                for each in responses
            ),
        )

    def _is_two_way(self, api_id: str, item: Mapping[str, Any]) -> bool:
        # The response alone makes a route answer; $default is the only key it can have.
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
        responses = self._all("get_route_responses", ApiId=api_id, RouteId=item["RouteId"])
        found = any(each["RouteResponseKey"] == "$default" for each in responses)
        if not found and item.get("RouteResponseSelectionExpression"):
            self._warn(
                f"route {item['RouteKey']}: has a response expression but no route response:"
                " replies are dropped"
            )
        return found

    def _validation(
        self, api_id: str, item: Mapping[str, Any], supplement: Supplement
    ) -> Validation | None:
        expression, names = item.get("ModelSelectionExpression"), item.get("RequestModels")
        if not expression or not names:
            return None
        models = dict(supplement.models(api_id))
        if not models:
            try:
                models = {
                    each["Name"]: json.loads(each.get("Schema") or "{}")
                    for each in self._all("get_models", ApiId=api_id)
                }
            except (ClientError, BotoCoreError, ValueError):
                self._warn(
                    f"route {item['RouteKey']}: models cannot be read from this endpoint;"
                    " messages are not validated"
                )
                return None
        schemas = {key: models[name] for key, name in names.items() if name in models}
        return Validation(expression, schemas, models)

    def _warn_of_unchecked(self, item: Mapping[str, Any]) -> None:
        key = item["RouteKey"]
        if item.get("AuthorizationType") == "AWS_IAM":
            self._warn(f"route {key}: AWS_IAM is not checked here; every client is let in")
        if item.get("ApiKeyRequired"):
            self._warn(f"route {key}: API keys are not checked here")

    def _warn(self, text: str) -> None:
        # Once: the API is read every few seconds.
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text)

    def _all(self, operation: str, **arguments: str) -> Iterator[Any]:
        for page in self._client.get_paginator(operation).paginate(**arguments):
            yield from page["Items"]


def _function_of(uri: str) -> str | None:
    found = _FUNCTION_URI.search(uri)
    if found:
        return found["function"]
    return uri if uri.startswith("arn:") and ":function:" in uri else None


def _required(item: Mapping[str, Any]) -> tuple[str, ...]:
    parameters = item.get("RequestParameters") or {}
    return tuple(name for name, constraint in parameters.items() if constraint.get("Required"))


def _stage(item: Mapping[str, Any]) -> Stage:
    return Stage(
        name=item["StageName"],
        variables=item.get("StageVariables", {}),
        limit=_limit_of(item.get("DefaultRouteSettings", {})) or Limit(ACCOUNT_RATE, ACCOUNT_BURST),
        limits={
            key: limit
            for key, settings in item.get("RouteSettings", {}).items()
            if (limit := _limit_of(settings))
        },
    )


def _limit_of(settings: Mapping[str, Any]) -> Limit | None:
    rate, burst = settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit")
    if rate is None and burst is None:
        return None
    return Limit(ACCOUNT_RATE if rate is None else rate, ACCOUNT_BURST if burst is None else burst)
