"""Every change of the contract has a version, and a line in the changelog.

`released.yaml` is the contract of the last release. Whatever differs from it needs a later version
than its own; what breaks clients, a later major one.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RELEASED = Path(__file__).with_name("released.yaml")
CHANGES = Path(__file__).parents[1] / "docs/contract-changes.md"

Contract = Mapping[str, Any]


def version(contract: Contract) -> tuple[int, ...]:
    return tuple(map(int, contract["info"]["version"].split(".")))


def problems(
    released: Contract, contract: Contract, changelog: str, breaking: Iterable[str] = ()
) -> list[str]:
    """Return what keeps a contract from being published.

    Args:
        released: the contract of the last release.
        contract: the one of now.
        changelog: the text of `docs/contract-changes.md`.
        breaking: paths of the changes that break clients.
    """
    found = []
    before, now = version(released), version(contract)
    written = contract["info"]["version"]
    if not re.search(rf"^## {re.escape(written)}\n\n- .", changelog, re.MULTILINE):
        found.append(
            f"docs/contract-changes.md has no line for {written}: add `## {written}` and it"
        )
    if contract != released and now <= before:
        found.append(
            f"the contract has changed, and its version is still {written}: raise VERSION in "
            "contract/__init__.py, then run `make contract`"
        )
    if (paths := list(breaking)) and now[0] <= before[0]:
        found.append(
            f"a change breaks clients, and the major version is the same: {paths}; take it back, "
            "or raise the first number of VERSION in contract/__init__.py"
        )
    return found
