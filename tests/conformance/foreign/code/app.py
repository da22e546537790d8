"""Answer by posting to the sender, at the address that AWS's own samples use."""

import json
import os
from typing import Any

import boto3


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Post the message back, with the address that the template told."""
    where = event["requestContext"]
    if where["routeKey"] == "announce":
        connections = boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=f"https://{where['domainName']}/{where['stage']}",
        )
        frame = json.dumps({"posted": json.loads(event["body"])["text"], "url": os.environ["URL"]})
        connections.post_to_connection(ConnectionId=where["connectionId"], Data=frame.encode())
    told = [os.environ[name] for name in ("TELLS", "NUMBER", "FLAG")]
    return {"statusCode": 200, "body": json.dumps({"told": told})}
