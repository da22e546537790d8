"""The environments of samconfig.toml, and the `sam deploy` of one.

SAM replaces all overrides of the file by those of a command, so that whoever adds one repeats the
others.

Only the standard library: it runs before anything is installed.
"""

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SAMCONFIG = Path(__file__).parent.parent / "samconfig.toml"


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


def deploy_command(
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
