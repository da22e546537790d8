"""`python -m local.page`: the server of the page, until it is told to stop."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import ClientSession, web

from local.aws import HOST, LocalAws
from local.issuer import Issuer, published_keys
from local.page.application import Application
from local.page.control import GatewayControl
from local.page.server import PageServer
from local.page.tokens import Tokens


async def serve(
    port: int, outputs: Mapping[str, str], control_url: str, issuer_folder: Path | None
) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    aws = LocalAws.of_outputs(outputs)
    accepted = Issuer.of_outputs(outputs)
    keys = published_keys(issuer_folder) if issuer_folder else None
    tokens = Tokens(accepted, issuer_folder) if accepted and issuer_folder else None
    async with ClientSession() as session:
        application = Application(aws.client, outputs)
        control = GatewayControl(session, control_url)
        server = PageServer(port, outputs, application, control, keys, tokens)
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            await stop.wait()
        finally:
            await runner.cleanup()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m local.page", description=__doc__)
    parser.add_argument("--port", type=int, default=3002, help="port to listen on")
    parser.add_argument(
        "--outputs", type=Path, required=True, help="file of the stack's outputs, JSON"
    )
    parser.add_argument("--control-url", required=True, help="address of the gateway's control")
    parser.add_argument("--issuer-folder", type=Path, help="of the own issuer, if there is one")
    options = parser.parse_args(arguments)
    try:
        outputs = json.loads(options.outputs.read_text())
        asyncio.run(serve(options.port, outputs, options.control_url, options.issuer_folder))
    except OSError as exc:
        parser.exit(1, f"page: {exc}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
