"""The template: least privilege, redrive, retention, and what SAM makes of it."""

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import accumulate
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
PARAMETERS = template.written()["Parameters"]
ROUTES = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
QUEUES = template.resources("AWS::SQS::Queue")
ALARMS = template.resources("AWS::CloudWatch::Alarm")
(TABLE_PROPERTIES,) = template.resources("AWS::DynamoDB::Table").values()
(STAGE,) = template.resources("AWS::ApiGatewayV2::Stage").values()

TABLE = {"Fn::GetAtt": ["ConnectionsTable", "Arn"]}
POSTS, CLOSES = (
    {
        "Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:"
        f"${{WebSocketApi}}/${{StageName}}/{method}/@connections/*"
    }
    for method in ("POST", "DELETE")
)
DEAD_LETTERS = {"Fn::GetAtt": ["NotificationDeadLetterQueue", "Arn"]}
NOTIFICATIONS = {"Fn::GetAtt": ["NotificationQueue", "Arn"]}
DELIVERIES = {"Fn::GetAtt": ["DeliveryQueue", "Arn"]}
DELIVERY_DEAD_LETTERS = {"Fn::GetAtt": ["DeliveryDeadLetterQueue", "Arn"]}
# Each function that reads a queue: the queue, and where its dead letters go.
READERS = {
    "NotifierFunction": ("NotificationQueue", "NotificationDeadLetterQueue"),
    "DeliverFunction": ("DeliveryQueue", "DeliveryDeadLetterQueue"),
}
QUEUES_READ = [queue for queue, _ in READERS.values()]
DEAD_LETTER_QUEUES = [
    "NotificationDeadLetterQueue",
    "DeliveryDeadLetterQueue",
    "UndeliveredEventsQueue",
]

# Exactly what each function may do. One more is a mistake here, one less a failure in production.
PERMISSIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "ConnectFunction": [("dynamodb:PutItem", TABLE)],
    "DisconnectFunction": [("dynamodb:DeleteItem", TABLE), ("dynamodb:BatchWriteItem", TABLE)],
    "SubscribeFunction": [
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:Query", TABLE),
    ],
    "HistoryFunction": [("dynamodb:GetItem", TABLE), ("dynamodb:Query", TABLE)],
    "UnsubscribeFunction": [("dynamodb:BatchWriteItem", TABLE), ("dynamodb:UpdateItem", TABLE)],
    "SubscriptionsFunction": [("dynamodb:GetItem", TABLE)],
    "PingFunction": [("dynamodb:GetItem", TABLE)],
    "DefaultFunction": [],
    "NotifierFunction": [
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:Query", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("execute-api:ManageConnections", POSTS),
        ("sqs:SendMessage", DEAD_LETTERS),
        ("sqs:SendMessage", DELIVERIES),
        ("sqs:ReceiveMessage", NOTIFICATIONS),
        ("sqs:DeleteMessage", NOTIFICATIONS),
        ("sqs:GetQueueAttributes", NOTIFICATIONS),
        ("sqs:ChangeMessageVisibility", NOTIFICATIONS),
    ],
    "DeliverFunction": [
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:Query", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("execute-api:ManageConnections", POSTS),
        ("execute-api:ManageConnections", CLOSES),
        ("sqs:SendMessage", DELIVERY_DEAD_LETTERS),
        ("sqs:ReceiveMessage", DELIVERIES),
        ("sqs:DeleteMessage", DELIVERIES),
        ("sqs:GetQueueAttributes", DELIVERIES),
        ("sqs:ChangeMessageVisibility", DELIVERIES),
        ("sqs:SendMessage", DELIVERIES),
    ],
}

# The account's quotas, as a new one has them in most Regions.
REQUESTS_PER_SECOND = 10_000
REQUESTS_AT_ONCE = 5_000
FUNCTIONS_AT_ONCE = 10
# Half of the functions that may run are the routes'.
ROUTES_AT_ONCE = 5

# How long a message that failed is hidden, try after try.
LONGEST_DELAY_SECONDS = 180
# How long a post that failed in passing waits for its next try, at most.
LONGEST_STRAGGLER_SECONDS = 64

DAY_SECONDS = 24 * 3600


