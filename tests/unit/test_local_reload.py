"""Which edits go live, what is said of them, and which code stays."""

import os
from pathlib import Path

import pytest

from local.errors import LocalRunError
from local.reload import Reload


class Project:
    """Two functions, built, and what `make local` says and does about them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.package = folder / "functions", folder / "package"
        self.template = folder / "template.yaml"
        self.template.write_text("Resources: {}")
        for root in (self.source, self.package):
            for name in ("ping/app.py", "push/wiring.py", "requirements.txt"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("VALUE = 1\n")
        (self.package / "boto3.py").write_text("LIBRARY = 1\n")
        self.said: list[str] = []
        self.warned: list[str] = []
        self.restarts = 0
        self.refuse = ""
        self._clock = 0
        self.start()
        self.settle()

    def start(self) -> None:
        self._reload = Reload(
            self.source, self.package, (self.template,),
            self._restart, self.said.append, self.warned.append,
        )  # fmt: skip

    def _restart(self) -> None:
        if self.refuse:
            raise LocalRunError(self.refuse)
        self.restarts += 1

    def look(self) -> None:
        self._reload.look()

    def settle(self) -> None:
        """Look as often as it takes until nothing is left to do."""
        for _ in range(4):
            self.look()

    def edit(self, name: str, text: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Later than any edit before, however coarse the file system's clock.
        self._clock += 1
        os.utime(path, (self._clock, self._clock))

    def runs(self, name: str) -> str:
        return (self.package / name).read_text()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_nothing_is_said_or_done_while_nothing_changes(project: Project) -> None:
    assert (project.said, project.warned, project.restarts) == ([], [], 0)


def test_an_edit_goes_live_once(project: Project) -> None:
    project.edit("ping/app.py", "VALUE = 2\n")

    project.settle()

    assert project.runs("ping/app.py") == "VALUE = 2\n"
    assert project.restarts == 1
    assert [text.partition(" (")[0] for text in project.said] == ["Reloaded ping/app.py"]


def test_what_was_edited_between_the_build_and_the_first_look_goes_live(project: Project) -> None:
    (project.package / "ping/app.py").write_text("VALUE = 0\n")
    project.start()

    project.settle()

    assert project.runs("ping/app.py") == "VALUE = 1\n"


def test_an_editor_that_is_still_writing_is_waited_for(project: Project) -> None:
    for text in ("VALUE", "VALUE = 2", "VALUE = 2\n"):
        project.edit("ping/app.py", text)
        project.look()
        assert project.restarts == 0

    project.look()

    assert project.restarts == 1
    assert project.warned == []


def test_new_files_and_folders_go_live_and_removed_ones_go_away(project: Project) -> None:
    project.edit("push/later/backoff.py", "VALUE = 1\n")
    (project.source / "push/wiring.py").unlink()

    project.settle()

    assert project.runs("push/later/backoff.py") == "VALUE = 1\n"
    assert not (project.package / "push/wiring.py").exists()
    assert project.runs("boto3.py") == "LIBRARY = 1\n"
    assert "push/later/backoff.py, push/wiring.py" in project.said[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [("VALUE = 1\ndef (\n", 'File "functions/ping/app.py", line 2'), ("\0", "null bytes")],
)
def test_an_error_is_told_once_and_all_old_code_stays(
    project: Project, text: str, told: str
) -> None:
    project.edit("ping/app.py", text)
    project.edit("push/wiring.py", "VALUE = 2\n")

    project.settle()

    (warning,) = project.warned
    assert told in warning
    assert "functions/ping/app.py" in warning
    assert "the old code stays" in warning
    assert project.runs("ping/app.py") == project.runs("push/wiring.py") == "VALUE = 1\n"
    assert project.restarts == 0


def test_what_an_error_held_back_goes_live_when_it_is_mended(project: Project) -> None:
    project.edit("ping/app.py", "def (\n")
    project.edit("push/wiring.py", "VALUE = 2\n")
    project.settle()

    project.edit("ping/app.py", "VALUE = 3\n")
    project.settle()

    assert project.runs("ping/app.py") == "VALUE = 3\n"
    assert project.runs("push/wiring.py") == "VALUE = 2\n"
    assert project.restarts == 1


def test_an_edit_that_is_undone_needs_no_restart(project: Project) -> None:
    project.edit("ping/app.py", "def (\n")
    project.settle()
    project.edit("ping/app.py", "VALUE = 1\n")
    project.settle()

    assert project.restarts == 0


@pytest.mark.parametrize("name", ["requirements.txt", "../template.yaml"])
def test_what_needs_a_new_start_is_told_once(project: Project, name: str) -> None:
    (project.source / name).write_text("changed\n")

    project.settle()

    (warning,) = project.warned
    assert warning.startswith(f"{Path(name).name} has changed: ")
    assert project.restarts == 0
    assert project.runs("requirements.txt") == "VALUE = 1\n"


def test_compiled_code_of_the_same_second_and_size_is_not_used(project: Project) -> None:
    stale = project.package / "ping/__pycache__/app.cpython-311.pyc"
    stale.parent.mkdir()
    stale.touch()

    project.edit("ping/app.py", "VALUE = 2\n")
    project.settle()

    assert not stale.exists()


def test_a_refusal_of_the_emulator_is_told(project: Project) -> None:
    project.refuse = "no such function"
    project.edit("ping/app.py", "VALUE = 2\n")

    project.settle()

    assert project.warned == ["Not reloaded: no such function"]


@pytest.mark.parametrize("name", [".app.py.swp", "app.py~", "4913", ".#app.py", "#app.py#"])
def test_what_an_editor_keeps_beside_the_code_is_passed_over(project: Project, name: str) -> None:
    project.edit(f"ping/{name}", "x")
    project.settle()
    assert (project.said, project.warned, project.restarts) == ([], [], 0)
    assert not (project.package / "ping" / name).exists()


def test_a_template_that_is_again_as_it_was_needs_no_restart(project: Project) -> None:
    before = project.template.read_text()
    project.template.write_text("Resources: {Other: {}}")
    project.settle()
    project.template.write_text(before)
    project.settle()
    assert len(project.warned) == 1


def test_many_files_at_once_are_counted(project: Project) -> None:
    for number in range(9):
        project.edit(f"push/new_{number}.py", "VALUE = 2\n")
    project.settle()
    (said,) = project.said
    assert said.startswith("Reloaded push/new_0.py, 8 more (")
    assert project.runs("push/new_8.py") == "VALUE = 2\n"
