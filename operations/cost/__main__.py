"""`make cost`: print what a load costs a month, and what the same costs elsewhere."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from operations.cost import document, picture
from operations.cost.bill import bill
from operations.cost.load import Load, Unusable, parsed, variable
from operations.cost.prices import prices


def report(load: Load) -> str:
    """Return the bill as plain text, beside the others."""
    made = bill(load)
    rows = [("service", "for", "a month", "", "dollars", "share")]
    rows += [
        (
            item.service,
            item.what,
            document.quantity(item.quantity),
            item.unit,
            document.money(item.dollars),
            f"{item.dollars / made.dollars:.1%}",
        )
        for item in made.items
    ]
    rows += [("all", "", "", "", document.money(made.dollars), "100.0%")]
    others = [("the same load", "dollars", "a million frames")]
    others += [(name, *document.total(of(load))) for name, of in document.OTHERS]
    listed = prices()
    about = (
        f"{load.connections:,.0f} connections; {load.events:,.0f} events a month, of "
        f"{load.frame:,} bytes, to {load.subscribers:,g} subscribers each; "
        f"{load.reconnects:g} handshakes a day"
    )
    terms = (
        f"Dollars a month of 730 hours, {listed.region}, list prices looked up for "
        f"{listed.checked}, without free tiers and taxes."
    )
    where = "What is counted, assumed and compared is in docs/cost.md."
    tables = [*_aligned(rows, right=(2, 4, 5)), "", *_aligned(others, right=(1, 2))]
    return "\n".join([about, "", *tables, "", terms, where])


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make cost", description=__doc__)
    for each in fields(Load):
        default = int(each.default) if isinstance(each.default, bool) else each.default
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            metavar=variable(each.name),
            help=f"{each.metadata['says']} (default {default})".replace("%", "%%"),
        )
    parser.add_argument(
        "--write", action="store_true", help="write the tables of docs/cost.md, and docs/cost.svg"
    )
    options = vars(parser.parse_args(arguments))
    if options.pop("write"):
        document.PATH.write_text(document.into(document.PATH.read_text()))
        picture.PATH.write_text(picture.picture(document.EXAMPLE))
        return
    try:
        print(report(parsed({name: text for name, text in options.items() if text is not None})))
    except Unusable as unusable:
        sys.exit(f"make cost: {unusable}")


if __name__ == "__main__":
    main()
