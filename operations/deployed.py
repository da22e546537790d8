"""A stack that stands, on AWS or of `make local`, for the commands that look at it."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.aws import LocalAws
from local.stack import OUTPUTS, STACK_NAME


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack.

    Attributes:
        client: makes clients of the services, by their names.
        is_local: whether it is that of `make local`, whose emulator does not do all that AWS does.
    """

    name: str
    client: Callable[[str], Any]
    is_local: bool = False

    def outputs(self) -> dict[str, str]:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {row["OutputKey"]: row["OutputValue"] for row in stack["Outputs"]}

    def resources(self, kind: str) -> dict[str, str]:
        """Return the physical ids of all resources of a CloudFormation type, by logical id."""
        return {
            row["LogicalResourceId"]: row["PhysicalResourceId"]
            for row in self._resources()
            if row["ResourceType"] == kind
        }

    def _resources(self) -> Iterator[dict[str, Any]]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        for page in pages.paginate(StackName=self.name):
            yield from page["StackResourceSummaries"]


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of a command that takes STACK and LOCAL."""
    made = argparse.ArgumentParser(prog=program, description=description)
    made.add_argument("--stack-name", default=STACK_NAME, help="STACK")
    made.add_argument("--local", action="store_true", help="the stack of make local (LOCAL=1)")
    return made


def run(command: Callable[[Deployed], None], options: argparse.Namespace) -> int:
    """Run a command on the stack of its options; return the exit status."""
    try:
        command(_chosen(options))
    except (BotoCoreError, ClientError, OSError, ValueError) as exc:
        print(f"Not done: {exc}", file=sys.stderr)
        return 1
    return 0


def _chosen(options: argparse.Namespace) -> Deployed:
    if not options.local:
        # The stubs know each service by its name, and none by a text.
        client: Any = boto3.client
        return Deployed(options.stack_name, client)
    return Deployed(STACK_NAME, LocalAws.of_outputs(local_outputs()).client, is_local=True)


def local_outputs() -> Mapping[str, str]:
    """Return what the `make local` that runs says of itself; raise `OSError` if none does."""
    try:
        outputs: dict[str, str] = json.loads(OUTPUTS.read_text())
    except FileNotFoundError:
        raise FileNotFoundError("make local does not run.") from None
    return outputs
