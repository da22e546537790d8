"""What parameters make of the stack: its own bus, gradual releases, protection, a domain."""

import json
import re
import tomllib
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from local import samconfig
from support import template

ROOT = template.PATH.parent
PARAMETERS = template.written()["Parameters"]
SAMCONFIG = tomllib.loads(samconfig.SAMCONFIG.read_text())
NAMES = ("dev", "staging", "prod")
ENVIRONMENTS = {name: samconfig.read(name) for name in NAMES}
DEPLOY = {name: SAMCONFIG[name]["deploy"]["parameters"] for name in NAMES}

DOMAIN = {"DomainName": "notifications.example.com"}
CERTIFICATE = {
    "DomainCertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1f2e-3d4c"
}
ZONE = {"DomainHostedZoneId": "Z0123456789ABCDEFGHIJ"}
ENDPOINT = "https://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}"

# Functions that read queues.
READERS = ("Notifier", "Deliver")
GRADUAL_KINDS = {"AWS::Lambda::Version", "AWS::Lambda::Alias"}

# The account's quota of a Region: https://docs.aws.amazon.com/apigateway/latest/developerguide/
# limits.html
REQUESTS_PER_SECOND = 10_000
REQUESTS_AT_ONCE = 5_000


def kinds(**parameters: str) -> set[str]:
    return {resource["Type"] for resource in template.deployed(**parameters).values()}


# Buses


def test_the_rule_is_on_the_bus_that_is_named_and_the_stack_makes_none() -> None:
    resources = template.deployed(EventBusName="orders")

    assert resources["EntityUpdatedRule"]["Properties"]["EventBusName"] == {"Ref": "EventBusName"}
    assert "EventBus" not in resources


def test_a_stack_without_a_bus_makes_its_own() -> None:
    resources = template.deployed(EventBusName="")

    assert resources["EntityUpdatedRule"]["Properties"]["EventBusName"] == {"Ref": "EventBus"}
    assert resources["EventBus"]["Properties"]["Name"] == {"Ref": "AWS::StackName"}


# Gradual releases


def test_without_a_release_there_is_no_version_and_nothing_of_codedeploy() -> None:
    resources = template.deployed(Release="")

    assert not kinds() & GRADUAL_KINDS
    assert not {kind for kind in kinds() if kind.startswith("AWS::CodeDeploy::")}
    assert "ReleaseRole" not in resources
    for name in READERS:
        source = resources[f"{name}EventSource"]["Properties"]
        assert source["FunctionName"] == {"Ref": f"{name}Function"}
        assert "elease" not in json.dumps(resources[f"{name}Function"]["Properties"])


@pytest.mark.parametrize("name", READERS)
def test_with_a_release_a_queue_is_read_by_the_alias_of_a_version(name: str) -> None:
    resources = template.deployed(Release="r1")
    source, alias = (resources[f"{name}{part}"] for part in ("EventSource", "Alias"))

    assert source["Properties"]["FunctionName"] == {"Ref": f"{name}Alias"}
    # It is the event source's, whatever reads for it.
    assert source["Properties"]["ScalingConfig"] == {
        "MaximumConcurrency": {"Ref": f"{name}MaxConcurrency"}
    }
    assert alias["Properties"] == {
        "Name": "live",
        "FunctionName": {"Ref": f"{name}Function"},
        "FunctionVersion": {"Fn::GetAtt": [f"{name}Version", "Version"]},
    }
    assert alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"] == {
        "ApplicationName": {"Ref": "ReleaseApplication"},
        "DeploymentGroupName": {"Ref": f"{name}ReleaseGroup"},
    }


@pytest.mark.parametrize("name", READERS)
def test_another_release_is_another_version(name: str) -> None:
    """Lambda publishes none of what has not changed, and CloudFormation none of the same name."""
    resources = template.deployed(Release="r1")
    version, function = resources[f"{name}Version"], resources[f"{name}Function"]["Properties"]

    assert version["Properties"]["Description"] == {"Ref": "Release"}
    assert "${Release}" in function["Description"]["Fn::Sub"]
    # A deployment that is taken back needs the one before.
    assert version["UpdateReplacePolicy"] == "Retain"
    assert "DeletionPolicy" not in version


