"""An in-memory DynamoDB behind the methods of a boto3 client, for tests of millions of steps.

moto takes a millisecond or two for a call, this some microseconds: expressions are compiled once,
to closures, and items are kept as DynamoDB JSON. What it answers is compared with moto, call by
call, in tests/unit/test_support_dynamodb.py, which also says where moto is wrong.

It does what this project's table needs, and refuses loudly what it does not know: a parameter is a
TypeError, a document path (`a.b`, `a[0]`) a NotImplementedError. Any table name will do; all tables
have the keys `pk` and `sk`, both strings, and every read is strongly consistent.
"""

import operator
import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache, wraps
from importlib.resources import files
from threading import RLock
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from botocore.exceptions import ClientError, ParamValidationError

Value = dict[str, Any]  # an attribute value, as {"S": "text"}
Item = dict[str, Value]
Key = tuple[str, str]
Hook = Callable[[str, dict[str, Any]], None]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MAX_KEY_BYTES = {"pk": 2048, "sk": 1024}
MAX_ITEM_BYTES = 400 * 1024
MAX_EXPRESSION_BYTES = 4096
MAX_TRANSACTION_ITEMS, MAX_TRANSACTION_BYTES = 100, 4 * 1024 * 1024
MAX_BATCH_WRITES = 25
MAX_BATCH_READS, MAX_BATCH_READ_BYTES = 100, 16 * 1024 * 1024
PAGE_BYTES = 1024 * 1024
# How many tokens of transactions are remembered; the service does so for ten minutes.
_MAX_TOKENS = 10_000


class _Refused(Exception):
    """What becomes a ClientError where the name of the operation is known."""

    def __init__(self, code: str, message: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.members = code, message, members or {}

    def error(self, operation_name: str) -> ClientError:
        response: Any = {
            "Error": {"Code": self.code, "Message": self.message},
            "ResponseMetadata": {"HTTPStatusCode": 400, "RetryAttempts": 0},
            **self.members,
        }
        return ClientError(response, operation_name)


class _Invalid(_Refused):
    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


# Attribute values. They are checked and copied on their way in, and copied on their way out. In
# between they never change, and equal values are equal dicts: numbers are plain, sets are sorted.

_TYPES: dict[str, Any] = {
    "S": (str,),
    "N": (str,),
    "B": (bytes, bytearray),
    "BOOL": (bool,),
    "NULL": (bool,),
    "SS": (list, tuple),
    "NS": (list, tuple),
    "BS": (list, tuple),
    "L": (list, tuple),
    "M": (dict,),
}
_SETS = frozenset({"SS", "NS", "BS"})
_ORDERED = frozenset({"S", "N", "B"})
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,37}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_EXACT = Context(prec=400)
# Stands in for what is missing, where nobody wants its type.
_NOTHING: Value = {"NULL": True}


def _checked(value: Any) -> Value:
    """Return a copy of a value in the form that is kept.

    Raises:
        ParamValidationError: boto3 would not send it.
    """
    if not isinstance(value, dict):
        raise ParamValidationError(report=f"{value!r} is not an attribute value")
    if len(value) != 1:
        raise _Invalid("An AttributeValue must contain exactly one of the supported datatypes")
    ((kind, held),) = value.items()
    if kind not in _TYPES or not isinstance(held, _TYPES[kind]):
        raise ParamValidationError(report=f"{value!r} is not an attribute value")
    if kind == "S":
        _length(held)
    elif kind == "N":
        held = _plain(held)
    elif kind == "B":
        held = bytes(held)
    elif kind == "L":
        held = [_checked(each) for each in held]
    elif kind == "M":
        held = {name: _checked(each) for name, each in held.items()}
    elif kind in _SETS:
        held = _checked_set(kind, held)
    return {kind: held}


def _checked_set(kind: str, members: Iterable[Any]) -> list[Any]:
    checked = [_checked({kind[0]: member})[kind[0]] for member in members]
    if not checked:
        raise _Invalid(f"One or more parameter values were invalid: An {kind} may not be empty")
    if len(set(checked)) < len(checked):
        raise _Invalid("One or more parameter values were invalid: a set contains duplicates")
    return _sorted(kind, checked)


def _sorted(kind: str, members: Iterable[Any]) -> list[Any]:
    return sorted(members, key=Decimal if kind == "NS" else None)


def _plain(text: str) -> str:
    """Return a number as the service does: no exponent, and no sign or zeros that say nothing.

    38 digits, and magnitudes from 1E-130 to 9.99E+125:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    if _WHOLE_NUMBER.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text):
        raise _Invalid(f"The parameter cannot be converted to a numeric value: {text}")
    try:
        number = Decimal(text).normalize(_EXACT)
    except InvalidOperation:  # an exponent that even Decimal does not take
        raise _Invalid("Number overflow") from None
    if len(number.as_tuple().digits) > 38:
        raise _Invalid("Attempting to store more than 38 significant digits in a Number")
    if number and not -130 <= number.adjusted() <= 125:
        raise _Invalid("Number overflow or underflow")
    return format(number, "f") if number else "0"


def _copied(item: Item) -> Item:
    return {name: _copied_value(value) for name, value in item.items()}


def _copied_value(value: Value) -> Value:
    ((kind, held),) = value.items()
    if kind in _SETS:
        return {kind: held.copy()}
    if kind == "L":
        return {kind: [_copied_value(each) for each in held]}
    if kind == "M":
        return {kind: _copied(held)}
    return {kind: held}


def _projected(item: Item, names: Iterable[str] | None) -> Item:
    if names is None:
        return _copied(item)
    return {name: _copied_value(item[name]) for name in names if name in item}


def size_of(item: Item) -> int:
    """Return the bytes that an item is billed for: names and values.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum([_length(name) + _size_of_value(value) for name, value in item.items()])


