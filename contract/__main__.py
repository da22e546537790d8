"""`make contract` and `make docs`: write what is made of the models."""

import argparse
from pathlib import Path

from contract import registry, tools
from contract.document import PATH, document, text
from contract.examples import by_message


def main() -> None:
    parser = argparse.ArgumentParser(prog="contract", description=__doc__)
    parser.add_argument("--page", type=Path, help="write this page instead")
    page: Path | None = parser.parse_args().page
    made = document(by_message())
    if page is None:
        PATH.write_text(text(made))
        registry.TEMPLATE.write_text(registry.into(registry.TEMPLATE.read_text()))
        return
    if not tools.are_installed():
        parser.error("npm is needed, and was not there")
    page.write_text(tools.render(made))
    print(f"Open {page.resolve().as_uri()}")


main()
