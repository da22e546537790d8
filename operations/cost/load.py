"""The load that is priced."""

from dataclasses import dataclass, field, fields
from typing import Any

SECONDS_PER_MONTH = 730 * 3600
DAYS_PER_MONTH = 730 / 24
# API Gateway ends a connection after two hours, so whoever stays opens twelve a day at least.
LEAST_RECONNECTS = 12
MAX_FRAME_BYTES = 120_000
CHOICES = {"log": ("DEBUG", "INFO", "WARN", "ERROR"), "architecture": ("arm64", "x86_64")}


class Unusable(ValueError):
    """A load that cannot be, with the reason."""


def _asked(default: Any, says: str, least: float, most: float) -> Any:
    return field(default=default, metadata={"says": says, "least": least, "most": most})


def _yes_or_no(says: str) -> Any:
    return field(default=False, metadata={"says": f"{says}: 1 or 0"})


def _chosen(default: str, says: str) -> Any:
    return field(default=default, metadata={"says": says})


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A month of 730 hours, as AWS's own calculator counts it.

    All figures are averages; nothing fails. The defaults are the example of docs/cost.md.
    """

    connections: float = _asked(10_000, "connections that are open, on average", 0, 1e8)
    events: float = _asked(10_000_000, "events a month", 0, 1e12)
    subscribers: float = _asked(10, "connections that get an event", 0, 1e8)
    reconnects: float = _asked(
        14, "handshakes a day of who stays connected", LEAST_RECONNECTS, 86_400
    )
    topics: int = _asked(5, "entities that a connection is subscribed to", 1, 99)
    frame: int = _asked(600, "bytes of a frame", 1, MAX_FRAME_BYTES)
    ping: float = _asked(480, "seconds of silence after which a client pings", 1, 599)
    missed: float = _asked(0, "events that a reconnect has missed and recovers", 0, 1e4)
    unwatched: float = _asked(0, "percent of the events that nobody watches", 0, 100)
    batch: float = _asked(1, "events that an invocation of the notifier finds", 1, 10)
    walk: int = _asked(1_000, "SubscribersPerDelivery", 1, 1_000)
    history: float = _asked(7, "days of history, HistorySeconds", 1, 14)
    retention: float = _asked(30, "days that logs are kept, LogRetentionInDays", 1, 731)
    log: str = _chosen("INFO", "LogLevel")
    architecture: str = _chosen("arm64", "FunctionArchitecture")
    tokens: bool = _yes_or_no("with tokens, Authentication=JWT")
    recovery: bool = _yes_or_no("PointInTimeRecovery")
    access_logs: bool = _yes_or_no("AccessLogs")
    dashboard: bool = _yes_or_no("Dashboard")

    def __post_init__(self) -> None:
        """Check what each may be.

        Raises:
            Unusable: says which is wrong, and why.
        """
        for each in fields(self):
            value, asked = getattr(self, each.name), each.metadata
            name = variable(each.name)
            if each.name in CHOICES and value not in CHOICES[each.name]:
                known = ", ".join(CHOICES[each.name])
                raise Unusable(f"{name} is one of {known}, and not {value!r}.")
            if "least" in asked and not asked["least"] <= value <= asked["most"]:
                least, most = asked["least"], asked["most"]
                why = ""
                if each.name == "reconnects" and value < least:
                    why = " API Gateway ends every connection after two hours."
                raise Unusable(
                    f"{name} is from {least:,g} to {most:,.0f}, and not {value:,g}.{why}"
                )
        if self.subscribers > self.connections:
            raise Unusable(
                f"SUBSCRIBERS ({self.subscribers:,g}) cannot be more than CONNECTIONS "
                f"({self.connections:,g}): an event reaches who is connected."
            )

    @property
    def watched(self) -> float:
        """Events a month that somebody watches."""
        return self.events * (1 - self.unwatched / 100)

    @property
    def frames(self) -> float:
        """Frames a month."""
        return self.watched * self.subscribers

    @property
    def handshakes(self) -> float:
        """Connections that are opened in a month, and closed."""
        return self.connections * self.reconnects * DAYS_PER_MONTH


def variable(name: str) -> str:
    """Return how make calls a field."""
    return name.upper()


def parsed(given: dict[str, str]) -> Load:
    """Return a load from what was typed.

    Raises:
        Unusable: something is not what it should be.
    """
    values: dict[str, Any] = {}
    for each in fields(Load):
        if (text := given.get(each.name)) is not None:
            values[each.name] = _value(each.name, each.default, text.strip())
    return Load(**values)


def _value(name: str, default: Any, text: str) -> Any:
    if isinstance(default, bool):
        if text not in ("0", "1"):
            raise Unusable(f"{variable(name)} is 1 or 0, and not {text!r}.")
        return text == "1"
    if isinstance(default, str):
        return text
    try:
        number = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise Unusable(f"{variable(name)} is a number, and not {text!r}.") from None
    if name in ("topics", "frame", "walk"):
        if number != int(number) if abs(number) < 1e15 else True:
            raise Unusable(f"{variable(name)} is a whole number, and not {text!r}.")
        return int(number)
    return number
