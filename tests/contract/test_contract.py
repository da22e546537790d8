"""`asyncapi.yaml` is what the code says, in order, and published under a version."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from contract import tools, versions
from contract.document import PATH, document, text
from contract.examples import by_message
from push import messages
from support import events
from support.contract import Contract, contract

needs_tools = pytest.mark.skipif(not tools.are_installed(), reason="npm has not installed them")

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def released() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.load(versions.RELEASED.read_text(), yaml.CSafeLoader)
    return parsed


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return document(by_message())


def edited(contract: dict[str, Any], edit: Edit) -> dict[str, Any]:
    changed = copy.deepcopy(contract)
    edit(changed)
    return changed


def schemas(contract: dict[str, Any]) -> Any:
    return contract["components"]["schemas"]


def test_it_is_what_make_contract_writes(now: dict[str, Any]) -> None:
    assert PATH.read_text() == text(now), "run `make contract`"


def test_a_changed_model_changes_it(now: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(messages.Pong.__annotations__, "region", str)

    assert schemas(document(by_message()))["Pong"] != schemas(now)["Pong"]


@needs_tools
def test_the_official_parser_has_nothing_to_say(now: dict[str, Any]) -> None:
    assert tools.check(PATH.read_text()) == ""


@needs_tools
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda it: it["operations"]["ping"].pop("action"), "action"),
        (lambda it: it["info"].pop("version"), "version"),
        (lambda it: it["operations"]["ping"]["channel"].update({"$ref": "#/channels/x"}), "x"),
        (lambda it: schemas(it)["Pong"].update(type="strung"), "Pong"),
    ],
)
def test_the_official_parser_finds_what_is_wrong(
    now: dict[str, Any], edit: Edit, said: str
) -> None:
    assert said in tools.check(text(edited(now, edit)))


# Versions.


def test_every_change_since_the_last_release_has_a_version(
    now: dict[str, Any], released: dict[str, Any]
) -> None:
    breaking = (
        [each.path for each in tools.compare(released, now) if each.breaks]
        if (tools.are_installed())
        else []
    )

    assert versions.problems(released, now, versions.CHANGES.read_text(), breaking) == []


def as_version(version: str) -> Edit:
    return lambda it: it["info"].update(version=version)


LOG = "## 1.0.0\n\n- First.\n\n## 1.1.0\n\n- More.\n\n## 2.0.0\n\n- Other.\n"


@pytest.mark.parametrize(
    ("version", "changelog", "breaking", "problem"),
    [
        ("1.0.0", LOG, [], "the contract has changed, and its version is still 1.0.0"),
        ("0.9.0", LOG + "## 0.9.0\n\n- Older.\n", [], "the contract has changed"),
        ("1.1.0", LOG, [], ""),
        ("1.1.0", LOG.replace("1.1.0", "1.1.1"), [], "has no line for 1.1.0"),
        ("1.1.0", LOG.replace("- More.", ""), [], "has no line for 1.1.0"),
        ("1.1.0", LOG, ["/a"], "the major version is the same: ['/a']; take it back"),
        ("2.0.0", LOG, ["/a"], ""),
    ],
)
def test_a_changed_field_needs_a_version_and_a_line_in_the_changelog(
    released: dict[str, Any], version: str, changelog: str, breaking: list[str], problem: str
) -> None:
    before = edited(released, as_version("1.0.0"))
    changed = edited(before, lambda it: schemas(it)["EntityId"].update(maxLength=255))
    as_version(version)(changed)

    problems = versions.problems(before, changed, changelog, breaking)

    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


@needs_tools
@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda it: schemas(it)["Pong"]["properties"].pop("time"), "/Pong/properties/time"),
        (lambda it: schemas(it)["Pong"]["properties"]["time"].update(type="integer"), "/time/type"),
        (lambda it: schemas(it)["PingRequest"]["required"].append("requestId"), "/required/1"),
        (lambda it: schemas(it)["EntityId"].update(maxLength=255), "/EntityId/maxLength"),
        (lambda it: schemas(it)["ErrorCode"]["enum"].pop(), "/ErrorCode/enum/"),
        (lambda it: it["operations"].pop("ping"), "/operations/ping"),
        (lambda it: it["channels"]["events"].update(address="x"), "/channels/events/address"),
    ],
)
def test_what_breaks_clients_is_told(released: dict[str, Any], edit: Edit, path: str) -> None:
    changes = tools.compare(released, edited(released, edit))

    assert any(path in each.path for each in changes if each.breaks)


@needs_tools
@pytest.mark.parametrize(
    "edit",
    [
        lambda it: schemas(it)["Pong"]["properties"].update(region={"type": "string"}),
        lambda it: schemas(it)["ErrorCode"]["enum"].append("NewCode"),
        lambda it: schemas(it)["Pong"].update(description="Other words."),
        lambda it: schemas(it).update(New={"type": "string"}),
        lambda it: it["info"].update(description="Other words."),
    ],
)
def test_what_is_added_breaks_nobody(released: dict[str, Any], edit: Edit) -> None:
    changes = tools.compare(released, edited(released, edit))

    assert changes
    assert not [each for each in changes if each.breaks]


# What tests are held to.


@pytest.mark.parametrize("name", sorted(path.stem for path in events.FOLDER.glob("*.json")))
def test_the_events_of_the_repository_are_of_the_contract(name: str) -> None:
    event = events.load(name)
    if isinstance(event, list):
        return
    if body := event.get("body"):
        problem = contract().request_problem(json.loads(body))
        assert (problem is None) == (name != "default")
    if name == "notifier":
        assert contract().event_problem(json.loads(event["Records"][0]["body"])) is None
    if name == "deliver":
        frame = json.loads(event["Records"][0]["body"])["frame"]
        assert contract().service_problem(frame) is None
    if name == "entity-updated-detail":
        assert contract().message_problem("EntityUpdatedDetail", event) is None


@pytest.mark.parametrize("message", sorted(set(by_message()) - {"AnyFrame"}))
def test_the_examples_are_of_the_contract(message: str) -> None:
    for example in by_message()[message]:
        assert contract().message_problem(message, example.payload) is None


def test_each_message_has_an_example(now: dict[str, Any]) -> None:
    all_messages = now["components"]["messages"]
    without = [name for name, each in all_messages.items() if "examples" not in each]

    assert without == [], "add a step to contract/conversation.json"


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "Pong"},
        {"type": "Pong", "time": 5},
        {"type": "Pong", "time": "2026-11-24T01:47:00.123Z", "new": 1},
        {"type": "Pang", "time": "2026-11-24T01:47:00.123Z"},
        {"type": ["Pong"]},
        {"type": "Error", "code": "Unheard", "message": "m"},
        {"type": "Subscribed", "entityId": "e"},
        {"type": "Subscribed", "entityId": "e", "cursor": "1"},
        {"type": "Unsubscribed"},
        {"message": "m"},
        "Pong",
        None,
    ],
    ids=str,
)
def test_what_the_service_does_not_say_is_found(frame: object) -> None:
    assert contract().service_problem(frame)


def test_a_model_that_changed_fails_who_still_says_it_the_old_way(now: dict[str, Any]) -> None:
    def edit(it: dict[str, Any]) -> None:
        schemas(it)["Pong"]["required"].append("region")
        schemas(it)["Pong"]["properties"]["region"] = {"type": "string"}

    changed = edited(now, edit)
    pong = by_message()["Pong"][0].payload

    assert Contract(now).service_problem(pong) is None
    assert "region" in str(Contract(changed).service_problem(pong))
