"""Hold messages against a route's models, which are JSON schemas of draft 4.

https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-request-validation.html
"""

from __future__ import annotations

import json

from jsonschema import Draft4Validator
from jsonschema.exceptions import SchemaError, ValidationError

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
        Draft4Validator(schema).validate(json.loads(body))
    except ValidationError as error:
        raise InvalidBodyError(f"{error.validator} of the model does not hold") from error
    except SchemaError as error:
        raise InvalidBodyError("the model is no JSON schema") from error
    except (ValueError, RecursionError) as error:
        raise InvalidBodyError("not JSON") from error
