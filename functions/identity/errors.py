"""Why nobody is let in.

    IdentityError
    ├── InvalidToken      the token is refused
    └── KeysUnavailable   the issuer's keys cannot be had now, so nothing can be said of a token

The text is for the log: it says why, in words of this package, and holds nothing of the token. Nor
do `__cause__` and `__context__`: errors of parsers hold what they parsed, so these are raised where
no other error is being handled.
"""


class IdentityError(Exception):
    """Base of all errors that this package raises on purpose."""


class InvalidToken(IdentityError):
    """A token that is refused."""


class KeysUnavailable(IdentityError):
    """The keys of the issuer cannot be had now; the same token may be accepted later."""
