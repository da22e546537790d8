"""The examples of the contract: a conversation with the service.

`conversation.json` holds it step by step, in the order in which it happens; tests play it with the
functions themselves, so that every example is what the service says.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

PATH = Path(__file__).with_name("conversation.json")


class Example(NamedTuple):
    """A message of the conversation.

    Attributes:
        message: its name in the contract.
        name: of the example.
    """

    message: str
    name: str
    summary: str
    payload: Any


def conversation() -> list[Example]:
    """Return what is said, step by step."""
    return [Example(**step) for step in json.loads(PATH.read_text())]


def by_message() -> dict[str, list[Example]]:
    """Return the examples of each message."""
    found: dict[str, list[Example]] = {}
    for example in conversation():
        found.setdefault(example.message, []).append(example)
    return found
