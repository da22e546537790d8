"""The publishers of examples/: what they put on the bus arrives, and what it refuses they say."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from integration.harness import DEADLINE_SECONDS, Application, envelope, eventually, unique
from local.aws import HOST
from push.events import Event, parse
from push.topics import LONGEST_CURSOR
from support import template
from support.template import PATH

EXAMPLES = PATH.parent / "examples"
PUBLISHERS = {
    "python": [sys.executable, str(EXAMPLES / "publish.py")],
    "javascript": ["node", str(EXAMPLES / "publish.mjs")],
}
Answer = dict[str, str]


@pytest.fixture(params=PUBLISHERS)
def publish(request: pytest.FixtureRequest) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a publisher with changes, to its end."""
    name: str = request.param
    if name == "javascript" and not (
        shutil.which("node") and (EXAMPLES / "node_modules/.done").exists()
    ):
        pytest.skip("Node.js, or what examples/package.json names, is not installed")

    def run(
        changes: list[Any], environment: dict[str, str], *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PUBLISHERS[name], *arguments],
            input="".join(f"{json.dumps(change)}\n" for change in changes),
            # The SDK of JavaScript does not read AWS_DEFAULT_REGION.
            env=environment | {"AWS_REGION": environment["AWS_DEFAULT_REGION"]},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    return run


async def test_what_is_published_reaches_the_subscribers(
    application: Application, publish: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    entity_id = unique("entity")
    changes = [{"entityId": entity_id, "message": f"é{n}", "data": [n]} for n in range(23)]
    async with application.client() as client:
        await client.subscribe(entity_id)
        done = publish(changes, application.environment(), application.outputs["EventBusName"])
        assert done.returncode == 0, done.stderr
        frames = [await client.next_frame() for _ in changes]

    heard = sorted((frame["data"][0], frame["message"]) for frame in frames)
    assert heard == [(n, f"é{n}") for n in range(23)]


@contextmanager
def event_bridge(answer: Callable[[int, Any], Answer]) -> Iterator[tuple[Any, list[list[Any]]]]:
    """Serve PutEvents; yield an environment in which it is found, and the requests that came.

    Args:
        answer: to a detail, in the request of that number.
    """
    requests: list[list[Any]] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["X-Amz-Target"] == "AWSEvents.PutEvents"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body["Entries"])
            answers = [
                answer(len(requests), json.loads(entry["Detail"])) for entry in body["Entries"]
            ]
            failed = sum("ErrorCode" in each for each in answers)
            reply = json.dumps({"FailedEntryCount": failed, "Entries": answers}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": f"http://{HOST}:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": HOST,
        }
        yield environment, requests
    finally:
        server.shutdown()
        server.server_close()


def taken(*_: object) -> Answer:
    return {"EventId": "id"}


def numbers(requests: list[list[Any]]) -> list[list[int]]:
    return [[json.loads(entry["Detail"])["data"] for entry in request] for request in requests]


def change(number: int, message: str = "m") -> dict[str, Any]:
    return {"entityId": "order-17", "message": message, "data": number}


