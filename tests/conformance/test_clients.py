"""Clients that this project did not write connect and talk.

What must be installed, and is in CI: Node.js with ``npm install --no-save ws wscat`` in the
repository's root (or NODE_PATH set), and Chromium (CHROMIUM may name its binary).
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from conformance.deploy import ROOT
from conformance.targets import Target

CLIENTS = Path(__file__).resolve().parent / "clients"
MODULES = Path(os.environ.get("NODE_PATH", ROOT / "node_modules"))


def url_of(target: Target, token: str = "allow") -> str:
    """Return an address whose $connect selects the subprotocol probe.v1."""
    query = {"token": token, "caller": uuid.uuid4().hex, "subprotocol": "probe.v1"}
    return f"{target.url('probe')}?{urlencode(query)}"


def check(found: dict[str, Any], sender: str) -> None:
    """Check what a client reports."""
    assert found["protocol"] == "probe.v1"
    assert json.loads(found["answer"]["event"]["body"])["from"] == sender


def run(command: list[str]) -> tuple[int, str]:
    """Run a client to its end; return its status and what it printed."""
    # A standard input that stays open: wscat ends where its input does.
    with subprocess.Popen(
        command,
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            return process.wait(60), process.stdout.read()
        finally:
            process.kill()


def test_python_websockets(target: Target) -> None:
    """The asyncio client of websockets with its defaults, pings and compression included.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-connect-route-subprotocol.html
    """

    async def talk() -> dict[str, Any]:
        offered = [Subprotocol("other"), Subprotocol("probe.v1")]
        async with connect(url_of(target), subprotocols=offered, ping_interval=0.1) as client:
            await client.send(json.dumps({"action": "echo", "from": "python"}))
            answer = json.loads(await client.recv())
            await (await client.ping())
            return {"protocol": client.subprotocol, "answer": answer}

    check(asyncio.run(talk()), "python")


@pytest.fixture
def ws_client() -> list[str]:
    """Give the command that talks through node's ws."""
    if not shutil.which("node") or not (MODULES / "ws").exists():
        pytest.skip("node and its package ws are not installed")
    return ["node", str(CLIENTS / "talk.cjs")]


def test_node_ws(target: Target, ws_client: list[str]) -> None:
    """Node's ws closes when a subprotocol that it offered is not selected.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-connect-route-subprotocol.html
    """
    status, output = run([*ws_client, url_of(target)])
    assert status == 0
    check(json.loads(output), "ws")


def test_node_ws_sees_the_status_of_a_refusal(target: Target, ws_client: list[str]) -> None:
    """A client can read the status of a refused handshake.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    _, output = run([*ws_client, url_of(target, token="deny")])
    assert json.loads(output.splitlines()[0])["status"] == 403


def test_wscat(target: Target) -> None:
    """Wscat is what the developer guide connects with.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-wscat.html
    """
    wscat = MODULES / ".bin" / "wscat"
    if not wscat.exists():
        pytest.skip("wscat is not installed")
    message = json.dumps({"action": "echo", "from": "wscat"})
    command = [str(wscat), "--no-color", "-s", "probe.v1", "-w", "2", "-x", message]
    status, output = run([*command, "-c", url_of(target)])
    assert status == 0
    answer = json.loads(output)
    assert json.loads(answer["event"]["body"])["from"] == "wscat"


def test_chromium(target: Target, tmp_path: Path) -> None:
    """A browser closes when a subprotocol that it offered is not selected.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-connect-route-subprotocol.html
    """
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("Chromium is not installed")
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer((CLIENTS / "talk.html").read_bytes())

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path}",
    ]  # fmt: skip
    page = f"http://127.0.0.1:{server.server_port}/?url={quote(url_of(target), safe='')}"
    process = subprocess.Popen(
        [browser, *options, page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        found = results.get(timeout=60)
    finally:
        process.terminate()
        process.wait(15)
        server.shutdown()
        server.server_close()
    assert "error" not in found, found
    check(found, "browser")
