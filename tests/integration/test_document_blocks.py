"""Every block of code in a document is run, or looked at, or listed here with the reason why not.

A new one that is neither fails here. Snippets of clients are run as `integration.snippets` says;
what is said about the application itself, against the application. The dialogues of
docs/protocol.md are played by test_protocol_document and test_identity, what the runbooks try by
test_runbooks.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
from asyncio.subprocess import PIPE
from datetime import datetime
from pathlib import Path

import pytest

from clients.service import Service
from clients.waiting import Changes
from integration import runbooks
from integration.harness import (
    DEADLINE_SECONDS,
    Application,
    Frame,
    event_file,
    eventually,
    free_port,
    number_of,
    unique,
)
from integration.snippets import ENTITY, SNIPPETS, Snippet, World, command_of, program, snippets
from support.commands import check, commands, inline
from support.documents import ROOT, Block, Key, blocks, documents, key_of, prose

NOT_RUN: dict[Key, str] = {
    ("README.md", "flowchart LR"): "a picture; tests/unit/test_documents.py sees what is in it",
    ("docs/clients.md", "COMMAND URL ENTITY... [--since CURSOR|last] [--user]"): (
        "a form; tests/clients starts every client so"
    ),
    ("docs/local-gateway.md", "connection LgmnqO0PvG6W4nY= stage=prod source=127.0.0.1 opened"): (
        "a log, whose lines are tested in tests/conformance/test_log.py"
    ),
}
# By another module, which takes the block out of the document as well.
RUN_BY: dict[Key, str] = {
    ("functions/management_api/README.md", "from management_api import ManagementApi"): (
        "tests/management_api/test_readme.py"
    ),
}


@pytest.mark.parametrize(
    ("block", "snippet"), [pytest.param(*each, id=str(each[0])) for each in snippets()]
)
async def test_a_snippet_does_what_it_says(tmp_path: Path, block: Block, snippet: Snippet) -> None:
    service = Service(Changes(DEADLINE_SECONDS), min_delay=0, ping=0)
    service.entity_ids = ["myTestEntityId"] if block.document == "README.md" else [ENTITY]
    world = World(service, await service.start(), tmp_path)
    snippet.prepare(world)
    try:
        command = command_of(world, block, snippet)
        async with program(*command, PYTHONPATH=str(ROOT / "client/python")) as running:
            await snippet.drive(world, running)
    except AssertionError as exc:
        exc.add_note("\n".join(service.transcript[-40:]))
        raise
    finally:
        await service.stop()


def test_follow_has_twenty_lines() -> None:
    """Without the imports, and what two lines above it are for; braces alone are no lines."""
    for block in blocks("js", "python", document="docs/protocol.md"):
        lines = block.text.partition(
            "function follow(" if block.language == "js" else "def follow("
        )[2]
        counted = [
            line
            for line in lines.splitlines()
            if re.search(r"\w", line) and not re.match(r" *(#|//)", line)
        ]
        assert len(counted) == 20, block


@pytest.mark.parametrize("name", ["python", "js"])
async def test_a_client_of_twenty_lines_follows_the_application(
    application: Application, tmp_path: Path, name: str
) -> None:
    ((block, snippet),) = [
        each
        for each in snippets()
        if each[0].document == "docs/protocol.md" and each[0].language == name
    ]
    entity_id = unique("entity")
    world = World(
        Service(Changes(1), min_delay=0, ping=0), application.outputs["WebsocketUri"], tmp_path
    )
    text = Block(block.document, block.line, block.language, block.text)
    after = Snippet(snippet.drive, after=snippet.after.replace(ENTITY, entity_id))
    async with program(*command_of(world, text, after)) as running:
        await eventually(lambda: application.subscribers(entity_id), "it subscribes")
        published = [application.publish(entity_id, message=n) for n in range(3)]
        await eventually(lambda: len(running.printed) == 3, "it gets what is published")
        application.stop_gateway()
        published += [application.publish(entity_id, message=n) for n in range(3, 6)]
        await application.settled()
        application.start_gateway()
        await eventually(lambda: len(running.printed) == 6, "it comes back and recovers")

    heard: list[Frame] = [json.loads(line) for line in running.printed]
    assert [number_of(frame["cursor"]) for frame in heard] == [*range(1, 7)]
    assert {frame["id"] for frame in heard} == set(published)


async def shell(command: str, environment: dict[str, str]) -> str:
    """Run a line as it stands in a document, in the root of the repository; return its output."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


def in_a_terminal(application: Application) -> dict[str, str]:
    """Return the environment of somebody who works with the application's emulator."""
    environment = application.environment()
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment | {"PATH": path, "AWS_REGION": environment["AWS_DEFAULT_REGION"]}


async def test_the_walkthrough_of_the_readme(application: Application) -> None:
    """Do what it says, with what stands there, in its order."""
    subscribe, detail, update, resume = (
        json.loads(block.text) for block in blocks("json", document="README.md")
    )
    (put_events,) = [
        block.text
        for block in blocks("", document="README.md")
        if block.text.startswith("aws events put-events")
    ]
    async with application.client() as client:
        reply = await client.exchange(json.dumps(subscribe))
        assert reply.keys() == {"type", "entityId", "cursor"}
        assert f'`{{"type":"Subscribed","entityId":"{reply["entityId"]}","cursor":"' in (
            (ROOT / "README.md").read_text()
        )
        answer = json.loads(await shell(put_events, in_a_terminal(application)))
        frame = await client.next_frame()
        number = number_of(frame["cursor"])
        assert frame.keys() == update.keys()
        assert frame["id"] == answer["Entries"][0]["EventId"]
        differs = {"id", "time", "cursor"}
        assert {name: frame[name] for name in frame.keys() - differs} == {
            name: update[name] for name in update.keys() - differs
        }
        assert number_of(update["cursor"]) == number_of(reply["cursor"]) + 1 == 1 or number > 1
    application.put_event(detail)
    await application.settled()
    assert resume["since"] == update["cursor"]
    async with application.client() as client:
        reply = await client.exchange(json.dumps(resume | {"since": frame["cursor"]}))
    (missed,) = reply["events"]
    assert (missed["message"], number_of(missed["cursor"])) == (detail["message"], number + 1)


