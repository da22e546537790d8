"""`make local` as a person runs it: what it prints and writes, and that it leaves nothing behind.

It runs in a copy of the project, whose code these tests edit, and beside a developer's own run.
"""

import asyncio
import fcntl
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from integration.harness import Client, event_file, eventually, free_port, unique
from local import stack
from local.aws import HOST, LocalAws
from local.issuer import Claims, Issuer, published_keys, signing_key

# Kept between runs, so that `sam build` finds what it built before.
PROJECT = stack.ROOT / ".local/test/project"
OUTPUTS = PROJECT / ".local/outputs.json"
MAKE, PS = shutil.which("make") or "make", shutil.which("ps") or "ps"
PORTS = ("AWS_PORT", "WS_PORT", "PAGE_PORT")
LAST_LINE = "Ctrl-C stops everything."
START_SECONDS = 180
# What emulator, gateway and page get to end by themselves, one after the other, and some slack.
STOP_SECONDS = 40
# What no clock says: the time in an edited answer.
LONG_AGO = "2000-01-01T00:00:00.000Z"
# What a busy machine may take longer than an idle one.
SLACK = 3


class Run:
    """One `make local`, in a process group of its own, as a terminal gives to what it runs."""

    def __init__(self, log: Path, **variables: object) -> None:
        self._log = log
        settings = [f"{name}={value}" for name, value in variables.items()]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [MAKE, "--no-print-directory", "local", *settings],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def outputs(self) -> dict[str, str]:
        outputs: dict[str, str] = json.loads(OUTPUTS.read_text())
        return outputs

    async def prints(self, line: str) -> None:
        """Wait until it has printed a line."""
        await eventually(
            lambda: line in self.printed or self.process.poll() is not None,
            f"make local prints {line}",
            START_SECONDS,
        )
        assert line in self.printed, self.printed

    async def ends(self) -> int:
        """Wait for its end and return its exit status."""
        await eventually(lambda: self.process.poll() is not None, "make local ends", STOP_SECONDS)
        return self.process.returncode

    def child(self, command: str) -> int:
        """Return the process below this run whose command line holds a text."""
        (found,) = [
            pid
            for pid in descendants(self.process.pid)
            if command in ps("-ww", "-o", "args=", "-p", str(pid)) and is_running(pid)
        ]
        return found

    async def ends_whole(self, send: Callable[[int, int], None], number: int) -> None:
        """Send a signal, and see all that was started go."""
        family = descendants(self.process.pid)
        assert len(family) > 2, "make and this project's command have started something"
        send(self.process.pid, number)
        await self.ends()

        assert [pid for pid in family if is_running(pid)] == []
        assert not OUTPUTS.exists()
        # What functions raised stands behind their name.
        assert not re.search("^Traceback", self.printed, re.MULTILINE)

    def kill(self) -> None:
        """End what a test that failed has left."""
        if self.process.poll() is None:
            for pid in descendants(self.process.pid):
                if is_running(pid):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            OUTPUTS.unlink(missing_ok=True)


def descendants(ancestor: int) -> list[int]:
    """Return the ids of a process and of all below it."""
    pairs = [tuple(map(int, line.split())) for line in ps("-axo", "pid=,ppid=").splitlines()]
    family = [ancestor]
    for parent in family:
        family += [pid for pid, ppid in pairs if ppid == parent]
    return family


def is_running(pid: int) -> bool:
    state = ps("-o", "stat=", "-p", str(pid)).strip()
    return bool(state) and not state.startswith("Z")


def ps(*arguments: str) -> str:
    return subprocess.run([PS, *arguments], stdout=subprocess.PIPE, text=True, check=False).stdout


def page_of(ports: dict[str, int]) -> str:
    return f"http://{HOST}:{ports['PAGE_PORT']}"


async def ask(address: str, token: str, entity_id: str) -> dict[str, object]:
    """Connect with a token, and return the reply to a subscription."""
    offered = [Subprotocol("websocket"), Subprotocol(token)]
    async with connect(address, subprotocols=offered) as socket:
        assert socket.subprotocol == "websocket"
        return await Client(socket).request("subscribe", entityId=entity_id)


def make_token(**variables: str) -> subprocess.CompletedProcess[str]:
    return make("token", **variables)


def make(target: str, typed: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        [MAKE, "--no-print-directory", target, *settings],
        cwd=PROJECT,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )


