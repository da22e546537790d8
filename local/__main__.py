"""`make local`: the whole application on this machine, until Ctrl-C."""

import argparse
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from types import FrameType
from typing import NoReturn

from local import issuer, lines, stack
from local.activity import Activity
from local.aws import HOST, LocalAws
from local.errors import LocalRunError
from local.issuer import Claims, Issuer, signing_key
from local.log_lines import Line, shown
from local.processes import require_free_port, require_running
from local.reload import Reload
from local.stack import FOLDER, OUTPUTS

_LOOK_SECONDS = 0.25


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    # SIGINT too: a shell without job control has it ignored in what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        ports = Ports(options.aws_port, options.ws_port, options.page_port)
        accepted = issuer.chosen(
            *(options.auth, ports.page),
            keys_url=options.jwks_url,
            name=options.issuer,
            audience=options.audience,
        )
        run(ports, stack.Tools(sam=options.sam), accepted, quiet=options.log == "quiet")
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


def run(ports: Ports, tools: stack.Tools, accepted: Issuer | None, *, quiet: bool = False) -> None:
    """Start everything, print what to do next, and show what happens until it is stopped.

    Args:
        accepted: whose tokens clients need; None if they need none.
        quiet: show only what goes wrong.
    """
    for (one, port), (other, same) in combinations(ports.by_variable().items(), 2):
        if port == same:
            raise LocalRunError(f"{one} and {other} are both {port}: choose two ports.")
    aws = LocalAws(ports.aws)
    outputs_file, functions_file = OUTPUTS, FOLDER / "functions.json"
    started = time.monotonic()
    with _only_run(FOLDER):
        # Of a run that could not clean up.
        outputs_file.unlink(missing_ok=True)
        functions_file.unlink(missing_ok=True)
        for leftover in FOLDER.glob(f"{stack.EMULATOR_FILES}*"):
            shutil.rmtree(leftover)
        for variable, port in ports.by_variable().items():
            require_free_port(port, variable)
        key = signing_key() if accepted == Issuer.own(ports.page) else None
        print(f"Starting the emulator on {aws.endpoint_url} ...", flush=True)
        with stack.emulator(aws, tools, FOLDER):
            print("sam build ...", flush=True)
            built = stack.build(aws, tools, FOLDER)
            print("sam deploy ...", flush=True)
            outputs = stack.deploy(
                *(aws, tools, built, f"{HOST}:{ports.ws}"),
                accepted.parameters() if accepted else None,
            )
            outputs |= accepted.outputs() if accepted else {}
            control_port = _free_port(ports)
            with (
                stack.gateway(
                    *(aws, ports.ws, outputs["WebSocketApiId"], FOLDER),
                    # Posts are told of at that level.
                    *("--control-port", str(control_port), "--log-level", "DEBUG"),
                ),
                stack.page(
                    *(aws, ports.page, outputs, control_port, FOLDER),
                    issuer.FOLDER if key else None,
                ) as outputs,
            ):
                functions, package = stack.Functions(aws), stack.package(built)
                stack.write_outputs(functions.described(package), functions_file)
                stack.write_outputs(outputs, outputs_file)
                try:
                    seconds = time.monotonic() - started
                    token = key.mint(Issuer.own(ports.page), Claims()) if key else None
                    print(_next_steps(outputs, seconds, _access(outputs, token)), flush=True)
                    attend(*_chores(aws, functions, package, quiet=quiet))
                finally:
                    outputs_file.unlink()
                    functions_file.unlink()


def attend(*chores: Callable[[], None]) -> NoReturn:
    """Do the chores again and again, until a signal or an end ends it.

    Raises:
        LocalRunError: something that is to run has ended.
    """
    while True:
        for chore in chores:
            chore()
        require_running()
        time.sleep(_LOOK_SECONDS)