def delays(tries: int) -> list[int]:
    """Return for how many seconds a message that keeps failing is hidden between its tries."""
    return [min(2**failures, LONGEST_DELAY_SECONDS) for failures in range(1, tries)]


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


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_has_an_event_to_try_it_with(route: str) -> None:
    event = json.loads((ROOT / "events" / f"{route.removeprefix('$')}.json").read_text())

    assert event["requestContext"]["routeKey"] == route


def test_the_stage_deploys_itself() -> None:
    assert STAGE["AutoDeploy"] is True
    assert template.resources("AWS::ApiGatewayV2::Deployment") == {}


def test_clients_leave_the_account_s_quota_to_posts() -> None:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html"""
    assert STAGE["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "StageRateLimit"},
        "ThrottlingBurstLimit": {"Ref": "StageBurstLimit"},
    }
    rate, burst = (PARAMETERS[f"Stage{name}Limit"]["Default"] for name in ("Rate", "Burst"))
    assert rate + PARAMETERS["PostsPerSecond"]["Default"] <= REQUESTS_PER_SECOND
    assert burst <= REQUESTS_AT_ONCE / 2


@pytest.mark.parametrize(("queue", "dead_letters"), READERS.values())
def test_a_queue_that_is_read_has_a_redrive_policy(queue: str, dead_letters: str) -> None:
    policy = QUEUES[queue]["RedrivePolicy"]

    assert policy["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}


@pytest.mark.parametrize("queue", QUEUES_READ)
def test_a_message_is_tried_for_a_quarter_of_an_hour(queue: str) -> None:
    tries = QUEUES[queue]["RedrivePolicy"]["maxReceiveCount"]

    assert 15 * 60 <= sum(delays(tries)) <= 30 * 60


def test_no_dead_letters_hang_on_asynchronous_invocation() -> None:
    """A polled queue ignores `EventInvokeConfig`."""
    assert template.resources("AWS::Lambda::EventInvokeConfig") == {}


@pytest.mark.parametrize(("function", "queue"), [(name, READERS[name][0]) for name in READERS])
def test_a_message_stays_hidden_six_times_as_long_as_it_is_handled(
    function: str, queue: str
) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    assert QUEUES[queue]["VisibilityTimeout"] >= 6 * FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("queue", QUEUES_READ)
def test_a_function_that_dies_delays_its_messages_by_three_minutes_at_most(queue: str) -> None:
    assert QUEUES[queue]["VisibilityTimeout"] <= 180


@pytest.mark.parametrize("function", READERS)
def test_an_event_source_reports_partial_failures_and_is_bounded(function: str) -> None:
    name = function.removesuffix("Function")
    source = template.resources("AWS::Lambda::EventSourceMapping")[f"{name}EventSource"]

    assert source["FunctionName"] == {"Ref": function}
    assert source["EventSourceArn"] == {"Fn::GetAtt": [READERS[function][0], "Arn"]}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": {"Ref": f"{name}MaxConcurrency"}}


@pytest.mark.parametrize("source", ["NotifierEventSource", "DeliverEventSource"])
def test_an_invocation_takes_ten_messages_and_waits_for_none(source: str) -> None:
    mapping = template.resources("AWS::Lambda::EventSourceMapping")[source]

    assert mapping["BatchSize"] == 10
    assert mapping.get("MaximumBatchingWindowInSeconds", 0) == 0


def test_the_functions_of_the_queues_leave_some_of_a_new_account_s_to_the_routes() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
    notifiers, couriers = (
        PARAMETERS[f"{name.removesuffix('Function')}MaxConcurrency"]["Default"] for name in READERS
    )

    assert notifiers + couriers <= FUNCTIONS_AT_ONCE - ROUTES_AT_ONCE


def test_only_a_function_that_sends_to_its_own_queue_may_go_round_in_circles() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"""
    functions = template.resources("AWS::Lambda::Function")
    roles = template.resources("AWS::IAM::Role")
    circular = {
        name
        for name, (queue, _) in READERS.items()
        if ("sqs:SendMessage", {"Fn::GetAtt": [queue, "Arn"]}) in statements(roles[f"{name}Role"])
    }

    assert circular
    assert {
        name: function["RecursiveLoop"]
        for name, function in functions.items()
        if "RecursiveLoop" in function
    } == dict.fromkeys(circular, "Allow")


