"""The gateway as a package, alone, in front of a stack that nobody prepared for it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from conformance import deploy
from conformance.targets import PATIENCE_SECONDS

pytestmark = pytest.mark.log

PACKAGE = deploy.ROOT / "local" / "gateway"
FOREIGN = deploy.HERE / "foreign" / "template.yaml"
# Of distributions that are imported by another name than their own.
IMPORTED_AS = {"airspeed-ext": "airspeed", "PyYAML": "yaml"}
# They come with aiohttp and jsonschema, of whose interface they are part.
COME_ALONG = {"yarl", "referencing"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it in an environment of its own, and give the command's path."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(PACKAGE)],
        check=True, timeout=120,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    home = folder / "environment"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
         "--no-index", str(wheel)],
        check=True, timeout=120,
    )  # fmt: skip
    # What it depends on is taken from here, so that the registry is not asked.
    site = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin" / "local-gateway"


def test_package_imports_nothing_but_itself_and_what_it_declares() -> None:
    """own: no import leads out of the folder, and each library is declared."""
    declared = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[<>=\[]", each)[0] for each in declared]
    allowed = {IMPORTED_AS.get(name, name) for name in names} | COME_ALONG
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.ImportFrom):
                depth = len(path.relative_to(PACKAGE).parts)
                assert node.level <= depth, f"{path} imports from outside"
    assert found - set(sys.stdlib_module_names) == allowed


def test_requirements_of_the_local_run_hold_those_of_the_package() -> None:
    """own: both say the same of a library, so that what is tested is what is published."""
    declared = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["dependencies"]
    installed = (deploy.ROOT / "local" / "requirements.txt").read_text().splitlines()
    # boto3 brings botocore, and has its versions.
    assert [each for each in declared if each.replace("botocore", "boto3") not in installed] == []


def test_licence_of_the_package_is_the_projects() -> None:
    """own: a wheel has no other place to take it from."""
    assert (PACKAGE / "LICENSE").read_text() == (deploy.ROOT / "LICENSE").read_text()


def test_foreign_stack_is_deployed_and_served(local: Any, installed: Path, tmp_path: Path) -> None:
    """own: the installed commands deploy a template as people write it, and serve its API."""
    runtime = f"Runtime={local.runtime}"
    said = run(installed, local, tmp_path, "deploy", str(FOREIGN), "--parameter", runtime)
    assert "Address: ws://127.0.0.1:3001/" in said
    assert "LeftOut" not in said and "DeploymentId" not in said
    options = re.search(r"now: local-gateway (.*)", said)
    assert options
    with serving(installed, local, tmp_path, *options[1].split()) as url, talk(url) as client:
        assert ask(client, {"action": "tell"}) == {"told": ["first", "1", "true"]}
        assert ask(client, {"action": "mock"}) == {"stack": "foreign"}
        assert ask(client, {"action": "announce"})["message"] == "Bad request body"
        # Not with the function's own reply: that route's response is of a condition that is false.
        client.send(json.dumps({"action": "announce", "text": "hello"}))
        said = run(
            *(installed, local, tmp_path, "deploy", str(FOREIGN)),
            *("--parameter", runtime, "--parameter", "Tells=second"),
        )
        assert "deployed foreign" in said
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ask(client, {"action": "tell"}) != {"told": ["second", "1", "true"]}:
            assert time.monotonic() < deadline, "the redeploy goes live"


def test_function_calls_back_at_the_address_of_its_event(
    local: Any, installed: Path, tmp_path: Path
) -> None:
    """own: with the two variables, https://{domainName}/{stage} works from within a function."""
    runtime = f"Runtime={local.runtime}"
    said = run(
        *(installed, local, tmp_path, "deploy", str(FOREIGN), "--stack-name", "caller"),
        *("--parameter", runtime),
    )
    options = re.search(r"now: local-gateway (.*)", said)
    assert options
    with serving(installed, local, tmp_path, *options[1].split()) as url, talk(url) as client:
        client.send(json.dumps({"action": "announce", "text": "hello"}))
        frame = json.loads(client.recv(timeout=PATIENCE_SECONDS))
        assert frame["posted"] == "hello"
        assert re.fullmatch(r"http://127\.0\.0\.1:3001/\w+/live", frame["url"])