async def test_the_lines_that_publish(application: Application) -> None:
    lines = [
        line
        for block in blocks("", document="docs/publishing.md")
        for line in block.text.splitlines()
        if line.startswith("echo")
    ]
    assert len(lines) == 2
    if not (shutil.which("node") and (ROOT / "examples/node_modules/.done").exists()):
        lines = [line for line in lines if "node " not in line]
    async with application.client() as client:
        await client.subscribe("myTestEntityId")
        for line in lines:
            await shell(line, in_a_terminal(application))
            frame = await client.next_frame()
            assert (frame["message"], datetime.fromisoformat(frame["time"]).tzinfo) != ("", None)
            assert frame["message"] == "packed"


async def test_the_lines_that_make_trouble(application: Application) -> None:
    """Of docs/local-gateway.md, with curl, on another port and another connection."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (block,) = [each for each in blocks("console") if "curl" in each.text]
    change, cut = commands(block)
    entity_id, port = unique("entity"), free_port()
    application.start_gateway("--control-port", str(port))
    try:
        async with application.client() as client:
            await client.subscribe(entity_id)
            connection_id = application.connection_id(entity_id)
            faults = await shell(change.replace(":3003", f":{port}"), application.environment())
            assert json.loads(faults)["429"] == 0.1
            cut = re.sub(r"/connections/[^/]+/", f"/connections/{connection_id}/", cut)
            await shell(cut.replace(":3003", f":{port}"), application.environment())
            await client.socket.wait_closed()
    finally:
        application.start_gateway()


async def test_the_gateway_starts_as_the_document_says(application: Application) -> None:
    (block,) = [
        each
        for each in blocks("console")
        if each.document == "docs/local-gateway.md" and "gateway ready" in each.text
    ]
    (line,) = [each for each in commands(block) if "--endpoint-url" in each]
    environment = in_a_terminal(application)
    words = shlex.split(re.sub(r"http://\S+", environment["AWS_ENDPOINT_URL"], line))
    said = f"gateway ready: ws://127.0.0.1:{(port := free_port())} api="
    (expected,) = [each for each in block.text.splitlines() if each.startswith("gateway ready")]
    arguments = (*words[1:], "--port", str(port))
    async with program(sys.executable, *arguments, **environment) as running:
        await eventually(lambda: running.printed + running.complaints, "it is ready")
        (ready, *_) = [*running.printed, *running.complaints]
    assert ready.startswith(said)
    own = r"\d+ api=\w+ \(\w+\) stages: \w+"
    assert re.sub(own, "", expected) == re.sub(own, "", ready) != ready


def command_blocks() -> list[Block]:
    return [
        block
        for block in blocks("", "console", "sh", "bash")
        if not (key_of(block, NOT_RUN) or key_of(block, RUN_BY) or is_run_as_runbook(block))
    ]


def is_run_as_runbook(block: Block) -> bool:
    folder, _, name = block.document.rpartition("/")
    return folder == "docs/runbooks" and runbooks.is_run(name.removesuffix(".md"), block.text)


@pytest.mark.parametrize("block", command_blocks(), ids=str)
def test_the_commands_of_a_block_exist(block: Block) -> None:
    assert commands(block)
    for command in commands(block):
        if not command.startswith("curl "):  # run above
            check(command)


@pytest.mark.parametrize("document", documents(), ids=str)
def test_the_commands_in_sentences_exist(document: Path) -> None:
    for command in inline(prose(document)):
        check(command)


def treatments(block: Block) -> list[str]:
    """Return how a block is made sure of; exactly one is right."""
    found = []
    if block.language == "dialogue":
        found.append("played")
    if block.language == "json" and block.document == "README.md":
        found.append("the walkthrough")
    if block in [each for each, _ in snippets()]:
        found.append("a snippet")
    if block in command_blocks():
        found.append("commands")
    if is_run_as_runbook(block):
        found.append("a runbook")
    if block.document.startswith("docs/runbooks/") and block.language == "text":
        found.append("what a runbook's commands show")
    found += [
        reason
        for keys in (NOT_RUN, RUN_BY)
        if (key := key_of(block, keys))
        for reason in [keys[key]]
    ]
    return found


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_block_is_made_sure_of(block: Block) -> None:
    assert len(treatments(block)) == 1, f"see {Path(__file__).name}: {block.text}"


def test_what_is_listed_is_there() -> None:
    for keys in (NOT_RUN, RUN_BY, SNIPPETS):
        met = [key for block in blocks() if (key := key_of(block, keys))]
        assert sorted(met) == sorted(keys)
    for module in RUN_BY.values():
        assert "README.md" in (ROOT / module).read_text()


def test_code_is_fenced() -> None:
    """A block that is only indented would be nobody's."""
    for document in documents():
        assert not re.findall(r"\n\n(?: {4,}|\t)\S.*", prose(document)), document


def test_the_example_event_is_that_of_the_walkthrough() -> None:
    (entry,) = event_file("entity-updated.json")
    assert json.loads(entry["Detail"]) in [json.loads(block.text) for block in blocks("json")]
