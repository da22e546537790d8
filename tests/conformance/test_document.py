"""Every case says what it rests on, and the document lists what is assumed."""

from __future__ import annotations

import ast
import re

import pytest

from conformance import deploy

DOCUMENT = deploy.ROOT / "docs" / "local-gateway.md"


def flat(text: str) -> str:
    """Return the text with every run of whitespace as one space."""
    return re.sub(r"\s+", " ", text)


def cases() -> list[tuple[str, str]]:
    """Return the name and docstring of every case but those of this file."""
    found = []
    for path in sorted(deploy.HERE.glob("test_*.py")):
        if path.name == "test_document.py":
            continue
        found += [
            (f"{path.name}::{node.name}", ast.get_docstring(node) or "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
    return found


@pytest.mark.log
@pytest.mark.parametrize(("name", "docstring"), cases(), ids=[name for name, _ in cases()])
def test_case_says_what_it_rests_on(name: str, docstring: str) -> None:
    """own: a case cites a page, or says ``assumed:`` and is in the document, or ``own:``."""
    if docstring.startswith("assumed: "):
        assert flat(docstring.removeprefix("assumed: ")) in flat(DOCUMENT.read_text())
    else:
        assert docstring.startswith("own: ") or re.search(r"^https://\S+$", docstring, re.MULTILINE)
