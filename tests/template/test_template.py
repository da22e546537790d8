"""The template: least privilege, redrive, retention, and what SAM makes of it."""

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from operations.questions import CONNECTION, QUESTIONS
from push.events import DISCONNECT_USER, ENTITY_UPDATED, SEND_USER_PUSH
from support import template

ROOT = template.PATH.parent
FUNCTIONS = {
    name: resource["Properties"]
    for name, resource in template.written()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
PARAMETERS = template.written()["Parameters"]
# Those of SAM; $connect is a resource of its own.
ROUTES = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]
QUEUES = template.resources("AWS::SQS::Queue")
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
# The API's own: an address of a custom domain and the stage is answered with 403.
ENDPOINT = {
    "Fn::Sub": "https://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}"
}
SECRET = {"Fn::GetAtt": ["TokenSecret", "Id"]}
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
    "AuthorizeFunction": [("secretsmanager:GetSecretValue", SECRET)],
    "ConnectFunction": [
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:Query", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
    ],
    "DisconnectFunction": [("dynamodb:DeleteItem", TABLE), ("dynamodb:BatchWriteItem", TABLE)],
    "SubscribeFunction": [
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:Query", TABLE),
    ],
    "HistoryFunction": [("dynamodb:GetItem", TABLE), ("dynamodb:Query", TABLE)],
    "UnsubscribeFunction": [
        ("dynamodb:BatchWriteItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:GetItem", TABLE),
    ],
    "SubscriptionsFunction": [("dynamodb:GetItem", TABLE)],
    "PingFunction": [("dynamodb:GetItem", TABLE)],
    "AuthenticateFunction": [
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("execute-api:ManageConnections", POSTS),
        ("secretsmanager:GetSecretValue", SECRET),
    ],
    "ExpireFunction": [
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:Query", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("execute-api:ManageConnections", POSTS),
        ("execute-api:ManageConnections", CLOSES),
    ],
    "DefaultFunction": [],
    "NotifierFunction": [
        ("dynamodb:GetItem", TABLE),
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:UpdateItem", TABLE),
        ("dynamodb:Query", TABLE),
        ("dynamodb:DeleteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE),
        ("execute-api:ManageConnections", POSTS),
        ("execute-api:ManageConnections", CLOSES),
        ("sqs:SendMessage", DEAD_LETTERS),
        ("sqs:SendMessage", DELIVERIES),
        ("sqs:ReceiveMessage", NOTIFICATIONS),
        ("sqs:DeleteMessage", NOTIFICATIONS),
        ("sqs:GetQueueAttributes", NOTIFICATIONS),
        ("sqs:ChangeMessageVisibility", NOTIFICATIONS),
    ],
    "DeliverFunction": [
        ("dynamodb:UpdateItem", TABLE),
        # When the subscription of a straggler ends.
        ("dynamodb:GetItem", TABLE),
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

DAY_SECONDS = 24 * 3600
NO_VALUE = {"Ref": "AWS::NoValue"}


def delays(tries: int) -> list[int]:
    """Return for how many seconds a message that keeps failing is hidden between its tries."""
    return [min(2**failures, LONGEST_DELAY_SECONDS) for failures in range(1, tries)]


def statements(role: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a role allows, in whatever case: each action with each resource."""
    for given in role.get("Policies", []):
        # One that is there in some case only.
        _, policy, otherwise = given.get("Fn::If", ("", given, NO_VALUE))
        assert otherwise == NO_VALUE
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, resources = (
                each if isinstance(each, list) else [each]
                for each in (statement["Action"], statement["Resource"])
            )
            yield from product(actions, resources)


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

    others = {"connect", "authorize", "expire", "notifier", "deliver"}
    assert apps == {route.removeprefix("$") for route in ROUTES} | others


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


def test_connect_is_a_route_like_the_others() -> None:
    """It is none of SAM's: these cannot have an authorizer in some case only."""
    route = template.resources("AWS::ApiGatewayV2::Route")["WebSocketApiConnectRoute"]
    integration = template.resources("AWS::ApiGatewayV2::Integration")[
        "WebSocketApiConnectIntegration"
    ]

    assert "$connect" not in ROUTES
    assert (route["ApiId"], route["RouteKey"]) == ({"Ref": "WebSocketApi"}, "$connect")
    assert route["Target"] == {"Fn::Sub": "integrations/${WebSocketApiConnectIntegration}"}
    assert integration == {
        "ApiId": {"Ref": "WebSocketApi"},
        "IntegrationType": "AWS_PROXY",
        "IntegrationUri": invocations_of("ConnectFunction"),
    }
    # A handshake is answered without one.
    responses = template.resources("AWS::ApiGatewayV2::RouteResponse").values()
    assert {"Ref": "WebSocketApiConnectRoute"} not in [
        response["RouteId"] for response in responses
    ]


def test_connect_asks_the_authorizer_if_and_only_if_tokens_are_asked_for() -> None:
    route = template.resources("AWS::ApiGatewayV2::Route")["WebSocketApiConnectRoute"]
    authorizer = template.resources("AWS::ApiGatewayV2::Authorizer")["Authorizer"]

    assert route["AuthorizationType"] == {"Fn::If": ["WithTokens", "CUSTOM", "NONE"]}
    assert route["AuthorizerId"] == {"Fn::If": ["WithTokens", {"Ref": "Authorizer"}, NO_VALUE]}
    assert authorizer["ApiId"] == {"Ref": "WebSocketApi"}
    assert authorizer["AuthorizerType"] == "REQUEST"
    assert authorizer["AuthorizerUri"] == invocations_of("AuthorizeFunction")
    # One identity source would be required in every handshake, and a token may stand elsewhere.
    assert not authorizer.keys() & {"IdentitySource", "AuthorizerResultTtlInSeconds"}
    assert template.written()["Conditions"]["WithTokens"] == {
        "Fn::Equals": [{"Ref": "Authentication"}, "JWT"]
    }


def invocations_of(function: str) -> dict[str, str]:
    return {
        "Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31"
        f"/functions/${{{function}.Arn}}/invocations"
    }


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("WebSocketApiConnect", "${StageName}/$connect"),
        ("Authorize", "authorizers/${Authorizer}"),
    ],
)
def test_only_this_api_s_handshakes_may_invoke_their_functions(name: str, caller: str) -> None:
    permission = template.resources("AWS::Lambda::Permission")[f"{name}Permission"]

    assert permission == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": f"{name.removeprefix('WebSocketApi')}Function"},
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": {
            "Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:"
            f"${{WebSocketApi}}/{caller}"
        },
    }


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (
            "WithTokens",
            {
                *("Authorizer", "AuthorizePermission", "AuthorizeFunction", "AuthorizeLogGroup"),
                *("ExpireFunction", "ExpireLogGroup"),
                *("AuthorizeErrorsAlarm", "ExpireErrorsAlarm", "ExpireStoppedAlarm"),
            },
        ),
        ("WithSecret", {"TokenSecret"}),
    ],
)
def test_what_tokens_need_is_there_only_with_tokens(condition: str, names: set[str]) -> None:
    resources = template.written()["Resources"]

    assert {name for name in resources if resources[name].get("Condition") == condition} == names


