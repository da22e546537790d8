"""The workflows: the make targets that they name, what they may do, and who may take the roles."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
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
SAMCONFIG = tomllib.loads(samconfig.SAMCONFIG.read_text())

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


# What CloudFormation has to be allowed to make each kind of resource: an action, and on what, as
# CloudFormation names it (https://docs.aws.amazon.com/service-authorization/latest/reference/).
API = "arn:aws:apigateway:eu-west-1::/"
OURS = "eu-west-1:123456789012"
MADE_BY = {
    "AWS::ApiGatewayV2::Api": ("apigateway:POST", f"{API}apis"),
    "AWS::ApiGatewayV2::ApiMapping": ("apigateway:POST", f"{API}domainnames/x/apimappings"),
    "AWS::ApiGatewayV2::Authorizer": ("apigateway:POST", f"{API}apis/x/authorizers"),
    "AWS::ApiGatewayV2::DomainName": ("apigateway:POST", f"{API}domainnames"),
    "AWS::ApiGatewayV2::Integration": ("apigateway:POST", f"{API}apis/x/integrations"),
    "AWS::ApiGatewayV2::Route": ("apigateway:POST", f"{API}apis/x/routes"),
    "AWS::ApiGatewayV2::RouteResponse": ("apigateway:POST", f"{API}apis/x/routes/x/routeresponses"),
    "AWS::ApiGatewayV2::Stage": ("apigateway:POST", f"{API}apis/x/stages"),
    "AWS::CertificateManager::Certificate": (
        "acm:RequestCertificate",
        f"arn:aws:acm:{OURS}:certificate/x",
    ),
    "AWS::CloudWatch::Alarm": (
        "cloudwatch:PutMetricAlarm",
        f"arn:aws:cloudwatch:{OURS}:alarm:notifications-dev-x-1",
    ),
    "AWS::CloudWatch::Dashboard": (
        "cloudwatch:PutDashboard",
        "arn:aws:cloudwatch::123456789012:dashboard/notifications-dev-eu-west-1",
    ),
    "AWS::CodeDeploy::Application": (
        "codedeploy:CreateApplication",
        f"arn:aws:codedeploy:{OURS}:application:notifications-dev-x-1",
    ),
    "AWS::CodeDeploy::DeploymentGroup": (
        "codedeploy:CreateDeployment",
        f"arn:aws:codedeploy:{OURS}:deploymentgroup:notifications-dev-x-1/notifications-dev-y-1",
    ),
    "AWS::DynamoDB::Table": (
        "dynamodb:CreateTable",
        f"arn:aws:dynamodb:{OURS}:table/notifications-dev-x-1",
    ),
    "AWS::EventSchemas::Registry": (
        "schemas:CreateRegistry",
        f"arn:aws:schemas:{OURS}:registry/EventSchemas-1",
    ),
    "AWS::EventSchemas::Schema": (
        "schemas:CreateSchema",
        f"arn:aws:schemas:{OURS}:schema/EventSchemas-1/EntityUpdated",
    ),
    "AWS::Events::EventBus": (
        "events:CreateEventBus",
        f"arn:aws:events:{OURS}:event-bus/notifications-dev",
    ),
    "AWS::Events::Rule": (
        "events:PutRule",
        f"arn:aws:events:{OURS}:rule/notifications-dev/notifications-dev-x-1",
    ),
    "AWS::IAM::Role": ("iam:CreateRole", "arn:aws:iam::123456789012:role/notifications-dev-x-1"),
    "AWS::Lambda::Alias": (
        "lambda:CreateAlias",
        f"arn:aws:lambda:{OURS}:function:notifications-dev-x-1",
    ),
    "AWS::Lambda::EventInvokeConfig": (
        "lambda:PutFunctionEventInvokeConfig",
        f"arn:aws:lambda:{OURS}:function:notifications-dev-x-1",
    ),
    "AWS::Lambda::EventSourceMapping": ("lambda:CreateEventSourceMapping", "*"),
    "AWS::Lambda::Function": (
        "lambda:CreateFunction",
        f"arn:aws:lambda:{OURS}:function:notifications-dev-x-1",
    ),
    "AWS::Lambda::Permission": (
        "lambda:AddPermission",
        f"arn:aws:lambda:{OURS}:function:notifications-dev-x-1",
    ),
    "AWS::Lambda::Version": (
        "lambda:PublishVersion",
        f"arn:aws:lambda:{OURS}:function:notifications-dev-x-1",
    ),
    "AWS::Logs::LogGroup": (
        "logs:CreateLogGroup",
        f"arn:aws:logs:{OURS}:log-group:notifications-dev-x-1",
    ),
    "AWS::Logs::QueryDefinition": ("logs:PutQueryDefinition", "*"),
    "AWS::Route53::RecordSet": (
        "route53:ChangeResourceRecordSets",
        "arn:aws:route53:::hostedzone/Z1",
    ),
    "AWS::SNS::Subscription": ("sns:Subscribe", f"arn:aws:sns:{OURS}:notifications-dev-x-1"),
    "AWS::SNS::Topic": ("sns:CreateTopic", f"arn:aws:sns:{OURS}:notifications-dev-x-1"),
    "AWS::SNS::TopicPolicy": ("sns:SetTopicAttributes", f"arn:aws:sns:{OURS}:notifications-dev-x"),
    "AWS::SQS::Queue": ("sqs:CreateQueue", f"arn:aws:sqs:{OURS}:notifications-dev-x-1"),
    "AWS::SQS::QueuePolicy": ("sqs:SetQueueAttributes", f"arn:aws:sqs:{OURS}:notifications-dev-x"),
    "AWS::SecretsManager::Secret": (
        "secretsmanager:CreateSecret",
        f"arn:aws:secretsmanager:{OURS}:secret:TokenSecret-1",
    ),
}
VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "Environment": "dev",
    "DomainHostedZoneId": "Z1",
}


def allowed(role: str) -> list[tuple[str, str]]:
    """Return the patterns of what a role may do and on what, for dev with a domain."""

    def several(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    def text(resource: Any) -> str:
        pattern = resource if isinstance(resource, str) else resource.get("Fn::Sub", "")
        return re.sub(r"\$\{([\w:]+)\}", lambda match: VALUES[match[1]], pattern)

    return [
        (action, text(resource))
        for policy in ROLES["Resources"][role]["Properties"]["Policies"]
        for statement in policy.get("Fn::If", ["", policy])[1]["PolicyDocument"]["Statement"]
        for action in several(statement["Action"])
        for resource in several(statement["Resource"])
    ]


def may(role: str, action: str, resource: str) -> bool:
    return any(
        fnmatchcase(action, actions) and fnmatchcase(resource, resources)
        for actions, resources in allowed(role)
    )


@pytest.mark.parametrize("kind", sorted(template.kinds()))
def test_the_role_of_the_stack_suffices_for_every_kind_of_resource(kind: str) -> None:
    """Else the first deployment by the workflow fails, and one by hand does not show it."""
    assert may("StackRole", *MADE_BY[kind])


@pytest.mark.parametrize("kind", sorted(template.kinds()))
def test_the_role_of_a_stack_does_not_reach_another_environment_by_name(kind: str) -> None:
    action, resource = MADE_BY[kind]

    if "notifications-dev" in resource:
        assert not may("StackRole", action, resource.replace("notifications-dev", "other-prod"))
        assert not may("StackRole", action, resource.replace("-dev", "-prod"))


def test_a_plan_writes_no_other_environment_s_code() -> None:
    """Which may have been approved by then."""
    for name in ENVIRONMENTS:
        key = f"{SAMCONFIG[name]['deploy']['parameters']['s3_prefix']}/0123456789abcdef"
        written = f"arn:aws:s3:::aws-sam-cli-managed-default-bucket-1/{key}"
        assert may("PlanRole", "s3:PutObject", written) is (name == "dev")
        assert may("StackRole", "s3:GetObject", written) is (name == "dev")


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