def written() -> str:
    """Return all that a run has written for people, or for other programs, to read."""
    files = [*(PROJECT / ".local").glob("*.log"), *(PROJECT / ".local").glob("*.json")]
    return "".join(file.read_text(errors="replace") for file in files)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def occupied() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def _copied() -> Iterator[None]:
    """Copy the project as it is now, with the environments that it has; nobody else may use it."""
    (PROJECT / ".local").mkdir(parents=True, exist_ok=True)
    with (PROJECT / ".local/test-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in COPIED:
            copy(stack.ROOT / name, PROJECT / name)
        for name in (".venv", ".local/emulator", ".local/sam"):
            link = PROJECT / name
            link.unlink(missing_ok=True)
            link.symlink_to(stack.ROOT / name)
        yield


# What `make local` needs.
COPIED = (
    "Makefile", "client", "events", "functions", "local", "operations", "samconfig.toml",
    "template.yaml",
)  # fmt: skip


def copy(source: Path, target: Path) -> None:
    """Put a copy in the place of an older one; times stay, which `make` looks at."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(source, target, ignore=unwanted)
    else:
        shutil.copy2(source, target)


Starter = Callable[..., Run]


@pytest.fixture(scope="module")
def runs() -> Iterator[list[Run]]:
    """All runs of this module; those that are still there at its end are ended."""
    runs: list[Run] = []
    yield runs
    for run in runs:
        run.kill()


@pytest.fixture(scope="module")
def start_beside(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Start a `make local` with variables; ports that are not given are free ones."""

    def start(**variables: object) -> Run:
        ports = {variable: free_port() for variable in PORTS}
        log = tmp_path_factory.mktemp("make-local") / "log"
        runs.append(Run(log, **{**ports, **variables}))
        return runs[-1]

    return start


@pytest.fixture
def start(runs: list[Run], start_beside: Starter) -> Starter:
    """Start one where no other is left running, whichever tests have been before."""
    for run in runs:
        run.kill()
    return start_beside


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {variable: free_port() for variable in PORTS}


@pytest.fixture(scope="module")
def shared(start_beside: Starter, ports: dict[str, int]) -> Run:
    """A run that is ready, for the tests that leave it running and for the one that ends it."""
    run = start_beside(**ports)
    asyncio.run(run.prints(LAST_LINE))
    return run


async def refused(run: Run) -> str:
    """Return what a run printed that must not start, once it has ended."""
    try:
        assert await run.ends() != 0
    finally:
        run.kill()
    assert "Traceback" not in run.printed
    return run.printed


def test_it_prints_the_address_and_the_next_steps(shared: Run, ports: dict[str, int]) -> None:
    address = f"ws://{HOST}:{ports['WS_PORT']}/v1"

    steps = shared.printed.partition("Ready after")[2]
    addresses = re.findall(r"https?://\S+|wss?://\S+", steps)
    assert addresses[0] == page_of(ports)
    assert f"Open {page_of(ports)} " in steps
    assert f"Connect to {address}" in shared.printed
    assert f"npx wscat -c {address} -s websocket" in shared.printed
    assert "header Sec-WebSocket-Protocol: websocket\n" in shared.printed
    (warning,) = re.findall("^.*WITHOUT AUTHENTICATION.*$", shared.printed, re.MULTILINE)
    assert "anybody who knows the address hears everything" in warning
    assert "make local AUTH=jwt" in warning
    assert '{"action":"subscribe","entityId":"myTestEntityId"}' in shared.printed


def test_it_writes_all_outputs_with_addresses_that_work_here(
    shared: Run, ports: dict[str, int]
) -> None:
    outputs = shared.outputs()
    endpoint = f"http://{HOST}:{ports['AWS_PORT']}"

    assert outputs["WebsocketUri"] == f"ws://{HOST}:{ports['WS_PORT']}/v1"
    assert outputs["AwsEndpointUrl"] == endpoint
    assert outputs["PageUrl"] == page_of(ports)
    assert outputs["EventBusName"] == "default"
    assert outputs["TableName"]
    queues = [url for name, url in outputs.items() if name.endswith("QueueUrl")]
    assert len(queues) == 5
    assert all(url.startswith(f"{endpoint}/") for url in queues)


def test_the_page_is_served_and_knows_this_run(shared: Run, ports: dict[str, int]) -> None:
    def read(path: str) -> str:
        with urllib.request.urlopen(page_of(ports) + path, timeout=10) as response:
            return str(response.read().decode())

    assert "<title>WebSocket notifications</title>" in read("/")
    configuration = json.loads(read("/api/configuration"))
    outputs = shared.outputs()
    assert configuration["websocketUri"] == outputs["WebsocketUri"]
    assert configuration["putEvents"] in shared.printed
    assert configuration["wscat"] in shared.printed
    # It has found the gateway's control, and the services.
    inside = json.loads(read("/api/inside"))
    assert set(inside["faults"].values()) == {0, 30}
    assert inside["letters"]["total"] == 0


async def test_the_printed_put_events_line_works_as_pasted(shared: Run) -> None:
    line = re.search(r"^ +(.* events put-events .*)$", shared.printed, re.MULTILINE)
    assert line
    (entry,) = event_file("entity-updated.json")
    detail = json.loads(entry["Detail"])
    async with connect(shared.outputs()["WebsocketUri"]) as socket:
        client = Client(socket)
        await client.subscribe(detail["entityId"])
        # Another terminal, which knows nothing of AWS.
        terminal = await asyncio.create_subprocess_shell(
            line[1],
            cwd=PROJECT,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        answer, _ = await terminal.communicate()
        assert terminal.returncode == 0

        frame = await client.next_frame()

    assert frame["message"] == detail["message"]
    assert frame["id"] == json.loads(answer)["Entries"][0]["EventId"]


async def test_it_shows_what_happens_and_keeps_it_in_files(shared: Run) -> None:
    entity_id = unique("shown")
    before = len(shared.printed)
    async with connect(shared.outputs()["WebsocketUri"]) as socket:
        client = Client(socket)
        await client.subscribe(entity_id)
        events = LocalAws.of_outputs(shared.outputs()).client("events")
        (entry,) = event_file("entity-updated.json")
        events.put_events(Entries=[entry | {"Detail": json.dumps({"entityId": entity_id})}])
        await client.next_frame()
        await client.request("subscribe")

    def shows(pattern: str) -> Callable[[], object]:
        return lambda: re.search(pattern, shared.printed[before:], re.MULTILINE)

    clock = r"^\d\d:\d\d:\d\d "
    for expected in (
        r"gateway +connection (\S+) stage=v1 .* opened",
        r"connect +INFO connection opened connection_id=",
        r"gateway +route subscribe connection=\S+ .*: 200, replied",
        r"bus +event sent to NotificationQueue$",
        r"gateway +@connections POST connection=\S+ .*: 200$",
        r"subscribe +INFO request rejected .*code=InvalidEntityId",
        r"gateway +connection \S+ closed: 1000",
        r"disconnect +INFO connection closed ",
    ):
        await eventually(shows(clock + expected), expected)
    assert not shows("_aws|REPORT RequestId")()
    for name in ("gateway", "functions", "emulator", "page"):
        assert f"{name}.log" in shared.printed
        assert (PROJECT / f".local/{name}.log").exists()
    # All of it is there.
    kept = (PROJECT / ".local/functions.log").read_text()
    assert '"ConnectionsOpened"' in kept
    assert "REPORT RequestId" in kept


async def test_an_edit_is_live_within_two_seconds_and_open_sockets_and_rows_stay(
    shared: Run,
) -> None:
    entity_id = unique("edited")
    async with connect(shared.outputs()["WebsocketUri"]) as socket:
        client = Client(socket)
        await client.subscribe(entity_id)
        assert (await client.request("ping"))["time"] != LONG_AGO

        with edited("ping/app.py", "iso_8601(datetime.now(UTC))", f'"{LONG_AGO}"'):
            started = time.monotonic()
            await eventually(lambda: "Reloaded ping/app.py" in shared.printed, "it is told")
            seconds = time.monotonic() - started

            assert (await client.request("ping"))["time"] == LONG_AGO
            assert (await client.request("subscriptions"))["entityIds"] == [entity_id]
            assert seconds < 2 * SLACK

            await an_error_is_shown_and_the_old_code_stays(shared, client)
        await eventually(lambda: shared.printed.count("Reloaded ping/app.py") == 2, "it is undone")
        assert (await client.request("ping"))["time"] != LONG_AGO


async def an_error_is_shown_and_the_old_code_stays(shared: Run, client: Client) -> None:
    with edited("ping/app.py", "    return ", "    return ("):
        await eventually(lambda: "the old code stays" in shared.printed, "the error is told")
        assert 'File "functions/ping/app.py", line ' in shared.printed
        assert "SyntaxError: " in shared.printed
        assert (await client.request("ping"))["time"] == LONG_AGO
    # The editor's undo brings nothing new.
    assert shared.printed.count("Reloaded ping/app.py") == 1


async def test_what_an_edited_function_raises_is_shown_with_its_traceback(shared: Run) -> None:
    async with connect(shared.outputs()["WebsocketUri"]) as socket:
        reloads = shared.printed.count("Reloaded ping/app.py")
        with edited(
            "ping/app.py",
            "    return ",
            "    raise ZeroDivisionError('seen')\n    return ",
        ):
            await eventually(
                lambda: shared.printed.count("Reloaded ping/app.py") > reloads, "it is told"
            )
            # Answered by the gateway, which knows no requestId.
            await Client(socket).send({"action": "ping"})
            await eventually(lambda: "ZeroDivisionError: seen" in shared.printed, "it is shown")
            (line,) = re.findall(r".* raise ZeroDivisionError", shared.printed)
            assert "Traceback (most recent call last):" in shared.printed
            assert line.startswith("    ")
        await eventually(
            lambda: shared.printed.count("Reloaded ping/app.py") > reloads + 1, "it is undone"
        )


@contextmanager
def edited(name: str, old: str, new: str) -> Iterator[None]:
    """Edit a file of the copy's functions while the block lasts."""
    path = PROJECT / "functions" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(text)


def test_a_function_is_run_on_its_event_against_the_local_table(shared: Run) -> None:
    assert invoke(FUNCTION="connect").returncode == 0

    started = time.monotonic()
    subscribed = invoke(FUNCTION="subscribe")
    seconds = time.monotonic() - started

    reply = json.loads(json.loads(subscribed.stdout)["body"])
    assert (reply["type"], reply["entityId"]) == ("Subscribed", "myTestEntityId")
    assert "subscribe returned after" in subscribed.stderr
    assert seconds < 2 * SLACK
    left = invoke(FUNCTION="disconnect")
    assert "disconnect    INFO connection closed connection_id=" in left.stderr
    assert "_aws" not in left.stderr


def test_a_function_is_run_in_a_debugger_that_stops_in_its_first_line(shared: Run) -> None:
    debugged = invoke("p connection.connection_id\ncontinue\n", FUNCTION="ping", DEBUG="1")

    connection_id = event_file("ping.json")["requestContext"]["connectionId"]
    assert "functions/ping/app.py" in debugged.stderr
    assert f"(Pdb) '{connection_id}'" in debugged.stderr
    assert json.loads(debugged.stdout)["statusCode"] == 200


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "Which function? "),
        ({"FUNCTION": "nobody"}, "There is no function 'nobody'. "),
        ({"FUNCTION": "authorize"}, "make local AUTH=jwt has it."),
        ({"FUNCTION": "ping", "EVENT": "none.json"}, "There is no event in none.json."),
        ({"FUNCTION": "ping", "EVENT": "Makefile"}, "Makefile is no event: "),
    ],
)
def test_what_cannot_be_run_is_said(shared: Run, variables: dict[str, str], message: str) -> None:
    refused_run = invoke(**variables)

    assert refused_run.returncode != 0
    assert refused_run.stdout == ""
    assert message in refused_run.stderr
    assert "Traceback" not in refused_run.stderr


