"""`make local`: the whole application on this machine, until Ctrl-C."""

import argparse
import fcntl
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import FrameType

from local import stack
from local.aws import HOST, LocalAws
from local.errors import LocalRunError
from local.page import lines
from local.processes import require_free_port

FOLDER = stack.ROOT / ".local"


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    # SIGINT too: a shell without job control has it ignored in what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        ports = Ports(options.aws_port, options.ws_port, options.page_port)
        run(ports, stack.Tools(sam=options.sam))
    except LocalRunError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the emulator, the WebSocket and the page are."""

    aws: int
    ws: int
    page: int

    def by_variable(self) -> dict[str, int]:
        """Return the ports by the variables of `make local` that choose them."""
        return {"AWS_PORT": self.aws, "WS_PORT": self.ws, "PAGE_PORT": self.page}


def run(ports: Ports, tools: stack.Tools) -> None:
    """Start everything, print what to do next, and wait to be stopped."""
    for (one, port), (other, same) in combinations(ports.by_variable().items(), 2):
        if port == same:
            raise LocalRunError(f"{one} and {other} are both {port}: choose two ports.")
    aws = LocalAws(ports.aws)
    outputs_file = FOLDER / "outputs.json"
    started = time.monotonic()
    with _only_run(FOLDER):
        # Of a run that could not clean up.
        outputs_file.unlink(missing_ok=True)
        for variable, port in ports.by_variable().items():
            require_free_port(port, variable)
        print(f"Starting the emulator on {aws.endpoint_url} ...", flush=True)
        with stack.emulator(aws, tools, FOLDER):
            print("sam build ...", flush=True)
            built = stack.build(aws, tools, FOLDER)
            print("sam deploy ...", flush=True)
            outputs = stack.deploy(aws, tools, built, f"{HOST}:{ports.ws}")
            control_port = _free_port(ports)
            with (
                stack.gateway(
                    *(aws, ports.ws, outputs["WebSocketApiId"], FOLDER),
                    *("--control-port", str(control_port)),
                ),
                stack.page(aws, ports.page, outputs, control_port, FOLDER) as outputs,
            ):
                stack.write_outputs(outputs, outputs_file)
                try:
                    print(_next_steps(outputs, time.monotonic() - started), flush=True)
                    signal.pause()
                finally:
                    outputs_file.unlink()


def _free_port(ports: Ports) -> int:
    """Return a port for what nobody needs to know the address of."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in ports.by_variable().values():
            return port


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
    return f"""
Ready after {seconds:.0f} s. All addresses are in .local/outputs.json.

Open {outputs["PageUrl"]} and see what it does: two clients, your events, and trouble on demand.

Or step by step:

1. Connect to {outputs["WebsocketUri"]}
   Postman: New > WebSocket, that address, header Sec-WebSocket-Protocol: websocket, Connect
   wscat:   {lines.wscat(outputs)}

2. Send
   {{"action":"subscribe","entityId":"myTestEntityId"}}

3. From this folder, in another terminal, publish an event
   {lines.put_events(outputs)}

4. See the frame arrive: {{"type":"Entity Updated","entityId":"myTestEntityId",...}}

Ctrl-C stops everything."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make local",
        usage="make local [AWS_PORT=port] [WS_PORT=port] [PAGE_PORT=port] [SAM=path]",
    )
    parser.add_argument("--aws-port", type=_port, default=4566, help="the emulator (AWS_PORT)")
    parser.add_argument("--ws-port", type=_port, default=3001, help="the WebSocket (WS_PORT)")
    parser.add_argument("--page-port", type=_port, default=3002, help="the page (PAGE_PORT)")
    parser.add_argument("--sam", type=Path, default=stack.Tools().sam, help="the SAM CLI (SAM)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a port (1 to 65535)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
