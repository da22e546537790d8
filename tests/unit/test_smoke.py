"""`make smoke` says plainly what is broken, and touches nothing of others."""

import asyncio
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import boto3
import jwt
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from operations.smoke import __main__ as command
from operations.smoke.checks import CHECKS, measures
from operations.smoke.outcome import Failed, Skipped
from operations.smoke.report import Check, Report, Result, Status, run
from operations.smoke.scene import Scene
from operations.smoke.stack import Letter, NoStackError, Stack
from operations.smoke.tokens import Given, OfSecret
from support.smoke import FakeStack, FakeTokens

# What a stack can break, the one check that has to see it first, and what it says.
FAULTS = {
    "nobody gets in": ("a client connects", "wss://stack.test/v1 cannot be reached: refused"),
    "no subprotocol comes back": ("a client connects", "the subprotocol is None"),
    "everybody gets in": ("without a token", "a client without a good token is let in"),
    "the authorizer fails": ("without a token", "the handshake is answered with 500"),
    "no event arrives": ("an event reaches its subscriber", "a frame did not come"),
    "frames are changed": ("an event reaches its subscriber", "'message': '?'"),
    "nobody is unsubscribed": ("after unsubscribe", "after Unsubscribed came [{'type'"),
    "$default has no route": ("what cannot be done", "Forbidden"),
    "pings are not known": ("a ping", "instead of Pong the reply is"),
    "all is allowed": ("a token allows", "the reply is"),
    "an event is forgotten": ("who comes back", "and missed were"),
    "copies are delivered": ("sent twice", "frames came with ['twice', 'twice', 'the next']"),
    "large frames are cut": ("the largest frame", "the frame is {'type'"),
    "there is no limit": ("a connection holds", "instead of the error TooManySubscriptions"),
    "a repetition is too many": ("a connection holds", "instead of Subscribed the reply is"),
    "poison is lost": ("a poison event", "a dead letter, in the notification dead-letter queue"),
    "the reason is wrong": ("a poison event", "the letter says {'errorCode': 'InvalidEvent'"),
    "a letter is changed": ("a poison event", "the letter holds"),
    "what is redriven is lost": ("a poison event", "a dead letter, in"),
    "who vanishes stays": ("a client that vanishes", "its subscription is still there"),
    "what nobody waits for is kept": ("nobody waits for", "the table holds [{'pk'"),
    "a query needs a key that is there": ("behind one who is gone", "the query returns []"),
    "any token renews": ("a new token", "instead of the error Forbidden"),
    "users hear nothing": ("a user is notified", "a frame did not come"),
    "nobody is kicked": ("a user is notified", "the end of the connection did not come"),
    "tokens never end": ("its tokens end", "the end of the connection did not come"),
    "of several one is forgotten": ("several entities", "it holds"),
    "frames come twice": ("several events in a row", "instead of 1 comes"),
    "a permission is missing": ("no function was refused", "SubscribeLogGroup has 1 such lines"),
}


def scene_of(stack: FakeStack) -> Scene:
    return Scene(
        stack,
        stack.connected,
        FakeTokens(),
        patience_seconds=0.1,
        silence_seconds=0.02,
        short_token_seconds=0,
        expire_seconds=0.1,
    )


def results_of(
    scene: Scene, checks: Sequence[Check] = CHECKS, skip: Sequence[str] = ()
) -> list[Result]:
    async def collect() -> list[Result]:
        return [result async for result in run(checks, scene, skip)]

    return asyncio.run(collect())


def test_a_stack_that_keeps_its_promises_is_found_well() -> None:
    stack = FakeStack()
    scene = scene_of(stack)
    results = results_of(scene)
    assert {result.check.sentence: result.why for result in results if result.why} == {}
    assert [result.status for result in results] == [Status.OK] * len(CHECKS)
    assert stack.letters == []
    assert stack.clients == []
    assert len(scene.measured) == 5


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_broken_is_said(fault: str) -> None:
    words, why = FAULTS[fault]
    (broken,) = [check for check in CHECKS if words in check.sentence]
    entrance = [] if broken is CHECKS[0] else [CHECKS[0]]
    *_, result = results_of(scene_of(FakeStack(fault)), [*entrance, broken])
    assert (result.check, result.status) == (broken, Status.FAILED)
    assert why in result.why


def test_every_check_has_been_seen_to_fail() -> None:
    seen = [
        check for check in CHECKS if any(words in check.sentence for words, _ in FAULTS.values())
    ]
    assert seen == CHECKS


def test_every_check_says_what_to_look_at() -> None:
    for check in CHECKS:
        assert check.logs or check.look_at, check.sentence