# CodeDeploy takes no more.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-codedeploy-deploymentgroup-alarmconfiguration.html
MOST_ALARMS_OF_A_GROUP = 10
# What the version before would not mend: quotas of the account, permissions, and `expire`, which
# looks back for as long as a person needs.
NOT_A_RELEASE_S = {
    *("PostsThrottledAlarm", "ThrottlesAlarm", "ApiErrorsAlarm", "UndeliveredEventsAlarm"),
    *("ExpireErrorsAlarm", "ExpireStoppedAlarm"),
    # One is too many: a slow courier makes frames late, and one that does not run has errors.
    "DeliveryAgeAlarm",
}


@pytest.mark.parametrize("authentication", ["NONE", "JWT"])
@pytest.mark.parametrize("name", READERS)
def test_a_release_goes_back_at_any_alarm_that_it_may_have_caused(
    name: str, authentication: str
) -> None:
    resources = template.deployed(Release="r1", Authentication=authentication)
    group = resources[f"{name}ReleaseGroup"]["Properties"]
    alarms = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]

    assert group["AlarmConfiguration"]["Enabled"] is True
    assert len(alarms) == len(set(alarms)) <= MOST_ALARMS_OF_A_GROUP
    there = {
        each for each, resource in resources.items() if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert set(alarms) == there - NOT_A_RELEASE_S
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert group["DeploymentConfigName"] == {"Fn::Sub": "CodeDeployDefault.Lambda${TrafficShift}"}


def test_codedeploy_may_move_these_two_aliases_and_look_at_alarms() -> None:
    role = template.deployed(Release="r1")["ReleaseRole"]["Properties"]
    (policy,) = role["Policies"]
    aliases, alarms = policy["PolicyDocument"]["Statement"]

    assert "ManagedPolicyArns" not in role
    assert aliases["Resource"] == [
        {"Fn::Sub": "${NotifierFunction.Arn}:live"},
        {"Fn::Sub": "${DeliverFunction.Arn}:live"},
    ]
    assert aliases["Action"] == [
        "lambda:GetAlias",
        "lambda:UpdateAlias",
        "lambda:GetProvisionedConcurrencyConfig",
    ]
    assert alarms["Action"] == "cloudwatch:DescribeAlarms"
    assert alarms["Resource"]["Fn::Sub"].endswith(":${AWS::AccountId}:alarm:*")


# Protection


@pytest.mark.parametrize(("value", "protected"), [("false", False), ("true", True)])
def test_the_table_is_protected_if_and_only_if_asked_for(value: str, protected: bool) -> None:
    table = template.deployed(DeletionProtection=value)["ConnectionsTable"]["Properties"]

    assert table["DeletionProtectionEnabled"] is protected


# A domain


def test_without_a_domain_there_is_none() -> None:
    assert not kinds() & {
        "AWS::ApiGatewayV2::DomainName",
        "AWS::ApiGatewayV2::ApiMapping",
        "AWS::CertificateManager::Certificate",
        "AWS::Route53::RecordSet",
    }


def test_a_domain_with_a_certificate_of_one_s_own_and_dns_elsewhere() -> None:
    resources = template.deployed(**DOMAIN, **CERTIFICATE)
    (domain,) = resources["ApiDomain"]["Properties"]["DomainNameConfigurations"]

    assert domain == {
        "EndpointType": "REGIONAL",
        "SecurityPolicy": "TLS_1_2",
        "CertificateArn": {"Ref": "DomainCertificateArn"},
    }
    assert not resources.keys() & {"DomainCertificate", "ApiDomainRecord"}


def test_a_certificate_is_made_and_proven_where_there_is_only_a_zone() -> None:
    resources = template.deployed(**DOMAIN, **ZONE)
    (domain,) = resources["ApiDomain"]["Properties"]["DomainNameConfigurations"]

    assert domain["CertificateArn"] == {"Ref": "DomainCertificate"}
    assert resources["DomainCertificate"]["Properties"] == {
        "DomainName": {"Ref": "DomainName"},
        "ValidationMethod": "DNS",
        "DomainValidationOptions": [
            {"DomainName": {"Ref": "DomainName"}, "HostedZoneId": {"Ref": "DomainHostedZoneId"}}
        ],
    }


def test_a_zone_gets_a_record_that_points_to_the_domain() -> None:
    resources = template.deployed(**DOMAIN, **CERTIFICATE, **ZONE)

    assert "DomainCertificate" not in resources
    assert resources["ApiDomainRecord"]["Properties"] == {
        "HostedZoneId": {"Ref": "DomainHostedZoneId"},
        "Name": {"Ref": "DomainName"},
        "Type": "A",
        "AliasTarget": {
            "DNSName": {"Fn::GetAtt": ["ApiDomain", "RegionalDomainName"]},
            "HostedZoneId": {"Fn::GetAtt": ["ApiDomain", "RegionalHostedZoneId"]},
        },
    }


def test_a_domain_leads_to_the_stage_without_its_name() -> None:
    resources = template.deployed(**DOMAIN, **CERTIFICATE)
    mapping = resources["ApiDomainMapping"]["Properties"]

    assert mapping == {
        "ApiId": {"Ref": "WebSocketApi"},
        "DomainName": {"Ref": "ApiDomain"},
        "Stage": {"Ref": "WebSocketApiStage"},
    }
    assert resources["WebSocketApiStage"]["Type"] == "AWS::ApiGatewayV2::Stage"


def test_a_domain_without_a_certificate_or_a_zone_is_refused() -> None:
    rule = template.written()["Rules"]["DomainNeedsCertificate"]
    (assertion,) = rule["Assertions"]

    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "DomainName"}, ""]}]}
    assert assertion["Assert"] == {
        "Fn::Or": [
            {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]}
            for name in ("DomainCertificateArn", "DomainHostedZoneId")
        ]
    }


