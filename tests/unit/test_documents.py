"""The documents say what is true of the code beside them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.sam_version import OLDEST
from push import errors, json_text, protocol, subscriptions, topics
from push import events as push_events
from support import events, template
from support.documents import documents

ROOT = template.PATH.parent
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
DOCUMENTS = [ROOT / path for path in documents()]


def subclasses(cls: type) -> set[type]:
    children: list[type] = cls.__subclasses__()
    return {cls}.union(*(subclasses(child) for child in children))


def table_after(heading: str, text: str = README) -> list[str]:
    """Return the first column of the first table after a heading of the README."""
    rows = re.findall(
        r"^\| (.+?) \|", text.partition(heading)[2].partition("\n## ")[0], re.MULTILINE
    )
    return rows[1:]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for target in set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(), re.MULTILINE)):
        assert re.search(rf"^{target} ", listed, re.MULTILINE), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_json_in_documents_is_json(path: Path) -> None:
    for block in re.findall(r"```json\n(.*?)```", path.read_text(), re.DOTALL):
        json.loads(block)


def test_the_error_codes_are_all_listed() -> None:
    listed = re.findall(r"`(\w+)`", " ".join(table_after("\n## Errors", PROTOCOL)))

    assert len(listed) == len(set(listed))
    assert set(listed) == {
        cls.code for cls in subclasses(errors.RequestRejected) if hasattr(cls, "code")
    }


def test_the_codes_of_disconnect_are_all_listed() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "functions").rglob("*.py"))
    told = re.findall(r'farewell\("(\w+)", reconnect=(True|False)', sources)
    text = PROTOCOL.partition("\n### Disconnect")[2].partition("\n## ")[0]

    assert told
    assert set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE)) == {
        (code, reconnect.lower()) for code, reconnect in told
    }


def test_the_limits_are_those_of_the_code_and_the_template() -> None:
    rows = dict(
        re.findall(r"^\| (.+?) \| (.+) \|$", PROTOCOL.partition("\n## Limits")[2], re.MULTILINE)
    )
    parameters = template.written()["Parameters"]
    room = topics.Room(subscriptions.MAX_ANSWER_BYTES)

    for row, limits in {
        "frame that it gets": (
            f"{protocol.MAX_MESSAGE_BYTES // 1024} KB",
            f"{push_events.MAX_FRAME_BYTES // 1024} KB",
        ),
        "`entityId`, `userId`": (f"1 to {json_text.MAX_ID_LENGTH} characters",),
        "entities in a request": (f"1 to {protocol.MAX_ENTITIES}",),
        "events in a reply": (f"{room.events},", f"{room.bytes // 1024} KB"),
    }.items():
        for limit in limits:
            assert limit in rows[row], row
    named = re.findall(r"(\d+)(?: s| a second)? \(`(\w+)`\)", " ".join(rows.values()))
    assert len(named) == 4
    for value, parameter in named:
        assert int(value) == parameters[parameter]["Default"], parameter


def test_the_parameters_are_all_listed() -> None:
    listed = re.findall(r"`(\w+)`", " ".join(table_after("## Deploy it to AWS")))

    assert set(listed) == template.written()["Parameters"].keys()


def test_the_actions_are_all_listed_and_shown() -> None:
    routes = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
    actions = {route for route in routes if not route.startswith("$")}
    section = README.partition("\n## The protocol\n")[2].partition("\n## ")[0]
    named = section.partition("names its `action`: ")[2].partition(";")[0]

    assert set(re.findall(r"`(\w+)`", named)) == actions
    # In those that are played; one of them is refused.
    assert set(re.findall(r'^→ .*"action":"(\w+)"', PROTOCOL, re.MULTILINE)) == {*actions, "shout"}


def test_each_action_is_in_the_picture_with_all_functions_that_are_not_routes() -> None:
    picture = README.partition("```mermaid\n")[2].partition("```")[0]
    routes = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
    handlers = {
        resource["Properties"]["Handler"].partition(".")[0]
        for resource in template.written()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    # As people call it.
    others = handlers - {route.removeprefix("$") for route in routes} - {"connect", "deliver"}

    assert {"authorize", "expire", "notifier"} <= others
    for word in {*routes, "$connect", "courier", *others}:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", picture), word


def test_the_metrics_are_all_listed() -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("\n## Metrics\n")[2]
    names = " ".join(re.findall(r"^\| (`.+?`) \|", text.partition("\n## ")[0], re.MULTILINE))
    sources = "".join(path.read_text() for path in (ROOT / "functions").rglob("*.py"))
    counted = set(re.findall(r'(?:count|measure)\("(\w+)"', sources))

    assert set(re.findall(r"`(\w+)`", names)) == counted
    assert f"these are {len(counted)}\n" in text


def test_the_example_of_the_console_is_the_file_for_it() -> None:
    blocks = re.findall(r"```json\n(.*?)```", README, re.DOTALL)

    assert events.load("entity-updated-detail") in [json.loads(block) for block in blocks]
    (entry,) = events.load("entity-updated")
    assert json.loads(entry["Detail"]) == events.load("entity-updated-detail")


def test_the_oldest_sam_cli_is_the_same_everywhere() -> None:
    oldest = ".".join(map(str, OLDEST))
    assert f"{oldest} or newer" in README
    assert (
        f"aws-sam-cli>={oldest.removesuffix('.0')}"
        in (ROOT / "local/requirements-sam.txt").read_text()
    )


def resource_name(arn: Any) -> str:
    """Return what a reader calls a resource of a policy."""
    match arn:
        case {"Fn::GetAtt": [name, "Arn" | "Id"]}:
            return str(name)
        case {"Fn::Sub": text}:
            method = str(text).rpartition("/@connections")[0].rpartition("/")[2]
            return f"{method} @connections"
        case _:
            raise AssertionError(arn)


def permissions(function: dict[str, Any]) -> str:
    """Return what a function may do, as the document says it."""
    said = []
    for policy in function.get("Policies", []):
        _, chosen, _ = policy.get("Fn::If", ("", policy, ""))
        for statement in chosen["Statement"]:
            actions, arns = statement["Action"], statement["Resource"]
            actions = actions if isinstance(actions, list) else [actions]
            arns = arns if isinstance(arns, list) else [arns]
            names = ", ".join(map(resource_name, arns))
            said.append(f"`{names}`: {', '.join(each.partition(':')[2] for each in actions)}")
    return "; ".join(said) or "nothing"


def test_the_permissions_of_the_functions_are_those_of_the_template() -> None:
    text = (ROOT / "docs/security.md").read_text().partition("## Permissions")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))

    assert rows == {
        resource["Properties"]["Handler"].partition(".")[0]: permissions(resource["Properties"])
        for resource in template.written()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
