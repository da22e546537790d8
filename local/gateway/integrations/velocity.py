"""Evaluate mapping templates, which are written in the Velocity template language.

The language is airspeed's; here are the variables of a WebSocket API's templates:
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from airspeed import Template, TemplateError

from ..errors import BadAnswerError
from . import Call

_STEP = re.compile(r"\.([\w$-]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def render(template: str, body: str, call: Call) -> str:
    """Return what a template makes of a body.

    Raises:
        BadAnswerError: It is no template, or it failed.
    """
    context = call.event.get("requestContext", {})
    names = {
        "input": _Input(body),
        "context": context,
        "stageVariables": dict(call.stage.variables),
        "util": _Util(),
    }
    try:
        return str(Template(template).merge(names))
    except (TemplateError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Not in its words, which may repeat the body.
        raise BadAnswerError(f"a mapping template failed ({type(error).__name__})") from error


class _Input:
    """Be ``$input``."""

    def __init__(self, body: str) -> None:
        self.body = body

    def path(self, path: str) -> Any:
        """Return the object at a JSONPath; an empty string if there is none."""
        try:
            found = at(json.loads(self.body), path)
        except ValueError:
            return self.body if path == "$" else ""
        return "" if found is None else found

    def json(self, path: str) -> str:
        """Return the JSON at a JSONPath; an empty string if there is none."""
        try:
            found = at(json.loads(self.body), path)
        except ValueError:
            return ""
        return "" if found is None else json.dumps(found, ensure_ascii=False)


class _Util:
    """Be ``$util``, with the names that API Gateway gives its functions."""

    def escapeJavaScript(self, text: object) -> str:
        """Escape a text for a string of JavaScript, as Java's commons do."""
        return json.dumps(str(text))[1:-1].replace("/", r"\/").replace("'", r"\'")

    def parseJson(self, text: object) -> Any:
        """Return the object that a JSON text stands for."""
        return json.loads(str(text))

    def urlEncode(self, text: object) -> str:
        """Encode for application/x-www-form-urlencoded."""
        return quote_plus(str(text))

    def urlDecode(self, text: object) -> str:
        """Decode application/x-www-form-urlencoded."""
        return unquote_plus(str(text))

    def base64Encode(self, text: object) -> str:
        """Encode as base64."""
        return base64.b64encode(str(text).encode()).decode()

    def base64Decode(self, text: object) -> str:
        """Decode base64."""
        return base64.b64decode(str(text)).decode()


def at(document: Any, path: str) -> Any:
    """Return what is at a JSONPath of names and indexes; None if there is nothing.

    Raises:
        ValueError: The path is another than that.
    """
    path = path.strip()
    steps = path.removeprefix("$") if path.startswith("$") else f".{path}"
    if _STEP.sub("", steps):
        raise ValueError("only names and indexes are known in a path")
    for step in _STEP.finditer(steps):
        name, index = step[1] or step[3] or step[4], step[2]
        if index is not None and isinstance(document, list):
            document = document[int(index)] if int(index) < len(document) else None
        elif name is not None and isinstance(document, dict):
            document = document.get(name)
        else:
            return None
    return document
