"""The tables of docs/cost.md, between marks in it."""

import re
from collections.abc import Callable, Iterable, Sequence

from operations.cost.bill import Bill, bill
from operations.cost.levers import LARGE, LARGE_LEVERS, LEVERS, effects
from operations.cost.load import Load
from operations.cost.others import appsync, hotsock
from operations.cost.prices import prices
from operations.cost.stack import ROOT

PATH = ROOT / "docs/cost.md"
EXAMPLE = Load()
OTHERS: tuple[tuple[str, Callable[[Load], Bill]], ...] = (
    ("this application", bill),
    ("AppSync Events", appsync),
    ("Hotsock, at least", hotsock),
)
_FROM = {"list": "price list", "secondary": "others"}


def money(dollars: float) -> str:
    """Return dollars for a person."""
    return f"{dollars:,.2f}"


def quantity(number: float) -> str:
    """Return a quantity for a person."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.2f}"


def total(made: Bill) -> tuple[str, str]:
    """Return the dollars of a month, and for a million frames, if there are any."""
    per_million = made.per_million_frames
    return money(made.dollars), "-" if per_million is None else money(per_million)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """Return a table of Markdown; the columns `right` are numbers."""
    rule = ["---:" if number in right else "---" for number in range(len(columns))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *rows])


def of_items(made: Bill) -> str:
    rows = [
        (
            item.service,
            item.what,
            quantity(item.quantity),
            item.unit,
            money(item.dollars),
            f"{item.dollars / made.dollars:.1%}",
        )
        for item in made.items
    ]
    rows.append(("**all**", "", "", "", f"**{money(made.dollars)}**", ""))
    return table(("service", "for", "a month", "", "dollars", "share"), rows, (2, 4, 5))


def of_others(load: Load) -> str:
    rows = [(name, *total(of(load))) for name, of in OTHERS]
    return table(("", "dollars a month", "dollars a million frames"), rows, (1, 2))


def of_effects(found: Iterable[tuple[str, float]]) -> str:
    rows = [(says, f"{dollars:+,.2f}") for says, dollars in found]
    return table(("change", "dollars a month"), rows, (1,))


def of_prices() -> str:
    rows = []
    for price in prices():
        scale, each = (1e6, "a million, ") if price.first < 1e-5 else (1, "")
        if "GB-second" in price.what:
            scale, each = 1, ""
        tiers = ", then ".join(
            f"{dollars * scale:.10f}".rstrip("0").rstrip(".") for _, dollars in price.tiers
        )
        rows.append(
            (f"[{price.what}]({price.url})", f"{each}{tiers}", price.read, _FROM[price.origin])
        )
    return table(("price", "dollars", "read", "from"), rows, ())


def parts() -> dict[str, str]:
    """Return what stands between the marks, by their names."""
    return {
        "bill": of_items(bill(EXAMPLE)),
        "others": of_others(EXAMPLE),
        "levers": of_effects(effects(EXAMPLE, LEVERS)),
        "large levers": of_effects(effects(LARGE, LARGE_LEVERS)),
        "prices": of_prices(),
    }


def into(text: str) -> str:
    """Return the document with its tables written anew.

    Raises:
        ValueError: a mark is missing.
    """
    for name, part in parts().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"docs/cost.md has no place for: {name}")
        text = pattern.sub(f"{begin}\n{part}\n{end}".replace("\\", r"\\"), text)
    return text
