"""The alarms: each about something that a person has to mend, and none that a stranger can ring."""

import re
from itertools import accumulate
from typing import Any

import pytest

from support import template
from support.watched import FUNCTION, OWN, QUEUE, alarm_metrics

ROOT = template.PATH.parent
ALARMS = template.resources("AWS::CloudWatch::Alarm")
QUEUES = template.resources("AWS::SQS::Queue")
FUNCTIONS = template.resources("AWS::Lambda::Function")
PARAMETERS = template.written()["Parameters"]
NO_VALUE = {"Ref": "AWS::NoValue"}
DEAD_LETTER_QUEUES = {
    "UndeliveredEventsQueue": "UndeliveredEventsAlarm",
    "NotificationDeadLetterQueue": "NotificationDeadLettersAlarm",
    "DeliveryDeadLetterQueue": "DeliveryDeadLettersAlarm",
}
# Each queue that is read, the alarm of its age, and the errors of who reads it.
READ = {
    "NotificationQueue": ("NotificationAgeAlarm", "NotifierErrorsAlarm", "NotifierFunction"),
    "DeliveryQueue": ("DeliveryAgeAlarm", "DeliverErrorsAlarm", "DeliverFunction"),
}
# How long a post that failed in passing waits for its next try, at most.
LONGEST_STRAGGLER_SECONDS = 64
# Hard limit: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
METRICS_OF_AN_ALARM = 10


def metric(name: str) -> tuple[str, str, dict[str, str]]:
    """Return what an alarm on one metric watches."""
    (watched,) = alarm_metrics(ALARMS[name])
    return watched


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_goes_to_the_topic_and_so_does_its_end(name: str) -> None:
    named = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], NO_VALUE]}
    topic = {"Fn::If": ["MakesAlarmTopic", [{"Ref": "AlarmTopic"}], named]}

    assert ALARMS[name]["AlarmActions"] == topic
    assert ALARMS[name]["OKActions"] == topic


@pytest.mark.parametrize("name", sorted(ALARMS.keys() - {"ExpireStoppedAlarm"}))
def test_where_nothing_happens_nothing_is_wrong(name: str) -> None:
    assert ALARMS[name]["ComparisonOperator"] == "GreaterThanThreshold"
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_its_runbook(name: str) -> None:
    words = re.findall("[A-Z][a-z]+", name.removesuffix("Alarm"))
    page = "-".join(words).lower() + ".md"

    description = ALARMS[name]["AlarmDescription"]["Fn::Sub"]
    assert re.fullmatch(rf"[A-Z].+\. Runbook: \$\{{Runbooks\}}/{page}", description)
    assert (ROOT / PARAMETERS["Runbooks"]["Default"] / page).exists()


def test_every_runbook_is_about_an_alarm() -> None:
    pages = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}

    assert pages == {
        alarm["AlarmDescription"]["Fn::Sub"].rpartition("/")[2].removesuffix(".md")
        for alarm in ALARMS.values()
    }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_ten_metrics_at_most_minute_by_minute(name: str) -> None:
    queries = [query for query in ALARMS[name].get("Metrics", []) if "Expression" not in query]
    stats = [query.get("Fn::If", ["", query])[1]["MetricStat"] for query in queries]

    assert len(alarm_metrics(ALARMS[name])) <= METRICS_OF_AN_ALARM
    assert {stat["Period"] for stat in [*stats, ALARMS[name]] if "Period" in stat} == {60}


@pytest.mark.parametrize(("queue", "name"), DEAD_LETTER_QUEUES.items())
def test_one_dead_letter_raises_an_alarm_at_once(queue: str, name: str) -> None:
    alarm = ALARMS[name]

    assert metric(name) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible", {QUEUE: queue})
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 0)
    assert alarm["EvaluationPeriods"] == 1


@pytest.mark.parametrize("queue", READ)
def test_messages_that_wait_longer_than_they_are_meant_to_raise_an_alarm(queue: str) -> None:
    name, _, _ = READ[queue]
    alarm = ALARMS[name]
    meant_to = LONGEST_STRAGGLER_SECONDS + QUEUES[queue]["VisibilityTimeout"]

    assert metric(name) == ("AWS/SQS", "ApproximateAgeOfOldestMessage", {QUEUE: queue})
    assert alarm["Statistic"] == "Maximum"
    assert meant_to < alarm["Threshold"] <= 5 * 60
    assert alarm["EvaluationPeriods"] == 3
    assert alarm.get("DatapointsToAlarm", 3) == 3


