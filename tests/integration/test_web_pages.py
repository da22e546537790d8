"""What a page of a stranger, open in a browser on this machine, can do to the local run: nothing.

The pages are opened in a real Chromium, which sends what browsers send. One has an origin of its
own; the other one's name leads to this machine, so that the emulator is of its own origin.
"""

import base64
import http.client
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from playwright.sync_api import Browser, Page

from integration.harness import Application, unique
from local.aws import HOST, REGION
from local.page.browser import browser, chromium

REBOUND = "rebound.example"
CREDENTIALS = Credentials("test", "test")

# Each returns after the request has ended, whatever came of it.
ATTACKS = {
    "fetch": """async ([url, body]) => {
        await fetch(url, {method: "POST", mode: "no-cors", body}).catch(() => 0) }""",
    "fetch with headers": """async ([url, body, headers]) => {
        await fetch(url, {method: "POST", headers, body}).catch(() => 0) }""",
    "beacon": """async ([url, body]) => {
        navigator.sendBeacon(url, body); await new Promise(done => setTimeout(done, 300)) }""",
    "form": """async ([url, body]) => {
        const frame = document.createElement("iframe");
        frame.name = "hidden";
        document.body.append(frame);
        const form = document.createElement("form");
        // The text before the first "=" is the field's name, the rest its value.
        Object.assign(form, {action: url, method: "POST", enctype: "text/plain", target: "hidden"});
        const field = document.createElement("input");
        field.name = body.slice(0, body.indexOf("="));
        field.value = body.slice(body.indexOf("=") + 1);
        form.append(field);
        document.body.append(form);
        const loaded = new Promise(done => { frame.onload = done; setTimeout(done, 3000) });
        form.submit();
        await loaded }""",
}
QUERY_ATTACKS = {
    "picture": """async url => {
        const picture = new Image();
        const ended = new Promise(done => { picture.onload = picture.onerror = done });
        picture.src = url;
        await ended }""",
    "frame": """async url => {
        const frame = document.createElement("iframe");
        await new Promise(done => { frame.onload = done; frame.src = url;
            document.body.append(frame); setTimeout(done, 3000) }) }""",
}


@pytest.fixture(scope="module")
def chromium_here() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine")
    switches = [
        f"--host-resolver-rules=MAP {REBOUND} {HOST}",
        # A defence of its own that Chromium has since 2025, and other browsers have not.
        "--disable-features=LocalNetworkAccessChecks",
    ]
    with browser(executable, *switches) as running:
        yield running


