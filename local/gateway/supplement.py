"""What an endpoint's ``apigatewayv2`` cannot hold, in a file that `deploy` writes.

An emulator may have no models, and may drop some members of integrations. The file is JSON::

    {"models": {API_ID: {NAME: SCHEMA}}, "integrations": {INTEGRATION_ID: {MEMBER: VALUE}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

# Members of an integration that an emulator may drop.
INTEGRATION_MEMBERS = (
    "TemplateSelectionExpression",
    "PassthroughBehavior",
)


class SupplementError(Exception):
    """Say why a file is no supplement."""


@dataclass
class Supplement:
    """Hold models by API and name, and members of integrations by integration."""

    of_apis: dict[str, dict[str, Any]] = field(default_factory=dict)
    of_integrations: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | None) -> Self:
        """Return what the file holds; nothing if no file was named.

        Raises:
            SupplementError: It cannot be read, or is something else.
        """
        if path is None:
            return cls()
        try:
            held = json.loads(Path(path).read_text())
            found = cls(held.get("models", {}), held.get("integrations", {}))
        except (OSError, ValueError, AttributeError) as error:
            raise SupplementError(f"{path} is no supplement: {error}") from error
        for by_id in (found.of_apis, found.of_integrations):
            if not isinstance(by_id, dict) or not all(isinstance(v, dict) for v in by_id.values()):
                raise SupplementError(f"{path} is no supplement: not an object of objects")
        return found

    def write(self, path: Path) -> None:
        """Write the file, for the gateway to read."""
        held = {"models": self.of_apis, "integrations": self.of_integrations}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(held, indent=2) + "\n")

    def models(self, api_id: str) -> Mapping[str, Any]:
        """Return an API's models, schemas by name."""
        return self.of_apis.get(api_id, {})

    def integration(self, integration_id: str) -> Mapping[str, Any]:
        """Return what is to be added to an integration."""
        return self.of_integrations.get(integration_id, {})

    def __bool__(self) -> bool:
        return bool(self.of_apis or self.of_integrations)