def _size_of_value(value: Value) -> int:
    ((kind, held),) = value.items()
    size = 1  # BOOL and NULL
    if kind == "S":
        size = _length(held)
    elif kind == "N":
        digits = len(held.lstrip("-").replace(".", "").strip("0"))
        size = (digits + 1) // 2 + 1 + (held[0] == "-")
    elif kind == "B":
        size = len(held)
    elif kind == "L":
        size = 3 + sum([1 + _size_of_value(each) for each in held])
    elif kind == "M":
        size = 3 + len(held) + size_of(held)
    elif kind in _SETS:
        size = sum([_size_of_value({kind[0]: member}) for member in held])
    return size


def _length(text: str) -> int:
    """Return how many bytes of UTF-8 a string has."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _Invalid("A string cannot be encoded in UTF-8") from None


# Keys.


def _key_of(key: Mapping[str, Any]) -> Key:
    if len(key) != 2 or "pk" not in key or "sk" not in key:
        raise _Invalid("The provided key element does not match the schema")
    return _checked_key("pk", key["pk"]), _checked_key("sk", key["sk"])


def _checked_key(name: str, value: Any) -> str:
    if "S" not in _checked(value):
        raise _Invalid(f"One or more parameter values were invalid: Type mismatch for key {name}")
    text: str = value["S"]
    if not text:
        raise _Invalid(f"A key attribute cannot contain an empty string value. Key: {name}")
    if _length(text) > MAX_KEY_BYTES[name]:
        raise _Invalid(f"The size of key {name} is over {MAX_KEY_BYTES[name]} bytes")
    return text


def _item_of(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


# What expressions are made of. What is compiled takes an item and the values of one request.

Values = Mapping[str, Value]
Operand = Callable[[Item, Values], Value | None]
Condition = Callable[[Item, Values], bool]
Relation = Callable[[Value | None, Value | None], bool]
Check = Callable[[Values], None]
Change = tuple[str, Operand]  # an attribute, and its new value, or None to remove it


def _equal(left: Value | None, right: Value | None) -> bool:
    """What is missing equals nothing, not even what is missing too: it is `<>` anything."""
    return left is not None and left == right


def _unequal(left: Value | None, right: Value | None) -> bool:
    return not _equal(left, right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Relation:
    def relation(left: Value | None, right: Value | None) -> bool:
        """False for other types, and for what is missing."""
        ((kind, first),) = (left or _NOTHING).items()
        ((other, second),) = (right or _NOTHING).items()
        if kind != other or kind not in _ORDERED:
            return False
        if kind == "N":
            return compare(Decimal(first), Decimal(second))
        return compare(first, second)  # strings by code point, as if by their UTF-8

    return relation


def _begins_with(whole: Value | None, start: Value | None) -> bool:
    ((kind, held),) = (whole or _NOTHING).items()
    ((other, wanted),) = (start or _NOTHING).items()
    return kind == other and kind in ("S", "B") and bool(held.startswith(wanted))


def _contains(whole: Value | None, part: Value | None) -> bool:
    """A part of a string, a member of a set, or an element of a list."""
    ((kind, held),) = (whole or _NOTHING).items()
    if kind == "L":
        return part in held
    ((other, wanted),) = (part or _NOTHING).items()
    return kind[0] == other and (kind in _SETS or kind in ("S", "B")) and wanted in held


def _size(value: Value | None) -> Value | None:
    ((kind, held),) = (value or _NOTHING).items()
    if kind in ("N", "BOOL", "NULL"):
        return None
    return {"N": str(_length(held) if kind == "S" else len(held))}


def _related(left: Operand, relation: Relation, right: Operand) -> Condition:
    return lambda item, values: relation(left(item, values), right(item, values))


def _exists(name: str) -> Condition:
    return lambda item, values: name in item


def _both(left: Condition, right: Condition) -> Condition:
    return lambda item, values: left(item, values) and right(item, values)


def _either(left: Condition, right: Condition) -> Condition:
    return lambda item, values: left(item, values) or right(item, values)


def _negated(condition: Condition) -> Condition:
    return lambda item, values: not condition(item, values)


def _total(left: Value | None, sign: str, right: Value | None) -> Value:
    if not (left and right and "N" in left and "N" in right):
        raise _Invalid("An operand in the update expression has an incorrect data type")
    combine = _EXACT.add if sign == "+" else _EXACT.subtract
    return {"N": _plain(str(combine(Decimal(left["N"]), Decimal(right["N"]))))}


def _added(old: Value | None, more: Value) -> Value:
    """Return what ADD makes of an attribute: a sum, or a union."""
    ((kind, members),) = more.items()
    if old is None:
        return more
    if kind == "N" or kind not in old:
        return _total(old, "+", more)
    return {kind: _sorted(kind, {*old[kind], *members})}


def _taken(old: Value | None, less: Value) -> Value | None:
    """Return what DELETE leaves of a set; an empty one vanishes."""
    ((kind, members),) = less.items()
    if old is None:
        return None
    if kind not in old:
        raise _Invalid("An operand in the update expression has an incorrect data type")
    left = [member for member in old[kind] if member not in members]
    return {kind: left} if left else None


_ORDERINGS: dict[str, Relation] = {
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}
_RELATIONS: dict[str, Relation] = {"=": _equal, "<>": _unequal, **_ORDERINGS}
_TESTS: dict[str, Relation] = {"begins_with": _begins_with, "contains": _contains}
# The types that values may have, of which attributes may have any; what is not listed takes all.
_KINDS: dict[str, frozenset[str]] = {
    **dict.fromkeys([*_ORDERINGS, "BETWEEN"], _ORDERED),
    "begins_with": frozenset({"S", "B"}),
    "contains": _SETS | {"S", "B", "L"},
    "size": _SETS | {"S", "B", "L", "M"},
    "+": frozenset({"N"}),
    "-": frozenset({"N"}),
    "ADD": _SETS | {"N"},
    "DELETE": _SETS,
}


class _KeyRange(NamedTuple):
    """A key condition: the value of pk, what is asked of sk, and the values of that."""

    pk: str
    comparison: str
    sk: tuple[str, ...]

    def within(self, keys: list[str], values: Values) -> tuple[int, int]:
        """Return where those that satisfy it start and end in a sorted list."""
        start, end = 0, len(keys)
        if not self.sk:
            return start, end
        first, last = values[self.sk[0]]["S"], values[self.sk[-1]]["S"]
        if self.comparison in ("=", ">=", "BETWEEN", "begins_with"):
            start = bisect_left(keys, first)
        if self.comparison == ">":
            start = bisect_right(keys, first)
        if self.comparison == "<":
            end = bisect_left(keys, last)
        if self.comparison in ("=", "<=", "BETWEEN"):
            end = bisect_right(keys, last)
        if self.comparison == "begins_with":
            end = bisect_left(keys, True, start, key=lambda key: not key.startswith(first))
        return start, end


@dataclass
class _Compiled:
    """The expressions of one request."""

    names: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    checks: list[Check] = field(default_factory=list)
    update: list[Change] = field(default_factory=list)
    condition: Condition | None = None
    filter: Condition | None = None
    projection: list[str] | None = None
    key_range: _KeyRange | None = None


_TOKEN = re.compile(r"\s*(?:([#:]?[A-Za-z0-9_]+)|(<>|<=|>=|[=<>(),+\-\[\].]))")
_BARE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = frozenset(
    (files("moto") / "dynamodb/parsing/reserved_keywords.txt").read_text(encoding="ascii").split()
)


class _Parser:
    """Compiles one expression, and notes in `compiled` what it uses."""

    def __init__(self, kind: str, text: str, names: Mapping[str, str], compiled: _Compiled) -> None:
        self._kind, self._names, self._compiled = kind, names, compiled
        if _length(text) > MAX_EXPRESSION_BYTES:
            raise self._invalid("Expression size has exceeded the maximum allowed size")
        self._tokens, self._at = [*self._split(text), ""], 0
        self._paths: set[str] = set()
        self._group = (0, 0)  # where the last parentheses began and ended

    def _split(self, text: str) -> Iterator[str]:
        at, text = 0, text.rstrip()
        while at < len(text):
            if not (found := _TOKEN.match(text, at)):
                raise self._invalid(f'Syntax error; token: "{text[at]}"')
            yield found[1] or found[2]
            at = found.end()

    def _invalid(self, message: str) -> _Invalid:
        return _Invalid(f"Invalid {self._kind}: {message}")

    # Tokens.

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self, *wanted: str) -> str:
        """Take the next token, which must be one of these; return it in capitals."""
        token = self._next.upper()
        if not token or (wanted and token not in wanted):
            raise self._invalid(f'Syntax error; token: "{self._next or "<EOF>"}"')
        self._at += 1
        return token

    def _took(self, *wanted: str) -> str:
        """Take the next token if it is one of these."""
        return self._take() if self._next and self._next.upper() in wanted else ""

    def _function(self, *known: str) -> str:
        """Take the name of a function and its parenthesis, if they come next."""
        name = self._next
        if not _BARE_NAME.fullmatch(name) or self._tokens[self._at + 1] != "(":
            return ""
        if name not in known:
            raise self._invalid(f"Invalid function name, or not allowed here; function: {name}")
        self._at += 2
        return name

    def _end(self) -> None:
        if self._next:
            raise self._invalid(f'Syntax error; token: "{self._next}"')

    # Operands.

    def _path(self) -> str:
        name = token = self._next
        self._take()
        if token.startswith("#"):
            if token not in self._names:
                raise self._invalid(f"An attribute name is not defined; attribute name: {token}")
            self._compiled.names.add(token)
            name = self._names[token]
        elif not _BARE_NAME.fullmatch(token):
            raise self._invalid(f'Syntax error; token: "{token}"')
        elif token.upper() in _RESERVED:
            raise self._invalid(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        if self._next in (".", "["):
            raise NotImplementedError("document paths")
        self._paths.add(name)
        return name

    def _value(self) -> str:
        name = self._next
        self._take()
        if not name.startswith(":"):
            raise self._invalid(f'Syntax error; token: "{name}"')
        self._compiled.values.add(name)
        return name

    def _operand(self, function: str = "") -> Operand:
        """Take a path, or a value that fits a function."""
        if self._next.startswith(":"):
            name = self._value()
            self._restrict(name, function)
            return lambda item, values: values[name]
        path = self._path()
        return lambda item, values: item.get(path)

    def _restrict(self, token: str, operation: str) -> None:
        """Have the type checked if a token is a value; an attribute of another type is no error."""
        if not token.startswith(":") or operation not in _KINDS:
            return

        def check(values: Values) -> None:
            (kind,) = values[token]
            if kind not in _KINDS[operation]:
                raise self._invalid(
                    "Incorrect operand type for operator or function; operator or function:"
                    f" {operation}, operand type: {kind}"
                )

        self._compiled.checks.append(check)

    def _restrict_bounds(self, low: str, high: str) -> None:
        """Have it checked that two values are not the wrong way round."""
        if not (low.startswith(":") and high.startswith(":")):
            return

        def check(values: Values) -> None:
            if not _ORDERINGS["<="](values[low], values[high]):
                raise self._invalid(
                    "The BETWEEN operator requires upper bound to be greater than or equal to"
                    f" lower bound; lower bound: {values[low]}, upper bound: {values[high]}"
                )

        self._compiled.checks.append(check)

    # Conditions.

    def condition(self) -> Condition:
        condition = self._or()
        self._end()
        return condition

    def filter(self) -> Condition:
        condition = self.condition()
        for key in sorted(self._paths & MAX_KEY_BYTES.keys()):
            raise _Invalid(f"Filter Expression can only contain non-primary key attributes: {key}")
        return condition

    def _or(self) -> Condition:
        condition = self._and()
        while self._took("OR"):
            condition = _either(condition, self._and())
        return condition

    def _and(self) -> Condition:
        condition = self._not()
        while self._took("AND"):
            condition = _both(condition, self._not())
        return condition

    def _not(self) -> Condition:
        if self._took("NOT"):
            return _negated(self._not())
        if not self._took("("):
            return self._test() or self._comparison()
        start = self._at
        condition = self._or()
        self._take(")")
        if self._group == (start + 1, self._at - 1):
            raise self._invalid("The expression has redundant parentheses;")
        self._group = (start, self._at)
        return condition

    def _test(self) -> Condition | None:
        """Take a function that is a condition of its own."""
        if self._next == "size":
            return None
        name = self._function(*_TESTS, "attribute_exists", "attribute_not_exists")
        if not name:
            return None
        if name in _TESTS:
            whole = self._operand(name)
            self._take(",")
            part = self._operand(name if name == "begins_with" else "")
            condition = _related(whole, _TESTS[name], part)
        else:
            exists = _exists(self._path())
            condition = exists if name == "attribute_exists" else _negated(exists)
        self._take(")")
        return condition

    def _comparison(self) -> Condition:
        tokens = [self._next]
        left = self._measured()
        relation = self._take(*_RELATIONS, "BETWEEN", "IN")
        if relation == "IN":
            self._take("(")
            condition = _related(left, _equal, self._measured())
            while self._took(","):
                condition = _either(condition, _related(left, _equal, self._measured()))
            self._take(")")
            return condition
        tokens.append(self._next)
        right = self._measured()
        if relation == "BETWEEN":
            self._take("AND")
            tokens.append(self._next)
            upper = _related(left, _ORDERINGS["<="], self._measured())
            condition = _both(_related(left, _ORDERINGS[">="], right), upper)
            self._restrict_bounds(*tokens[1:])
        else:
            condition = _related(left, _RELATIONS[relation], right)
        for token in tokens:
            self._restrict(token, relation)
        return condition

    def _measured(self) -> Operand:
        """Take an operand, or the size of one."""
        if not self._function("size"):
            return self._operand()
        measured = self._operand("size")
        self._take(")")
        return lambda item, values: _size(measured(item, values))

    # Updates.

    def update(self) -> list[Change]:
        changes: list[Change] = []
        sections: list[str] = []
        while self._next or not sections:
            sections.append(self._take("SET", "REMOVE", "ADD", "DELETE"))
            changes.append(self._change(sections[-1]))
            while self._took(","):
                changes.append(self._change(sections[-1]))
        if len(set(sections)) < len(sections):
            raise self._invalid("A section can only be used once in an update expression")
        self._check_overlap([name for name, _ in changes])
        for key in sorted(self._paths & MAX_KEY_BYTES.keys() & {name for name, _ in changes}):
            raise _Invalid(f"Cannot update attribute {key}. This attribute is part of the key")
        return changes

    def _change(self, section: str) -> Change:
        name = self._path()
        if section == "REMOVE":
            return name, lambda item, values: None
        if section == "SET":
            self._take("=")
            return name, self._sum()
        value, change = self._value(), _added if section == "ADD" else _taken
        self._restrict(value, section)
        return name, lambda item, values: change(item.get(name), values[value])

    def _sum(self) -> Operand:
        tokens = [self._next]
        left = self._assigned()
        if not (sign := self._took("+", "-")):
            return left
        tokens.append(self._next)
        right = self._assigned()
        for token in tokens:
            self._restrict(token, sign)
        return lambda item, values: _total(left(item, values), sign, right(item, values))

    def _assigned(self) -> Operand:
        """Take what SET assigns, which there must be."""
        if self._function("if_not_exists"):
            path = self._path()
            self._take(",")
            otherwise = self._assigned()
            self._take(")")
            return lambda item, values: item.get(path) or otherwise(item, values)
        operand = self._operand()

        def assigned(item: Item, values: Values) -> Value:
            if (value := operand(item, values)) is None:
                raise _Invalid(
                    "An expression refers to an attribute that does not exist in the item"
                )
            return value

        return assigned

    # Keys and projections.

    def projection(self) -> list[str]:
        names = [self._path()]
        while self._took(","):
            names.append(self._path())
        self._end()
        self._check_overlap(names)
        return names

    def _check_overlap(self, names: list[str]) -> None:
        if len(set(names)) < len(names):
            raise self._invalid("Two document paths overlap with each other")

    def key_range(self) -> _KeyRange:
        terms = [self._key_term()]
        while self._took("AND"):
            terms.append(self._key_term())
        self._end()
        conditions = {name: (comparison, bounds) for name, comparison, bounds in terms}
        if len(conditions) < len(terms):
            raise self._invalid("KeyConditionExpressions must only contain one condition per key")
        comparison, bounds = conditions.pop("pk", ("", ()))
        if comparison != "=" or conditions.keys() - {"sk"}:
            raise _Invalid("Query condition missed key schema element, or is not supported")
        return _KeyRange(bounds[0], *conditions.get("sk", ("", ())))

    def _key_term(self) -> tuple[str, str, tuple[str, ...]]:
        if self._took("("):
            term = self._key_term()
            self._take(")")
            return term
        comparison = self._function("begins_with")
        name = self._path()
        if comparison:
            self._take(",")
            bounds = [self._value()]
            self._take(")")
        else:
            comparison = self._take("=", *_ORDERINGS, "BETWEEN")
            bounds = [self._value()]
        if comparison == "BETWEEN":
            self._take("AND")
            bounds.append(self._value())
            self._restrict_bounds(*bounds)
        self._compiled.checks += [_key_check(name, bound) for bound in bounds]
        return name, comparison, tuple(bounds)


def _key_check(name: str, bound: str) -> Check:
    def check(values: Values) -> None:
        _checked_key(name, values[bound])

    return check


@lru_cache(4096)
def _compile(
    names: tuple[tuple[str, str], ...] | None, expressions: tuple[tuple[str, str | None], ...]
) -> _Compiled:
    compiled, given = _Compiled(), dict(names or ())
    written = [(kind, text) for kind, text in expressions if text is not None]
    for kind, text in written:
        parser = _Parser(kind, text, given, compiled)
        match kind:
            case "ConditionExpression":
                compiled.condition = parser.condition()
            case "FilterExpression":
                compiled.filter = parser.filter()
            case "UpdateExpression":
                compiled.update = parser.update()
            case "ProjectionExpression":
                compiled.projection = parser.projection()
            case _:
                compiled.key_range = parser.key_range()
    if names is not None and not (names and written):
        raise _Invalid("ExpressionAttributeNames must not be empty, nor without an expression")
    if unused := given.keys() - compiled.names:
        raise _Invalid(f"ExpressionAttributeNames unused in expressions: keys: {unused}")
    return compiled


def _expressions(
    names: Mapping[str, str] | None, values: Mapping[str, Any] | None, **expressions: str | None
) -> tuple[_Compiled, Values]:
    """Compile the expressions of a request, and check that its names and values fit them."""
    compiled = _compile(None if names is None else tuple(names.items()), tuple(expressions.items()))
    if values is not None and not values:
        raise _Invalid("ExpressionAttributeValues must not be empty")
    checked = {name: _checked(value) for name, value in (values or {}).items()}
    if undefined := compiled.values - checked.keys():
        raise _Invalid(f"An attribute value is not defined; attribute value: {min(undefined)}")
    if unused := checked.keys() - compiled.values:
        raise _Invalid(f"ExpressionAttributeValues unused in expressions: keys: {unused}")
    for check in compiled.checks:
        check(checked)
    return compiled, checked


def _projection(
    *,
    ProjectionExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
) -> list[str] | None:
    expression = {"ProjectionExpression": ProjectionExpression}
    return _expressions(ExpressionAttributeNames, None, **expression)[0].projection


# Rows and writes.


class _Row(NamedTuple):
    item: Item
    size: int


class _Partition(NamedTuple):
    keys: list[str]  # sorted
    rows: dict[str, _Row]


class _Write(NamedTuple):
    """A write that is valid as far as that can be said without the item that it meets."""

    table: str
    key: Key
    change: Callable[[_Compiled, Values, Item | None], Item | None]
    compiled: _Compiled
    values: Values
    tell: bool  # whether a condition that fails tells the item

    def new_row(self, old: _Row | None) -> _Row | None:
        """Return the row that there will be.

        Raises:
            _Refused: the condition is false, or the change is impossible.
        """
        item, condition = old.item if old else None, self.compiled.condition
        if condition and not condition(item or {}, self.values):
            message = "The conditional request failed"
            members: dict[str, Any] = {"message": message}
            if self.tell and item:
                members["Item"] = _copied(item)
            raise _Refused("ConditionalCheckFailedException", message, members)
        if (new := self.change(self.compiled, self.values, item)) is None:
            return None
        if (size := size_of(new)) > MAX_ITEM_BYTES:
            raise _Invalid("Item size has exceeded the maximum allowed size")
        return _Row(new, size)


def _write(
    table: str,
    key: Key,
    change: Callable[[_Compiled, Values, Item | None], Item | None],
    update: str | None = None,
    *,
    ConditionExpression: str | None = None,
    ExpressionAttributeNames: Mapping[str, str] | None = None,
    ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ReturnValuesOnConditionCheckFailure: str = "NONE",
) -> _Write:
    compiled, values = _expressions(
        ExpressionAttributeNames,
        ExpressionAttributeValues,
        UpdateExpression=update,
        ConditionExpression=ConditionExpression,
    )
    tell = ReturnValuesOnConditionCheckFailure == "ALL_OLD"
    return _Write(table, key, change, compiled, values, tell)


def _put(*, TableName: str, Item: Mapping[str, Any], **condition: Any) -> _Write:
    item = {name: _checked(value) for name, value in Item.items()}
    if missing := MAX_KEY_BYTES.keys() - item.keys():
        raise _Invalid(f"One or more parameter values were invalid: Missing the keys {missing}")
    key = _key_of({name: item[name] for name in MAX_KEY_BYTES})
    return _write(TableName, key, lambda compiled, values, old: item, **condition)


def _update(
    *, TableName: str, Key: Mapping[str, Any], UpdateExpression: str | None = None, **condition: Any
) -> _Write:
    key = _key_of(Key)

    def change(compiled: _Compiled, values: Values, old: Item | None) -> Item:
        before = old or _item_of(*key)
        after = before.copy()
        for name, operand in compiled.update:
            if (value := operand(before, values)) is None:
                after.pop(name, None)
            else:
                after[name] = value
        return after

    return _write(TableName, key, change, UpdateExpression, **condition)


def _delete(*, TableName: str, Key: Mapping[str, Any], **condition: Any) -> _Write:
    return _write(TableName, _key_of(Key), lambda compiled, values, old: None, **condition)


def _check(*, TableName: str, Key: Mapping[str, Any], **condition: Any) -> _Write:
    return _write(TableName, _key_of(Key), lambda compiled, values, old: old, **condition)


_WRITES: dict[str, Callable[..., _Write]] = {
    "Put": _put,
    "PutRequest": _put,
    "Update": _update,
    "Delete": _delete,
    "DeleteRequest": _delete,
    "ConditionCheck": _check,
}


def _one_of_many(request: Mapping[str, Any], **more: str) -> _Write:
    """Return a write of a transaction or a batch, which is `{kind: parameters}`."""
    if len(request) != 1:
        raise _Invalid("A request must have exactly one of the supported operations")
    ((kind, parameters),) = request.items()
    return _WRITES[kind](**parameters, **more)


def _check_keys(keys: Sequence[tuple[str, Key]], most: int) -> None:
    if not 1 <= len(keys) <= most:
        raise _Invalid(f"A request takes at least 1 and at most {most} items")
    if len(set(keys)) < len(keys):
        raise _Invalid("A request cannot include an item twice")


def _cancelled(reasons: list[dict[str, Any]]) -> _Refused:
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    members = {"Message": message, "CancellationReasons": reasons}
    return _Refused("TransactionCanceledException", message, members)


def _reason(refused: _Refused) -> dict[str, Any]:
    code = "ValidationError" if isinstance(refused, _Invalid) else "ConditionalCheckFailed"
    told = {"Item": refused.members["Item"]} if "Item" in refused.members else {}
    return {"Code": code, "Message": refused.message, **told}


@dataclass
class Meter:
    """Counts requests and units as DynamoDB bills them on demand.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
    """

    requests: int = 0
    write_units: int = 0
    read_units: float = 0
    operations: Counter[str] = field(default_factory=Counter)

    def request(self, operation_name: str) -> None:
        self.requests += 1
        self.operations[operation_name] += 1

    def write(self, old: _Row | None, new: _Row | None, times: int = 1) -> None:
        """The larger of what was and what is; a failed condition costs what is there."""
        size = max(old.size if old else 0, new.size if new else 0)
        self.write_units += times * max(1, -(-size // 1024))

    def read(self, size: int, consistent: bool) -> None:
        units = max(1, -(-size // 4096))
        self.read_units += units if consistent else units / 2


# The tables.

P = ParamSpec("P")
R = TypeVar("R")


def _operation(
    method: "Callable[Concatenate[DynamoDB, P], R]",
) -> "Callable[Concatenate[DynamoDB, P], R]":
    """Call the hooks around a request, and name the operation in what it raises."""
    name = method.__name__.title().replace("_", "")

    @wraps(method)
    def request(self: "DynamoDB", /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.before:
            self.before(name, kwargs)
        try:
            with self._lock:
                if self.meter:
                    self.meter.request(name)
                return method(self, *args, **kwargs)
        except _Refused as refused:
            raise refused.error(name) from None
        finally:
            if self.after:
                self.after(name, kwargs)

    return request


class DynamoDB:
    """The tables. Every request is atomic, from any thread.

    Attributes:
        before: called with the operation's name ("UpdateItem") and its parameters before it is
            carried out: what it raises is a refusal.
        after: called when it was carried out, even if its answer is an error: what it raises takes
            the answer's place.
        leave: called with the table's name and a request of BatchWriteItem, or a key of
            BatchGetItem: those for which it returns True stay unprocessed.
        meter: what counts requests and units, if anything does.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.leave: Callable[[str, Mapping[str, Any]], bool] | None = None
        self.meter = meter
        self._tables: dict[str, dict[str, _Partition]] = {}
        self._tokens: dict[str | None, int] = {}
        self._lock = RLock()

    # Reads.

    @_operation
    def get_item(
        self,
        /,
        *,
        TableName: str,
        Key: Mapping[str, Any],
        ConsistentRead: bool = False,
        **projection: Any,
    ) -> dict[str, Any]:
        names = _projection(**projection)
        row = self._row(TableName, _key_of(Key))
        if self.meter:
            self.meter.read(row.size if row else 0, ConsistentRead)
        return {"Item": _projected(row.item, names)} if row else {}

    @_operation
    def batch_get_item(self, /, *, RequestItems: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        keys = [
            (table, _key_of(key)) for table in RequestItems for key in RequestItems[table]["Keys"]
        ]
        _check_keys(keys, MAX_BATCH_READS)
        answer: dict[str, Any] = {"Responses": {}, "UnprocessedKeys": {}}
        size = 0
        for table, request in RequestItems.items():
            options = dict(request)
            left, items = [], answer["Responses"].setdefault(table, [])
            wanted, consistent = options.pop("Keys"), options.pop("ConsistentRead", False)
            names = _projection(**options)
            for key in wanted:
                row = self._row(table, _key_of(key))
                size += row.size if row else 0
                if size > MAX_BATCH_READ_BYTES or (self.leave and self.leave(table, key)):
                    left.append(deepcopy(key))
                    continue
                if self.meter:
                    self.meter.read(row.size if row else 0, consistent)
                items += [_projected(row.item, names)] if row else []
            if left:
                answer["UnprocessedKeys"][table] = {**request, "Keys": left}
        return answer

    @_operation
    def query(
        self,
        /,
        *,
        TableName: str,
        KeyConditionExpression: str,
        ConsistentRead: bool = False,
        Limit: int | None = None,
        ExclusiveStartKey: Mapping[str, Any] | None = None,
        ScanIndexForward: bool = True,
        FilterExpression: str | None = None,
        ProjectionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        compiled, values = _expressions(
            ExpressionAttributeNames,
            ExpressionAttributeValues,
            KeyConditionExpression=KeyConditionExpression,
            FilterExpression=FilterExpression,
            ProjectionExpression=ProjectionExpression,
        )
        key_range = compiled.key_range
        assert key_range
        if Limit is not None and Limit < 1:
            raise ParamValidationError(report="Limit: a value less than 1")
        pk = values[key_range.pk]["S"]
        partition = self._partitions(TableName).get(pk) or _Partition([], {})
        start, end = key_range.within(partition.keys, values)
        if ExclusiveStartKey is not None:
            start_pk, start_sk = _key_of(ExclusiveStartKey)
            if start_pk != pk or key_range.within([start_sk], values) != (0, 1):
                raise _Invalid("The provided starting key is outside query boundaries")
            if ScanIndexForward:
                start = max(start, bisect_right(partition.keys, start_sk))
            else:
                end = min(end, bisect_left(partition.keys, start_sk))
        order = range(start, end) if ScanIndexForward else range(end - 1, start - 1, -1)
        page, last, size = _page(partition, order, Limit)
        if self.meter:
            self.meter.read(size, ConsistentRead)
        items = [
            _projected(item, compiled.projection)
            for item in page
            if not compiled.filter or compiled.filter(item, values)
        ]
        more = {} if last is None else {"LastEvaluatedKey": _item_of(pk, last)}
        return {"Items": items, "Count": len(items), "ScannedCount": len(page), **more}

    @_operation
    def scan(self, /, *, TableName: str) -> dict[str, Any]:
        """Return the whole table in one page, in the order of its keys."""
        partitions = sorted(self._partitions(TableName).items())
        rows = [partition.rows[sk] for _, partition in partitions for sk in partition.keys]
        if self.meter:
            self.meter.read(sum([row.size for row in rows]), consistent=False)
        items = [_copied(row.item) for row in rows]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    # Writes.

    @_operation
    def put_item(self, /, *, ReturnValues: str = "NONE", **request: Any) -> dict[str, Any]:
        return self._written(_put(**request), ReturnValues)

    @_operation
    def delete_item(self, /, *, ReturnValues: str = "NONE", **request: Any) -> dict[str, Any]:
        return self._written(_delete(**request), ReturnValues)

    @_operation
    def update_item(self, /, *, ReturnValues: str = "NONE", **request: Any) -> dict[str, Any]:
        more = ("ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
        return self._written(_update(**request), ReturnValues, *more)

    @_operation
    def transact_write_items(
        self,
        /,
        *,
        TransactItems: Sequence[Mapping[str, Any]],
        ClientRequestToken: str | None = None,
    ) -> dict[str, Any]:
        writes = [_one_of_many(request) for request in TransactItems]
        _check_keys([(write.table, write.key) for write in writes], MAX_TRANSACTION_ITEMS)
        contents = hash(repr(TransactItems)) if ClientRequestToken else 0
        if self._tokens.get(ClientRequestToken, contents) != contents:
            raise _Refused("IdempotentParameterMismatchException", "The token is another request's")
        if ClientRequestToken in self._tokens:
            return {}
        news = self._new_rows(writes)
        for write, new in zip(writes, news, strict=True):
            self._store(write.table, write.key, new)
        if ClientRequestToken:
            self._tokens[ClientRequestToken] = contents
            for token in list(self._tokens)[:-_MAX_TOKENS]:
                del self._tokens[token]
        return {}

    @_operation
    def batch_write_item(
        self, /, *, RequestItems: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> dict[str, Any]:
        requests = [(table, request) for table, some in RequestItems.items() for request in some]
        writes = [_one_of_many(request, TableName=table) for table, request in requests]
        _check_keys([(write.table, write.key) for write in writes], MAX_BATCH_WRITES)
        news = [write.new_row(None) for write in writes]
        left: dict[str, list[Any]] = {}
        for (table, request), write, new in zip(requests, writes, news, strict=True):
            if self.leave and self.leave(table, request):
                left.setdefault(table, []).append(deepcopy(request))
                continue
            if self.meter:
                self.meter.write(self._row(table, write.key), new)
            self._store(table, write.key, new)
        return {"UnprocessedItems": left}

    # What is not DynamoDB's.

    def expire(
        self,
        now: float,
        choose: Callable[[list[tuple[str, str, str]]], tuple[str, str, str]] | None = None,
    ) -> list[tuple[str, str, str]]:
        """Delete what TTL may delete: all of it, or the one item that `choose` returns.

        Items are named by table, pk and sk; those that were deleted are returned.
        """
        with self._lock:
            late = [
                (table, pk, sk)
                for table, partitions in sorted(self._tables.items())
                for pk, partition in sorted(partitions.items())
                for sk in partition.keys
                if Decimal(partition.rows[sk].item.get("ttl", {}).get("N", "Infinity")) <= now
            ]
            if choose and late:
                late = [choose(late)]
            for table, pk, sk in late:
                self._store(table, (pk, sk), None)
            return late

    def _partitions(self, table: str) -> dict[str, _Partition]:
        return self._tables.setdefault(table, {})

    def _row(self, table: str, key: Key) -> _Row | None:
        partition = self._partitions(table).get(key[0])
        return partition.rows.get(key[1]) if partition else None

    def _store(self, table: str, key: Key, row: _Row | None) -> None:
        pk, sk = key
        partitions = self._partitions(table)
        keys, rows = partitions.get(pk) or partitions.setdefault(pk, _Partition([], {}))
        if row and sk not in rows:
            insort(keys, sk)
        elif not row and sk in rows:
            del keys[bisect_left(keys, sk)]
        if row:
            rows[sk] = row
        else:
            rows.pop(sk, None)
        if not rows:
            del partitions[pk]

    def _new_rows(self, writes: Iterable[_Write]) -> list[_Row | None]:
        """Return what rows a transaction makes.

        Raises:
            _Refused: any of its writes is.
        """
        news: list[_Row | None] = []
        reasons: list[dict[str, Any]] = []
        for write in writes:
            old = self._row(write.table, write.key)
            try:
                news.append(write.new_row(old))
                reasons.append({"Code": "None"})
            except _Refused as refused:
                news.append(old)
                reasons.append(_reason(refused))
            if self.meter:
                self.meter.write(old, news[-1], times=2)
        if any(reason["Code"] != "None" for reason in reasons):
            raise _cancelled(reasons)
        if sum([row.size for row in news if row]) > MAX_TRANSACTION_BYTES:
            raise _Invalid("The aggregate size of the items has exceeded the maximum allowed size")
        return news

    def _written(self, write: _Write, return_values: str, *more: str) -> dict[str, Any]:
        """Carry out a write of its own, and answer with the item as it was or is."""
        if return_values not in ("NONE", "ALL_OLD", *more):
            raise _Invalid("Return values set to invalid value")
        old = new = self._row(write.table, write.key)
        try:
            new = write.new_row(old)
            self._store(write.table, write.key, new)
        finally:
            if self.meter:
                self.meter.write(old, new)
        row = old if return_values.endswith("OLD") else new
        if return_values == "NONE" or not row:
            return {}
        names = [name for name, _ in write.compiled.update]
        item = _projected(row.item, names if return_values.startswith("UPDATED") else None)
        return {"Attributes": item} if item else {}


def _page(
    partition: _Partition, order: Iterable[int], limit: int | None
) -> tuple[list[Item], str | None, int]:
    """Read a page: its items, the last key if the limit or the size ended it, and its bytes.

    Nobody looks at what comes after the limit: there may be nothing.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
    """
    page: list[Item] = []
    size, last = 0, None
    for number in order:
        key = partition.keys[number]
        row = partition.rows[key]
        if size + row.size > PAGE_BYTES:
            return page, last, size
        page.append(row.item)
        size, last = size + row.size, key
        if len(page) == limit:
            return page, last, size
    return page, None, size
