"""What the client raises, and what a program raises to it:

NotificationsError
├── SubscriptionRefused     of one subscription
├── ClosedForGood           of all of them: another attempt is useless
└── UnauthorizedError       raised by a program's `get_token`
"""


class NotificationsError(Exception):
    """Anything below."""


class SubscriptionRefused(NotificationsError):
    """The service does not let this subscription be; the others go on."""

    def __init__(self, entity_id: str, code: str, message: str) -> None:
        super().__init__(f"{entity_id or 'the user'}: {code}: {message}")
        self.entity_id = entity_id
        self.code = code
        self.message = message


class ClosedForGood(NotificationsError):
    """The client has closed, and not because the program wanted it."""

    def __init__(self, code: str | int, reason: str) -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


class UnauthorizedError(NotificationsError):
    """There is no token, and trying again is useless: nobody is signed in."""
