"""The template: least privilege, redrive, retention, and what SAM makes of it."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import template

ROOT = template.PATH.parent
FUNCTIONS = {
    name: resource["Properties"]
    for name, resource in template.written()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
ROUTES = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
QUEUES = template.resources("AWS::SQS::Queue")

TABLE = {"Fn::GetAtt": ["ConnectionsTable", "Arn"]}
INDEX = {"Fn::Sub": "${ConnectionsTable.Arn}/index/ByConnection"}
POSTS = {
    "Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:"
    "${WebSocketApi}/${StageName}/POST/@connections/*"
}
DEAD_LETTERS = {"Fn::GetAtt": ["NotificationDeadLetterQueue", "Arn"]}
NOTIFICATIONS = {"Fn::GetAtt": ["NotificationQueue", "Arn"]}
DELIVERIES = {"Fn::GetAtt": ["DeliveryQueue", "Arn"]}
DELIVERY_DEAD_LETTERS = {"Fn::GetAtt": ["DeliveryDeadLetterQueue", "Arn"]}
# Each function that reads a queue: the queue, and where its dead letters go.
READERS = {
    "NotifierFunction": ("NotificationQueue", "NotificationDeadLetterQueue"),
    "DeliverFunction": ("DeliveryQueue", "DeliveryDeadLetterQueue"),
}
DEAD_LETTER_QUEUES = [
    "NotificationDeadLetterQueue",
    "DeliveryDeadLetterQueue",
    "UndeliveredEventsQueue",
]

# Exactly what each function may do. One more is a mistake here, one less a failure in production.
PERMISSIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "ConnectFunction": [("dynamodb:PutItem", TABLE)],
    "DisconnectFunction": [
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("dynamodb:Query", INDEX),
    ],
    "SubscribeFunction": [("dynamodb:PutItem", TABLE), ("dynamodb:UpdateItem", TABLE)],
    "UnsubscribeFunction": [
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
    ],
    "SubscriptionsFunction": [("dynamodb:GetItem", TABLE), ("dynamodb:Query", INDEX)],
    "PingFunction": [],
    "DefaultFunction": [],
    "NotifierFunction": [
        ("dynamodb:Query", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("dynamodb:Query", INDEX),
        ("execute-api:ManageConnections", POSTS),
        ("sqs:SendMessage", DEAD_LETTERS),
        ("sqs:SendMessage", DELIVERIES),
        ("sqs:ReceiveMessage", NOTIFICATIONS),
        ("sqs:DeleteMessage", NOTIFICATIONS),
        ("sqs:GetQueueAttributes", NOTIFICATIONS),
        ("sqs:SendMessage", NOTIFICATIONS),
    ],
    "DeliverFunction": [
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("dynamodb:Query", INDEX),
        ("execute-api:ManageConnections", POSTS),
        ("sqs:SendMessage", DELIVERY_DEAD_LETTERS),
        ("sqs:ReceiveMessage", DELIVERIES),
        ("sqs:DeleteMessage", DELIVERIES),
        ("sqs:GetQueueAttributes", DELIVERIES),
        ("sqs:SendMessage", DELIVERIES),
    ],
}


def statements(role: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for policy in role.get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                yield action, statement["Resource"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_what_it_needs_and_no_more(name: str) -> None:
    role = template.resources("AWS::IAM::Role")[f"{name}Role"]

    assert list(statements(role)) == PERMISSIONS[name]
    assert {str(arn).rpartition("/")[2].rstrip("'}") for arn in role["ManagedPolicyArns"]} == {
        "AWSLambdaBasicExecutionRole",
        "AWSXrayWriteOnlyAccess",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_a_group_of_its_own_that_forgets(name: str) -> None:
    group = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]

    assert group == name.replace("Function", "LogGroup")
    retention = template.resources("AWS::Logs::LogGroup")[group]["RetentionInDays"]
    assert retention == {"Ref": "LogRetentionInDays"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_s_handler_exists(name: str) -> None:
    module, _, attribute = FUNCTIONS[name]["Handler"].rpartition(".")
    path = ROOT / "functions" / Path(*module.split(".")).with_suffix(".py")

    assert re.search(rf"^def {attribute}\(", path.read_text(), re.MULTILINE)


def test_every_route_package_is_a_route() -> None:
    apps = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}

    assert apps == {route.removeprefix("$") for route in ROUTES} | {"notifier", "deliver"}


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_invokes_its_function_and_only_that_route_may(route: str) -> None:
    name = route.removeprefix("$").capitalize()
    permission = template.resources("AWS::Lambda::Permission")[f"WebSocketApi{name}Permission"]

    assert ROUTES[route]["FunctionArn"] == {"Fn::GetAtt": [f"{name}Function", "Arn"]}
    assert permission["FunctionName"] == ROUTES[route]["FunctionArn"]
    arn, variables = permission["SourceArn"]["Fn::Sub"]
    assert arn.endswith(":${WebSocketApi.ApiId}/${__StageName__}/" + route)
    assert variables == {"__StageName__": {"Ref": "StageName"}}


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - {"$connect", "$disconnect"}))
def test_a_route_that_replies_has_a_response(route: str) -> None:
    name = route.removeprefix("$").capitalize()
    responses = template.resources("AWS::ApiGatewayV2::RouteResponse")

    assert ROUTES[route]["RouteResponseSelectionExpression"] == "$default"
    assert responses[f"{name}RouteResponse"] == {
        "ApiId": {"Ref": "WebSocketApi"},
        "RouteId": {"Ref": f"WebSocketApi{name}Route"},
        "RouteResponseKey": "$default",
    }
    assert f"WebSocketApi{name}Route" in template.resources("AWS::ApiGatewayV2::Route")


def test_the_stage_deploys_itself() -> None:
    (stage,) = template.resources("AWS::ApiGatewayV2::Stage").values()

    assert stage["AutoDeploy"] is True
    assert template.resources("AWS::ApiGatewayV2::Deployment") == {}


@pytest.mark.parametrize(("queue", "dead_letters"), READERS.values())
def test_a_queue_that_is_read_has_a_redrive_policy(queue: str, dead_letters: str) -> None:
    policy = QUEUES[queue]["RedrivePolicy"]

    assert policy["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}
    assert 1 < policy["maxReceiveCount"] <= 10


def test_no_dead_letters_hang_on_asynchronous_invocation() -> None:
    """A polled queue ignores `EventInvokeConfig`."""
    assert template.resources("AWS::Lambda::EventInvokeConfig") == {}


@pytest.mark.parametrize(("function", "queue"), [(name, READERS[name][0]) for name in READERS])
def test_a_message_stays_hidden_six_times_as_long_as_it_is_handled(
    function: str, queue: str
) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    assert QUEUES[queue]["VisibilityTimeout"] >= 6 * FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("function", READERS)
def test_an_event_source_reports_partial_failures_and_is_bounded(function: str) -> None:
    name = function.removesuffix("Function")
    source = template.resources("AWS::Lambda::EventSourceMapping")[f"{name}EventSource"]

    assert source["FunctionName"] == {"Ref": function}
    assert source["EventSourceArn"] == {"Fn::GetAtt": [READERS[function][0], "Arn"]}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": {"Ref": f"{name}MaxConcurrency"}}


@pytest.mark.parametrize("source", ["NotifierEventSource", "DeliverEventSource"])
def test_no_event_waits_for_the_slow_client_of_another(source: str) -> None:
    assert template.resources("AWS::Lambda::EventSourceMapping")[source]["BatchSize"] == 1


@pytest.mark.parametrize("function", READERS)
def test_a_function_that_posts_knows_the_rate_and_who_shares_it(function: str) -> None:
    variables = FUNCTIONS[function]["Environment"]["Variables"]

    assert variables["POSTS_PER_SECOND"] == {"Ref": "PostsPerSecond"}
    assert variables["NOTIFIER_MAX_CONCURRENCY"] == {"Ref": "NotifierMaxConcurrency"}
    assert variables["DELIVER_MAX_CONCURRENCY"] == {"Ref": "DeliverMaxConcurrency"}
    assert variables["DEAD_LETTER_QUEUE_URL"] == {"Ref": READERS[function][1]}
    assert variables["DELIVERY_QUEUE_URL"] == {"Ref": "DeliveryQueue"}


@pytest.mark.parametrize("queue", DEAD_LETTER_QUEUES)
def test_dead_letters_raise_an_alarm(queue: str) -> None:
    (alarm,) = (
        alarm
        for alarm in template.resources("AWS::CloudWatch::Alarm").values()
        if alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": [queue, "QueueName"]}
    )

    assert alarm["Namespace"] == "AWS/SQS"
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"][0]["Name"] == "QueueName"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    topic = [{"Ref": "AlarmTopicArn"}]
    assert alarm["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", topic, {"Ref": "AWS::NoValue"}]}


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted(name: str) -> None:
    assert QUEUES[name]["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize("name", DEAD_LETTER_QUEUES)
def test_dead_letters_are_kept_for_fourteen_days(name: str) -> None:
    assert QUEUES[name]["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("queue", ["NotificationQueue", "UndeliveredEventsQueue"])
def test_only_the_rule_may_send_to_its_queues(queue: str) -> None:
    policy = template.resources("AWS::SQS::QueuePolicy")[f"{queue}Policy"]

    assert policy["Queues"] == [{"Ref": queue}]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": [queue, "Arn"]},
            "Condition": {
                "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["EntityUpdatedRule", "Arn"]}}
            },
        }
    ]


def test_the_rule_hands_events_to_the_queue_and_keeps_what_it_cannot_hand_over() -> None:
    (rule,) = template.resources("AWS::Events::Rule").values()
    (target,) = rule["Targets"]

    assert rule["EventBusName"] == {"Ref": "EventBusName"}
    assert rule["EventPattern"] == {"detail-type": ["Entity Updated"]}
    assert target["Arn"] == NOTIFICATIONS
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}}


def test_the_table_expires_its_rows_and_is_kept_safe() -> None:
    (table,) = template.resources("AWS::DynamoDB::Table").values()

    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_no_index_key_is_longer_than_dynamodb_allows() -> None:
    """A sort key may have 1,024 bytes: fewer than an entity's id of 256 characters can take."""
    (table,) = template.resources("AWS::DynamoDB::Table").values()
    schemas = [holder["KeySchema"] for holder in (table, *table["GlobalSecondaryIndexes"])]
    sort_keys = {
        key["AttributeName"] for schema in schemas for key in schema if key["KeyType"] == "RANGE"
    }

    assert sort_keys == {"sk"}