def test_templates_of_cdk_and_serverless_are_deployed_with_the_code_beside_them(
    local: Any, installed: Path, tmp_path: Path
) -> None:
    """own: they name objects of an upload of their own; what would be uploaded is found."""
    with zipfile.ZipFile(tmp_path / "service.zip", "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    return 'zipped'\n")
    asset = tmp_path / "asset.0123abcd"
    asset.mkdir()
    (asset / "app.py").write_text("def handler(event, context):\n    return 'folder'\n")

    def function(bucket: Any, key: str) -> dict[str, Any]:
        return {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": {"S3Bucket": bucket, "S3Key": key},
                "Handler": "app.handler",
                "Runtime": local.runtime,
                "Role": "arn:aws:iam::000000000000:role/any",
            },
        }

    template = {
        "Parameters": {
            "BootstrapVersion": {
                "Type": "AWS::SSM::Parameter::Value<String>",
                "Default": "/cdk-bootstrap/hnb659fds/version",
            }
        },
        "Rules": {"CheckBootstrapVersion": {"Assertions": []}},
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket"},
            "Zipped": function({"Ref": "Bucket"}, "serverless/service/dev/1-2/service.zip"),
            "Folder": function({"Fn::Sub": "assets-${AWS::AccountId}"}, "0123abcd.zip"),
        },
        "Outputs": {name: {"Value": {"Ref": name}} for name in ("Zipped", "Folder")},
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    said = run(installed, local, tmp_path, "deploy", str(path), "--stack-name", "frameworks")
    names = dict(re.findall(r"(Zipped|Folder): (\S+)", said))
    client = deploy.client("lambda", local.stack.endpoint_url)
    for name, answer in (("Zipped", "zipped"), ("Folder", "folder")):
        payload = client.invoke(FunctionName=names[name], Payload=b"{}")["Payload"]
        assert json.load(payload) == answer


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "is not YAML"),
        ("Description: nothing", "it has no Resources"),
        ("Resources: {A: 3}", "A has no Type"),
        ("Resources: {A: \0}", "is not YAML"),
        ("Resources: {A: {Type: 'AWS::No::Such'}}", "AWS::No::Such"),
        (
            "Resources: {A: {Type: 'AWS::Lambda::Function', Properties: {Code: nowhere}}}",
            "there is no .*nowhere",
        ),
    ],
    ids=["no YAML", "no template", "no type", "no text", "an unknown type", "no code"],
)
def test_template_that_cannot_be_deployed_is_said_in_one_line(
    local: Any, tmp_path: Path, text: str, told: str
) -> None:
    """own: one line and a status that is not 0."""
    path = tmp_path / "template.yaml"
    path.write_text(text)
    result = subprocess.run(
        [sys.executable, "-m", "local.gateway", "deploy", str(path), "--stack-name", "broken",
         "--endpoint-url", local.stack.endpoint_url],
        check=False, cwd=deploy.ROOT, env={**os.environ, **deploy.CREDENTIALS},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(f"^gateway: .*{told}", result.stderr, re.DOTALL), result.stderr


def environment(local: Any) -> dict[str, str]:
    """Return the variables of a shell in which nothing of this project is."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, **deploy.CREDENTIALS, "AWS_ENDPOINT_URL": local.stack.endpoint_url}


def run(command: Path, local: Any, folder: Path, *arguments: str) -> str:
    """Run a command to its end and return what it printed."""
    result = subprocess.run(
        [command, *arguments], check=False, cwd=folder, env=environment(local),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def serving(command: Path, local: Any, folder: Path, *options: str) -> Iterator[str]:
    """Run a gateway from a folder that is not the project's, and yield its address."""
    more = ("--port", "0", "--tls-folder", str(local.directory / "tls"), "--refresh-seconds", "0.2")
    with (folder / "gateway.log").open("w") as log, subprocess.Popen(
        [command, *options, *more], cwd=folder, env=environment(local),
        stdout=subprocess.PIPE, stderr=log, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        try:
            line = process.stdout.readline()
            found = re.search(r"(ws://\S+)", line)
            assert found, (folder / "gateway.log").read_text()
            yield found[1]
        finally:
            process.terminate()


@contextmanager
def talk(url: str) -> Iterator[ClientConnection]:
    """Connect to the stage of the foreign stack."""
    with connect(f"{url}/live", open_timeout=PATIENCE_SECONDS, ping_interval=None) as client:
        yield client


def ask(client: ClientConnection, message: dict[str, Any]) -> Any:
    """Send a message and return the next frame that is not a post."""
    client.send(json.dumps(message))
    while True:
        try:
            answer = json.loads(client.recv(timeout=PATIENCE_SECONDS))
        except ConnectionClosed as end:
            raise AssertionError("the gateway closed the connection") from end
        if "posted" not in answer:
            return answer
