"""What to paste into a terminal: the same on the page as in what `make local` prints."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from local.aws import REGION


def put_events(outputs: Mapping[str, str]) -> str:
    """Return the command that publishes an event, to be run from this folder."""
    return shlex.join(
        [
            *("env", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"),
            # The user's own, or the one that was installed beside this interpreter.
            "aws" if shutil.which("aws") else str(Path(sys.executable).with_name("aws")),
            *("events", "put-events"),
            *("--endpoint-url", outputs["AwsEndpointUrl"], "--region", REGION),
            *("--entries", "file://events/entity-updated.json"),
        ]
    )


def wscat(outputs: Mapping[str, str]) -> str:
    """Return the command that connects to the WebSocket API."""
    return f"npx wscat -c {outputs['WebsocketUri']} -s websocket"