def test_posts_go_to_the_api_s_own_address_whatever_domain_it_has() -> None:
    """That of the domain has no @connections below the stage's name, so it stays open."""
    resources = template.deployed(**DOMAIN, **CERTIFICATE, **ZONE)
    endpoints = [
        resource["Properties"]["Environment"]["Variables"]["CONNECTIONS_ENDPOINT"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Lambda::Function"
        and "CONNECTIONS_ENDPOINT" in resource["Properties"]["Environment"]["Variables"]
    ]

    assert endpoints
    assert all(endpoint == {"Fn::Sub": ENDPOINT} for endpoint in endpoints)
    assert "DisableExecuteApiEndpoint" not in template.PATH.read_text().replace("(no Disable", "")
    for name, resource in resources.items():
        if resource["Type"] in ("AWS::Lambda::Function", "AWS::IAM::Role"):
            assert "DomainName" not in json.dumps(resource), name


def test_no_function_reads_the_name_that_a_client_came_by() -> None:
    for path in (template.PATH.parent / "functions").rglob("*.py"):
        assert not re.search(r"""domain_name|["']domainName["']""", path.read_text()), path


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("", True),
        ("ws.example.com", True),
        ("a-b.c.example.co", True),
        ("example", False),
        ("*.example.com", False),
        ("WS.example.com", False),
        ("wss://ws.example.com", False),
        ("ws.example.com/", False),
        ("-ws.example.com", False),
    ],
)
def test_a_domain_is_a_name_and_no_address(name: str, fits: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS["DomainName"]["AllowedPattern"], name)) is fits


# samconfig.toml


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_gives_only_parameters_that_there_are_and_values_that_they_take(
    name: str,
) -> None:
    for parameter, value in ENVIRONMENTS[name].parameters.items():
        spec = PARAMETERS[parameter]
        allowed = list(map(str, spec.get("AllowedValues", [value])))
        assert value in allowed, parameter
        assert re.fullmatch(spec.get("AllowedPattern", ".*"), value), parameter
        if "MinValue" in spec:
            assert spec["MinValue"] <= int(value) <= spec["MaxValue"], parameter


