"""Probe functions: report what they received, and misbehave when told to.

Records are kept under the caller's name, a word that each test makes up, so that
a test can recall over its own WebSocket what other functions saw of it.
"""

import json
import os
import time
from typing import Any

import boto3

Event = dict[str, Any]

_table: Any = None


def _records() -> Any:
    # Made at first use: the authorizer of most calls and the failing routes need none.
    global _table
    if _table is None:
        _table = boto3.resource("dynamodb").Table(os.environ["TABLE"])
    return _table


def _record(caller: str, event: Event) -> None:
    item = {"caller": caller, "at": f"{time.time_ns()}", "event": json.dumps(event)}
    _records().put_item(Item=item)


def authorize(event: Event, context: object) -> Event:
    """Allow, deny, raise or answer nonsense, by the token."""
    query = event["queryStringParameters"]
    _record(query["caller"], event)
    token = query["token"]
    if token == "raise":
        # As those do who put what they could not read into their message.
        raise RuntimeError(f"secret of the authorizer: {event['headers'].get('Authorization')}")
    if token == "unauthorized":
        raise Exception("Unauthorized")
    if token == "nonsense":
        return {"isAuthorized": True}
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow" if token == "allow" else "Deny",
        "Resource": event["methodArn"],
    }
    return {
        "principalId": "probe",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"caller": query["caller"], "number": 7, "flag": True},
    }


def lifecycle(event: Event, context: object) -> Event:
    """Serve $connect, as the query string says, and $disconnect."""
    _record(event["requestContext"]["authorizer"]["caller"], event)
    query = event.get("queryStringParameters") or {}
    time.sleep(float(query.get("seconds", "0")))
    if "raise" in query:
        raise RuntimeError(f"secret of $connect: {query['raise']}")
    answer: Event = {"statusCode": int(query.get("status", "200")), "body": "of $connect"}
    if "subprotocol" in query:
        answer["headers"] = {"Sec-WebSocket-Protocol": query["subprotocol"]}
    return answer


def message(event: Event, context: object) -> Event:
    """Serve every message route; the route says what to do."""
    started = time.time()
    route = event["requestContext"]["routeKey"]
    if "body" not in event:
        # Not a message: this function serves none of the gateway's own routes.
        _record(event["requestContext"]["connectionId"], event)
        return {"statusCode": 200}
    try:
        body = json.loads(event["body"])
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    if route == "fail":
        raise RuntimeError(f"secret of the route: {body.get('note')}")
    if route == "malformed":
        return {"answer": "without a status code"}
    if route == "silent":
        return {"statusCode": 200}
    if route == "recall":
        found = _records().query(
            KeyConditionExpression="caller = :caller",
            ExpressionAttributeValues={":caller": body["caller"]},
            ConsistentRead=True,
        )
        events = [json.loads(item["event"]) for item in found["Items"]]
        return {"statusCode": 200, "body": json.dumps({"events": events})}
    if route == "oneway" or "caller" in body:
        _record(body["caller"], event)
    time.sleep(body.get("seconds", 0))
    answer: Event = {"length": len(event["body"]), "padding": "x" * body.get("padding", 0)}
    answer["ran"] = [started, time.time()]
    if "brief" not in body:
        answer |= {"event": event, "plainApi": os.environ.get("PLAIN_API")}
        answer["mappedApi"] = os.environ.get("MAPPED_API")
    return {"statusCode": body.get("status", 200), "body": json.dumps(answer)}


def transformed(event: Event, context: object) -> Event:
    """Serve an integration that is no proxy: the event is what a template made of the request."""
    if event.get("fail"):
        raise ValueError(f"BadColour: {event['fail']}")
    return {"received": event}
