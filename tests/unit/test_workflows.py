"""The workflows: the make targets that they name, what they may do, and who may take the roles."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import samconfig
from support import template

ROOT = template.PATH.parent
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.y*ml"))}
CI, DEPLOY = (yaml.safe_load(WORKFLOWS[name].read_text()) for name in ("ci.yml", "deploy.yml"))
ROLES: dict[str, Any] = template.written(ROOT / "operations/github-roles.yaml")

# What is used of elsewhere; whoever adds one reads it first.
ACTIONS = {
    "actions/checkout",
    "actions/setup-python",
    "actions/setup-node",
    "aws-actions/configure-aws-credentials",
}
ENVIRONMENTS = ["dev", "staging", "prod"]


def jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{workflow}-{name}")
        for workflow, path in WORKFLOWS.items()
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    ]


@pytest.mark.parametrize("path", WORKFLOWS.values(), ids=WORKFLOWS.keys())
def test_an_action_is_pinned_by_its_digest_and_says_its_version(path: Path) -> None:
    used = re.findall(r"^\s*-? ?uses: (.+)$", path.read_text(), re.MULTILINE)

    assert used
    for each in used:
        match = re.fullmatch(r"([\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
        assert match, each
        assert match[1] in ACTIONS


def test_an_action_has_one_version_everywhere() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS.values())
    used = set(re.findall(r"uses: ([\w./-]+)@(\S+)", text))

    assert sorted(name for name, _ in used) == sorted(ACTIONS)


@pytest.mark.parametrize("job", jobs())
def test_a_step_runs_a_make_target_that_there_is_and_nothing_of_its_own(
    job: dict[str, Any],
) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for run in (step["run"] for step in job["steps"] if "run" in step):
        program, *words = run.split()
        if program == "make":
            assert set(words) <= targets, run
        else:
            assert (ROOT / program).stat().st_mode & 0o111, run


@pytest.mark.parametrize("job", jobs())
def test_a_job_may_read_the_code_and_no_more_and_ends(job: dict[str, Any]) -> None:
    """A token by which a role is taken is asked for where there is an environment."""
    expected = {"contents": "read"}
    if "environment" in job:
        expected["id-token"] = "write"
    assert job["permissions"] == expected
    assert 0 < job["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS.values(), ids=WORKFLOWS.keys())
def test_a_workflow_may_do_nothing_that_its_jobs_do_not_name_and_holds_no_secret(
    path: Path,
) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    assert not re.search(r"secrets\.|aws-access-key|aws-secret", path.read_text())


@pytest.mark.parametrize("job", jobs())
def test_no_text_of_a_stranger_becomes_a_command(job: dict[str, Any]) -> None:
    """An expression in a command is code; in a variable it is a value."""
    assert not any("${{" in step.get("run", "") for step in job["steps"])


def test_ci_tests_on_each_python_that_functions_may_run_on() -> None:
    runtimes = template.written()["Parameters"]["FunctionRuntime"]["AllowedValues"]

    versions = CI["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert [f"python{version}" for version in versions] == runtimes


def test_ci_leaves_out_nothing_that_ci_run_does() -> None:
    runs = [step.get("run") for job in CI["jobs"].values() for step in job["steps"]]

    assert ".ci/run --without-scan" in runs
    assert "make scan" in runs
    script = (ROOT / ".ci/run").read_text()
    assert re.findall(r"make [a-z-]+$", script, re.MULTILINE) == ["make scan", "make test"]


def test_environments_of_the_workflow_are_those_of_samconfig() -> None:
    # YAML reads the key `on` as true.
    inputs = DEPLOY[True]["workflow_dispatch"]["inputs"]

    assert inputs["environment"]["options"] == ENVIRONMENTS
    assert ROLES["Parameters"]["Environment"]["AllowedValues"] == ENVIRONMENTS
    for name in ENVIRONMENTS:
        assert samconfig.read(name).stack_name == f"notifications-{name}"


def test_what_is_executed_is_what_was_shown_and_approved() -> None:
    plan, execute = DEPLOY["jobs"]["plan"], DEPLOY["jobs"]["execute"]
    (made,) = (step for step in plan["steps"] if step.get("run") == "make change-set")
    (done,) = (step for step in execute["steps"] if step.get("run") == "make execute")

    assert plan["outputs"] == {"change-set": f"${{{{ steps.{made['id']}.outputs.change-set }}}}"}
    assert done["env"] == {"CHANGE_SET": "${{ needs.plan.outputs.change-set }}"}
    assert execute["needs"] == "plan"
    assert execute["if"] == "needs.plan.outputs.change-set != ''"
    # Where the reviewers are; they have to see the plan before, so it has another.
    assert execute["environment"] == "${{ inputs.environment }}"
    assert plan["environment"] == "${{ inputs.environment }}-plan"
    assert DEPLOY["concurrency"]["cancel-in-progress"] is False


def trust(role: str) -> dict[str, Any]:
    document = ROLES["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]
    (statement,) = document["Statement"]
    return dict(statement)


@pytest.mark.parametrize(("role", "suffix"), [("PlanRole", "-plan"), ("DeployRole", "")])
def test_a_role_is_for_one_environment_of_one_repository(role: str, suffix: str) -> None:
    statement = trust(role)

    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    # Nothing that a wildcard would widen.
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {
                "Fn::Sub": f"repo:${{Repository}}:environment:${{Environment}}{suffix}"
            },
        }
    }


def actions(role: str) -> set[str]:
    (policy,) = ROLES["Resources"][role]["Properties"]["Policies"]
    found: set[str] = set()
    for statement in policy["PolicyDocument"]["Statement"]:
        listed = statement["Action"]
        found |= {listed} if isinstance(listed, str) else set(listed)
    return found


def test_who_makes_change_sets_cannot_execute_them_and_the_other_way_round() -> None:
    assert "cloudformation:CreateChangeSet" in actions("PlanRole")
    assert "cloudformation:ExecuteChangeSet" not in actions("PlanRole")
    assert actions("DeployRole") == {
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
    }


def test_only_cloudformation_takes_the_role_that_makes_the_stack() -> None:
    assert trust("StackRole") == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudformation.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_names_that_cloudformation_gives_begin_with_the_whole_name_of_the_stack(name: str) -> None:
    """Roles and functions have 64 characters; what is cut off is the stack's name, by which
    environments are kept apart."""
    longest = max(
        len(logical_id)
        for kind in ("AWS::IAM::Role", "AWS::Lambda::Function")
        for logical_id in template.resources(kind)
    )

    assert len(f"{samconfig.read(name).stack_name}-{'x' * longest}-") + 13 <= 64


@pytest.mark.parametrize(
    ("repository", "fits"),
    [
        ("owner/name", True),
        ("owner@123/name@456", True),
        ("owner/*", False),
        ("*/name", False),
        ("owner", False),
        ("owner/name:ref", False),
    ],
)
def test_a_repository_is_named_as_in_its_tokens(repository: str, fits: bool) -> None:
    pattern = ROLES["Parameters"]["Repository"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, repository)) is fits


def test_hooks_are_valid_and_run_what_lint_runs() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    pre_commit = Path(sys.executable).with_name("pre-commit")
    subprocess.run([pre_commit, "validate-config", path], check=True, cwd=ROOT)
    (repository,) = yaml.safe_load(path.read_text())["repos"]

    # No version but those of requirements-dev.txt.
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert program in (ROOT / "Makefile").read_text()


def test_updates_are_proposed_for_every_file_that_names_a_version() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    watched = {
        update["package-ecosystem"]: {
            folder.strip("/") for folder in update.get("directories", [update.get("directory")])
        }
        for update in updates
    }
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    def folders(pattern: str) -> set[str]:
        found = {str(Path(path).parent) for path in listed if re.search(pattern, path)}
        return {"" if folder == "." else folder for folder in found}

    assert watched["pip"] >= folders(r"(^|/)requirements[\w-]*\.txt$")
    assert watched["npm"] >= folders(r"(^|/)package\.json$")
    assert watched["github-actions"] == {""}
