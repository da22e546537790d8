"""The gateway's log: a line for each connection, route and refusal, and no secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import InvalidStatus

from conformance.targets import Target

pytestmark = pytest.mark.log


def lines(gateway: Any, pattern: str, count: int = 1) -> list[str]:
    """Wait for ``count`` log lines that match a pattern, and return all that do."""
    deadline = time.monotonic() + 10
    while True:
        found = [line for line in gateway.log.splitlines() if re.search(pattern, line)]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_connection_has_a_line_at_each_end(with_options: Callable[..., Any]) -> None:
    """own: the log says when a connection opened and how it ended, not in the client's words."""
    target, gateway = with_options()
    client = target.connect()
    connection_id = re.escape(client.id)
    client.ws.close(4001, "bye")
    assert len(lines(gateway, f"connection {connection_id} .*opened")) == 1
    assert len(lines(gateway, f"connection {connection_id} closed: 4001 $")) == 1
    assert len(lines(gateway, f"route \\$disconnect connection={connection_id} .*200")) == 1


def test_message_has_a_line_with_its_outcome(with_options: Callable[..., Any]) -> None:
    """own: the log names the route, the request and what became of it."""
    target, gateway = with_options()
    client = target.connect()
    request_id = client.ask({"action": "echo"})["event"]["requestContext"]["requestId"]
    client.ask({"action": "fail"})
    client.ask({"action": "nowhere"})
    client.ask({"action": "impatient", "seconds": 2})
    assert len(lines(gateway, f"route echo .*requestId={request_id}: 200, replied")) == 1
    assert len(lines(gateway, "route fail .*FunctionRaisedError")) == 1
    assert len(lines(gateway, r"route \(none\) .*no such route")) == 1
    assert len(lines(gateway, "route impatient .*FunctionTimeoutError.*500 ms")) == 1


def test_refusal_has_a_line_with_its_cause(with_options: Callable[..., Any]) -> None:
    """own: the log says who was refused, with what status, and why."""
    target, gateway = with_options()
    target.refused("nowhere")
    target.refused(query={"token": ""})
    target.refused(query={"token": "deny"})
    target.refused(query={"status": "418"})
    for cause in ("403 .no such stage", "401 .an identity source is missing",
                  "403 .denied by the authorizer", r"418 .by \$connect"):  # fmt: skip
        assert len(lines(gateway, f"connection .*refused: {cause}")) == 1
    with pytest.raises(ClientError):
        target.management().get_connection(ConnectionId="L0SM9cOFvHcCIhw=")
    assert len(lines(gateway, "@connections GET .*refused: 410 GoneException")) == 1


def test_error_of_a_function_is_told_in_its_words(with_options: Callable[..., Any]) -> None:
    """own: the log has what a function said when it failed, which clients never see."""
    target, gateway = with_options()
    target.connect().ask({"action": "fail", "note": 7})
    target.refused(query={"raise": "no"})
    target.refused(query={"token": "raise"})
    assert lines(gateway, r"route fail .*FunctionRaisedError.'[\w.]+'.: secret of the route: 7")
    assert lines(gateway, r"refused: 502 \(\$connect: .*: secret of \$connect: no\)")
    assert lines(gateway, r"refused: 500 \(authorizer: .*: secret of the authorizer: None\)")


def test_answer_of_a_function_that_is_an_error_is_told(with_options: Callable[..., Any]) -> None:
    """own: a status of 400 and more is logged with the body, which one-way routes lose."""
    target, gateway = with_options()
    client = target.connect()
    client.send({"action": "oneway", "caller": client.caller, "brief": True, "status": 500})
    assert lines(gateway, r'route oneway .*: 500: \{"length": ')


def test_error_of_a_function_can_be_hidden(with_options: Callable[..., Any]) -> None:
    """own: --hide-function-errors leaves the kind of the error alone in the log."""
    target, gateway = with_options("--hide-function-errors")
    target.connect().ask({"action": "fail"})
    target.refused(query={"raise": "no"})
    target.refused(query={"status": "403"})
    assert lines(gateway, r"route fail .*FunctionRaisedError.'[\w.]+'., replied")
    assert lines(gateway, r"refused: 502 .*FunctionRaisedError.'[\w.]+'.\)$")
    assert lines(gateway, r"refused: 403 \(by \$connect\)$")
    assert "secret" not in gateway.log


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_log_has_no_secrets(target: Target, with_options: Callable[..., Any], level: str) -> None:
    """own: no token, header, query string value or body is logged, even if a function says it."""
    # Kept short and made of letters that no id of the gateway's own is long enough to hold.
    secret = "hush-hush-hush-hush"
    chatty, gateway = with_options("--log-level", level)
    client = chatty.connect(
        query={"colour": secret}, additional_headers={"Authorization": secret, "Cookie": secret}
    )
    connection_id = client.id
    for action in ("echo", "fail", "malformed", secret):
        client.ask({"action": action, "note": f"Bearer {secret}"})
    client.ask({"action": "fail", "note": {"deep": [secret]}})
    client.send(secret)
    client.receive()
    management = chatty.management()
    management.post_to_connection(ConnectionId=connection_id, Data=secret.encode())
    with pytest.raises(ClientError):
        management.post_to_connection(ConnectionId="L0SM9cOFvHcCIhw=", Data=secret.encode())
    for query in ({"token": "raise"}, {"raise": secret}, {"status": "403"}):
        with pytest.raises(InvalidStatus):
            chatty.connect(
                query={"colour": secret, **query},
                additional_headers={"Authorization": f"Bearer {secret}"},
            )
    client.ws.close()
    assert lines(gateway, r"route \$disconnect")
    # The functions repeated it, and it was left out.
    assert lines(gateway, "secret of the route: …")
    assert lines(gateway, "secret of .connect: …")
    assert lines(gateway, "secret of the authorizer: …")
    assert secret not in gateway.log
    assert "colour" not in gateway.log
