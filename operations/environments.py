"""The environments of samconfig.toml, and the `sam deploy` of one.

`make deploy ENV=prod` is what this is for. It does what `sam deploy --config-env prod` does, and
names a release besides, where the environment takes one over gradually. SAM replaces all overrides
of the file by those of a command, so that whoever adds one repeats the others.

Only the standard library: it runs before anything is installed.
"""

import argparse
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMCONFIG = ROOT / "samconfig.toml"


class UnknownEnvironment(Exception):
    """Say that samconfig.toml has no such environment to deploy to."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One of samconfig.toml: what its stack is called, and the values that it gives parameters."""

    name: str
    stack_name: str
    parameters: Mapping[str, str]

    @property
    def gradual(self) -> bool:
        """Whether it says how a release is taken over."""
        return "TrafficShift" in self.parameters


def read(name: str, path: Path = SAMCONFIG) -> Environment:
    """Return an environment of samconfig.toml.

    Raises:
        UnknownEnvironment: there is none of that name.
    """
    environments = tomllib.loads(path.read_text())
    try:
        table = environments[name]
        overrides = table["deploy"]["parameters"].get("parameter_overrides", [])
        stack_name = table["global"]["parameters"]["stack_name"]
    except (KeyError, TypeError) as exc:
        raise UnknownEnvironment(f"{path.name} has no environment {name!r} to deploy to.") from exc
    # Quoted as SAM reads them: an empty value is "".
    pairs = (shlex.split(override)[0].partition("=") for override in overrides)
    return Environment(name, stack_name, {key: value for key, _, value in pairs})


def release_name(commit: str, now: datetime) -> str:
    """Return a name that no other deployment has, and that says what was deployed and when."""
    return f"{now:%Y%m%dT%H%M%SZ}-{commit}"


def command(
    sam: str | Path,
    environment: Environment,
    parameters: Mapping[str, str] | None = None,
    *options: str | Path,
) -> list[str | Path]:
    """Return the `sam deploy` of an environment.

    Args:
        parameters: values that differ from those of the file.
    """
    values = {**environment.parameters, **(parameters or {})}
    overrides = [f"{name}={value}" if value else f'{name}=""' for name, value in values.items()]
    return [
        *(sam, "deploy", "--config-file", SAMCONFIG, "--config-env", environment.name),
        *(("--parameter-overrides", *overrides) if overrides else ()),
        *options,
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command be told what `deploy` asks of its options."""
    parser.add_argument("environment", help="ENV")
    parser.add_argument("--sam", default="sam", help="SAM")
    parser.add_argument("--at-once", action="store_true", help="not gradually (AT_ONCE=1)")
    parser.add_argument("--role-arn", help="CloudFormation's role for the stack (STACK_ROLE)")


def deploy(options: argparse.Namespace, environment: Environment, *more: str) -> int:
    """Run `sam deploy`, with a new release where the environment is gradual; return its status."""
    parameters = {}
    if environment.gradual and not options.at_once:
        parameters["Release"] = release_name(_commit(), datetime.now(UTC))
        print(f"Release {parameters['Release']}", flush=True)
    role = ("--role-arn", options.role_arn) if options.role_arn else ()
    return subprocess.run(  # noqa: S603 - the project's own command
        command(options.sam, environment, parameters, *role, *more), cwd=ROOT, check=False
    ).returncode


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        # No git, or no repository, as where an archive was unpacked.
        return "unnamed"
    return found.stdout.strip()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make deploy", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        environment = read(options.environment)
    except UnknownEnvironment as exc:
        print(exc, file=sys.stderr)
        return 2
    return deploy(options, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
