"""Deploy an environment of samconfig.toml.

`make deploy ENV=prod` is what this is for. It does what `sam deploy --config-env prod` does, and
names a release besides, where the environment takes one over gradually.

Only the standard library: it runs before anything is installed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from local import samconfig
from local.samconfig import Environment, UnknownEnvironment

ROOT = Path(__file__).parent.parent


def release_name(commit: str, now: datetime) -> str:
    """Return a name that no other deployment has, and that says what was deployed and when."""
    return f"{now:%Y%m%dT%H%M%SZ}-{commit}"


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
        samconfig.deploy_command(options.sam, environment, parameters, *role, *more),
        cwd=ROOT,
        check=False,
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
        environment = samconfig.read(options.environment)
    except UnknownEnvironment as exc:
        print(exc, file=sys.stderr)
        return 2
    return deploy(options, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