def test_who_finds_the_door_closed_tries_nothing_else() -> None:
    first, *others = results_of(scene_of(FakeStack("nobody gets in")))
    assert first.status is Status.FAILED
    assert {(other.status, other.why) for other in others} == {
        (Status.SKIPPED, "no client gets in")
    }


def test_what_is_left_out_is_named() -> None:
    stack = FakeStack("poison is lost")
    results = results_of(scene_of(stack), skip=["poison"])
    left_out = [result for result in results if result.status is Status.SKIPPED]
    assert [result.why for result in left_out] == ["left out, by SKIP"]
    assert "poison" in left_out[0].check.sentence
    assert len(results) == len(CHECKS)


def check_that(raises: Exception) -> Check:
    async def a_check_ends_badly(scene: Scene) -> None:
        raise raises

    return Check(a_check_ends_badly, ("NotifierLogGroup",), "the rule")


DENIED = ClientError(
    {"Error": {"Code": "AccessDeniedException", "Message": "no\nPutEvents for you"}}, "PutEvents"
)


def lines_of(raises: Exception) -> list[str]:
    (result,) = results_of(scene_of(FakeStack()), [check_that(raises)])
    report = Report(lambda name: f"tail {name}")
    lines = report.lines(result)
    assert report.is_good is False
    return lines


def test_a_failure_is_said_with_what_to_look_at() -> None:
    indent = " " * 16
    assert lines_of(Failed("a frame came")) == [
        "FAILED    0.0 s a check ends badly",
        f"{indent}a frame came",
        f"{indent}look at: the rule",
        f"{indent}look at: tail NotifierLogGroup",
    ]
    token = jwt.encode({"sub": "alice"}, "s" * 32)
    assert lines_of(Failed(f"'{token}' came"))[1] == f"{indent}'<token>' came"
    assert "no PutEvents for you" in lines_of(DENIED)[1]
    assert lines_of(KeyError("cursor"))[1] == f"{indent}KeyError: 'cursor'"


def test_what_cannot_be_looked_at_is_no_failure_and_no_success() -> None:
    assert lines_of(Skipped("you may not")) == ["skipped         a check ends badly (you may not)"]


def test_the_last_line_counts() -> None:
    report = Report()
    for status in (Status.OK, Status.OK, Status.SKIPPED):
        report.lines(Result(check_that(Failed()), status))
    assert report.is_good
    report.lines(Result(check_that(Failed()), Status.FAILED))
    assert not report.is_good
    assert report.last_line(61.2) == "2 ok, 1 FAILED, 1 skipped, in 61 s"
    assert measures([0.3, 0.1, 0.2]).startswith("PutEvents to frame: 0.10 s at best, 0.20 s in the")


def test_it_cleans_up_and_says_what_it_may_not(capsys: pytest.CaptureFixture[str]) -> None:
    class Guarded(FakeStack):
        def delete_rows(self, partition: str) -> None:
            raise Skipped("you may not dynamodb:DeleteItem on the table")

    assert asyncio.run(command.look(scene_of(FakeStack()), Report()))
    assert "left to their TTL" not in capsys.readouterr().out
    assert asyncio.run(command.look(scene_of(Guarded()), Report()))
    printed = capsys.readouterr().out
    assert "entities are left to their TTL: you may not dynamodb:DeleteItem" in printed
    kept = FakeStack("what nobody waits for is kept")
    assert not asyncio.run(command.look(scene_of(kept), Report()))
    assert kept.left == {}


def test_poison_that_was_not_seen_to_its_end_is_deleted_all_the_same() -> None:
    stack = FakeStack("the reason is wrong")
    others = Letter("somebody's", {}, None)
    stack.letters.append(others)
    results_of(scene_of(stack), skip=["twice"])
    assert stack.letters == [others]


OUTPUTS = {
    "WebsocketUri": "wss://stack.test/v1",
    "TableName": "connections",
    "EventBusName": "default",
    "NotificationQueueUrl": "",
}
PARAMETERS = {"Authentication": "NONE", "MaxSubscriptionsPerConnection": "100"}