def test_every_function_knows_the_table_and_how_to_log() -> None:
    variables = template.written()["Globals"]["Function"]["Environment"]["Variables"]

    assert variables == {
        "TABLE_NAME": {"Ref": "ConnectionsTable"},
        "POWERTOOLS_SERVICE_NAME": {"Ref": "AWS::StackName"},
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
    }


def test_a_function_knows_no_more_than_it_needs() -> None:
    own = {
        name: function["Environment"]["Variables"]
        for name, function in FUNCTIONS.items()
        if "Environment" in function
    }
    log = {
        "HISTORY_SECONDS": {"Ref": "HistorySeconds"},
        "LOG_UNWATCHED": {"Ref": "LogUnwatched"},
    }

    assert own == {
        "SubscribeFunction": {
            "MAX_SUBSCRIPTIONS_PER_CONNECTION": {"Ref": "MaxSubscriptionsPerConnection"}
        },
        "NotifierFunction": variables_of_posting("NotifierFunction") | log,
        "DeliverFunction": variables_of_posting("DeliverFunction"),
    }


def variables_of_posting(function: str) -> dict[str, Any]:
    queue, dead_letters = READERS[function]
    return {
        # The API's own: an address of a custom domain and the stage is answered with 403.
        "CONNECTIONS_ENDPOINT": {
            "Fn::Sub": "https://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
            "/${StageName}"
        },
        "QUEUE_URL": {"Ref": queue},
        "DELIVERY_QUEUE_URL": {"Ref": "DeliveryQueue"},
        "DEAD_LETTER_QUEUE_URL": {"Ref": dead_letters},
        "POSTS_PER_SECOND": {"Ref": "PostsPerSecond"},
        "NOTIFIER_MAX_CONCURRENCY": {"Ref": "NotifierMaxConcurrency"},
        "DELIVER_MAX_CONCURRENCY": {"Ref": "DeliverMaxConcurrency"},
        "SUBSCRIBERS_PER_DELIVERY": {"Ref": "SubscribersPerDelivery"},
    }


@pytest.mark.parametrize("queue", DEAD_LETTER_QUEUES)
def test_dead_letters_raise_an_alarm(queue: str) -> None:
    alarm = alarm_about("AWS/SQS", "QueueName", {"Fn::GetAtt": [queue, "QueueName"]})

    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Statistic"] == "Maximum"
    assert alarm["Threshold"] == 0
    assert alarm["EvaluationPeriods"] == 1


@pytest.mark.parametrize("queue", QUEUES_READ)
def test_messages_that_wait_longer_than_they_are_meant_to_raise_an_alarm(queue: str) -> None:
    alarm = alarm_about("AWS/SQS", "QueueName", {"Fn::GetAtt": [queue, "QueueName"]})
    meant_to = LONGEST_STRAGGLER_SECONDS + QUEUES[queue]["VisibilityTimeout"]

    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Statistic"] == "Maximum"
    assert meant_to < alarm["Threshold"] <= 5 * 60
    assert alarm["Period"] == 60
    assert alarm["EvaluationPeriods"] == 3
    assert alarm.get("DatapointsToAlarm", 3) == 3


@pytest.mark.parametrize("function", READERS)
def test_a_function_that_keeps_failing_raises_an_alarm(function: str) -> None:
    """One event is enough, whatever second of a minute it comes at; one failure is not."""
    alarm = alarm_about("AWS/Lambda", "FunctionName", {"Ref": function})
    tries = QUEUES[READERS[function][0]]["RedrivePolicy"]["maxReceiveCount"]

    assert alarm["MetricName"] == "Errors"
    assert alarm["Statistic"] == "Sum"
    assert alarm["Threshold"] == 0
    assert alarm["DatapointsToAlarm"] > 1
    for first_at in range(alarm["Period"]):
        failed_at = accumulate(delays(tries), initial=first_at)
        periods = {seconds // alarm["Period"] for seconds in failed_at}
        seen = periods & set(range(alarm["EvaluationPeriods"]))
        assert len(seen) >= alarm["DatapointsToAlarm"]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_goes_to_the_topic_and_so_does_its_end(name: str) -> None:
    topic = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}

    assert ALARMS[name]["AlarmActions"] == topic
    assert ALARMS[name]["OKActions"] == topic
    assert ALARMS[name]["ComparisonOperator"] == "GreaterThanThreshold"
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
    assert ALARMS[name]["AlarmDescription"].endswith(".")


