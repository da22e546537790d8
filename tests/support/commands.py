"""Commands in documents: whether there is such a program, with such arguments.

A command is looked at, not run: targets and variables of make, operations and options of the AWS
CLI and the SAM CLI, modules and their options, files that are named.
"""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from awscli.clidriver import create_clidriver

from support import template
from support.documents import ROOT, Block

# What stands for something that only whoever types it knows.
_PLACEHOLDER = re.compile(r"<[^<>]*>")
# In the form of a usage: an option that may be left out, or others of it.
_USAGE = re.compile(r"[\[\]]|\|\w+|\.\.\.")
# What is run inside of another.
_INNER = re.compile(r"\$\(([^()]+)\)")
# Of the AWS CLI as a whole.
_AWS_OPTIONS = {"endpoint-url", "output", "profile", "query", "region"}
# What the first version of the CLI, the one that can be installed with pip, does not have.
_AWS_2 = {("logs", "tail")}
_SAM = ROOT / ".local/sam/bin/sam"
_SET = re.compile(r"([A-Z_]+)=")


def commands(block: Block) -> list[str]:
    """Return the commands of a block of them, or of a console, where they stand behind `$`."""
    text = block.text.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [each for line in lines for each in line.split(" && ") if each]


def inline(prose: str) -> list[str]:
    """Return the commands that stand in sentences."""
    spans = re.findall(r"`([^`\n]+)`", prose)
    return [
        each
        for span in spans
        if re.match(r"(make|aws|sam|npm|pip) [a-z-]|python -m ", span)
        for each in span.split(" && ")
    ]


def check(command: str) -> None:
    """Look at a command.

    Raises:
        AssertionError: there is no such thing.
        ValueError: nothing is known of such programs.
    """
    for inner in _INNER.findall(command):
        check(inner)
    words = shlex.split(_PLACEHOLDER.sub("X", _INNER.sub("X", command)), comments=True)
    while words and _SET.match(words[0]):
        words.pop(0)
    if words[:1] == ["echo"] and "|" in words:
        words = words[words.index("|") + 1 :]
    match words:
        case ["make", *arguments]:
            _check_make(arguments)
        case ["aws", service, operation, *arguments]:
            _check_aws(service, operation, arguments)
        case ["sam", operation, *arguments]:
            _check_sam(operation, arguments)
        case ["local-gateway", "deploy", *arguments] | [
            "python",
            "-m",
            "local.gateway",
            "deploy",
            *arguments,
        ]:
            _check_module("local.gateway deploy", arguments)
        case ["local-gateway", *arguments]:
            _check_module("local.gateway", arguments)
        case ["python" | ".venv/bin/python", "-m", module, *arguments]:
            _check_module(module, _USAGE.sub("", " ".join(arguments)).split())
        case _:
            _check_path(words, command)


def _check_path(words: list[str], command: str) -> None:
    """Look at a command that is known by what it names."""
    match words:
        case ["python" | "node", path, *_] | ["pip", "install", "-r", path]:
            assert (ROOT / path).is_file(), path
        case ["pip", "install", path] | ["pip", "wheel", "--no-deps", path] if "/" in path:
            assert (ROOT / path / "pyproject.toml").is_file(), path
        case ["npm", "install", "--prefix", path]:
            assert (ROOT / path / "package.json").is_file(), path
        case ["git", "archive", _, path, *_]:
            assert (ROOT / path).is_dir(), path
        case ["resource", name]:  # of docs/runbooks/README.md
            assert name in template.resource_names(), name
        case ["npm", "install", "--no-save", _, *_] | ["npx", "wscat", *_]:
            pass
        case ["pip", "install", *names]:
            listed = "".join(
                each.read_text() for each in (ROOT / "local").glob("requirements*.txt")
            )
            assert all(re.search(rf"^{name}[<>=]", listed, re.MULTILINE) for name in names), names
        case ["export" | "date", _, *_] | []:
            pass
        case _:
            raise ValueError(f"nothing is known of: {command}")


def options(words: list[str]) -> list[str]:
    return [word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")]


@cache
def _output(*command: str | Path) -> str:
    # Help is wrapped to the terminal, and options with it.
    done = subprocess.run(
        ["env", "COLUMNS=200", "PYTHONPATH=client/python:functions:tests:.", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = _output("make", "--no-print-directory", "help")
    for argument in arguments:
        if argument.startswith("-"):
            continue
        if match := _SET.match(argument):
            name = match[1]
            # Set there or used there: what make is told and nobody reads is a mistake.
            assert re.search(rf"[$(]\(?{name}\b|origin {name}\b|\$\$\{{?{name}\b", makefile), name
        else:
            assert re.search(rf"^{argument} ", listed, re.MULTILINE), argument


@cache
def _aws() -> Any:
    return create_clidriver().create_help_command().command_table


def _check_aws(service: str, operation: str, arguments: list[str]) -> None:
    if (service, operation) in _AWS_2:
        return
    assert service in _aws(), service
    operations = _aws()[service].create_help_command().command_table
    assert operation in operations, operation
    known = operations[operation].arg_table
    named = set(options(arguments))
    assert named <= known.keys() | _AWS_OPTIONS, named
    required = {name for name, argument in known.items() if argument.required}
    # Where a document speaks of the operation alone, it names no options.
    assert not arguments or required <= named, required - named


def _check_sam(operation: str, arguments: list[str]) -> None:
    if operation == "local":
        return
    known = _output(_SAM, operation, "--help")
    for option in options(arguments):
        assert re.search(rf"--{option}\b", known), option
    for short in re.findall(r"(?<!\S)-\w\b", " ".join(arguments)):
        assert re.search(rf"{short}\b", known), short


def _check_module(module: str, arguments: list[str]) -> None:
    known = _output(sys.executable, "-m", *module.split(), "--help")
    for option in options(arguments):
        assert re.search(rf"--{option}\b", known), option
