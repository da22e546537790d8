"""What to paste into a terminal: the same on the page as in what `make local` prints."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from local.aws import REGION
from local.issuer import Issuer


def put_events(outputs: Mapping[str, str]) -> str:
    """Return the command that publishes an event, to be run from this folder."""
    return f"{aws(outputs)} events put-events --entries file://events/entity-updated.json"


def aws(outputs: Mapping[str, str]) -> str:
    """Return the AWS CLI, as it reaches the emulator; a command of its follows."""
    return shlex.join(
        [
            *("env", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"),
            # The user's own, or the one that was installed beside this interpreter.
            "aws" if shutil.which("aws") else str(Path(sys.executable).with_name("aws")),
            *("--endpoint-url", outputs["AwsEndpointUrl"], "--region", REGION),
        ]
    )


def wscat(outputs: Mapping[str, str]) -> str:
    """Return the command that connects to the WebSocket API, to be run from this folder.

    Where clients need a token, the command fetches one: it is shown where no token should be.
    """
    return f"npx wscat -c {outputs['WebsocketUri']} {_subprotocols(outputs)}"


def _subprotocols(outputs: Mapping[str, str]) -> str:
    """Return wscat's options: one for each subprotocol, of which the token is the second."""
    accepted = Issuer.of_outputs(outputs)
    if accepted is None:
        return "-s websocket"
    own = accepted.name == outputs.get("PageUrl")
    return f"-s websocket -s {'$(make -s token)' if own else 'TOKEN'}"