def test_a_secret_is_made_if_the_issuer_publishes_no_keys() -> None:
    (secret,) = template.resources("AWS::SecretsManager::Secret").values()

    assert template.written()["Conditions"]["WithSecret"] == {
        "Fn::And": [{"Condition": "WithTokens"}, {"Fn::Equals": [{"Ref": "TokenKeysUrl"}, ""]}]
    }
    # As many as HS256 has bytes, twice; nobody chooses it.
    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert "SecretString" not in secret


@pytest.mark.parametrize("name", ["AuthorizeFunction", "AuthenticateFunction"])
def test_the_secret_is_read_only_where_there_is_one(name: str) -> None:
    variables = FUNCTIONS[name]["Environment"]["Variables"]
    policies = template.resources("AWS::IAM::Role")[f"{name}Role"]["Policies"]

    assert variables["TOKEN_SECRET_ARN"] == {
        "Fn::If": ["WithSecret", {"Fn::GetAtt": ["TokenSecret", "Id"]}, ""]
    }
    assert [policy["Fn::If"][0] for policy in policies if "Fn::If" in policy] == ["WithSecret"]


@pytest.mark.parametrize("name", ["TokenIssuer", "TokenAudience"])
def test_tokens_without_a_rule_are_not_asked_for(name: str) -> None:
    """An empty issuer would be met by a token that names none."""
    rule = template.written()["Rules"]["TokensNeedRules"]

    assert PARAMETERS[name]["Default"] == ""
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Authentication"}, "JWT"]}
    asserted = [each["Assert"] for each in rule["Assertions"]]
    assert {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]} in asserted
    assert all(each["AssertDescription"].endswith(".") for each in rule["Assertions"])