def invoke(typed: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return make("invoke", typed, **variables)


async def test_a_second_run_is_refused_and_does_not_disturb_the_first(
    shared: Run, start_beside: Starter
) -> None:
    before = shared.outputs()

    assert "already running" in await refused(start_beside())

    assert shared.outputs() == before
    async with connect(before["WebsocketUri"]) as socket:
        assert (await Client(socket).request("ping"))["type"] == "Pong"


async def test_ctrl_c_stops_everything_it_started(shared: Run, ports: dict[str, int]) -> None:
    # A terminal sends it to the whole foreground group.
    await shared.ends_whole(os.killpg, signal.SIGINT)

    assert all(map(is_free, ports.values()))
    assert "make local does not run in this folder" in invoke(FUNCTION="ping").stderr


async def test_quiet_it_shows_errors_alone(quiet: Run) -> None:
    kept = PROJECT / ".local/functions.log"
    async with connect(quiet.outputs()["WebsocketUri"]) as socket:
        assert (await Client(socket).request("ping"))["type"] == "Pong"
        await eventually(lambda: " ping REPORT" in kept.read_text(), "it is in the file")
        assert quiet.printed.rstrip().endswith(LAST_LINE)

        with edited(
            "ping/app.py", "    return ", "    raise ZeroDivisionError('seen')\n    return "
        ):
            await eventually(lambda: "Reloaded ping/app.py" in quiet.printed, "it is told")
            await Client(socket).send({"action": "ping"})
            await eventually(lambda: "ZeroDivisionError: seen" in quiet.printed, "it is shown")
        await eventually(lambda: quiet.printed.count("Reloaded ping/app.py") == 2, "it is undone")
    shown = quiet.printed.partition(LAST_LINE)[2]
    assert not re.search(" gateway +connection | INFO ", shown)


@pytest.fixture(scope="module")
def quiet(runs: list[Run], start_beside: Starter, ports: dict[str, int]) -> Run:
    """A run that shows errors alone."""
    for run in runs:
        run.kill()
    run = start_beside(LOG="quiet", **ports)
    asyncio.run(run.prints(LAST_LINE))
    return run


async def test_a_gateway_that_dies_is_told_with_the_end_of_its_log_and_all_else_is_stopped(
    quiet: Run, ports: dict[str, int]
) -> None:
    family = descendants(quiet.process.pid)

    os.kill(quiet.child("-m local.gateway"), signal.SIGKILL)

    assert await quiet.ends() != 0
    log = PROJECT / ".local/gateway.log"
    assert "The gateway has ended (signal 9)" in quiet.printed
    assert f"The end of {log}:\n{log.read_text()}" in quiet.printed
    assert [pid for pid in family if is_running(pid)] == []
    assert all(map(is_free, ports.values()))
    assert not OUTPUTS.exists()
    # What functions raised stands behind their name.
    assert not re.search("^Traceback", quiet.printed, re.MULTILINE)


async def test_with_auth_it_prints_a_token_with_which_the_printed_lines_work(
    start: Starter, ports: dict[str, int]
) -> None:
    run = start(AUTH="jwt", **ports)
    await run.prints(LAST_LINE)
    address = run.outputs()["WebsocketUri"]

    (token,) = re.findall(r"^(ey\S+)$", run.printed, re.MULTILINE)
    assert f"npx wscat -c {address} -s websocket -s {token}\n" in run.printed
    assert f"header Sec-WebSocket-Protocol: websocket, {token}\n" in run.printed
    assert "WITHOUT AUTHENTICATION" not in run.printed
    assert (await ask(address, token, "myTestEntityId"))["type"] == "Subscribed"

    minted = make_token(USER="bob", ENTITIES="order-17 shop/*", MINUTES="5")
    assert minted.returncode == 0
    assert "bob may hear order-17 shop/* for 5 minutes." in minted.stderr
    other = minted.stdout.strip()
    assert (await ask(address, other, "shop/1"))["type"] == "Subscribed"
    assert (await ask(address, other, "order-18"))["code"] == "Forbidden"

    forged = f"{other.rpartition('.')[0]}.{token.rpartition('.')[2]}"
    for presented in ("none", forged):
        with pytest.raises(InvalidStatus) as refusal:
            await ask(address, presented, "order-17")
        assert refusal.value.response.status_code in (401, 403)
    with pytest.raises(InvalidStatus):
        await connect(address)

    smoked = await asyncio.to_thread(make, "smoke", LOCAL="1", SKIP="poison permission")
    assert smoked.returncode == 0, smoked.stdout + smoked.stderr
    assert smoked.stdout.count("\nskipped") == 3
    assert "(a token of make local lives for whole minutes)" in smoked.stdout
    assert "without a token nobody gets in\n" in smoked.stdout

    for secret in (token, other, forged):
        assert secret.rpartition(".")[2] not in written()
    # To make alone, as a supervisor would send it.
    await run.ends_whole(os.kill, signal.SIGTERM)
    assert all(map(is_free, ports.values()))


async def test_it_takes_another_s_issuer_mints_nothing_for_it_and_nothing_outlives_its_kill(
    start: Starter, ports: dict[str, int], tmp_path: Path
) -> None:
    key = signing_key(tmp_path)
    with served(published_keys(tmp_path)) as keys_url:
        theirs = Issuer("https://login.example/", "shop", keys_url)
        run = start(
            AUTH="jwt", JWKS_URL=keys_url, ISSUER=theirs.name, AUDIENCE=theirs.audience, **ports
        )
        await run.prints(LAST_LINE)
        address = run.outputs()["WebsocketUri"]

        assert "Clients need a token of https://login.example/ for shop." in run.printed
        assert not re.search("eyJ", run.printed)
        minted = key.mint(theirs, Claims())
        assert (await ask(address, minted, "order-17"))["type"] == "Subscribed"
        refused_token = make_token()
        assert refused_token.returncode != 0
        assert refused_token.stdout == ""
        assert "https://login.example/, which cannot be minted here" in refused_token.stderr

        await nothing_outlives_a_launcher_that_is_killed(run)
        assert all(map(is_free, ports.values()))


async def nothing_outlives_a_launcher_that_is_killed(run: Run) -> None:
    family = descendants(run.process.pid)
    # There are workers as well.
    assert len(family) > 6

    os.kill(run.child("-m local --aws-port"), signal.SIGKILL)

    await eventually(lambda: not any(map(is_running, family)), "all have ended", 10)
    # Nobody was left to do it. The next run that gets so far would.
    OUTPUTS.unlink()


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve a file on loopback, and yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AUTH": "yes"}, "AUTH is 'yes'"),
        ({"ISSUER": "https://login.example"}, "make local AUTH=jwt ISSUER="),
        ({"AUTH": "jwt", "ISSUER": "https://login.example"}, "missing: JWKS_URL, AUDIENCE"),
        (
            {"AUTH": "jwt", "ISSUER": "a", "AUDIENCE": "b", "JWKS_URL": "http://a.example/keys"},
            "JWKS_URL is 'http://a.example/keys'",
        ),
    ],
)
async def test_variables_of_tokens_that_do_not_fit_together_are_refused(
    start: Starter, variables: dict[str, str], message: str
) -> None:
    printed = await refused(start(**variables))

    assert message in printed
    assert not OUTPUTS.exists()


