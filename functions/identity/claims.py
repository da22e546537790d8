"""What a verified token says. Light: whoever only reads it back needs no cryptography."""

from dataclasses import dataclass

# They become parts of a partition key, which holds 2048 bytes of UTF-8: these take 1536 at most.
MAX_USER_LENGTH = 256
MAX_TENANT_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """Who presented a token, and what it allows; times in seconds since the epoch.

    Attributes:
        grants: patterns of entities that may be heard.
        tenant: empty where there are no tenants.
    """

    user_id: str
    tenant: str
    grants: tuple[str, ...]
    issued_at: int
    expires_at: int
