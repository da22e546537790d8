"""`make smoke` against the local stack: all is well, and what is broken is said plainly."""

import asyncio

import pytest

from integration.harness import Application, unique
from local.stack import STACK_NAME
from operations.smoke.__main__ import look
from operations.smoke.checks import CHECKS
from operations.smoke.client import connected
from operations.smoke.report import Check, Report, Status
from operations.smoke.scene import Scene
from operations.smoke.stack import Stack
from operations.smoke.tokens import Tokens


def stack_of(application: Application) -> Stack:
    return Stack(STACK_NAME, application.aws.client)


def scene_of(
    application: Application, tokens: Tokens | None = None, patience_seconds: float = 20
) -> Scene:
    return Scene(
        stack_of(application),
        connected,
        tokens,
        patience_seconds=patience_seconds,
        silence_seconds=1,
    )


def named(*words: str) -> list[Check]:
    """Return the checks whose sentences hold one of the words."""
    return [check for check in CHECKS if any(word in check.sentence for word in words)]


def ended(reported: Report, status: Status) -> dict[str, str]:
    """Return which checks ended so, and why."""
    return {
        result.check.sentence: result.why for result in reported.results if result.status is status
    }


def left_in_the_table(application: Application, scene: Scene) -> list[str]:
    rows = application._scan("contains(pk, :run)", {":run": {"S": scene.run}})
    return [f"{row['pk']} {row['sk']}" for row in rows]


async def test_all_is_well_and_nothing_is_left_and_nobody_is_disturbed(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    marker, entity_id = unique("somebody"), unique("entity")
    application.send("NotificationDeadLetterQueueUrl", marker)
    # Two at once, who do not meet.
    scenes = [scene_of(application) for _ in range(2)]
    reports = [Report() for _ in scenes]
    async with application.client() as somebody:
        await somebody.subscribe(entity_id)

        assert all(await asyncio.gather(*map(look, scenes, reports))), reports

        assert (await somebody.request("subscriptions"))["entityIds"] == [entity_id]
        assert await somebody.arrived() == []
    for reported in reports:
        assert ended(reported, Status.FAILED) == {}
        assert set(ended(reported, Status.SKIPPED).values()) == {"the stack asks for no tokens"}
    printed = capsys.readouterr().out
    assert "PutEvents to frame: 0." in printed
    for scene in scenes:
        assert left_in_the_table(application, scene) == []
        assert application.dead_letters(scene.run) == []
    # Visible at once.
    (letter,) = application.dead_letters(marker)
    assert letter["body"] == marker


async def failures(application: Application, *words: str) -> dict[str, str]:
    """Return the checks that fail, of some, and what they say."""
    scene, reported = scene_of(application, patience_seconds=2), Report()
    await look(scene, reported, [CHECKS[0], *named(*words)])
    return ended(reported, Status.FAILED)


async def test_a_rule_that_is_off_is_noticed(application: Application) -> None:
    events = application.aws.client("events")
    (rule,) = [
        rule["Name"] for rule in events.list_rules()["Rules"] if "EntityUpdated" in rule["Name"]
    ]
    events.disable_rule(Name=rule)
    try:
        failed = await failures(application, "reaches its subscriber")
    finally:
        events.enable_rule(Name=rule)
    assert failed == {
        "an event reaches its subscriber as it was published": "a frame did not come within 2 s"
    }


async def test_a_permission_that_a_function_lacks_is_noticed(application: Application) -> None:
    with application.without_permissions("NotifierFunction"):
        failed = await failures(application, "reaches its subscriber", "refused a permission")
    assert set(failed) == {
        "an event reaches its subscriber as it was published",
        "no function was refused a permission",
    }
    why = failed["no function was refused a permission"]
    assert why.startswith("NotifierLogGroup has ")
    assert "the first: AccessDenied" in why
    assert "GetItem" in why


async def test_frames_that_come_twice_are_noticed(application: Application) -> None:
    application.start_gateway("--fault-duplicate", "1")
    try:
        failed = await failures(application, "sent twice")
    finally:
        application.start_gateway()
    assert failed == {
        "an event that is sent twice is delivered once": "frames came with"
        " ['twice', 'twice', 'the next', 'the next']",
    }
