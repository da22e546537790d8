"""`make smoke` against the local stack: all is well, and what is broken is said plainly."""

from urllib.parse import urlsplit

import pytest

from integration.harness import Application, unique
from local.aws import LocalAws
from local.stack import STACK_NAME
from operations.smoke.__main__ import look
from operations.smoke.checks import CHECKS
from operations.smoke.client import connected
from operations.smoke.report import Check, Report, Status
from operations.smoke.scene import Scene
from operations.smoke.stack import Stack
from operations.smoke.tokens import Tokens


def aws_of(application: Application) -> LocalAws:
    return LocalAws(urlsplit(application.outputs["AwsEndpointUrl"]).port or 80)


def scene_of(
    application: Application, tokens: Tokens | None = None, patience_seconds: float = 20
) -> Scene:
    stack = Stack(STACK_NAME, aws_of(application).client)
    return Scene(stack, connected, tokens, patience_seconds=patience_seconds, silence_seconds=1)


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
    scene = scene_of(application)
    reported = Report()
    async with application.client() as somebody:
        await somebody.subscribe(entity_id)

        assert await look(scene, reported), reported.results

        assert (await somebody.request("subscriptions"))["entityIds"] == [entity_id]
        assert await somebody.arrived() == []
    assert ended(reported, Status.FAILED) == {}
    assert set(ended(reported, Status.SKIPPED).values()) == {"the stack asks for no tokens"}
    printed = capsys.readouterr().out
    assert "PutEvents to frame: 0." in printed
    assert left_in_the_table(application, scene) == []
    # Visible at once.
    (letter,) = application.dead_letters(marker)
    assert letter["body"] == marker
    assert application.dead_letters(scene.run) == []
