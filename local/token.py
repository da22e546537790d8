"""`make token`: mint a token for the local stack. It alone goes to standard output."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from local import issuer
from local.errors import LocalRunError
from local.issuer import Claims, Issuer
from local.stack import OUTPUTS


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        claims = Claims(
            options.user or issuer.DEFAULT_USER,
            tuple(options.entities.split()) or (issuer.EVERYTHING,),
            options.tenant,
            _minutes(options.minutes),
        )
        accepted, remark = _issuer(options.outputs, options.page_port)
        token = issuer.signing_key(options.folder).mint(accepted, claims)
    except LocalRunError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stderr.write(f"{_described(claims)}\n{remark}\n")
    sys.stdout.write(f"{token}\n")
    return 0


def _issuer(outputs: Path, page_port: int) -> tuple[Issuer, str]:
    """Return the issuer to mint for, and who will take the token.

    Raises:
        LocalRunError: the stack that runs believes another.
    """
    try:
        known = json.loads(outputs.read_text())
    except FileNotFoundError:
        return Issuer.own(page_port), "make local does not run; AUTH=jwt makes it ask for tokens."
    except (OSError, ValueError) as exc:
        raise LocalRunError(f"{outputs} cannot be read: {exc}") from exc
    own = Issuer.own(int(known["PageUrl"].rpartition(":")[2]))
    accepted = Issuer.of_outputs(known)
    if accepted is None:
        return own, "make local runs without AUTH=jwt, and asks nobody for it."
    if accepted != own:
        raise LocalRunError(
            f"make local takes the tokens of {accepted.name}, which cannot be minted here: "
            "ask that issuer for one."
        )
    return own, f"For {known['WebsocketUri']}, as the subprotocol behind websocket."


def _described(claims: Claims) -> str:
    tenant = f" of {claims.tenant}" if claims.tenant else ""
    heard = " ".join(claims.entities)
    return f"{claims.user}{tenant} may hear {heard} for {claims.minutes} minutes."


def _minutes(text: str) -> int:
    if not text:
        return issuer.DEFAULT_MINUTES
    # More digits than any number of minutes has are no number for int(), either.
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return int(text)
    raise LocalRunError(f"MINUTES is '{text}', and may be 1 to {issuer.MAX_MINUTES}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make token",
        usage='make token [USER=alice] [ENTITIES="order-17 shop/*"] [TENANT=name] [MINUTES=60]',
    )
    parser.add_argument("--user", default="", help="whose token it is (USER)")
    parser.add_argument("--entities", default="", help="what may be heard, by spaces (ENTITIES)")
    parser.add_argument("--tenant", default="", help="the tenant, if there are any (TENANT)")
    parser.add_argument("--minutes", default="", help="how long it is good (MINUTES)")
    parser.add_argument("--page-port", type=int, default=3002, help="where make local would run")
    parser.add_argument("--outputs", type=Path, default=OUTPUTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=issuer.FOLDER, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