def test_expired_tokens_are_looked_for_every_minute_and_not_by_two_at_once() -> None:
    """What one minute could not do, the next does, and not a retry beside it."""
    rule = template.resources("AWS::Events::Rule")["ExpireFunctionEveryMinute"]
    (target,) = rule["Targets"]

    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert target["Arn"] == {"Fn::GetAtt": ["ExpireFunction", "Arn"]}
    # Not the rule's retries, which are about handing the event over.
    (configuration,) = template.resources("AWS::Lambda::EventInvokeConfig").values()
    assert configuration["FunctionName"] == {"Ref": "ExpireFunction"}
    assert configuration["MaximumRetryAttempts"] == 0
    assert FUNCTIONS["ExpireFunction"]["Timeout"] < 60


@pytest.mark.parametrize(
    ("sign", "fits"),
    [
        ("/", True),
        (":", True),
        (".", True),
        ("#", True),
        ("*", False),
        ("", False),
        ("//", False),
        (" ", False),
        ("\u00e9", False),
    ],
)
def test_segments_are_parted_by_one_visible_sign_that_is_no_asterisk(sign: str, fits: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS["GrantsDelimiter"]["AllowedPattern"], sign)) is fits


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("", True),
        ("https://issuer.example/.well-known/jwks.json", True),
        ("http://issuer.example/jwks.json", False),
        ("ftp://issuer.example/", False),
        ("https://", False),
        ("https://issuer.example/a b", False),
        ("file:///etc/passwd", False),
    ],
)
def test_keys_are_had_from_an_address_that_is_encrypted(url: str, fits: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS["TokenKeysUrl"]["AllowedPattern"], url)) is fits


@pytest.mark.parametrize(
    ("name", "careful"),
    [("Authentication", "NONE"), ("TokenInQueryString", "false"), ("TenantClaim", "")],
)
def test_what_tokens_may_do_is_asked_for(name: str, careful: str) -> None:
    assert PARAMETERS[name]["Default"] == careful


@pytest.mark.parametrize("route", ["$connect", *ROUTES])
def test_a_route_has_an_event_to_try_it_with(route: str) -> None:
    event = json.loads((ROOT / "events" / f"{route.removeprefix('$')}.json").read_text())

    assert event["requestContext"]["routeKey"] == route


def test_every_function_has_an_event_to_try_it_with() -> None:
    """Which `make invoke` takes."""
    handlers = {
        each["Properties"]["Handler"].partition(".")[0]
        for each in template.written()["Resources"].values()
        if each["Type"] == "AWS::Serverless::Function"
    }
    for handler in handlers:
        assert (ROOT / "events" / f"{handler}.json").exists(), handler


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
    for configuration in template.resources("AWS::Lambda::EventInvokeConfig").values():
        assert not configuration.get("DestinationConfig")
        assert configuration["FunctionName"] == {"Ref": "ExpireFunction"}


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

    assert source["FunctionName"] == {
        "Fn::If": ["Gradual", {"Ref": f"{name}Alias"}, {"Ref": function}]
    }
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


