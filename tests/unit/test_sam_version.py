"""The check of the SAM CLI, with programs that answer as SAM does."""

from pathlib import Path

import pytest

from local.sam_version import problem_with


@pytest.fixture
def sam(tmp_path: Path) -> Path:
    return tmp_path / "sam"


def answering(sam: Path, output: str, status: int = 0) -> str:
    sam.write_text(f"#!/bin/sh\necho '{output}'\nexit {status}\n")
    sam.chmod(0o755)
    return str(sam)


@pytest.mark.parametrize("version", ["1.160.0", "1.160.1", "1.170.0", "2.0.0"])
def test_a_sam_cli_that_knows_the_resource_is_accepted(sam: Path, version: str) -> None:
    assert problem_with(answering(sam, f"SAM CLI, version {version}")) is None


@pytest.mark.parametrize("version", ["0.99.0", "1.99.0", "1.159.9"])
def test_an_older_one_is_refused_with_the_version_to_install(sam: Path, version: str) -> None:
    problem = problem_with(answering(sam, f"SAM CLI, version {version}"))

    assert problem is not None
    assert version in problem
    assert "1.160.0 or newer" in problem


def test_one_that_is_not_there_is_named(sam: Path) -> None:
    assert str(sam) in str(problem_with(str(sam)))


def test_one_that_does_not_work_is_shown_with_what_it_says(sam: Path) -> None:
    assert "no luck" in str(problem_with(answering(sam, "no luck", status=1)))
