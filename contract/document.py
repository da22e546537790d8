"""The contract as an AsyncAPI 3.0 document."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from contract import VERSION
from contract.examples import Example
from contract.schemas import Schema, Schemas, docs
from identity.form import MAX_BYTES as MAX_TOKEN_BYTES
from push import messages
from push.errors import RequestRejected
from push.events import MAX_FRAME_BYTES
from push.json_text import MAX_ID_LENGTH
from push.presented import ENCODED, QUERY_NAME
from push.protocol import MAX_ENTITIES, MAX_MESSAGE_BYTES, MAX_REQUEST_ID_LENGTH
from push.subprotocol import SUBPROTOCOL
from push.subscriptions import MAX_ANSWER_BYTES
from push.topics import MAX_EVENTS

PATH = Path(__file__).parents[1] / "asyncapi.yaml"
_SCHEMAS = "#/components/schemas/"
_SOCKET, _BUS = "notifications", "events"
_OPEN, _WITH_TOKENS, _LOCAL, _EVENTBRIDGE = "aws", "awsWithTokens", "local", "eventBridge"
_FRAME, _UNKNOWN = "AnyFrame", "unknownAction"
# By which the operations are found.
_REQUESTS, _PUSHES, _EVENTS_IN = (
    [{"name": name, "description": description}]
    for name, description in (
        ("requests", "What a client asks for; each has a reply."),
        ("pushes", "What a client gets without asking."),
        ("events", "What publishers put on the event bus."),
    )
)

# API Gateway's own.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
_MAX_FRAME_OF_CLIENT_BYTES = 32 * 1024
_IDLE_SECONDS = 600
_LIFETIME_SECONDS = 7200

LIMITS = {
    "entityIdCharacters": MAX_ID_LENGTH,
    "requestIdCharacters": MAX_REQUEST_ID_LENGTH,
    "entitiesOfARequest": MAX_ENTITIES,
    "eventsOfAReply": MAX_EVENTS,
    "eventBytesOfAReply": MAX_ANSWER_BYTES,
    "bytesOfAPush": MAX_FRAME_BYTES,
    "bytesOfAReply": MAX_MESSAGE_BYTES,
    "bytesOfAMessageOfAClient": MAX_MESSAGE_BYTES,
    "bytesOfAWebSocketFrameOfAClient": _MAX_FRAME_OF_CLIENT_BYTES,
    "bytesOfAToken": MAX_TOKEN_BYTES,
    "idleSeconds": _IDLE_SECONDS,
    "connectionSeconds": _LIFETIME_SECONDS,
}


def document(examples: Mapping[str, list[Example]]) -> dict[str, Any]:
    """Return the contract.

    Args:
        examples: by the name of the message.
    """
    schemas = Schemas(_SCHEMAS)
    made = dict(_messages(schemas, examples))
    of_bus = [event.name for event in messages.EVENTS]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "WebSocket notifications",
            "version": VERSION,
            "description": _about(),
            "license": {"name": "MIT"},
            "tags": [*_REQUESTS, *_PUSHES, *_EVENTS_IN],
            "x-limits": LIMITS,
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {
            _SOCKET: {
                "address": "/{stage}",
                "title": "The connection of a client",
                "description": "Offer the subprotocol `websocket`: browsers close a connection "
                "that answers with none of those that they offered.",
                "servers": [_to("servers", name) for name in (_OPEN, _WITH_TOKENS, _LOCAL)],
                "parameters": {
                    "stage": {
                        "description": "Parameter `StageName` of the stack.",
                        "default": "v1",
                    }
                },
                "messages": _references(name for name in made if name not in of_bus),
                "bindings": {"ws": _handshake()},
            },
            _BUS: {
                "address": "{eventBusName}",
                "title": "The event bus",
                "description": "Whoever may put events on it, by IAM, says anything to anybody. "
                "What can never be delivered becomes a dead letter with the reason.",
                "servers": [_to("servers", _EVENTBRIDGE)],
                "parameters": {
                    "eventBusName": {
                        "description": "Parameter `EventBusName` of the stack.",
                        "default": "default",
                    }
                },
                "messages": _references(of_bus),
            },
        },
        "operations": dict(_operations()),
        "components": {
            "messages": made,
            "schemas": schemas.by_name,
            "securitySchemes": _security_schemes(),
        },
    }


def text(document: Mapping[str, Any]) -> str:
    """Return the document as YAML."""
    head = (
        "# The contract of the service. `make contract` generates it from\n"
        "# functions/push/messages.py; do not edit it.\n"
    )
    return head + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def _about() -> str:
    """Return what the contract says of the whole."""
    return Path(__file__).with_name("about.md").read_text().format_map(LIMITS)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    style = "|" if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _text)


# Messages.


def _messages(
    schemas: Schemas, examples: Mapping[str, list[Example]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for action in messages.ACTIONS:
        for model in action.requests:
            yield _message(model, schemas, examples, action.name, correlated=True)
    other = {
        "name": _FRAME,
        "title": "Any other frame",
        "summary": "One that names no action, or is no JSON object: it is answered as well.",
        "payload": {"description": "Any text."},
    }
    yield _FRAME, other | _examples(_FRAME, examples)
    for action in messages.ACTIONS:
        for model in action.replies:
            yield _message(model, schemas, examples, correlated=True)
    yield _message(messages.Error, schemas, examples, correlated=True)
    yield _message(messages.GatewayError, schemas, examples)
    for model in messages.PUSHES:
        yield _message(model, schemas, examples)
    for event in messages.EVENTS:
        yield _event(event, schemas, examples)


def _message(
    model: type,
    schemas: Schemas,
    examples: Mapping[str, list[Example]],
    name: str = "",
    *,
    correlated: bool = False,
) -> tuple[str, dict[str, Any]]:
    summary, description = docs(model)
    payload = schemas.reference(model)
    made: dict[str, Any] = {
        # The renderer links to it as if it were the key of the message.
        "name": model.__name__,
        "title": _title(model.__name__),
        "summary": summary,
    }
    if description:
        made["description"] = description
    made["payload"] = payload
    if correlated:
        made["correlationId"] = {
            "description": "Chosen by the client; the reply has the same.",
            "location": "$message.payload#/requestId",
        }
    return model.__name__, made | _examples(model.__name__, examples)


def _event(
    event: messages.PublishedEvent, schemas: Schemas, examples: Mapping[str, list[Example]]
) -> tuple[str, dict[str, Any]]:
    name = event.name
    summary, description = docs(event.detail)
    return name, {
        "name": name,
        "title": event.detail_type,
        "summary": summary,
        "description": "\n\n".join(
            filter(None, [description, f"Clients get it as `{event.becomes.__name__}`."])
        ),
        "payload": event_schema(event, schemas),
    } | _examples(name, examples)


def event_schema(event: messages.PublishedEvent, schemas: Schemas) -> Schema:
    """Return a reference to the schema of an event as EventBridge hands it over."""
    schemas.reference(event.detail)
    envelope = schemas.object(messages.EventEnvelope)
    envelope["description"] = "\n\n".join(filter(None, docs(event.detail)))
    envelope["properties"]["detail-type"] = {"type": "string", "const": event.detail_type}
    envelope["properties"]["detail"] = schemas.reference(event.detail)
    return schemas.add(event.name, envelope)


def _examples(name: str, examples: Mapping[str, list[Example]]) -> dict[str, Any]:
    found = [
        {"name": each.name, "summary": each.summary, "payload": each.payload}
        for each in examples.get(name, [])
    ]
    return {"examples": found} if found else {}


def _title(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip().capitalize()


# Operations, as the service sees them: it receives requests and events, and sends pushes.


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for action in messages.ACTIONS:
        yield (
            action.name,
            {
                "action": "receive",
                "channel": _to("channels", _SOCKET),
                "title": action.name,
                # The renderer shows this, and no title.
                "summary": f"{action.name}: {action.summary}",
                "tags": _REQUESTS,
                "description": _codes(action.codes),
                "x-error-codes": [code.code for code in action.codes],
                "messages": _of_channel(_SOCKET, action.requests),
                "reply": _reply(action.replies),
            },
        )
    yield (
        _UNKNOWN,
        {
            "action": "receive",
            "channel": _to("channels", _SOCKET),
            "title": "Any other frame",
            "summary": "Say why a frame is no request",
            "tags": _REQUESTS,
            "description": _codes(messages.OTHERWISE),
            "x-error-codes": [code.code for code in messages.OTHERWISE],
            "messages": [_to("channels", _SOCKET, "messages", _FRAME)],
            "reply": _reply(()),
        },
    )
    for model in messages.PUSHES:
        summary, _ = docs(model)
        yield (
            f"push{model.__name__}",
            {
                "action": "send",
                "channel": _to("channels", _SOCKET),
                "title": _title(model.__name__),
                "summary": summary,
                "tags": _PUSHES,
                "messages": _of_channel(_SOCKET, [model]),
            },
        )
    for event in messages.EVENTS:
        summary, _ = docs(event.detail)
        yield (
            f"on{event.name.removesuffix('Event')}",
            {
                "action": "receive",
                "channel": _to("channels", _BUS),
                "title": event.detail_type,
                "summary": summary,
                "tags": _EVENTS_IN,
                "messages": [_to("channels", _BUS, "messages", event.name)],
            },
        )


def _reply(replies: Iterable[type]) -> dict[str, Any]:
    possible = [*replies, messages.Error, messages.GatewayError]
    return {"channel": _to("channels", _SOCKET), "messages": _of_channel(_SOCKET, possible)}


def _codes(codes: Iterable[type[RequestRejected]]) -> str:
    listed = "\n".join(f"- `{each.code}`: {messages.ERROR_CODES[each.code]}" for each in codes)
    return f"Codes of an `Error` that may answer it:\n\n{listed}"


# Servers and who may come.

_REGION = {"description": "AWS Region.", "default": "us-east-1"}


def _servers() -> dict[str, Any]:
    on_aws = {
        "host": "{apiId}.execute-api.{region}.amazonaws.com",
        "protocol": "wss",
        "variables": {
            "apiId": {"description": "The address is the output `WebsocketUri` of the stack."},
            "region": _REGION,
        },
    }
    return {
        _OPEN: on_aws
        | {
            "title": "A stack without tokens",
            "description": "Anybody who knows the address hears everything "
            "(`Authentication=NONE`). There are no users.",
        },
        _WITH_TOKENS: on_aws
        | {
            "title": "A stack that asks for tokens",
            "description": "A client presents one token (`Authentication=JWT`); more than one is "
            "refused. Who is refused gets 403 and no reason, 429 if the user has too many "
            "connections. The connection is subscribed to its user. What the token allows is in "
            "its claims.",
            "security": [
                _to("components", "securitySchemes", name) for name in _security_schemes()
            ],
        },
        _LOCAL: {
            "host": "127.0.0.1:3001",
            "protocol": "ws",
            "title": "make local",
            "description": "The application on your own machine; with `AUTH=jwt` it asks for "
            "tokens.",
        },
        _EVENTBRIDGE: {
            "host": "events.{region}.amazonaws.com",
            "protocol": "https",
            "title": "EventBridge",
            "description": "PutEvents, by any AWS SDK.",
            "variables": {"region": _REGION},
        },
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "subprotocol": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Sec-WebSocket-Protocol",
            "description": f"`{SUBPROTOCOL}, <token>`, which browsers can do; or, for a token with "
            f"characters that a subprotocol may not hold, `{SUBPROTOCOL}, {ENCODED}<the token in "
            "base64url without padding>`. The answer is `websocket`.",
        },
        "authorization": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "`Authorization: Bearer <token>`, for servers.",
        },
        "queryString": {
            "type": "httpApiKey",
            "in": "query",
            "name": QUERY_NAME,
            "description": "Only with `TokenInQueryString=true`: addresses are written down in "
            "many places.",
        },
    }


def _handshake() -> dict[str, Any]:
    return {
        "method": "GET",
        "headers": {
            "type": "object",
            "properties": {
                "Sec-WebSocket-Protocol": {
                    "type": "string",
                    "description": f"Subprotocols, `{SUBPROTOCOL}` among them; a token may be one.",
                },
                "Authorization": {"type": "string", "description": "`Bearer <token>`."},
            },
        },
        "query": {
            "type": "object",
            "properties": {
                QUERY_NAME: {
                    "type": "string",
                    "description": "A token, with `TokenInQueryString=true`.",
                }
            },
        },
        "bindingVersion": "0.1.0",
    }


# References.


def _to(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _references(names: Iterable[str]) -> dict[str, Any]:
    return {name: _to("components", "messages", name) for name in names}


def _of_channel(channel: str, models: Iterable[type]) -> list[dict[str, str]]:
    return [_to("channels", channel, "messages", model.__name__) for model in models]
