"""The prices, of one dated table."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("prices.toml")
FROM = ("list", "secondary")


@dataclass(frozen=True, slots=True)
class Price:
    """A price, by tiers of a month's quantity.

    Attributes:
        tiers: up to how many units, and dollars for each of them.
        origin: who read it where; see prices.toml.
    """

    what: str
    tiers: tuple[tuple[float, float], ...]
    origin: str
    read: str
    source: str
    url: str

    @property
    def first(self) -> float:
        """Dollars for a unit in the first tier."""
        return self.tiers[0][1]

    def of(self, quantity: float) -> float:
        """Return the dollars for a month's quantity."""
        dollars, below = 0.0, 0.0
        for upto, each in self.tiers:
            dollars += each * max(0.0, min(quantity, upto) - below)
            below = upto
        return dollars


@dataclass(frozen=True, slots=True)
class Prices:
    region: str
    checked: date
    by_name: dict[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.by_name[name]

    def __iter__(self) -> Iterator[Price]:
        return iter(self.by_name.values())


@cache
def prices() -> Prices:
    """Read the table.

    Raises:
        ValueError: a tier does not begin where the one before ends, or nobody says who read it.
    """
    table = tomllib.loads(PATH.read_text())
    region, checked = table.pop("region"), table.pop("checked")
    return Prices(region, checked, {name: _price(name, row) for name, row in table.items()})


def _price(name: str, row: dict[str, Any]) -> Price:
    match row:
        case {
            "what": str(what), "tiers": [*tiers, [last]], "from": str(origin),
            "read": str(read), "source": str(source), "url": str(url),
        } if origin in FROM:  # fmt: skip
            steps = (*((float(upto), float(each)) for upto, each in tiers), (inf, float(last)))
            if list(steps) == sorted(steps):
                return Price(what, steps, origin, read, source, url)
    raise ValueError(f"prices.toml, {name}: not understood")
