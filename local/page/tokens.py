"""The tokens of the page's own clients, of the issuer that `make local AUTH=jwt` has."""

from pathlib import Path

import jwt

from local.errors import LocalRunError
from local.issuer import Issuer, signing_key
from local.page.errors import BadRequest
from local.page.requests import Wish


class Tokens:
    """Mint what `make token` does, and tokens that end while somebody watches.

    Args:
        issuer: whose tokens the stack takes.
        folder: of its key.
    """

    def __init__(self, issuer: Issuer, folder: Path) -> None:
        self._issuer = issuer
        self._folder = folder

    def mint(self, wish: Wish) -> str:
        """Return a token, good from now on; raise `BadRequest` if it cannot be."""
        try:
            # Read each time: a key that was lost is made anew while this runs.
            token = signing_key(self._folder).mint(self._issuer, wish.claims)
        except LocalRunError as exc:
            raise BadRequest("InvalidClaims", f"{exc}.") from exc
        return token if wish.seconds is None else self._shortened(token, wish.seconds)

    def _shortened(self, token: str, seconds: int) -> str:
        """Sign a token again with another end: the issuer counts in minutes."""
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        return jwt.encode(
            {**claims, "exp": claims["iat"] + seconds},
            (self._folder / "key.pem").read_bytes(),
            algorithm=header["alg"],
            headers={"kid": header["kid"]},
        )