def test_every_function_knows_the_table_whom_to_hear_and_how_to_log() -> None:
    variables = template.written()["Globals"]["Function"]["Environment"]["Variables"]

    assert variables == {
        "TABLE_NAME": {"Ref": "ConnectionsTable"},
        "AUTHENTICATION": {"Ref": "Authentication"},
        "GRANTS_DELIMITER": {"Ref": "GrantsDelimiter"},
        "TENANT_CLAIM": {"Ref": "TenantClaim"},
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
        "LONGEST_TOKEN_SECONDS": {"Ref": "LongestTokenSeconds"},
    }
    tokens = {
        "TOKEN_ISSUER": {"Ref": "TokenIssuer"},
        "TOKEN_AUDIENCE": {"Ref": "TokenAudience"},
        "TOKEN_AUDIENCE_CLAIM": {"Ref": "TokenAudienceClaim"},
        "TOKEN_KEYS_URL": {"Ref": "TokenKeysUrl"},
        "TOKEN_SECRET_ARN": {"Fn::If": ["WithSecret", {"Fn::GetAtt": ["TokenSecret", "Id"]}, ""]},
        "GRANTS_CLAIM": {"Ref": "GrantsClaim"},
        "LONGEST_TOKEN_SECONDS": {"Ref": "LongestTokenSeconds"},
    }

    assert own == {
        "AuthorizeFunction": tokens | {"TOKEN_IN_QUERY_STRING": {"Ref": "TokenInQueryString"}},
        "AuthenticateFunction": tokens | {"CONNECTIONS_ENDPOINT": ENDPOINT},
        "ConnectFunction": {"MAX_CONNECTIONS_PER_USER": {"Ref": "MaxConnectionsPerUser"}},
        "ExpireFunction": {"CONNECTIONS_ENDPOINT": ENDPOINT},
        "SubscribeFunction": {
            "MAX_SUBSCRIPTIONS_PER_CONNECTION": {"Ref": "MaxSubscriptionsPerConnection"}
        },
        "NotifierFunction": variables_of_posting("NotifierFunction") | log,
        "DeliverFunction": variables_of_posting("DeliverFunction"),
    }


def variables_of_posting(function: str) -> dict[str, Any]:
    queue, dead_letters = READERS[function]
    return {
        "CONNECTIONS_ENDPOINT": ENDPOINT,
        "QUEUE_URL": {"Ref": queue},
        "DELIVERY_QUEUE_URL": {"Ref": "DeliveryQueue"},
        "DEAD_LETTER_QUEUE_URL": {"Ref": dead_letters},
        "POSTS_PER_SECOND": {"Ref": "PostsPerSecond"},
        "NOTIFIER_MAX_CONCURRENCY": {"Ref": "NotifierMaxConcurrency"},
        "DELIVER_MAX_CONCURRENCY": {"Ref": "DeliverMaxConcurrency"},
        "SUBSCRIBERS_PER_DELIVERY": {"Ref": "SubscribersPerDelivery"},
    }


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
    rule = template.resources("AWS::Events::Rule")["EntityUpdatedRule"]
    (target,) = rule["Targets"]

    assert rule["EventPattern"] == {
        "detail-type": [ENTITY_UPDATED, SEND_USER_PUSH, DISCONNECT_USER]
    }
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


@pytest.mark.parametrize(
    "name",
    [
        *("LogUnwatched", "PointInTimeRecovery", "EventSchemaRegistry"),
        *("DeletionProtection", "AccessLogs", "Dashboard"),
    ],
)
def test_what_can_be_switched_on_is_off(name: str) -> None:
    assert PARAMETERS[name]["Default"] == "false"
    assert set(PARAMETERS[name]["AllowedValues"]) == {"false", "true"}


