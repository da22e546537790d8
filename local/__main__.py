"""`make local`: the whole application on this machine, until Ctrl-C."""

import argparse
import fcntl
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local import stack
from local.aws import HOST, REGION, LocalAws
from local.errors import LocalRunError
from local.processes import require_free_port

FOLDER = stack.ROOT / ".local"


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    # SIGINT too: a shell without job control has it ignored in what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        run(options.aws_port, options.ws_port, stack.Tools(sam=options.sam))
    except LocalRunError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


def run(aws_port: int, ws_port: int, tools: stack.Tools) -> None:
    """Start everything, print what to do next, and wait to be stopped."""
    if aws_port == ws_port:
        raise LocalRunError(f"AWS_PORT and WS_PORT are both {aws_port}: choose two ports.")
    aws = LocalAws(aws_port)
    outputs_file = FOLDER / "outputs.json"
    started = time.monotonic()
    with _only_run(FOLDER):
        # Of a run that could not clean up.
        outputs_file.unlink(missing_ok=True)
        require_free_port(aws_port, "AWS_PORT")
        require_free_port(ws_port, "WS_PORT")
        print(f"Starting the emulator on {aws.endpoint_url} ...", flush=True)
        with stack.emulator(aws, tools, FOLDER):
            print("sam build ...", flush=True)
            built = stack.build(aws, tools, FOLDER)
            print("sam deploy ...", flush=True)
            outputs = stack.deploy(aws, tools, built, f"{HOST}:{ws_port}")
            with stack.gateway(aws, ws_port, outputs["WebSocketApiId"], FOLDER):
                stack.write_outputs(outputs, outputs_file)
                try:
                    print(_next_steps(outputs, time.monotonic() - started), flush=True)
                    signal.pause()
                finally:
                    outputs_file.unlink()


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process, however it ends."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalRunError("make local is already running in this folder.") from None
        yield


def _next_steps(outputs: dict[str, str], seconds: float) -> str:
    aws_cli = shutil.which("aws") or str(Path(sys.executable).with_name("aws"))
    put_events = [
        *("env", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"),
        *("aws" if shutil.which("aws") else aws_cli, "events", "put-events"),
        *("--endpoint-url", outputs["AwsEndpointUrl"], "--region", REGION),
        *("--entries", "file://events/entity-updated.json"),
    ]
    return f"""
Ready after {seconds:.0f} s. All addresses are in .local/outputs.json.

1. Connect to {outputs["WebsocketUri"]}
   Postman: New > WebSocket, that address, header Sec-WebSocket-Protocol: websocket, Connect
   wscat:   npx wscat -c {outputs["WebsocketUri"]} -s websocket

2. Send
   {{"action":"subscribe","entityId":"myTestEntityId"}}

3. From this folder, in another terminal, publish an event
   {shlex.join(put_events)}

4. See the frame arrive: {{"type":"Entity Updated","entityId":"myTestEntityId",...}}

Ctrl-C stops everything."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make local", usage="make local [AWS_PORT=port] [WS_PORT=port] [SAM=path]"
    )
    parser.add_argument("--aws-port", type=_port, default=4566, help="the emulator (AWS_PORT)")
    parser.add_argument("--ws-port", type=_port, default=3001, help="the WebSocket (WS_PORT)")
    parser.add_argument("--sam", type=Path, default=stack.Tools().sam, help="the SAM CLI (SAM)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a port (1 to 65535)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