@pytest.mark.parametrize("function", READERS)
def test_posts_go_to_the_api_s_own_address(function: str) -> None:
    """An address of a custom domain and the stage is answered with 403."""
    variables = FUNCTIONS[function]["Environment"]["Variables"]

    assert variables["CONNECTIONS_ENDPOINT"] == {
        "Fn::Sub": "https://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}"
    }


def test_no_resource_has_a_fixed_name() -> None:
    """Several stacks live side by side in one account."""
    named = {"TableName", "QueueName", "FunctionName", "RoleName", "LogGroupName", "AlarmName"}
    for name, resource in template.written()["Resources"].items():
        texts = {key for key, value in resource["Properties"].items() if isinstance(value, str)}
        assert not texts & (named | {"Name"}), name


@pytest.mark.parametrize(("name", "parameter"), template.written()["Parameters"].items())
def test_a_parameter_is_described_and_bounded(name: str, parameter: dict[str, Any]) -> None:
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    bounded = parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    assert bounded, name
    assert ("MinValue" in parameter) == ("MaxValue" in parameter)


def test_every_parameter_has_a_place_in_the_console() -> None:
    groups = template.written()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    listed = [name for group in groups for name in group["Parameters"]]
    assert sorted(listed) == sorted(template.written()["Parameters"])


