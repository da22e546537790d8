"""Which part of the project imports which: arrows run one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("benchmarks", "client", "contract", "functions", "local", "operations", "tests")
ROUTES = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """Yield each file of a folder, with what it imports, also inside of its functions."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        file = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, each.name) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield file, node.module


def files_that_import(folder: str, *packages: str) -> set[str]:
    return {file for file, name in imports(folder) if name.partition(".")[0] in packages}


def test_functions_import_nothing_else_of_the_project() -> None:
    assert not files_that_import("functions", *(set(PARTS) - {"functions"}))


def test_no_route_imports_another() -> None:
    assert ROUTES
    assert not files_that_import("functions", *ROUTES)


def test_of_the_functions_only_adapters_and_the_wiring_know_botocore() -> None:
    assert files_that_import("functions/push", "boto3", "botocore") == {
        "functions/push/adapters/queues.py",
        "functions/push/adapters/table.py",
        "functions/push/wiring.py",
    }


def test_the_operator_s_commands_know_the_local_run_and_only_its_page_knows_them() -> None:
    assert files_that_import("operations", "local")
    found = files_that_import("local", "operations")
    assert {file.rpartition("/")[0] for file in found} <= {"local/page"}


@pytest.mark.parametrize("folder", ["functions/management_api", "functions/identity"])
def test_what_the_domain_uses_does_not_know_the_domain(folder: str) -> None:
    assert not files_that_import(folder, "push")
