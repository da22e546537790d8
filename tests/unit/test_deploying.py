"""`make deploy ENV=…`, `make change-set`, `make execute`: what SAM and CloudFormation are asked."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from local import samconfig
from operations import change_set, environments
from support import template

PARAMETERS = template.written()["Parameters"]
NOW = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)
ARN = "arn:aws:cloudformation:eu-central-1:123456789012:changeSet/samcli-deploy1/1f2e"
OTHER = "arn:aws:cloudformation:eu-central-1:123456789012:changeSet/samcli-deploy0/0a0b"
STACK = "arn:aws:cloudformation:eu-central-1:123456789012:stack/notifications-prod/9c"


@pytest.fixture
def sam(tmp_path: Path) -> Path:
    """A program that writes down how it was called."""
    program = tmp_path / "sam"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\nexit 3\n')
    program.chmod(0o755)
    return program


def called(sam: Path) -> list[str]:
    return (sam.parent / "called").read_text().splitlines()


def overrides(sam: Path) -> dict[str, str]:
    """Return the values that SAM was given."""
    pairs = (word.split("=", 1) for word in called(sam) if "=" in word)
    return {name: value.strip('"') for name, value in pairs}


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_a_gradual_environment_gets_a_new_release_beside_its_own_values(
    sam: Path, name: str
) -> None:
    status = environments.main([name, "--sam", str(sam)])

    assert status == 3
    assert called(sam)[:1] == ["deploy"]
    assert called(sam)[called(sam).index("--config-env") + 1] == name
    given = overrides(sam)
    pattern = PARAMETERS["Release"]["AllowedPattern"]
    assert re.fullmatch(pattern, release := given.pop("Release")) and release
    expected = {**samconfig.read(name).parameters}
    del expected["Release"]
    assert given == expected


def test_an_environment_that_is_not_gradual_gets_none(sam: Path) -> None:
    environments.main(["dev", "--sam", str(sam)])

    assert overrides(sam) == samconfig.read("dev").parameters
    assert overrides(sam)["Release"] == ""


def test_a_release_can_be_had_at_once(sam: Path) -> None:
    """As when an alarm is on already, and would stop the remedy."""
    environments.main(["prod", "--sam", str(sam), "--at-once"])

    assert overrides(sam)["Release"] == ""


def test_cloudformation_takes_a_role_that_is_named(sam: Path) -> None:
    environments.main(["dev", "--sam", str(sam), "--role-arn", "arn:aws:iam::1:role/r"])

    assert called(sam)[-2:] == ["--role-arn", "arn:aws:iam::1:role/r"]


def test_a_release_without_a_repository_has_a_name_too(
    sam: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(sam.parent))
    environments.main(["prod", "--sam", str(sam)])

    assert overrides(sam)["Release"].endswith("Z-unnamed")


@pytest.mark.parametrize("name", ["prd", "version", ""])
def test_an_environment_that_there_is_not_is_refused(
    sam: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environments.main([name, "--sam", str(sam)]) == 2
    assert not (sam.parent / "called").exists()
    assert "no environment" in capsys.readouterr().err


def test_releases_are_named_by_time_and_commit_and_fit_their_parameter() -> None:
    assert environments.release_name("0123456789ab-dirty", NOW) == (
        "20261124T120001Z-0123456789ab-dirty"
    )


def test_values_are_read_as_sam_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "samconfig.toml"
    file.write_text(
        """
        [x.global.parameters]
        stack_name = "s"
        [x.deploy.parameters]
        parameter_overrides = ['A=""', "B=b", 'C="c d"', "D=a=b"]
        """
    )

    assert samconfig.read("x", file).parameters == {"A": "", "B": "b", "C": "c d", "D": "a=b"}


@pytest.fixture
def cloudformation() -> Any:
    return boto3.client(
        "cloudformation",
        region_name="eu-central-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )


@pytest.fixture
def stub(cloudformation: Any) -> Iterator[Stubber]:
    with Stubber(cloudformation) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def listed(*arns: str, status: str = "AVAILABLE") -> dict[str, Any]:
    return {"Summaries": [{"ChangeSetId": arn, "ExecutionStatus": status} for arn in arns]}


def test_a_change_set_that_was_left_from_before_is_not_the_one_that_is_made(
    cloudformation: Any, stub: Stubber
) -> None:
    """Nobody has approved it, and it has the code of then."""
    stub.add_response("list_change_sets", listed(OTHER))
    stub.add_response("list_change_sets", listed(OTHER, ARN))
    stub.add_response("list_change_sets", listed(OTHER))
    stub.add_response("list_change_sets", listed(OTHER))

    assert change_set.made_by(cloudformation, "prod", lambda: None) == ARN
    assert change_set.made_by(cloudformation, "prod", lambda: None) is None


def test_a_stack_that_there_is_not_yet_has_no_change_sets(
    cloudformation: Any, stub: Stubber
) -> None:
    stub.add_client_error("list_change_sets", "ValidationError")
    stub.add_response("list_change_sets", listed(ARN))

    assert change_set.made_by(cloudformation, "prod", lambda: None) == ARN


def test_whoever_may_not_list_change_sets_is_told(cloudformation: Any, stub: Stubber) -> None:
    stub.add_client_error("list_change_sets", "AccessDenied")

    with pytest.raises(ClientError):
        change_set.made_by(cloudformation, "prod", lambda: None)


def test_two_change_sets_made_at_once_are_none_to_choose_from(
    cloudformation: Any, stub: Stubber
) -> None:
    stub.add_response("list_change_sets", listed())
    stub.add_response("list_change_sets", listed(ARN, OTHER))

    with pytest.raises(change_set.NotMade):
        change_set.made_by(cloudformation, "prod", lambda: None)


def change(action: str, name: str, replacement: str | None = None) -> dict[str, Any]:
    row = {"Action": action, "LogicalResourceId": name, "ResourceType": "AWS::SQS::Queue"}
    return {"ResourceChange": row | ({"Replacement": replacement} if replacement else {})}


def test_what_can_lose_something_stands_first(cloudformation: Any, stub: Stubber) -> None:
    changes = [
        change("Add", "A"),
        change("Modify", "B", "False"),
        change("Modify", "C", "True"),
        change("Remove", "D"),
        change("Modify", "E", "Conditional"),
    ]
    pages = (
        {"StackName": "prod", "Changes": changes[:2], "NextToken": "more"},
        {"StackName": "prod", "Changes": changes[2:]},
    )
    for page in pages:
        stub.add_response("describe_change_set", page)

    text = change_set.describe(cloudformation, ARN)

    rows = [row for row in text.splitlines() if "AWS::" in row]
    assert rows == [
        "| **Replace** | `C` | AWS::SQS::Queue |",
        "| **Maybe replace** | `E` | AWS::SQS::Queue |",
        "| **Remove** | `D` | AWS::SQS::Queue |",
        "| Add | `A` | AWS::SQS::Queue |",
        "| Modify | `B` | AWS::SQS::Queue |",
    ]
    assert ARN in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("REVIEW_IN_PROGRESS", "CREATE_COMPLETE"),
        ("UPDATE_COMPLETE", "UPDATE_COMPLETE"),
        ("UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"),
        ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"),
    ],
)
def test_whoever_executes_a_change_set_is_told_how_it_ended(
    cloudformation: Any, stub: Stubber, before: str, after: str
) -> None:
    def stack(status: str) -> dict[str, Any]:
        row = {"StackName": "prod", "CreationTime": NOW - timedelta(1), "StackStatus": status}
        return {"Stacks": [row]}

    stub.add_response("describe_change_set", {"StackId": STACK})
    stub.add_response("describe_stacks", stack(before), {"StackName": STACK})
    stub.add_response("execute_change_set", {}, {"ChangeSetName": ARN})
    stub.add_response("describe_stacks", stack(after))
    stub.add_response("describe_stacks", stack(after))

    assert change_set.execute(cloudformation, ARN) == after


def test_the_job_s_summary_and_output_say_what_was_made(
    cloudformation: Any,
    stub: Stubber,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made)
    monkeypatch.setattr(boto3, "client", lambda _: cloudformation)
    for variable in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    stub.add_response("list_change_sets", listed())
    stub.add_response("list_change_sets", listed(ARN))
    page = {"StackName": "dev", "Changes": [change("Modify", "C", "True")]}
    stub.add_response("describe_change_set", page)

    assert change_set.main(["make", "dev"]) == 0

    assert "| **Replace** | `C` |" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == f"change-set={ARN}\n"
    assert "**Replace**" in capsys.readouterr().out


def test_a_deployment_that_sam_refuses_makes_no_change_set_and_no_success(
    cloudformation: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch, sam: Path
) -> None:
    monkeypatch.setattr(boto3, "client", lambda _: cloudformation)
    stub.add_response("list_change_sets", listed())

    assert change_set.main(["make", "dev", "--sam", str(sam)]) == 1
    assert called(sam)[-2:] == list(change_set.UNEXECUTED)