def test_the_saved_queries_are_the_questions_of_make_trace() -> None:
    resources = template.written()["Resources"]
    saved = template.resources("AWS::Logs::QueryDefinition")

    assert {name: query["QueryString"] for name, query in saved.items()} == {
        name: question.query for name, question in QUESTIONS.items()
    }
    for name, question in QUESTIONS.items():
        # Stacks have theirs side by side.
        assert saved[name]["Name"] == {"Fn::Sub": f"${{AWS::StackName}}/{question.title}"}
        assert saved[name]["LogGroupNames"] == [
            {"Fn::If": [condition, {"Ref": group}, {"Ref": "AWS::NoValue"}]}
            if (condition := resources[group].get("Condition"))
            else {"Ref": group}
            for group in question.log_groups
        ]


def test_what_a_connection_saw_is_looked_for_in_every_log() -> None:
    groups = template.resources("AWS::Logs::LogGroup")

    assert set(CONNECTION.log_groups) == groups.keys()
    assert len(CONNECTION.log_groups) == len(groups)


def test_the_stage_logs_who_and_when_and_nothing_that_may_hold_a_token() -> None:
    condition, settings, otherwise = STAGE["AccessLogSettings"]["Fn::If"]

    assert (condition, otherwise) == ("WithAccessLogs", {"Ref": "AWS::NoValue"})
    assert settings["DestinationArn"] == {"Fn::GetAtt": ["AccessLogGroup", "Arn"]}
    logged = json.loads(settings["Format"])
    # Without one of these two, API Gateway refuses the format.
    assert logged["api_request_id"] == "$context.requestId"
    assert logged["connection_id"] == "$context.connectionId"
    # Names of variables, no text of a request among them: that is what this list is for.
    assert {value.removeprefix("$context.") for value in logged.values()} == {
        *("requestId", "requestTime", "eventType", "routeKey", "connectionId", "messageId"),
        *("status", "error.message", "error.responseType"),
        *("integration.integrationStatus", "integration.latency", "integration.error"),
        *("authorizer.status", "authorizer.latency", "authorizer.error"),
    }
    group = template.written()["Resources"]["AccessLogGroup"]
    assert group["Condition"] == "WithAccessLogs"
    assert group["Properties"] == {"RetentionInDays": {"Ref": "LogRetentionInDays"}}


def test_no_resource_has_a_fixed_name() -> None:
    """Several stacks live side by side in one account."""
    named = {
        *("TableName", "QueueName", "FunctionName", "RoleName", "LogGroupName"),
        *("AlarmName", "TopicName", "DashboardName"),
    }
    for name, resource in template.written()["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Alias":
            continue  # its name is one within its function
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

    own = "wss://${WebSocketApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}"
    assert outputs["WebsocketUri"]["Value"] == {
        "Fn::If": ["WithDomain", {"Fn::Sub": "wss://${DomainName}"}, {"Fn::Sub": own}]
    }
    assert outputs.keys() == {
        "WebsocketUri",
        "DomainTarget",
        "TableName",
        "EventBusName",
        "NotificationQueueUrl",
        "NotificationDeadLetterQueueUrl",
        "DeliveryQueueUrl",
        "DeliveryDeadLetterQueueUrl",
        "UndeliveredEventsQueueUrl",
        "Authentication",
        "WebSocketApiId",
    }
    # Who looks at the outputs sees it.
    everybody = outputs["Authentication"]["Value"]["Fn::If"]
    assert everybody[0] == "WithTokens"
    assert everybody[2].startswith("ANYBODY")


@pytest.mark.parametrize("environment", ["default", "local", "dev", "staging", "prod"])
def test_samconfig_builds_cached_in_parallel_and_validates_with_lint(environment: str) -> None:
    configuration = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]

    assert configuration["build"]["parameters"] == {"cached": True, "parallel": True}
    assert configuration["validate"]["parameters"] == {"lint": True}
    assert configuration["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"


def test_the_template_knows_nothing_of_the_emulator() -> None:
    text = template.PATH.read_text().lower()

    for word in ("ministack", "localhost", "127.0.0.1", "emulator", "http://"):
        assert word not in text