@pytest.mark.parametrize("queue", READ)
def test_one_event_that_keeps_failing_raises_an_alarm_and_one_failure_does_not(queue: str) -> None:
    """Whatever second of a minute it comes at."""
    _, name, function = READ[queue]
    alarm = ALARMS[name]
    tries = QUEUES[queue]["RedrivePolicy"]["maxReceiveCount"]
    delays = [min(2**failures, 180) for failures in range(1, tries)]

    assert metric(name) == ("AWS/Lambda", "Errors", {FUNCTION: function})
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)
    assert alarm["DatapointsToAlarm"] > 1
    for first_at in range(alarm["Period"]):
        failed_at = accumulate(delays, initial=first_at)
        periods = {seconds // alarm["Period"] for seconds in failed_at}
        seen = periods & set(range(alarm["EvaluationPeriods"]))
        assert len(seen) >= alarm["DatapointsToAlarm"]


def test_every_function_s_errors_raise_an_alarm() -> None:
    watched = {
        dimensions[FUNCTION]
        for alarm in ALARMS.values()
        for _, name, dimensions in alarm_metrics(alarm)
        if name == "Errors"
    }

    assert watched == FUNCTIONS.keys()


def test_requests_that_were_answered_with_a_failure_of_ours_count_as_failed() -> None:
    """The routes catch what services do to them, so that Lambda sees no error."""
    watched = alarm_metrics(ALARMS["RequestErrorsAlarm"])

    assert ("WebSocketNotifications", "ServiceErrors", OWN) in watched


def test_an_account_that_is_full_raises_an_alarm_whoever_meets_it() -> None:
    watched = alarm_metrics(ALARMS["ThrottlesAlarm"])

    assert {name for _, name, _ in watched} == {"Throttles"}
    # Their messages count as tried, and become dead letters; or nobody can connect.
    assert {dimensions[FUNCTION] for _, _, dimensions in watched} >= {
        *("NotifierFunction", "DeliverFunction", "ConnectFunction", "AuthorizeFunction"),
    }


def test_no_alarm_hangs_on_what_strangers_do() -> None:
    watched = {name for alarm in ALARMS.values() for _, name, _ in alarm_metrics(alarm)}

    assert not watched & {
        *("ClientError", "IntegrationError", "TokensRefused", "RequestsRejected", "4XXError"),
    }


def test_the_objective_is_about_99_of_100_frames_and_the_deployer_s_to_choose() -> None:
    alarm = ALARMS["DeliveryLatencyAlarm"]

    assert metric("DeliveryLatencyAlarm") == ("WebSocketNotifications", "DeliveryLatency", OWN)
    assert alarm["ExtendedStatistic"] == "p99"
    assert alarm["Threshold"] == {"Ref": "LatencyObjectiveMilliseconds"}
    assert alarm["EvaluationPeriods"] == {"Ref": "LatencyObjectiveMinutes"}
    # With `ignore`, a stack that posts less than a thousand frames a minute would never miss it.
    assert "EvaluateLowSampleCountPercentile" not in alarm


def test_messages_that_fail_among_others_raise_an_alarm_like_whole_batches() -> None:
    """Lambda counts no error of theirs, and SQS no age of what was received three times."""
    alarm, whole = ALARMS["RecordsFailedAlarm"], ALARMS["NotifierErrorsAlarm"]

    assert {name for _, name, _ in alarm_metrics(alarm)} == {"RecordsFailed", "RecordsReceived"}
    for key in ("Threshold", "DatapointsToAlarm", "EvaluationPeriods"):
        assert alarm[key] == whole[key]


@pytest.mark.parametrize(
    ("failed", "received", "rings"),
    [(1, 1, True), (1, 999, True), (1, 1_000, False), (60, 50_000, True), (0, 10, False)],
)
def test_one_of_very_many_messages_may_fail(failed: int, received: int, rings: bool) -> None:
    (query,) = (q for q in ALARMS["RecordsFailedAlarm"]["Metrics"] if "Expression" in q)
    condition, value, otherwise = query["Expression"].removeprefix("IF(")[:-1].split(", ")

    names = {"failed": failed, "received": received}
    said = value if eval(condition, {}, names) else otherwise  # noqa: S307 - our own template
    assert (eval(said, {}, names) > 0) is rings  # noqa: S307


@pytest.mark.parametrize(
    ("throttled", "delivered", "percent"),
    [(0, 0, 0), (100, 0, 0), (101, 0, 100), (101, 10_000, 1), (1_000, 9_000, 10)],
)
def test_few_refused_posts_are_no_alarm(throttled: int, delivered: int, percent: int) -> None:
    (query,) = (q for q in ALARMS["PostsThrottledAlarm"]["Metrics"] if "Expression" in q)
    condition, value, otherwise = re.fullmatch(  # type: ignore[union-attr]
        r"IF\(([^,]+), (.+), ([^,]+)\)", query["Expression"]
    ).groups()

    names = {"throttled": throttled, "delivered": delivered, "FILL": lambda value, _: value}
    said = value if eval(condition, {}, names) else otherwise  # noqa: S307 - our own template
    assert round(eval(said, {}, names)) == percent  # noqa: S307


def test_expire_that_is_not_called_raises_an_alarm() -> None:
    alarm = ALARMS["ExpireStoppedAlarm"]

    assert metric("ExpireStoppedAlarm") == (
        *("AWS/Lambda", "Invocations"),
        {FUNCTION: "ExpireFunction"},
    )
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    # Who is not called says nothing.
    assert alarm["TreatMissingData"] == "breaching"
    # It looks that far back: nothing is lost before somebody is told.
    assert alarm["EvaluationPeriods"] < 15


def topic() -> dict[str, Any]:
    return {
        name: template.written()["Resources"][name]
        for name in ("AlarmTopic", "AlarmSubscription", "AlarmTopicPolicy")
    }


def test_an_address_gets_a_topic_of_its_own() -> None:
    assert {each["Condition"] for each in topic().values()} == {"MakesAlarmTopic"}
    assert template.written()["Conditions"]["MakesAlarmTopic"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmEmail"}, ""]}]
    }
    assert topic()["AlarmSubscription"]["Properties"] == {
        "TopicArn": {"Ref": "AlarmTopic"},
        "Protocol": "email",
        "Endpoint": {"Ref": "AlarmEmail"},
    }


def test_the_topic_is_not_encrypted_by_a_key_that_keeps_alarms_out() -> None:
    """https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns"""
    assert "KmsMasterKeyId" not in topic()["AlarmTopic"]["Properties"]


def test_only_alarms_of_this_stack_may_be_sent_to_its_topic() -> None:
    policy = topic()["AlarmTopicPolicy"]["Properties"]

    assert policy["Topics"] == [{"Ref": "AlarmTopic"}]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": {"Ref": "AlarmTopic"},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
                "ArnLike": {
                    "aws:SourceArn": {
                        "Fn::Sub": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:"
                        "${AWS::AccountId}:alarm:${AWS::StackName}-*"
                    }
                },
            },
        }
    ]


def test_alarms_have_one_way() -> None:
    """With both, one would be dropped without a word."""
    (assertion,) = template.written()["Rules"]["AlarmsHaveOneWay"]["Assertions"]

    assert assertion["Assert"] == {
        "Fn::Or": [
            {"Fn::Equals": [{"Ref": "AlarmEmail"}, ""]},
            {"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]},
        ]
    }


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("team+alarms@example.com", True),
        ("example.com", False),
        ("a@b@example.com", False),
        ("a b@example.com", False),
    ],
)
def test_an_address_is_one_of_mail(text: str, fits: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS["AlarmEmail"]["AllowedPattern"], text)) is fits


def test_the_document_says_how_many_metrics_are_paid_for() -> None:
    conditions = template.written()["Resources"]
    text = " ".join((ROOT / "docs/operations.md").read_text().split())
    queries = [
        (conditions[name].get("Condition"), "Fn::If" in query)
        for name, alarm in ALARMS.items()
        for query in alarm.get("Metrics", [alarm])
        if "Expression" not in query
    ]

    always = sum(not condition and not of_tokens for condition, of_tokens in queries)
    assert f"{always} here, and {len(queries) - always} more with tokens" in text
