"""How a check ends that does not go well."""


class Failed(Exception):
    """What was seen is not what was promised."""


class Skipped(Exception):
    """It cannot be looked at here."""


def require(condition: object, what: str) -> None:
    """Raise `Failed` unless a condition holds; `what` says what was seen instead."""
    if not condition:
        raise Failed(what)


def shown(value: object) -> str:
    """Return what was seen, short enough for a line."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"
