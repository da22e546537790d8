"""The documents of the repository, and the blocks of code in them."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import template

ROOT = template.PATH.parent
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        document: the path of the document, from the root.
        line: where it begins.
        language: what stands behind the fence; empty for nothing.
        text: what it holds, without the indentation of its fence.
    """

    document: str
    line: int
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@cache
def documents() -> list[Path]:
    """Return all documents, from the root."""
    found = []
    for folder, subfolders, files in os.walk(ROOT):
        # What tools leave behind is nobody's document.
        subfolders[:] = [each for each in subfolders if re.match(r"\.github$|(?!\.|node_)", each)]
        found += [Path(folder, file).relative_to(ROOT) for file in files if file.endswith(".md")]
    return sorted(found)


def blocks(*languages: str, document: str | None = None) -> list[Block]:
    """Return the blocks in some languages, or all; of one document, or of all."""
    return [
        block
        for block in _blocks()
        if (not languages or block.language in languages) and document in (None, block.document)
    ]


@cache
def _blocks() -> list[Block]:
    found = []
    for path in documents():
        text = (ROOT / path).read_text()
        for match in _BLOCK.finditer(text):
            indentation, language, content = match.groups()
            content = re.sub(f"^{indentation}", "", content, flags=re.MULTILINE)
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(path), line, language, content))
    return found


def prose(document: Path) -> str:
    """Return what a document holds beside its blocks."""
    return _BLOCK.sub("", (ROOT / document).read_text())


# Of a block: its document and its first line, or, in a program, which begins with imports as others
# do, a line that it alone has; of either, the beginning will do.
Key = tuple[str, str]


def key_of(block: Block, keys: Iterable[Key]) -> Key | None:
    """Return by which of some keys a block is known."""
    lines = block.text.splitlines() if block.language in ("js", "python") else [block.first_line]
    known = [
        (document, beginning)
        for document, beginning in keys
        if document == block.document and any(line.startswith(beginning) for line in lines)
    ]
    assert len(known) < 2, known
    return known[0] if known else None
