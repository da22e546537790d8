"""Show what a change set would change, and execute it.

`make change-set ENV=prod` makes one and shows it; `make execute CHANGE_SET=arn` does what it says,
and nothing that was not shown: CloudFormation refuses it once the stack has changed otherwise.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from local import samconfig
from local.samconfig import Environment, UnknownEnvironment
from operations import environments

# Options of `sam deploy`: make the change set, ask nobody, and leave it.
UNEXECUTED = ("--no-execute-changeset", "--no-confirm-changeset")


class NotMade(Exception):
    """Say why there is no change set, though something may have to change."""


def made_by(cloudformation: Any, stack_name: str, make: Callable[[], None]) -> str | None:
    """Return the ARN of the change set that a call makes; None if nothing would change.

    Those that were there before, and that nobody has approved, are not what was asked for.
    """
    before = _available(cloudformation, stack_name)
    make()
    made = _available(cloudformation, stack_name) - before
    if len(made) > 1:
        raise NotMade(f"Somebody else makes change sets of {stack_name} at the same time.")
    return made.pop() if made else None


def _available(cloudformation: Any, stack_name: str) -> set[str]:
    pages = cloudformation.get_paginator("list_change_sets").paginate(StackName=stack_name)
    try:
        return {
            summary["ChangeSetId"]
            for page in pages
            for summary in page["Summaries"]
            if summary.get("ExecutionStatus") == "AVAILABLE"
        }
    except ClientError as exc:
        # There is no such stack yet.
        if exc.response["Error"]["Code"] != "ValidationError":
            raise
        return set()


def describe(cloudformation: Any, arn: str) -> str:
    """Return a change set as Markdown: what happens to which resource, replacements first.

    A replacement is what can lose something, so nobody has to look for it.
    """
    pages = list(cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=arn))
    changes = sorted(
        (change["ResourceChange"] for page in pages for change in page.get("Changes", [])),
        key=lambda change: (
            _effect(change) not in _LOSSES,
            change["Action"],
            change["LogicalResourceId"],
        ),
    )
    return "\n".join(
        [
            f"### What changes in `{pages[0]['StackName']}`",
            "",
            "| what happens | resource | type |",
            "|---|---|---|",
            *(
                f"| {_effect(row)} | `{row['LogicalResourceId']}` | {row['ResourceType']} |"
                for row in changes
            ),
            "",
            f"`{arn}`",
        ]
    )


_LOSSES = ("**Remove**", "**Replace**", "**Maybe replace**")


def _effect(change: dict[str, Any]) -> str:
    match change["Action"], change.get("Replacement", "False"):
        case "Remove", _:
            return "**Remove**"
        case "Modify", "True":
            return "**Replace**"
        case "Modify", "Conditional":
            return "**Maybe replace**"
        case action, _:
            return str(action)


def execute(cloudformation: Any, arn: str) -> str:
    """Execute a change set, and return the stack's status once that has ended, well or not.

    Raises:
        ClientError: it cannot be executed, as when the stack has changed meanwhile.
    """
    change_set = cloudformation.describe_change_set(ChangeSetName=arn)
    stack_id = change_set["StackId"]
    (before,) = cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
    created = before["StackStatus"] == "REVIEW_IN_PROGRESS"
    cloudformation.execute_change_set(ChangeSetName=arn)
    waiter = cloudformation.get_waiter(
        "stack_create_complete" if created else "stack_update_complete"
    )
    try:
        # A gradual deployment takes as long as its traffic does to shift.
        waiter.wait(StackName=stack_id, WaiterConfig={"Delay": 5, "MaxAttempts": 1440})
    except WaiterError as exc:
        # It ended otherwise, which the status says, or not at all.
        if "Max attempts exceeded" in str(exc):
            raise
    (after,) = cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
    return str(after["StackStatus"])


def _make_and_show(
    cloudformation: Any, environment: Environment, options: argparse.Namespace
) -> None:
    def make() -> None:
        if status := environments.deploy(options, environment, *UNEXECUTED):
            raise NotMade(f"sam deploy ended with status {status}.")

    arn = made_by(cloudformation, environment.stack_name, make)
    text = (
        describe(cloudformation, arn) if arn else f"Nothing changes in `{environment.stack_name}`."
    )
    print(text)
    _append("GITHUB_STEP_SUMMARY", text)
    _append("GITHUB_OUTPUT", f"change-set={arn or ''}")


def _append(variable: str, text: str) -> None:
    """Append to a file that GitHub names, in a workflow; nothing elsewhere."""
    if path := os.environ.get(variable):
        with Path(path).open("a") as file:
            file.write(text + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make change-set", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make one, and show it")
    environments.add_arguments(making)
    commands.add_parser("execute", help="do it").add_argument("arn", help="CHANGE_SET")
    options = parser.parse_args(arguments)
    try:
        cloudformation = boto3.client("cloudformation")
        if options.command == "make":
            environment = samconfig.read(options.environment)
            _make_and_show(cloudformation, environment, options)
            return 0
        status = execute(cloudformation, options.arn)
        print(status)
        return 0 if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE") else 1
    except (BotoCoreError, ClientError, NotMade, UnknownEnvironment) as exc:
        print(f"Not done: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
