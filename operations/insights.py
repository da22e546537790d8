"""As much of CloudWatch Logs Insights as the project's questions use, over lines in memory.

Whatever it does not know raises `ValueError`, so that no question is answered in part.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

Record = dict[str, Any]

_CONDITION = re.compile(r"(@?\w+) (=|like) '([^']*)'")
_AGGREGATE = re.compile(r"(count|max|pct)\((\*|@?[\w.]+)(?:, (\d+))?\) as (\w+)")
_GROUP = re.compile(r"bin\(1m\)|[\w.]+")


def record(message: str, milliseconds: int) -> Record:
    """Return a line of a log as queries see it: the members of its JSON are fields."""
    try:
        members = json.loads(message)
    except ValueError:
        members = None
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return {
        **(members if isinstance(members, dict) else {}),
        "@timestamp": at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "@message": message,
    }


def run(query: str, records: Iterable[Record]) -> list[Record]:
    """Return the rows that a query finds."""
    rows = list(records)
    shown: list[str] = []
    for stage in query.strip().split("\n| "):
        command, _, rest = stage.partition(" ")
        match command:
            case "fields":
                shown = _split(rest)
                for parsed in re.findall(r"jsonParse\(@message\) as (\w+)", rest):
                    rows = [row | {parsed: _json(row["@message"])} for row in rows]
            case "filter":
                holds = _conditions(rest)
                rows = [row for row in rows if holds(row)]
            case "unnest":
                path, _, name = rest.partition(" into ")
                rows = [row | {name: each} for row in rows for each in _list(_value(row, path))]
            case "stats":
                rows, shown = _stats(rest, rows), []
            case "sort":
                field, _, order = rest.partition(" ")
                rows.sort(key=lambda row: row.get(field) or 0, reverse=order == "desc")
            case "limit":
                rows = rows[: int(rest)]
            case _:
                raise ValueError(f"a command that is not known here: {stage}")
    if not shown:
        return rows
    return [{name: row[name] for name in shown if row.get(name) is not None} for row in rows]


def _split(names: str) -> list[str]:
    return [name.rpartition(" as ")[2] for name in names.split(", ")]


def _conditions(text: str) -> Callable[[Record], bool]:
    conditions: list[tuple[str, str, str]] = []
    for part in text.split(" and "):
        if not (match := _CONDITION.fullmatch(part)):
            raise ValueError(f"a condition that is not known here: {part}")
        conditions.append((match[1], match[2], match[3]))
    return lambda row: all(
        row.get(name) == value if operator == "=" else value in str(row.get(name, ""))
        for name, operator, value in conditions
    )


def _stats(text: str, rows: Sequence[Record]) -> list[Record]:
    what, _, by = text.partition(" by ")
    aggregates = _AGGREGATE.findall(what)
    groups = by.split(", ")
    if len(aggregates) != len(what.split(" as ")) - 1 or not all(map(_GROUP.fullmatch, groups)):
        raise ValueError(f"statistics that are not known here: {text}")
    together: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        together.setdefault(tuple(_group(row, group) for group in groups), []).append(row)
    return [
        {name: value for name, value in zip(groups, key, strict=True) if value is not None}
        | {name: _aggregate(how, field, number, some) for how, field, number, name in aggregates}
        for key, some in together.items()
    ]


def _group(row: Record, group: str) -> Any:
    return row["@timestamp"][:16] + ":00.000" if group == "bin(1m)" else _value(row, group)


def _aggregate(how: str, field: str, number: str, rows: Sequence[Record]) -> Any:
    values = sorted(value for row in rows if (value := _value(row, field)) is not None)
    match how:
        case "count":
            return len(rows)
        case "max":
            return values[-1] if values else None
        case _:
            return values[max(0, math.ceil(len(values) * int(number) / 100) - 1)]


def _value(row: Record, path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _json(message: str) -> Any:
    try:
        return json.loads(message)
    except ValueError:
        return None


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
