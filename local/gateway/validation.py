"""Hold messages against a route's models, which are JSON schemas of draft 4.

https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-request-validation.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT4

from .api import Validation
from .routing import NotSelectableError, evaluate


class InvalidBodyError(Exception):
    """Say that a message is not what the route takes, in words that hold nothing of it."""


def validate(validation: Validation, body: str) -> None:
    """Return if the message fits the model that it selects, or else the ``$default`` one.

    Raises:
        InvalidBodyError: It does not, or there is no such model.
    """
    try:
        key = evaluate(validation.selection, body)
    except NotSelectableError:
        key = "$default"
    schema = validation.schemas.get(key, validation.schemas.get("$default"))
    if schema is None:
        raise InvalidBodyError("no model fits, and there is no $default")
    try:
        Draft4Validator.check_schema(schema)
        registry = _models(validation.models)
        Draft4Validator(schema, registry=registry).validate(json.loads(body))
    except ValidationError as error:
        raise InvalidBodyError(f"{error.validator} of the model does not hold") from error
    except SchemaError as error:
        raise InvalidBodyError("the model is no JSON schema") from error
    except Unresolvable as error:
        raise InvalidBodyError("the model refers to another that there is not") from error
    except (ValueError, RecursionError) as error:
        raise InvalidBodyError("not JSON") from error


def _models(models: Mapping[str, Any]) -> Registry[Any]:
    """Return an API's models by the address that one refers to another with, and nothing else.

    ``https://apigateway.amazonaws.com/restapis/{api}/models/{name}``; what is not among them is not
    fetched. https://docs.aws.amazon.com/apigateway/latest/developerguide/models-mappings-models.html
    """

    def retrieve(uri: str) -> Resource[Any]:
        name = uri.rpartition("/models/")[2]
        if name not in models:
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]
        return DRAFT4.create_resource(models[name])

    return Registry(retrieve=retrieve)  # type: ignore[call-arg]