@pytest.mark.parametrize("step", ["Starting the emulator", "sam build", "sam deploy"])
async def test_a_terminate_signal_while_it_starts_stops_everything_it_started(
    start: Starter, ports: dict[str, int], step: str
) -> None:
    run = start(**ports)
    await run.prints(step)

    await run.ends_whole(os.kill, signal.SIGTERM)

    assert all(map(is_free, ports.values()))


@pytest.mark.parametrize("used", PORTS)
async def test_a_port_in_use_is_named_with_the_variable_to_change(
    start: Starter, ports: dict[str, int], used: str
) -> None:
    with occupied() as port:
        printed = await refused(start(**{**ports, used: port}))

    assert f"Port {port} " in printed
    assert f"make local {used}=" in printed
    assert all(is_free(ports[other]) for other in PORTS if other != used)
    assert not OUTPUTS.exists()


@pytest.mark.parametrize("value", ["0", "70000", "abc", "-1"])
@pytest.mark.parametrize("variable", PORTS)
async def test_what_is_no_port_is_refused_with_what_would_be_one(
    start: Starter, variable: str, value: str
) -> None:
    printed = await refused(start(**{variable: value}))

    assert variable in printed
    assert value in printed
    assert "1 to 65535" in printed
    assert not OUTPUTS.exists()


