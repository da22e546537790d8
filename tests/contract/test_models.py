"""The models of the messages, and the code that they describe."""

import subprocess
import sys

import pytest

from push import errors, messages, protocol
from support import template

FUNCTIONS = template.PATH.parent / "functions"
APPS = sorted(path.parent.name for path in FUNCTIONS.glob("*/app.py"))


def test_no_function_imports_the_models() -> None:
    """They are for mypy and for the contract; a cold start has no use for them."""
    code = f"import sys; import {', '.join(f'{app}.app' for app in APPS)}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=FUNCTIONS, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "push.protocol" in loaded
    assert "push.messages" not in loaded


def test_there_is_a_model_for_each_route() -> None:
    routes = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
    actions = {action.name for action in messages.ACTIONS}

    assert actions == {route for route in routes if not route.startswith("$")}, "template.yaml"
    assert actions == protocol.ACTIONS, "functions/push/protocol.py"


def test_each_code_is_some_answers() -> None:
    answered = {code for action in messages.ACTIONS for code in action.codes}

    assert {cls.code for cls in answered.union(messages.OTHERWISE)} == messages.ERROR_CODES.keys()


@pytest.mark.parametrize("code", messages.ERROR_CODES)
def test_each_code_says_when_it_comes(code: str) -> None:
    assert messages.ERROR_CODES[code].endswith(".")
    assert getattr(errors, code).code == code
