"""What docs/protocol.md shows goes over the wire. Its part with tokens is in test_identity."""

from typing import Any

import pytest

from integration.dialogue import Dialogue, dialogues, meet
from integration.harness import Application
from support.documents import Block, blocks


@pytest.mark.parametrize("block", dialogues(with_tokens=False), ids=str)
async def test_the_dialogues_go_as_they_are_written(application: Application, block: Block) -> None:
    await Dialogue(application).play(block)


async def test_a_dialogue_that_is_wrong_is_noticed(application: Application) -> None:
    (right,) = [block for block in blocks("dialogue") if '"p-1"' in block.text]
    for old, new in (('"p-1"}\n←', '"p-2"}\n←'), ('"Pong"', '"Ping"'), ("connects\n", "greets\n")):
        wrong = Block("wrong", 1, "dialogue", right.text.replace(old, new))
        with pytest.raises(AssertionError):
            await Dialogue(application).play(wrong)


@pytest.mark.parametrize(
    ("template", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": "…"}, {"a": ""}),
        ({"a": "…"}, {"a": 1}),
        ([1], [1, 2]),
        (["<x>", "<x>"], ["1", "2"]),
        ("<epoch>-1", "0123456789ab-2"),
        ("<epoch>-1", "yesterday-1"),
        ("<time>", "2026-11-24"),
        ("#<seconds>", "7"),
    ],
)
def test_what_differs_is_a_difference(template: Any, actual: Any) -> None:
    with pytest.raises((AssertionError, ValueError)):
        meet(template, actual, {})