@pytest.mark.parametrize(("one", "other"), [*combinations(PORTS, 2)])
async def test_one_port_for_both_is_refused(start: Starter, one: str, other: str) -> None:
    port = free_port()

    printed = await refused(start(**{one: port, other: port}))

    assert f"{one} and {other} are both {port}" in printed
    assert is_free(port)
    assert not OUTPUTS.exists()


async def test_a_sam_cli_that_is_too_old_is_refused_with_the_oldest_that_will_do(
    start: Starter, tmp_path: Path
) -> None:
    old = script(tmp_path / "sam", 'echo "SAM CLI, version 1.100.0"')

    printed = await refused(start(SAM=old))

    assert "1.100.0" in printed
    assert "1.160.0 or newer" in printed
    assert not OUTPUTS.exists()


async def test_a_sam_cli_that_is_missing_is_named(start: Starter, tmp_path: Path) -> None:
    missing = tmp_path / "sam"

    printed = await refused(start(SAM=missing))

    assert f"no SAM CLI at '{missing}'" in printed
    assert not OUTPUTS.exists()


async def test_a_build_that_fails_shows_why_and_leaves_nothing(
    start: Starter, ports: dict[str, int], tmp_path: Path
) -> None:
    broken = script(
        tmp_path / "sam",
        '[ "$1" = --version ] && echo "SAM CLI, version 1.170.0" && exit',
        "echo no space left",
        "exit 3",
    )

    printed = await refused(start(SAM=broken, **ports))

    assert "sam build failed" in printed
    assert "no space left" in printed
    assert all(map(is_free, ports.values()))
    assert not OUTPUTS.exists()


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path
