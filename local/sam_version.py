"""Refuse a SAM CLI that does not know `AWS::Serverless::WebSocketApi`.

Run as `python -m local.sam_version <sam>`; it needs nothing but the standard library.
"""

import re
import shutil
import subprocess
import sys

# Its translator, 1.109.0, is the first with the resource.
OLDEST = (1, 160, 0)


def problem_with(sam: str) -> str | None:
    """Say what is wrong with a SAM CLI; None if it can be used."""
    oldest = ".".join(map(str, OLDEST))
    if shutil.which(sam) is None:
        return f"There is no SAM CLI at '{sam}'. Install {oldest} or newer, or leave SAM unset."
    answer = subprocess.run(  # noqa: S603 - the user's own SAM CLI
        [sam, "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        return f"'{sam} --version' does not work: {(answer.stderr or answer.stdout).strip()}"
    if tuple(map(int, found.groups())) < OLDEST:
        return (
            f"SAM CLI {found[0]} does not know AWS::Serverless::WebSocketApi. "
            f"Upgrade to {oldest} or newer."
        )
    return None


if __name__ == "__main__":
    if problem := problem_with(sys.argv[1]):
        sys.exit(problem)
