"""The package is what people install."""

import subprocess
import sys
from pathlib import Path

from support import template

FOLDER = template.PATH.parent / "client/python"


def test_it_can_be_installed_and_run(tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-deps", "--target", tmp_path, FOLDER], check=True, timeout=120)

    done = subprocess.run(
        [sys.executable, "-m", "notifications_client", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "--since" in done.stdout
    assert (tmp_path / "notifications_client/py.typed").exists()


def test_it_has_the_licence_and_version_of_the_project() -> None:
    project = (FOLDER.parent.parent / "pyproject.toml").read_text()
    (version,) = [
        line
        for line in (FOLDER / "pyproject.toml").read_text().splitlines()
        if line.startswith("version")
    ]

    assert version in project
    assert (FOLDER / "LICENSE").read_text() == (FOLDER.parent.parent / "LICENSE").read_text()