def test_as_many_subscriptions_as_allowed_fit_into_one_reply() -> None:
    most = template.written()["Parameters"]["MaxSubscriptionsPerConnection"]["MaxValue"]
    ids = ["\U0001f600" * 256] * most
    reply = {"type": "Subscriptions", "entityIds": ids, "requestId": "\U0001f600" * 128}

    assert len(json.dumps(reply, ensure_ascii=False).encode()) <= 128 * 1024


def test_the_outputs_are_those_that_readers_expect() -> None:
    outputs = template.written()["Outputs"]

    assert outputs["WebsocketUri"]["Value"] == {
        "Fn::Sub": "wss://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}"
    }
    assert outputs.keys() == {
        "WebsocketUri",
        "TableName",
        "EventBusName",
        "NotificationQueueUrl",
        "NotificationDeadLetterQueueUrl",
        "DeliveryQueueUrl",
        "DeliveryDeadLetterQueueUrl",
        "UndeliveredEventsQueueUrl",
        "WebSocketApiId",
    }


@pytest.mark.parametrize("environment", ["default", "local"])
def test_samconfig_builds_cached_in_parallel_and_validates_with_lint(environment: str) -> None:
    configuration = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]

    assert configuration["build"]["parameters"] == {"cached": True, "parallel": True}
    assert configuration["validate"]["parameters"] == {"lint": True}
    assert configuration["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"


def test_the_template_knows_nothing_of_the_emulator() -> None:
    text = template.PATH.read_text().lower()

    for word in ("ministack", "localhost", "127.0.0.1", "emulator", "http://"):
        assert word not in text