def test_environments_have_stacks_and_buses_of_their_own() -> None:
    stacks = {environment.stack_name for environment in ENVIRONMENTS.values()}

    assert len(stacks | {samconfig.read("default").stack_name}) == len(NAMES) + 1
    for environment in ENVIRONMENTS.values():
        assert environment.parameters["EventBusName"] == ""


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_is_named_by_its_tags_and_asks_for_no_more_capabilities(name: str) -> None:
    assert DEPLOY[name]["tags"] == ["project=websocket-notifications", f"environment={name}"]
    assert DEPLOY[name]["capabilities"] == "CAPABILITY_IAM"
    assert DEPLOY[name]["fail_on_empty_changeset"] is False


def test_prod_is_looked_at_before_it_changes_and_protected() -> None:
    assert {name for name in NAMES if DEPLOY[name]["confirm_changeset"]} == {"prod"}
    assert {
        name
        for name, environment in ENVIRONMENTS.items()
        if environment.parameters.get("DeletionProtection") == "true"
    } == {"prod"}


def test_three_environments_fit_into_one_account_s_quota() -> None:
    def total(*names: str) -> int:
        return sum(
            int(environment.parameters.get(name, PARAMETERS[name]["Default"]))
            for environment in ENVIRONMENTS.values()
            for name in names
        )

    assert total("PostsPerSecond", "StageRateLimit") <= REQUESTS_PER_SECOND
    assert total("StageBurstLimit") <= REQUESTS_AT_ONCE / 2


def test_sam_alone_deploys_at_once() -> None:
    """Else it would go on with the release before, whose version has the code of then."""
    for environment in ENVIRONMENTS.values():
        assert environment.parameters["Release"] == ""


def test_what_environments_share_is_the_same() -> None:
    def shared(name: str) -> dict[str, Any]:
        sections = {key: SAMCONFIG[name][key] for key in ("build", "validate")}
        return sections | {"resolve_s3": DEPLOY[name]["resolve_s3"]}

    assert shared("dev") == shared("staging") == shared("prod")


# Documents


def test_the_document_says_what_tags_do_not_reach() -> None:
    text = (ROOT / "docs/environments.md").read_text().partition("## Tags")[2].partition("\n## ")[0]
    schemas = {
        kind: PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        for kind in template.kinds()
    }

    untagged = {kind for kind, schema in schemas.items() if "Tags" not in schema["properties"]}
    assert set(re.findall(r"`(AWS::\w+::\w+)`", text)) == untagged


def test_the_document_s_table_is_that_of_samconfig() -> None:
    text = (ROOT / "docs/environments.md").read_text()
    header, _, *rows = re.findall(r"^\|(.*)\|$", text.partition("\n## ")[0], re.MULTILINE)
    assert [cell.strip() for cell in header.split("|")[1:]] == list(NAMES)
    table = {cells[0].strip(): cells[1:] for cells in (row.split("|") for row in rows)}

    for name, *cells in zip(NAMES, *table.values(), strict=True):
        said = dict(zip(table, map(str.strip, cells), strict=True))
        given = {key: str(spec["Default"]) for key, spec in PARAMETERS.items()}
        given |= ENVIRONMENTS[name].parameters
        assert said["stack"] == f"`{ENVIRONMENTS[name].stack_name}`"
        assert said["logs, in days"].split(",")[0] == given["LogRetentionInDays"]
        assert ("DEBUG" in said["logs, in days"]) is (given["LogLevel"] == "DEBUG")
        days = int(given["HistorySeconds"]) // 86400
        assert said["history"] == ("a day" if days == 1 else f"{days} days")
        assert (said["the table"] == "protected") is (given["DeletionProtection"] == "true")
        assert said["posts and requests a second"] == (
            f"{int(given['PostsPerSecond']):,}, {int(given['StageRateLimit']):,}"
        )
        minutes = re.findall(r"Percent(\d+)Minutes", given["TrafficShift"])
        gradual = ENVIRONMENTS[name].gradual
        release = f"{minutes[0]} minutes for a tenth" if gradual else "at once"
        assert said["a new release"] == release
        asks = "yes" if DEPLOY[name]["confirm_changeset"] else "no"
        assert said["asks before it changes"] == asks
