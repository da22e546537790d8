"""The blocks of the runbooks: commands, and what they show."""

import re

from local import stack

PAGES = stack.ROOT / "docs/runbooks"
# Sections of a page, and of the README, whose commands are run by test_runbooks.
TRIED = "Try it on the local stack"
SET_UP = "What the pages use"
NOTHING_RINGS = "Frames do not come, and nothing rings"
SHOWN_BY_HAND = "What the local stack cannot show"
_BLOCKS = re.compile(r"```sh\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)


def blocks(page: str, section: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page's section, each with the lines that it has to show."""
    text = (PAGES / f"{page}.md").read_text().partition(f"\n## {section}\n")[2]
    return [
        (commands, shown.splitlines())
        for commands, shown in _BLOCKS.findall(text.partition("\n## ")[0])
    ]


def is_run(page: str, commands: str) -> bool:
    """Whether test_runbooks runs a block of a page."""
    if page != "README":
        return commands in [each for each, _ in blocks(page, TRIED)]
    # The way to the local stack is another one there.
    _, set_up = blocks(page, SET_UP)
    sections = (NOTHING_RINGS, SHOWN_BY_HAND)
    run = [each for section in sections for each, _ in blocks(page, section)]
    return commands in [set_up[0], *run]