class Aws:
    """The services of a stack: SQS from moto, and of the others what a test makes of them."""

    def __init__(self) -> None:
        self.outputs: dict[str, str] = dict(OUTPUTS)
        self.parameters: dict[str, str] = dict(PARAMETERS)
        self.sqs = boto3.client("sqs", region_name="us-east-1")
        for name in ("NotificationQueueUrl", "NotificationDeadLetterQueueUrl"):
            self.outputs[name] = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        self.dead = self.outputs["NotificationDeadLetterQueueUrl"]
        self.denied: ClientError | None = None

    def client(self, service: str) -> Any:
        if service == "sqs":
            return self.sqs
        return SimpleNamespace(describe_stacks=self._describe, query=self._deny)

    def _describe(self, StackName: str) -> Any:
        if StackName != "mine":
            error = {"Error": {"Code": "ValidationError", "Message": "does not exist"}}
            raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        return {"Stacks": [{"Outputs": outputs, "Parameters": parameters}]}

    def _deny(self, **_: object) -> None:
        raise DENIED

    def send(self, body: str, **attributes: str) -> None:
        named: dict[str, Any] = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
        self.sqs.send_message(QueueUrl=self.dead, MessageBody=body, MessageAttributes=named)

    def visible(self) -> list[str]:
        """Return what anybody sees in the dead-letter queue now."""
        found: list[str] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.dead, MaxNumberOfMessages=10, VisibilityTimeout=60
        ).get("Messages"):
            found += [message["Body"] for message in messages]
        return sorted(found)


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws():
        yield Aws()


def test_dead_letters_of_others_are_visible_again_at_once(aws: Aws) -> None:
    others = [f"somebody's {number}" for number in range(25)]
    for body in others:
        aws.send(body)
    aws.send("mine", errorCode="InvalidEntityId", reason="none")
    stack = Stack("mine", aws.client)
    (letter,) = stack.dead_letters("mine")
    assert letter.attributes == {"errorCode": "InvalidEntityId", "reason": "none"}
    # Hidden while its own run looks at it, and nobody else's.
    assert aws.visible() == sorted(others)
    assert stack.dead_letters("nothing") == []


def test_one_letter_is_redriven_or_deleted_and_no_other(aws: Aws) -> None:
    for body in ("somebody's", "mine", "mine too"):
        aws.send(body)
    stack = Stack("mine", aws.client)
    (redriven,) = [each for each in stack.dead_letters("mine") if each.body == "mine"]
    stack.redrive(redriven)
    left = aws.sqs.get_queue_attributes(QueueUrl=aws.dead, AttributeNames=["All"])["Attributes"]
    hidden = int(left["ApproximateNumberOfMessagesNotVisible"])
    assert (int(left["ApproximateNumberOfMessages"]), hidden) == (1, 1)
    assert (
        aws.sqs.receive_message(QueueUrl=aws.outputs["NotificationQueueUrl"])["Messages"][0]["Body"]
        == "mine"
    )


def test_what_is_no_stack_of_this_application_is_refused(aws: Aws) -> None:
    with pytest.raises(NoStackError, match="There is no stack other here"):
        Stack("other", aws.client)
    del aws.parameters["Authentication"]
    with pytest.raises(NoStackError, match="none of this application: no Authentication"):
        Stack("mine", aws.client)


def test_a_permission_that_the_caller_lacks_is_named(aws: Aws) -> None:
    with pytest.raises(Skipped, match="you may not dynamodb:Query on the table"):
        Stack("mine", aws.client).rows("ENTITY#e")


def test_a_token_of_the_secret_says_what_the_stack_asks_for() -> None:
    secret = "s" * 32
    parameters = {
        "TokenIssuer": "issuer",
        "TokenAudience": "audience",
        "TokenAudienceClaim": "client_id",
        "GrantsClaim": "may/hear",
        "GrantsDelimiter": ":",
        "TenantClaim": "org",
    }
    claims = jwt.decode(OfSecret(secret, parameters).mint("u", 60), secret, ["HS256"])
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == {
        "iss": "issuer",
        "client_id": "audience",
        "sub": "u",
        "may/hear": ["smoke:**"],
        "org": "smoke",
    }


def test_a_given_token_is_used_for_nothing_that_would_disturb_its_user() -> None:
    token = jwt.encode({"sub": "alice", "org": "acme"}, "s" * 32)
    given = Given(token, "org")
    assert given.tenant == "acme"
    assert given.mint("") == token
    with pytest.raises(Skipped):
        given.mint("somebody")
    with pytest.raises(ValueError, match="TOKEN is no token"):
        Given("x", "")


def test_where_no_token_can_be_made_one_is_asked_for(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.parameters |= {"Authentication": "JWT", "TokenKeysUrl": "https://k", "TokenIssuer": "them"}
    monkeypatch.setattr(command, "_client", aws.client)
    monkeypatch.delenv("TOKEN", raising=False)
    assert command.main(["--stack-name", "mine"]) == 2
    assert "takes the tokens of them: give one that allows smoke/**" in capsys.readouterr().err
    assert command.main(["--stack-name", "other"]) == 2
    assert "There is no stack other here" in capsys.readouterr().err
