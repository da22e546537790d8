"""docs/cost.svg: cost over load, on axes that each step multiplies by ten."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import log10

from operations.cost.bill import Bill, bill
from operations.cost.load import Load
from operations.cost.others import appsync, hotsock
from operations.cost.stack import ROOT

PATH = ROOT / "docs/cost.svg"
_WIDTH, _HEIGHT = 760, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 150, 44, 58
# Connections, and dollars a month, as powers of ten.
_FROM, _TO = 2, 6
_LEAST, _MOST = 0, 5
_POINTS_PER_STEP = 8
# Colours that can be told apart on white and on black, by who sees no red as well; and dashes.
_STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}
.grid{stroke:#d1d9e0;stroke-width:1}
.line{fill:none;stroke-width:2.5}
.this{stroke:#0969da}.appsync{stroke:#bc4c00;stroke-dasharray:8 4}
.hotsock{stroke:#8250df;stroke-dasharray:2 4}
text.this{fill:#0969da;stroke:none}text.appsync{fill:#bc4c00;stroke:none}
text.hotsock{fill:#8250df;stroke:none}
.back{fill:#ffffff}
@media(prefers-color-scheme:dark){
text{fill:#f0f6fc}.grid{stroke:#3d444d}.back{fill:#0d1117}
.this{stroke:#4493f8}.appsync{stroke:#f0883e}.hotsock{stroke:#ab7df8}
text.this{fill:#4493f8}text.appsync{fill:#f0883e}text.hotsock{fill:#ab7df8}}"""


@dataclass(frozen=True, slots=True)
class _Series:
    kind: str
    title: str
    of: Callable[[Load], Bill]


_SERIES = (
    _Series("this", "this application", bill),
    _Series("appsync", "AppSync Events", appsync),
    _Series("hotsock", "Hotsock, at least", hotsock),
)


def scaled(load: Load, connections: float) -> Load:
    """Return the load with so many connections, and events in proportion."""
    events = load.events * connections / load.connections
    return replace(load, connections=connections, events=events)


def picture(load: Load) -> str:
    """Return the picture of a load that is made smaller and larger."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        'role="img" aria-labelledby="title">',
        '<title id="title">Dollars a month over open connections</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="24">Dollars a month</text>',
        *_grid(),
        *_series(load),
    ]
    return "\n".join([*lines, "</svg>", ""])


def _x(connections: float) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (log10(connections) - _FROM) / (_TO - _FROM)


def _y(dollars: float) -> float:
    height = _HEIGHT - _TOP - _BOTTOM
    return _HEIGHT - _BOTTOM - height * (log10(dollars) - _LEAST) / (_MOST - _LEAST)


def _grid() -> Iterator[str]:
    for power in range(_LEAST, _MOST + 1):
        y = _y(10**power)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>'
    for power in range(_FROM, _TO + 1):
        x = _x(10**power)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        yield (
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
            f"{10**power:,}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield (
        f'<text x="{middle:.0f}" y="{_HEIGHT - 14}" text-anchor="middle">'
        "connections open, each with its share of the example's events</text>"
    )


def _series(load: Load) -> Iterator[str]:
    steps = (_TO - _FROM) * _POINTS_PER_STEP
    at = [10 ** (_FROM + step / _POINTS_PER_STEP) for step in range(steps + 1)]
    ends = []
    for each in _SERIES:
        dollars = [each.of(scaled(load, connections)).dollars for connections in at]
        points = [
            f"{_x(connections):.1f} {_y(cost):.1f}"
            for connections, cost in zip(at, dollars, strict=True)
        ]
        yield f'<path class="line {each.kind}" d="M{"L".join(points)}"/>'
        ends.append((_y(dollars[-1]), each))
    # Names stand at the ends of their lines, one below the other where these meet.
    below = 0.0
    for end, each in sorted(ends, key=lambda end: end[0]):
        below = max(end + 4, below + 17)
        yield (
            f'<text class="{each.kind}" x="{_WIDTH - _RIGHT + 8}" y="{below:.1f}">'
            f"{each.title}</text>"
        )
