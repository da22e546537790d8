"""The templates and responses of integrations that are no proxies.

Sources: D/websocket-api-data-transformations.html (which template), and
D/apigateway-websocket-api-integration-responses.html (which response), where D is
https://docs.aws.amazon.com/apigateway/latest/developerguide
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadAnswerError
from ..routing import NotSelectableError, evaluate
from . import Call
from .velocity import render

DEFAULT = "$default"


@dataclass(frozen=True)
class IntegrationResponse:
    """Hold one response: its key, and the templates of what the client receives."""

    key: str
    selection: str
    templates: Mapping[str, str]

    def matches(self, value: str) -> bool:
        """Tell whether the key is this value, or a ``/pattern/`` of it.

        Raises:
            BadAnswerError: The pattern is none, or one that only Java knows.
        """
        if len(self.key) > 1 and self.key[0] == self.key[-1] == "/":
            try:
                return re.fullmatch(self.key[1:-1], value, re.DOTALL) is not None
            except re.error as error:
                raise BadAnswerError(
                    f"{self.key} of an integration response is no pattern"
                ) from error
        return self.key == value


@dataclass(frozen=True)
class DataMapping:
    """Turn a route's request into the integration's, and its response into the client's."""

    selection: str
    templates: Mapping[str, str]
    passthrough: str
    responses: tuple[IntegrationResponse, ...]

    def request(self, call: Call) -> str:
        """Return what the back end gets.

        Raises:
            BadAnswerError: A template fails, or none fits and the body may not pass as it is.
        """
        body = str(call.event.get("body", ""))
        template = choose(self.templates, self.selection, body)
        if template is not None:
            return render(template, body, call)
        if self.passthrough == "NEVER" or (
            self.passthrough == "WHEN_NO_TEMPLATES" and self.templates
        ):
            raise BadAnswerError("no request template fits")
        return body

    def response(self, call: Call, selected_by: str, body: str, response: Any) -> str | None:
        """Return what the client gets, or None in a route that does not answer.

        Args:
            selected_by: what keys of responses are compared with: a status, or an error's message.
            body: what the back end answered.
            response: what ``$integration.response`` stands for in a template's selection.

        Raises:
            BadAnswerError: A template fails, or there is no response that fits.
        """
        if not call.two_way:
            return None
        by_key = {each.key: each for each in self.responses}
        chosen = next(
            (each for each in self.responses if selected_by and each.matches(selected_by)),
            by_key.get(DEFAULT),
        )
        if chosen is None:
            raise BadAnswerError("no integration response fits, and there is no $default")
        sent = str(call.event.get("body", ""))
        template = choose(chosen.templates, chosen.selection, sent, response)
        return body if template is None else render(template, body, call)


def choose(
    templates: Mapping[str, str], selection: str, body: str, response: Any = None
) -> str | None:
    """Return the template that ``selection`` names, the default one, or the only one."""
    key = DEFAULT
    if selection:
        try:
            key = evaluate(selection, body, response)
        except NotSelectableError:
            key = DEFAULT
    if key in templates:
        return templates[key]
    if DEFAULT in templates:
        return templates[DEFAULT]
    # An emulator may lose the expression; with a single template there is nothing to select.
    return next(iter(templates.values())) if len(templates) == 1 and not selection else None
