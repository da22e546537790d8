"""What the page is told when something cannot be done.

PageError
├── BadRequest           the request says what cannot be meant
├── Forbidden            it is not from the page
├── TooBusy              too much of it is under way
├── Refused              the gateway refused it; code and status are its own
└── Unavailable          the emulator or the gateway does not answer
"""


class PageError(Exception):
    """An answer with a status, a code, and a message for the reader."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class BadRequest(PageError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, status=400)


class Forbidden(PageError):
    def __init__(self, message: str) -> None:
        super().__init__(message, code="Forbidden", status=403)


class TooBusy(PageError):
    def __init__(self, message: str) -> None:
        super().__init__(message, code="TooBusy", status=429)


class Refused(PageError):
    """What the gateway's control answered."""


class Unavailable(PageError):
    def __init__(self, message: str) -> None:
        super().__init__(message, code="Unavailable", status=503)