@pytest.fixture(params=["of another origin", "of a rebound name"])
def page(
    chromium_here: Browser, deployed: Application, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """A stranger's page; the second one has the emulator's port in its own origin."""
    context = chromium_here.new_context()
    opened = context.new_page()
    if request.param == "of another origin":
        with stranger() as address:
            opened.goto(address)
            yield opened
    else:
        # What the name led to before it led here.
        port = urlsplit(deployed.outputs["AwsEndpointUrl"]).port
        address = f"http://{REBOUND}:{port}/page"
        opened.route(address, lambda route: route.fulfill(content_type="text/html", body="<p>Hi"))
        opened.goto(address)
        yield opened
    context.close()


@contextmanager
def stranger() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>Hi")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            # Another site than 127.0.0.1, and one that browsers trust as much.
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def function(name: str, application: Application) -> str:
    """Return the request that creates a function: what it does may be anything.

    A stranger can make a role as well; here it is one that is there.
    """
    role = next(iter(application.functions().values()))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return 1")
    return json.dumps(
        {
            "FunctionName": name,
            "Runtime": "python3.11",
            "Role": role,
            "Handler": "app.handler",
            "Code": {"ZipFile": base64.b64encode(packed.getvalue()).decode()},
            # For the form, which sends the "=" of a field.
            "Description": "a=b",
        }
    )


def presigned(method: str, url: str, service: str, body: str = "") -> str:
    """Return an address with a signature in it, as a page can send one without any header."""
    request = AWSRequest(method, url, data=body)
    SigV4QueryAuth(CREDENTIALS, service, REGION, expires=300).add_auth(request)
    return str(request.url)


def send(method: str, url: str, body: str = "") -> int:
    """Send what a page sends, but as a program does; return the status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request(method, f"{parts.path}?{parts.query}", body=body)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status < 300, said
    return answer.status


def endpoint(application: Application, page: Page) -> str:
    """Return the emulator's address as the page would have it."""
    own = urlsplit(page.url)
    aws = urlsplit(application.outputs["AwsEndpointUrl"])
    return f"http://{REBOUND if own.hostname == REBOUND else HOST}:{aws.port}"


def test_the_request_creates_a_function_when_a_program_sends_it(deployed: Application) -> None:
    """So that the tests below fail if it is let through."""
    name = unique("program")
    url = f"{deployed.outputs['AwsEndpointUrl']}/2015-03-31/functions"

    body = function(name, deployed)

    assert send("POST", presigned("POST", url, "lambda", body), body) == 201
    assert name in deployed.functions()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_cannot_create_a_function(deployed: Application, page: Page, attack: str) -> None:
    name = unique("page")
    body = function(name, deployed)
    url = f"{endpoint(deployed, page)}/2015-03-31/functions"
    signed = AWSRequest("POST", url, data=body)
    SigV4Auth(CREDENTIALS, "lambda", REGION).add_auth(signed)
    headers = {key: value for key, value in signed.headers.items() if key != "Host"}

    page.evaluate(ATTACKS[attack], [presigned("POST", url, "lambda", body), body, headers])

    assert name not in deployed.functions()


@pytest.mark.parametrize("attack", QUERY_ATTACKS)
def test_a_page_cannot_act_by_what_it_loads(deployed: Application, page: Page, attack: str) -> None:
    name, other = unique("page"), unique("program")

    def address(base: str, queue: str) -> str:
        return presigned("GET", f"{base}/?Action=CreateQueue&QueueName={queue}", "sqs")

    page.evaluate(QUERY_ATTACKS[attack], address(endpoint(deployed, page), name))

    assert send("GET", address(deployed.outputs["AwsEndpointUrl"], other)) == 200
    queues = " ".join(deployed.sqs.list_queues()["QueueUrls"])
    assert other in queues
    assert name not in queues


def test_a_page_reads_nothing_of_the_emulator_and_opens_no_websocket_there(
    deployed: Application, page: Page
) -> None:
    base, api = endpoint(deployed, page), deployed.outputs["WebSocketApiId"]

    read = page.evaluate(
        """async url => {
            try { const answer = await fetch(url); return answer.ok && await answer.text() }
            catch { return false } }""",
        f"{base}/_ministack/health",
    )
    opened = page.evaluate(
        """url => new Promise(done => {
            const socket = new WebSocket(url);
            socket.onopen = () => done(true);
            socket.onerror = () => done(false) })""",
        f"{base.replace('http', 'ws')}/_aws/execute-api/{api}/v1",
    )

    assert read is False
    assert opened is False


def test_a_page_cannot_post_to_a_connection(deployed: Application, page: Page) -> None:
    """It needs a signature in a header, for which the gateway's answer gives no page leave."""
    gateway = deployed.outputs["WebsocketUri"].replace("ws://", "http://")

    statuses = page.evaluate(
        """async url => {
            const said = [];
            for (const init of [{method: "POST", body: "{}"}, {method: "DELETE"},
                {method: "POST", body: "{}", headers: {Authorization: "AWS4-HMAC-SHA256 x"}}]) {
                try { said.push((await fetch(url, init)).status) } catch { said.push("refused") }
            }
            return said }""",
        f"{gateway}/@connections/abcdefghijklmno=",
    )

    assert statuses == ["refused"] * 3