def alarm_about(namespace: str, dimension: str, value: dict[str, Any]) -> dict[str, Any]:
    (alarm,) = (
        alarm
        for alarm in ALARMS.values()
        if alarm["Dimensions"] == [{"Name": dimension, "Value": value}]
    )
    assert alarm["Namespace"] == namespace
    return alarm


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


def test_the_table_expires_its_rows_and_costs_nothing_unused() -> None:
    assert TABLE_PROPERTIES["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert TABLE_PROPERTIES["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_has_its_key_and_no_index() -> None:
    """An index is read eventually consistently: whoever reads it misses what was just written."""
    assert TABLE_PROPERTIES["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert {row["AttributeName"] for row in TABLE_PROPERTIES["AttributeDefinitions"]} == {
        "pk",
        "sk",
    }
    assert not TABLE_PROPERTIES.keys() & {"GlobalSecondaryIndexes", "LocalSecondaryIndexes"}


def test_what_has_expired_lives_on_in_no_backup_unless_asked_for() -> None:
    assert TABLE_PROPERTIES["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": {"Ref": "PointInTimeRecovery"}
    }
    assert PARAMETERS["PointInTimeRecovery"]["Default"] == "false"


def test_the_table_is_encrypted_with_a_key_of_one_s_own_if_one_is_named() -> None:
    assert PARAMETERS["TableKeyArn"]["Default"] == ""
    assert template.written()["Conditions"]["HasTableKey"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "TableKeyArn"}, ""]}]
    }
    own = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "TableKeyArn"}}
    # `SSEEnabled: true` without a key is AWS's key in KMS, which is billed.
    assert TABLE_PROPERTIES["SSESpecification"] == {
        "Fn::If": ["HasTableKey", own, {"SSEEnabled": False}]
    }


@pytest.mark.parametrize(
    ("arn", "fits"),
    [
        ("", True),
        ("arn:aws:kms:us-east-1:123456789012:key/0d9f7e5c-1111-2222-3333-444455556666", True),
        ("arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-0d9f7e5c", True),
        ("alias/aws/dynamodb", False),
        ("arn:aws:kms:us-east-1:123456789012:key/", False),
        ("arn:aws:sns:us-east-1:123456789012:topic", False),
    ],
)
def test_a_key_is_named_by_its_arn(arn: str, fits: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS["TableKeyArn"]["AllowedPattern"], arn)) is fits


def test_a_log_s_head_outlives_what_its_cursors_are_good_for() -> None:
    """A head has half of its 30 days left when somebody subscribes, and maybe nobody else does."""
    left_seconds = 30 * DAY_SECONDS / 2
    connection_seconds = 2 * 3600
    history = PARAMETERS["HistorySeconds"]

    assert history["MaxValue"] + connection_seconds < left_seconds
    assert DAY_SECONDS <= history["MinValue"] <= history["Default"] <= history["MaxValue"]


@pytest.mark.parametrize("name", ["LogUnwatched", "PointInTimeRecovery"])
def test_what_can_be_switched_on_is_off(name: str) -> None:
    assert PARAMETERS[name]["Default"] == "false"
    assert set(PARAMETERS[name]["AllowedValues"]) == {"false", "true"}


def test_no_resource_has_a_fixed_name() -> None:
    """Several stacks live side by side in one account."""
    named = {"TableName", "QueueName", "FunctionName", "RoleName", "LogGroupName", "AlarmName"}
    for name, resource in template.written()["Resources"].items():
        texts = {key for key, value in resource["Properties"].items() if isinstance(value, str)}
        assert not texts & (named | {"Name"}), name


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS.items())
def test_a_parameter_is_described_and_bounded(name: str, parameter: dict[str, Any]) -> None:
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    bounded = parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    assert bounded, name
    assert ("MinValue" in parameter) == ("MaxValue" in parameter)


def test_every_parameter_has_a_place_in_the_console() -> None:
    groups = template.written()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    listed = [name for group in groups for name in group["Parameters"]]
    assert sorted(listed) == sorted(PARAMETERS)


def test_as_many_subscriptions_as_allowed_fit_into_one_reply() -> None:
    most = PARAMETERS["MaxSubscriptionsPerConnection"]["MaxValue"]
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
