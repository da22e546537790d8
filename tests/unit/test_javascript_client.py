"""The JavaScript client: its own tests, its types, its size, and its package.

What must be installed, and is where there is npm: what `make test-environments` puts into
client/js/node_modules.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support import template

FOLDER = template.PATH.parent / "client/js"
# Minified and gzipped.
MOST_BYTES = 5_000

pytestmark = pytest.mark.skipif(
    not shutil.which("npm") or not (FOLDER / "node_modules/.done").exists(),
    reason="Node.js, or what the JavaScript client's tests need, is not installed",
)


def run(*command: str | Path, folder: Path = FOLDER) -> str:
    """Run a command to its end; return what it printed, or fail with it."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass() -> None:
    summary = run("npm", "test", "--silent")

    (passed,) = [line for line in summary.splitlines() if line.startswith("# pass")]
    assert int(passed.split()[-1]) > 70


def test_its_types_are_what_the_module_does() -> None:
    run("npm", "run", "--silent", "types")


def test_it_is_small() -> None:
    assert int(run("npm", "run", "--silent", "size")) <= MOST_BYTES


def test_its_package_can_be_installed_and_imported(tmp_path: Path) -> None:
    """As after `npm publish`, in an empty folder."""
    (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", tmp_path))
    files = {file["path"] for file in packed["files"]}
    assert files == {
        *("package.json", "README.md", "LICENSE"),
        *("notifications-client.js", "notifications-client.d.ts"),
    }
    # What `npm install` does with a package without dependencies, but without a network.
    package = tmp_path / "node_modules" / packed["name"]
    package.mkdir(parents=True)
    archive = tmp_path / Path(packed["filename"]).name
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    shutil.copytree(tmp_path / "unpacked/package", package, dirs_exist_ok=True)

    script = f'import * as client from "{packed["name"]}"; console.log(Object.keys(client).join())'
    printed = run("node", "--input-type=module", "--eval", script, folder=tmp_path)

    assert printed.strip() == "NotificationsClient,UnauthorizedError"


def test_its_version_is_that_of_the_project() -> None:
    package = json.loads((FOLDER / "package.json").read_text())
    project = (template.PATH.parent / "pyproject.toml").read_text()

    assert f'version = "{package["version"]}"' in project
    assert (FOLDER / "LICENSE").read_text() == (template.PATH.parent / "LICENSE").read_text()
    assert not package.get("dependencies")