def test_only_what_was_not_taken_is_put_again(
    publish: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    def throttled(request: int, detail: Any) -> Answer:
        passing = {1: "ThrottlingException", 2: "InternalFailure"}.get(request)
        return {"ErrorCode": passing} if passing and detail["data"] in (3, 4) else taken()

    with event_bridge(throttled) as (environment, requests):
        done = publish([change(n) for n in range(12)], environment)

    assert done.returncode == 0, done.stderr
    assert numbers(requests) == [[*range(10)], [3, 4], [3, 4], [10, 11]]
    assert {entry["EventBusName"] for request in requests for entry in request} == {"default"}


def test_what_will_never_be_taken_is_said_and_not_put_again(
    publish: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    def refused(_: int, detail: Any) -> Answer:
        return {"ErrorCode": "NotAuthorizedForSourceException"} if detail["data"] == 2 else taken()

    with event_bridge(refused) as (environment, requests):
        done = publish([change(n) for n in range(4)], environment)

    assert done.returncode != 0
    assert "NotAuthorizedForSourceException" in done.stderr
    assert numbers(requests) == [[0, 1, 2, 3]]


def test_large_changes_share_requests_as_far_as_there_is_room(
    publish: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with event_bridge(taken) as (environment, requests):
        done = publish([change(n, "é" * 50_000) for n in range(5)], environment)
        too_large = publish([change(0, "é" * 60_000)], environment)

    assert done.returncode == 0, done.stderr
    assert numbers(requests) == [[0, 1], [2, 3], [4]]
    assert too_large.returncode != 0
    assert "too large for a frame" in too_large.stderr


def test_the_largest_change_that_is_published_is_no_dead_letter() -> None:
    (largest,) = {
        int(size.replace("_", ""))
        for path in EXAMPLES.glob("publish.*")
        for size in re.findall(r"DETAIL\]? = .*?([\d_]+)\]?;?\n", path.read_text())
    }
    detail = {"entityId": "e" * 256, "message": ""}
    detail["message"] = "m" * (largest - len(json.dumps(detail, separators=(",", ":"))))
    event = parse(json.dumps(envelope(**detail)))

    assert isinstance(event, Event)
    assert event.frame(LONGEST_CURSOR)


def accepted_detail_types() -> set[str]:
    rule = template.written()["Resources"]["EntityUpdatedRule"]["Properties"]
    # Whoever the publisher is: neither source nor account is looked at.
    assert rule["EventPattern"].keys() == {"detail-type"}
    return set(rule["EventPattern"]["detail-type"])


def example(name: str) -> dict[str, Any]:
    """Return the resources of a template of examples/, with the long forms of functions."""
    resources: dict[str, Any] = template.written(EXAMPLES / name)["Resources"]
    return resources


async def test_the_state_machine_tells_the_subscribers(application: Application) -> None:
    order_id = unique("order")
    cloudformation, states = (
        application.service("cloudformation"),
        application.service("stepfunctions"),
    )
    name = unique("state-machine")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=(EXAMPLES / "step-functions.yaml").read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {
                "ParameterKey": "EventBusName",
                "ParameterValue": application.outputs["EventBusName"],
            }
        ],
    )

    def outputs() -> list[Any]:
        found: list[Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0].get(
            "Outputs", []
        )
        return found

    (output,) = await eventually(outputs, "the stack is there")
    async with application.client() as client:
        await client.subscribe(order_id)
        states.start_execution(
            stateMachineArn=output["OutputValue"],
            input=json.dumps({"orderId": order_id, "status": "packed"}),
        )
        frame = await client.next_frame()

    assert (frame["entityId"], frame["message"]) == (order_id, "packed")
    cloudformation.delete_stack(StackName=name)


def test_the_pipe_makes_events_that_can_be_delivered() -> None:
    """Fill in its template as Pipes does, which the emulator does not."""
    pipe = example("dynamodb-pipe.yaml")["Pipe"]["Properties"]
    image = {"id": {"S": "order-17"}, "status": {"S": "packed"}}
    record = {"eventName": "MODIFY", "dynamodb": {"Keys": {"id": image["id"]}, "NewImage": image}}

    def value(match: re.Match[str]) -> str:
        found: Any = record
        for name in match[1].split("."):
            found = found[name]
        return found if isinstance(found, str) else json.dumps(found)

    detail = json.loads(re.sub(r"<\$\.([\w.]+)>", value, pipe["TargetParameters"]["InputTemplate"]))
    (filter_,) = pipe["SourceParameters"]["FilterCriteria"]["Filters"]
    event = parse(json.dumps(envelope(**detail)))

    assert record["eventName"] in json.loads(filter_["Pattern"])["eventName"]
    target = pipe["TargetParameters"]["EventBridgeEventBusParameters"]
    assert target["DetailType"] in accepted_detail_types()
    assert isinstance(event, Event)
    frame = json.loads(event.frame(LONGEST_CURSOR))
    assert (frame["entityId"], frame["message"], frame["data"]) == ("order-17", "MODIFY", image)


def test_the_two_accounts_agree_on_what_is_handed_on() -> None:
    sends = example("another-account-sends.yaml")
    receives = example("another-account-receives.yaml")
    pattern = sends["ForwardRule"]["Properties"]["EventPattern"]
    statement = receives["PublisherPolicy"]["Properties"]["Statement"]
    let_in = statement["Condition"]["StringEquals"]

    assert set(pattern["detail-type"]) == set(let_in["events:detail-type"])
    assert set(pattern["detail-type"]) == accepted_detail_types() - {"Disconnect User"}
    assert pattern["source"] == [let_in["events:source"]] == [{"Ref": "PublisherSource"}]
    (target,) = sends["ForwardRule"]["Properties"]["Targets"]
    (policy,) = sends["ForwardRole"]["Properties"]["Policies"]
    (allowed,) = policy["PolicyDocument"]["Statement"]
    assert (allowed["Action"], allowed["Resource"]) == ("events:PutEvents", target["Arn"])


def test_each_template_is_linted_and_scanned() -> None:
    templates = {f"examples/{path.name}" for path in EXAMPLES.glob("*.yaml")}
    scanned = yaml.safe_load((PATH.parent / ".checkov.yaml").read_text())["file"]

    assert templates <= set(scanned)
    assert "cfn-lint template.yaml examples/*.yaml" in (PATH.parent / "Makefile").read_text()