def _chores(
    aws: LocalAws, functions: stack.Functions, package: Path, *, quiet: bool
) -> Iterator[Callable[[], None]]:
    """Yield what is done while all runs: show what happens, and take over edits."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def show(line: Line) -> None:
        if line.is_bad or not quiet:
            print(shown(line, coloured=coloured), flush=True)

    def tell(text: str, *, is_bad: bool = False) -> None:
        line = Line(int(time.time() * 1000), "make local", text, is_bad)
        print(shown(line, coloured=coloured), flush=True)

    yield Activity(aws, FOLDER, show).look
    yield Reload(
        *(stack.ROOT / "functions", package, (stack.ROOT / "template.yaml",)),
        *(functions.restart, tell, partial(tell, is_bad=True)),
    ).look


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


@dataclass(frozen=True, slots=True)
class _Access:
    """What is printed of who is let in, and of what to put where."""

    remark: str
    subprotocols: str
    wscat: str
    more: str = ""


def _access(outputs: dict[str, str], token: str | None) -> _Access:
    wscat = lines.wscat(outputs)
    accepted = Issuer.of_outputs(outputs)
    if accepted is None:
        remark = "WITHOUT AUTHENTICATION: anybody who knows the address hears everything."
        return _Access(f"{remark} To ask for tokens: make local AUTH=jwt", "websocket", wscat)
    if token is None:
        remark = f"Clients need a token of {accepted.name} for {accepted.audience}."
        return _Access(remark, "websocket, TOKEN", wscat)
    claims = Claims()
    return _Access(
        f"Clients need a token. This one lets {claims.user} hear everything for "
        f"{claims.minutes} minutes:\n\n{token}",
        f"websocket, {token}",
        f"npx wscat -c {outputs['WebsocketUri']} -s websocket -s {token}",
        '\n   Others:  make token USER=bob ENTITIES="order-17 shop/*" MINUTES=5',
    )


def _next_steps(outputs: dict[str, str], seconds: float, access: _Access) -> str:
    return f"""
Ready after {seconds:.0f} s. All addresses are in .local/outputs.json.

{access.remark}

Open {outputs["PageUrl"]} and see what it does: two clients, your events, and trouble on demand.

Or step by step:

1. Connect to {outputs["WebsocketUri"]}
   Postman: New > WebSocket, that address, header Sec-WebSocket-Protocol: {access.subprotocols}
   wscat:   {access.wscat}{access.more}

2. Send
   {{"action":"subscribe","entityId":"myTestEntityId"}}

3. From this folder, in another terminal, publish an event
   {lines.put_events(outputs)}

4. See the frame arrive: {{"type":"Entity Updated","entityId":"myTestEntityId",...}}

An edit in functions/ is live at once. What happens is shown below (make local LOG=quiet: errors
alone), and is in .local: gateway.log, functions.log, emulator.log, page.log.

Ctrl-C stops everything."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make local",
        usage="make local [AWS_PORT=port] [WS_PORT=port] [PAGE_PORT=port] [SAM=path]"
        " [LOG=quiet] [AUTH=jwt [JWKS_URL=address ISSUER=name AUDIENCE=name]]",
    )
    parser.add_argument("--aws-port", type=_port, default=4566, help="the emulator (AWS_PORT)")
    parser.add_argument("--ws-port", type=_port, default=3001, help="the WebSocket (WS_PORT)")
    parser.add_argument("--page-port", type=_port, default=3002, help="the page (PAGE_PORT)")
    parser.add_argument("--sam", type=Path, default=stack.Tools().sam, help="the SAM CLI (SAM)")
    parser.add_argument("--log", type=_log, default="", help="quiet: show errors only (LOG)")
    parser.add_argument("--auth", default="", help="jwt: clients need a token (AUTH)")
    parser.add_argument("--jwks-url", default="", help="keys of somebody else (JWKS_URL)")
    parser.add_argument("--issuer", default="", help="`iss` of their tokens (ISSUER)")
    parser.add_argument("--audience", default="", help="`aud` of their tokens (AUDIENCE)")
    return parser.parse_args(arguments)


def _log(text: str) -> str:
    if text in ("", "quiet"):
        return text
    raise argparse.ArgumentTypeError(f"LOG is '{text}'; it can be quiet")


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a port (1 to 65535)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
