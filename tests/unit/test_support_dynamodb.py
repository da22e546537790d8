"""The stand-in for DynamoDB against moto, call by call; and where moto is wrong, against AWS.

What is said here of AWS without an address is from tests that others run against the real service:
https://github.com/scylladb/scylladb/tree/master/test/alternator, and dynalite's.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from support.dynamodb import DynamoDB, Meter, size_of

_table_numbers = count()


class Both:
    """moto and the stand-in, each with one empty table."""

    def __init__(self, moto: Any) -> None:
        self.moto, self.ours = moto, DynamoDB()
        self.table = f"table-{next(_table_numbers)}"
        keys = [("pk", "HASH"), ("sk", "RANGE")]
        moto.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name, _ in keys
            ],
        )

    def alike(self, operation: str, **parameters: Any) -> Any:
        """Call both, which must answer the same and hold the same items; return the answer."""
        if "Transact" not in str(parameters) and "RequestItems" not in parameters:
            parameters["TableName"] = self.table
        theirs, ours = (_outcome(each, operation, parameters) for each in (self.moto, self.ours))
        assert ours == theirs
        assert self.items() == _by_key(_plain(self.moto.scan(TableName=self.table)["Items"]))
        return ours

    def items(self) -> list[Any]:
        return _by_key(_plain(self.ours.scan(TableName=self.table)["Items"]))

    def transact(self, *items: Any) -> Any:
        named = [
            {kind: {"TableName": self.table, **request}} for kind, request in map(_only, items)
        ]
        return self.alike("transact_write_items", TransactItems=named)


def _only(request: dict[str, Any]) -> tuple[str, Any]:
    ((kind, parameters),) = request.items()
    return kind, parameters


def _outcome(client: Any, operation: str, parameters: Any) -> Any:
    try:
        answer = getattr(client, operation)(**parameters)
    except ClientError as exc:
        error = {**exc.response, "ResponseMetadata": None}
        code = exc.response["Error"]["Code"]
        # The words of a validation error are nobody's interface.
        return code if code == "ValidationException" else (exc.operation_name, _plain(error))
    except ParamValidationError:
        return ParamValidationError
    return _plain({key: answer[key] for key in answer if key not in _NOT_ASKED_FOR})


_NOT_ASKED_FOR = ("ResponseMetadata", "ConsumedCapacity", "ItemCollectionMetrics")


def _plain(value: Any) -> Any:
    """Return a value with its sets in order: their order says nothing."""
    if isinstance(value, dict):
        return {
            key: sorted(each) if key in ("SS", "NS") else _plain(each)
            for key, each in value.items()
        }
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _by_key(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("dynamodb", region_name="us-east-1")


@pytest.fixture
def both(moto: Any) -> Both:
    return Both(moto)


@pytest.fixture
def ours() -> DynamoDB:
    return DynamoDB(Meter())


def key(pk: str = "a", sk: str = "1") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


ITEM: dict[str, Any] = {
    **key(),
    "n": {"N": "5"},
    "m": {"N": "7"},
    "s": {"S": "hello"},
    "u": {"S": "hell"},
    "b": {"B": b"hello"},
    "tags": {"SS": ["x", "y"]},
    "numbers": {"NS": ["1", "2.5"]},
    "l": {"L": [{"N": "1"}, {"S": "x"}, {"L": [{"N": "2"}]}]},
    "doc": {"M": {"x": {"N": "1"}}},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "empty": {"S": ""},
}
VALUES: dict[str, Any] = {
    ":0": {"N": "0"},
    ":1": {"N": "1"},
    ":2": {"N": "2"},
    ":5": {"N": "5"},
    ":6": {"N": "6"},
    ":10": {"N": "10"},
    ":minus": {"N": "-5"},
    ":text": {"S": "1"},
    ":half": {"N": "2.5"},
    ":hello": {"S": "hello"},
    ":he": {"S": "he"},
    ":x": {"S": "x"},
    ":bytes": {"B": b"he"},
    ":xy": {"SS": ["y", "x"]},
    ":xz": {"SS": ["x", "z"]},
    ":z": {"SS": ["z"]},
    ":numbers": {"NS": ["2.5", "1"]},
    ":3": {"NS": ["3"]},
    ":l": ITEM["l"],
    ":inner": {"L": [{"N": "2"}]},
    ":doc": ITEM["doc"],
    ":yes": {"BOOL": True},
    ":nothing": {"NULL": True},
    ":empty": {"S": ""},
}


def expressions(**texts: str) -> dict[str, Any]:
    """Return the parameters of expressions, with the names and values that they use."""
    used = " ".join(texts.values())
    names = {name: name[1:] for name in re.findall(r"#\w+", used)}
    values = {name: VALUES[name] for name in re.findall(r":\w+", used)}
    return {
        **texts,
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": values} if values else {}),
    }


CONDITIONS = """
    n = :5 | n = :6 | n <> :5 | n <> :6 | :6 > n | n < m | n < :10 | n > :6 | n <= :5 | n >= :6
    q = :5 | q <> :5 | NOT q = :5 | q < :5 | NOT q < :5 | n = :hello | n <> :hello | s < :x | s < u
    s <> u | b > :bytes | tags = :xy | tags = :xz | numbers = :numbers | l = :l | doc = :doc
    yes = :yes | nothing = :nothing | empty = :empty | s = :empty
    n BETWEEN :1 AND :6 | n BETWEEN :6 AND m | n BETWEEN :1 AND m | q BETWEEN :1 AND :6
    n IN (:1, :5) | n IN (:1, :hello) | q IN (:1) | n in (m, :6)
    attribute_exists(n) | attribute_exists(q) | attribute_not_exists(n) | attribute_not_exists(q)
    attribute_exists(pk) | attribute_not_exists(#pk) | #n = :5 and #s = :hello
    begins_with(s, :he) | begins_with(s, :x) | begins_with(q, :x) | begins_with(n, :x)
    begins_with(s, u) | begins_with(u, s) | begins_with(tags, :x) | begins_with(sk, :he)
    contains(s, :he) | contains(s, :x) | contains(tags, :x) | contains(tags, :he) | contains(s, u)
    contains(tags, :xy) | contains(numbers, :1) | contains(numbers, :2) | contains(numbers, :text)
    contains(l, :1) | contains(l, :x) | contains(l, :inner) | contains(q, :x) | contains(s, :5)
    contains(doc, :x)
    size(s) = :5 | size(s) = n | size(s) > n | size(tags) < :6 | size(tags) = :1 | size(l) > :2
    size(doc) = :1 | size(b) > :6 | size(s) = :x | size(numbers) >= :2
    attribute_not_exists(q) OR size(q) <= :6 | attribute_not_exists(tags) OR size(tags) <= :1
    attribute_exists(pk) AND (attribute_not_exists(tags) OR size(tags) <= :2) AND contains(tags, :x)
    n = :5 AND s = :hello | n = :5 AND s = :x | n = :6 OR s = :hello | n = :6 OR s = :x
    NOT n = :6 AND s = :hello | NOT (n = :6 OR s = :hello) | n = :5 OR n = :6 AND s = :x
    (n = :5 OR n = :6) AND s = :x | (n = :5) | ((n = :5)) | not n = :5 | n = :5 Or s = :x
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("condition", [text.strip() for text in CONDITIONS if text.strip()])
def test_a_condition_decides_as_with_moto(both: Both, condition: str) -> None:
    both.alike("put_item", Item=ITEM)
    both.alike(
        "put_item",
        Item={**key(), "new": {"S": "x"}},
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
        **expressions(ConditionExpression=condition),
    )


@pytest.mark.parametrize(
    "condition", ["q = :5", "q <> :5", "attribute_exists(pk)", "attribute_not_exists(pk)"]
)
@pytest.mark.parametrize("operation", ["put_item", "delete_item", "update_item"])
@pytest.mark.parametrize("tell", ["NONE", "ALL_OLD"])
def test_a_condition_meets_no_item(both: Both, operation: str, condition: str, tell: str) -> None:
    what: dict[str, Any] = {"Item": key()} if operation == "put_item" else {"Key": key()}
    both.alike(
        operation,
        **what,
        ReturnValuesOnConditionCheckFailure=tell,
        **expressions(ConditionExpression=condition)
        | (expressions(UpdateExpression="REMOVE z") if operation == "update_item" else {}),
    )


UPDATES = """
    SET n = :6 | SET q = :6 | SET n = n + :1 | SET n = n - :6 | SET n = :6 - n | SET n = n - m
    SET n = m, m = n | SET q = if_not_exists(q, :0) + :1 | SET n = if_not_exists(n, :0) + :1
    SET q = :0 + if_not_exists(q, :1) | SET q = if_not_exists(z, n) | SET n = n + :half
    SET q = z | SET q = q + :1 | SET q = if_not_exists(z, y) | SET n = s + :1 | SET n = n + :hello
    SET n = :6, s = :he | SET n = :6 REMOVE s ADD m :1 DELETE tags :xz | SET n = :5, n = :6
    SET n = :6 SET s = :he | SET #ttl = :5 | SET ttl = :5 | REMOVE owner | set n = :6 remove s
    SET n = :doc | SET n = :empty | SET q = tags | SET yes = :yes, nothing = :nothing
    ADD n :1 | ADD n :minus | ADD q :1 | ADD s :1 | ADD tags :xz | ADD q :xz | ADD n :xz
    ADD tags :1 | ADD numbers :3 | ADD tags :3 | ADD n :half | ADD n m | ADD n :1 SET n = :1
    DELETE tags :xz | DELETE tags :xy | DELETE tags :z | DELETE q :xz | DELETE n :xz
    DELETE tags :3 | DELETE tags u | REMOVE s | REMOVE s, n | REMOVE q | REMOVE s, s | REMOVE
    SET pk = :hello | REMOVE pk | ADD sk :1 | SET | SET n = | n = :5 | SET n :5 | SET n = :5,
    FOO n :5 | SET n = 5 | SET n = foo(n, :5) | SET n = n * :5 | SET n = size(s)
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("update", [text.strip() for text in UPDATES if text.strip()])
@pytest.mark.parametrize("values", ["ALL_NEW", "ALL_OLD", "NONE"])
def test_an_update_does_as_with_moto(both: Both, update: str, values: str) -> None:
    both.alike("put_item", Item=ITEM)
    update_item = expressions(UpdateExpression=update)
    both.alike("update_item", Key=key(), ReturnValues=values, **update_item)


@pytest.mark.parametrize(
    "update",
    [
        "SET n = :6",
        "ADD n :1",
        "ADD tags :xz",
        "DELETE tags :xz",
        "REMOVE s",
        "SET q = if_not_exists(q, :1)",
    ],
)
def test_an_update_makes_an_item_of_nothing(both: Both, update: str) -> None:
    both.alike(
        "update_item", Key=key(), ReturnValues="ALL_NEW", **expressions(UpdateExpression=update)
    )
    both.alike("get_item", Key=key())


@pytest.mark.parametrize("update", ["SET n = :6", "ADD tags :xz", "SET n = n + :1, s = :he"])
@pytest.mark.parametrize("values", ["UPDATED_NEW", "UPDATED_OLD"])
def test_an_update_answers_with_what_it_changed(both: Both, update: str, values: str) -> None:
    both.alike("put_item", Item=ITEM)
    parameters = expressions(UpdateExpression=update)
    both.alike("update_item", Key=key(), ReturnValues=values, **parameters)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "a value nobody uses": (
        "update_item",
        {
            "Key": key(),
            "UpdateExpression": "SET n = :n",
            "ExpressionAttributeValues": {":n": {"N": "1"}, ":m": {"N": "1"}},
        },
    ),
    "a value nobody gives": (
        "update_item",
        {
            "Key": key(),
            "UpdateExpression": "SET n = :n, m = :m",
            "ExpressionAttributeValues": {":n": {"N": "1"}},
        },
    ),
    "a name nobody uses": (
        "put_item",
        {
            "Item": key(),
            "ConditionExpression": "attribute_exists(#a)",
            "ExpressionAttributeNames": {"#a": "a", "#b": "b"},
        },
    ),
    "a reserved word": ("get_item", {"Key": key(), "ProjectionExpression": "pk, ttl"}),
    "a key of something else": ("get_item", {"Key": {**key(), "n": {"N": "1"}}}),
    "half a key": ("delete_item", {"Key": {"pk": {"S": "a"}}}),
    "an empty key": ("put_item", {"Item": key(sk="")}),
    "an item without a key": ("put_item", {"Item": {"pk": {"S": "a"}}}),
    "an item with a number as a key": ("put_item", {"Item": {**key(), "sk": {"N": "1"}}}),
    "a long partition key": ("put_item", {"Item": key(pk="a" * 2049)}),
    "a long sort key": ("put_item", {"Item": key(sk="é" * 513)}),
    "an empty set": ("put_item", {"Item": {**key(), "tags": {"SS": []}}}),
    "a large item": ("put_item", {"Item": {**key(), "s": {"S": "x" * 409_600}}}),
    "no operator": ("query", expressions(KeyConditionExpression="pk :x")),
    "a query without a partition": ("query", expressions(KeyConditionExpression="sk = :x")),
    "a query by more than the key": (
        "query",
        expressions(KeyConditionExpression="pk = :x AND n = :1"),
    ),
    "a text as a number": ("put_item", {"Item": {**key(), "n": {"N": 1}}}),
    "a limit of nothing": ("query", {**expressions(KeyConditionExpression="pk = :x"), "Limit": 0}),
    "what is no type": ("put_item", {"Item": {**key(), "n": {"X": "1"}}}),
}
# What moto answers as if it were nothing, or crashes at.
REFUSED_BY_AWS: dict[str, tuple[str, dict[str, Any]]] = {
    "a name nobody gives": (
        "put_item",
        {
            "Item": key(),
            "ConditionExpression": "attribute_exists(#a) OR attribute_exists(#b)",
            "ExpressionAttributeNames": {"#a": "a"},
        },
    ),
    "a number as a key": ("get_item", {"Key": {"pk": {"N": "1"}, "sk": {"S": "1"}}}),
    "an empty key of an update": (
        "update_item",
        {"Key": key(pk=""), **expressions(UpdateExpression="SET n = :1")},
    ),
    "a member twice": ("put_item", {"Item": {**key(), "tags": {"SS": ["x", "x"]}}}),
    "another partition's start": (
        "query",
        {
            **expressions(KeyConditionExpression="pk = :x"),
            "ExclusiveStartKey": key("another"),
        },
    ),
    "a filter by the key": (
        "query",
        expressions(KeyConditionExpression="pk = :x", FilterExpression="sk = :he"),
    ),
    "two types in one value": ("put_item", {"Item": {**key(), "n": {"N": "1", "S": "x"}}}),
    "a projection without an end": ("get_item", {"Key": key(), "ProjectionExpression": "n,"}),
    "26 writes of a batch": (
        "batch_write_item",
        {"RequestItems": {"t": [{"DeleteRequest": {"Key": key(sk=f"{n}")}} for n in range(26)]}},
    ),
    "a write and a delete of one item": (
        "batch_write_item",
        {
            "RequestItems": {
                "t": [{"DeleteRequest": {"Key": key()}}, {"PutRequest": {"Item": key()}}]
            }
        },
    ),
    "an empty value": ("put_item", {"Item": {**key(), "n": {}}}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_moto_refuses_is_refused(both: Both, why: str) -> None:
    operation, parameters = REFUSED[why]
    assert both.alike(operation, **parameters) in ("ValidationException", ParamValidationError)


@pytest.mark.parametrize("why", REFUSED_BY_AWS)
def test_what_moto_does_not_refuse_is_refused(ours: DynamoDB, why: str) -> None:
    operation, parameters = REFUSED_BY_AWS[why]
    more = {} if "RequestItems" in parameters else {"TableName": "t"}
    assert _outcome(ours, operation, parameters | more) == "ValidationException"


@pytest.mark.parametrize("word", ["ttl", "state", "open", "plan", "owner", "start", "data", "name"])
def test_an_attribute_with_a_reserved_word_needs_a_name(both: Both, word: str) -> None:
    condition = expressions(ConditionExpression=f"attribute_exists({word})")
    assert both.alike("put_item", Item=key(), **condition) == "ValidationException"
    condition = expressions(ConditionExpression=f"attribute_not_exists(#{word})")
    assert both.alike("put_item", Item=key(), **condition) == {}


@pytest.mark.parametrize("projection", ["n", "n, s, q", "q", "#n, sk", "n, n", ""])
def test_an_item_is_projected(both: Both, projection: str) -> None:
    both.alike("put_item", Item=ITEM)
    asked = expressions(ProjectionExpression=projection)
    both.alike("get_item", Key=key(), ConsistentRead=True, **asked)
    both.alike("get_item", Key=key(sk="missing"), **asked)


@pytest.mark.parametrize("values", ["NONE", "ALL_OLD", "ALL_NEW"])
def test_what_was_there_comes_back(both: Both, values: str) -> None:
    for _ in range(2):
        both.alike("put_item", Item=ITEM, ReturnValues=values)
    for _ in range(2):
        both.alike("delete_item", Key=key(), ReturnValues=values)


# Queries.

KEYS = ["1", "11", "12", "2", "é", "中", "\U0001f600"]  # in the order of their UTF-8


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("limit", [None, 1, 2, 4])
@pytest.mark.parametrize(
    "condition",
    [
        "pk = :pk",
        "pk = :pk AND sk = :two",
        "pk = :pk AND sk < :two",
        "pk = :pk AND sk <= :two",
        "pk = :pk AND sk > :one",
        "sk >= :two AND pk = :pk",
        "pk = :pk AND sk BETWEEN :one AND :two",
        "pk = :pk AND begins_with(sk, :one)",
        "(pk = :pk) AND (begins_with(sk, :one))",
    ],
)
def test_a_query_finds_what_moto_finds(
    both: Both, condition: str, limit: int | None, forward: bool
) -> None:
    for sk in KEYS:
        item = {**key("b", sk), "n": {"N": str(len(sk))}}
        both.moto.put_item(TableName=both.table, Item=item)
        both.ours.put_item(TableName=both.table, Item=item)
    values = {":pk": {"S": "b"}, ":one": {"S": "1"}, ":two": {"S": "2"}, ":n": {"N": "1"}}
    asked = {
        "TableName": both.table,
        "KeyConditionExpression": condition,
        "FilterExpression": "n = :n",
        "ProjectionExpression": "sk, n",
        "ScanIndexForward": forward,
        "ExpressionAttributeValues": {
            name: value for name, value in values.items() if name in condition or name == ":n"
        },
        **({"Limit": limit} if limit else {}),
    }
    theirs, ours = (list(_pages(each, asked)) for each in (both.moto, both.ours))
    assert [page["Items"] for page in ours] == [page["Items"] for page in theirs]
    assert [page["ScannedCount"] for page in ours] == [page["ScannedCount"] for page in theirs]


def _pages(client: Any, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read a query's pages, but for an empty one at the end: moto looks ahead at its limit."""
    start: dict[str, Any] = {}
    for _ in range(2 * len(KEYS)):
        page = client.query(**asked, **start)
        if page["ScannedCount"]:
            yield page
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


@pytest.mark.parametrize("forward", [True, False])
def test_a_query_starts_behind_a_key_that_may_be_missing(both: Both, forward: bool) -> None:
    for sk in ("1", "3", "5"):
        both.alike("put_item", Item=key("x", sk))
    for start in ("0", "1", "2", "3", "4", "5", "6"):
        both.alike(
            "query",
            ExclusiveStartKey=key("x", start),
            ScanIndexForward=forward,
            **expressions(KeyConditionExpression="pk = :x"),
        )


# Transactions and batches.


def test_a_transaction_is_carried_out_whole(both: Both) -> None:
    both.alike("put_item", Item=ITEM)
    both.transact(
        {"Update": {"Key": key(), **expressions(UpdateExpression="ADD tags :z")}},
        {"Put": {"Item": key("b"), **expressions(ConditionExpression="attribute_not_exists(pk)")}},
        {"Delete": {"Key": key("c")}},
        {
            "ConditionCheck": {
                "Key": key("d"),
                **expressions(ConditionExpression="attribute_not_exists(pk)"),
            }
        },
    )
    both.transact({"Delete": {"Key": key()}})


@pytest.mark.parametrize("tell", ["NONE", "ALL_OLD"])
def test_a_transaction_is_cancelled_whole_and_says_why(both: Both, tell: str) -> None:
    both.alike("put_item", Item=ITEM)
    unless_there = {
        **expressions(ConditionExpression="attribute_not_exists(pk)"),
        "ReturnValuesOnConditionCheckFailure": tell,
    }
    both.transact(
        {"Put": {"Item": key("b")}},
        {"Put": {"Item": key(), **unless_there}},
        {
            "Update": {
                "Key": key("c"),
                "ReturnValuesOnConditionCheckFailure": tell,
                **expressions(
                    UpdateExpression="ADD n :1", ConditionExpression="attribute_exists(pk)"
                ),
            }
        },
    )
    both.transact({"Delete": {"Key": key(), **unless_there}})
    both.transact({"ConditionCheck": {"Key": key(), **unless_there}}, {"Put": {"Item": key("b")}})


def test_a_transaction_has_no_item_twice_and_at_most_a_hundred(both: Both) -> None:
    assert both.transact({"Put": {"Item": key()}}, {"Delete": {"Key": key()}}) == (
        "ValidationException"
    )
    many = [{"Put": {"Item": key(sk=str(number))}} for number in range(1, 102)]
    assert both.transact(*many) == "ValidationException"
    assert both.transact(*many[:100]) == {}


def test_a_batch_writes_no_item_twice(both: Both) -> None:
    def write(*requests: Any) -> Any:
        return both.alike("batch_write_item", RequestItems={both.table: list(requests)})

    puts = [{"PutRequest": {"Item": key(sk=str(number))}} for number in range(1, 26)]
    write(*puts)
    write({"DeleteRequest": {"Key": key(sk="1")}}, {"DeleteRequest": {"Key": key(sk="99")}})
    assert write(puts[0], puts[0]) == "ValidationException"


def test_a_batch_reads_a_hundred_items_and_none_twice(both: Both) -> None:
    both.alike("put_item", Item=ITEM)
    both.alike("put_item", Item=key("b"))

    def read(*keys: Any, **more: Any) -> Any:
        return both.alike("batch_get_item", RequestItems={both.table: {"Keys": list(keys), **more}})

    read(key(), key("b"), key("c"))
    read(key(), ConsistentRead=True, **expressions(ProjectionExpression="#n, q"))
    assert read(key(), key()) == "ValidationException"
    assert read(*[key(sk=str(number)) for number in range(1, 102)]) == "ValidationException"


# Whatever comes.

_keys = st.builds(key, st.sampled_from("ab"), st.sampled_from("123"))
_numbers = st.integers(-2, 12).map(lambda number: {"N": str(number)})
_texts = st.sampled_from(["", "x", "xy", "é"]).map(lambda text: {"S": text})
_sets = st.sets(st.sampled_from("xyz"), min_size=1).map(lambda tags: {"SS": sorted(tags)})
_attributes = st.fixed_dictionaries({}, optional={"n": _numbers, "s": _texts, "tags": _sets})
_tests = st.one_of(
    st.tuples(st.sampled_from(["n = {}", "n <> {}", "n < {}", "n >= {}"]), _numbers),
    st.tuples(
        st.sampled_from(["s = {}", "s > {}", "begins_with(s, {})", "contains(s, {})"]), _texts
    ),
    st.tuples(st.just("contains(tags, {})"), st.sampled_from("xyz").map(lambda tag: {"S": tag})),
    st.tuples(st.sampled_from(["tags = {}", "tags <> {}"]), _sets),
    st.tuples(st.just("attribute_exists(tags) AND size(tags) <= {}"), _numbers),
    st.tuples(
        st.sampled_from(["attribute_exists(pk)", "attribute_not_exists(n)", "attribute_exists(s)"]),
        st.none(),
    ),
)
_conditions = st.lists(
    st.tuples(st.sampled_from(["", "NOT "]), _tests, st.sampled_from([" AND ", " OR "])), max_size=3
)
_changes = st.fixed_dictionaries(
    {},
    optional={
        "n": st.tuples(
            st.sampled_from(
                ["SET n = {}", "ADD n {}", "REMOVE n", "SET n = if_not_exists(n, {}) + {}"]
            ),
            _numbers,
        ),
        "s": st.tuples(
            st.sampled_from(["SET s = {}", "REMOVE s", "SET s = if_not_exists(s, {})"]), _texts
        ),
        "tags": st.tuples(
            st.sampled_from(["SET tags = {}", "ADD tags {}", "DELETE tags {}", "REMOVE tags"]),
            _sets,
        ),
    },
).filter(bool)


class _Names:
    """Hands out names for values."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def fill(self, text: str, value: Any) -> str:
        for _ in range(text.count("{}")):
            name = f":{len(self.values)}"
            self.values[name] = value
            text = text.replace("{}", name, 1)
        return text

    def parameters(self, **texts: str) -> dict[str, Any]:
        values = {"ExpressionAttributeValues": self.values} if self.values else {}
        return {name: text for name, text in texts.items() if text} | values


def _condition(names: _Names, tests: list[Any]) -> str:
    text = ""
    for number, (negation, (test, value), junction) in enumerate(tests):
        filled = names.fill(test, value)
        text += (junction if number else "") + (f"NOT ({filled})" if negation else filled)
    return text


def _update_text(names: _Names, changes: dict[str, Any]) -> str:
    sections: dict[str, list[str]] = {}
    for text, value in changes.values():
        section, change = names.fill(text, value).split(" ", 1)
        sections.setdefault(section, []).append(change)
    return " ".join(f"{section} {', '.join(each)}" for section, each in sections.items())


@st.composite
def _writes(draw: Any) -> tuple[str, dict[str, Any]]:
    names = _Names()
    condition = _condition(names, draw(_conditions))
    kind = draw(st.sampled_from(["Put", "Update", "Delete"]))
    at = draw(_keys)
    match kind:
        case "Put":
            what = {"Item": at | draw(_attributes)} | names.parameters(
                ConditionExpression=condition
            )
        case "Update":
            update = _update_text(names, draw(_changes))
            what = {"Key": at} | names.parameters(
                ConditionExpression=condition, UpdateExpression=update
            )
        case _:
            what = {"Key": at} | names.parameters(ConditionExpression=condition)
    tell = draw(st.sampled_from(["NONE", "ALL_OLD"]))
    return kind, what | {"ReturnValuesOnConditionCheckFailure": tell}


@st.composite
def _requests(draw: Any) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(["write", "write", "write", "transact", "query"]))
    if kind == "write":
        write, parameters = draw(_writes())
        values = ["NONE", "ALL_OLD", *(["ALL_NEW"] if write == "Update" else [])]
        return f"{write.lower()}_item", parameters | {"ReturnValues": draw(st.sampled_from(values))}
    if kind == "transact":
        writes = draw(st.lists(_writes(), min_size=1, max_size=3))
        return "transact", {"items": [{write: parameters} for write, parameters in writes]}
    names = _Names()
    comparison = draw(
        st.sampled_from(
            ["", " AND sk = {}", " AND sk >= {}", " AND sk < {}", " AND begins_with(sk, {})"]
        )
    )
    where = names.fill("pk = {}", {"S": draw(st.sampled_from("ab"))})
    where += names.fill(comparison, {"S": draw(st.sampled_from("123"))})
    condition = _condition(names, [each for each in draw(_conditions) if "(pk)" not in str(each)])
    parameters = names.parameters(KeyConditionExpression=where, FilterExpression=condition)
    return "query", parameters | {"ScanIndexForward": draw(st.booleans())}


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(_requests(), min_size=1, max_size=12))
def test_any_requests_are_answered_as_by_moto(moto: Any, requests: list[Any]) -> None:
    both = Both(moto)
    for operation, parameters in requests:
        if operation == "transact":
            both.transact(*parameters["items"])
        else:
            both.alike(operation, **parameters)


# Where moto is wrong.


def ask(ours: DynamoDB, operation: str, **parameters: Any) -> Any:
    return _outcome(ours, operation, {"TableName": "t", **parameters})


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        # An attribute that is missing equals nothing; moto finds two of them equal.
        ("q = z", False),
        ("q <> z", True),
        # Other types are not in order, and have no size; moto raises TypeError and ValueError.
        ("n < :hello", False),
        ("size(n) = :1", False),
        ("size(yes) = :1", False),
        # What is missing has no size either.
        ("size(q) < :6", False),
        ("size(q) = :6", False),
        ("size(q) <> :6", True),
        ("NOT size(q) < :6", True),
        # Binaries have beginnings and parts too.
        ("begins_with(b, :bytes)", True),
        ("contains(b, :bytes)", True),
    ],
)
def test_a_condition_decides_otherwise_than_with_moto(
    ours: DynamoDB, condition: str, holds: bool
) -> None:
    ask(ours, "put_item", Item=ITEM)
    answer = ask(ours, "put_item", Item=ITEM, **expressions(ConditionExpression=condition))
    assert answer == ({} if holds else answer)
    assert "ConditionalCheckFailedException" in str(answer) or holds


@pytest.mark.parametrize(
    "condition",
    [
        # Values whose types cannot be compared; moto says that the condition is false, or crashes.
        "n BETWEEN :6 AND :5",
        "n BETWEEN :1 AND :hello",
        "begins_with(s, :5)",
        "n < :yes",
        "size(:5) = :5",
        # What moto cannot parse, it does not refuse: it raises ValueError, or says false.
        *(
            "n",
            "n =",
            "= :5",
            "n = :5 AND",
            "n = :5 s = :he",
            "n == :5",
            "n = 5",
            "n IN ()",
            "(n = :5",
        ),
        *("size(s)", "size(n, n) = :5", "foo(n) = :5", "n ! :5", "_x = :5", "attribute_exists n"),
        *("attribute_exists(n) = :yes", "attribute_exists(:5)", "if_not_exists(n, :5) = :5"),
        "n = :5 AND " * 500 + "n = :5",
    ],
)
def test_a_condition_is_refused_otherwise_than_by_moto(ours: DynamoDB, condition: str) -> None:
    ask(ours, "put_item", Item=ITEM)
    answer = ask(ours, "put_item", Item=ITEM, **expressions(ConditionExpression=condition))
    assert answer == "ValidationException"


@pytest.mark.parametrize(
    ("update", "changed"),
    [
        # UPDATED_NEW: all attributes of the update that there are, as they are now; moto leaves out
        # what it finds unchanged.
        # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html
        ("SET n = :5, s = :he", {"n": {"N": "5"}, "s": {"S": "he"}}),
        ("DELETE tags :z", {"tags": {"SS": ["x", "y"]}}),
        ("DELETE tags :xy", None),
        ("REMOVE s, q", None),
        # A default may have a default, numbers of a set are numbers, and keys can be read.
        ("SET q = if_not_exists(z, if_not_exists(y, :6))", {"q": {"N": "6"}}),
        ("DELETE numbers :numbers", None),
        ("SET q = pk", {"q": {"S": "a"}}),
    ],
)
def test_an_update_does_otherwise_than_with_moto(ours: DynamoDB, update: str, changed: Any) -> None:
    ask(ours, "put_item", Item=ITEM)
    parameters = expressions(UpdateExpression=update)
    answer = ask(ours, "update_item", Key=key(), ReturnValues="UPDATED_NEW", **parameters)
    assert answer == ({"Attributes": changed} if changed else {})


@pytest.mark.parametrize(
    "update", ["SET n = n + :1 + :1", "SET n = (n + :1)", "ADD n :1 DELETE m :5"]
)
def test_a_refused_update_leaves_nothing(ours: DynamoDB, update: str) -> None:
    parameters = expressions(UpdateExpression=update)
    assert ask(ours, "update_item", Key=key(), **parameters) == "ValidationException"
    assert ask(ours, "get_item", Key=key()) == {}


def test_an_update_without_an_expression_makes_an_item(ours: DynamoDB) -> None:
    assert ask(ours, "update_item", Key=key(), ReturnValues="ALL_NEW") == {"Attributes": key()}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("-0", "0"),
        ("007", "7"),
        (".5", "0.5"),
        ("-1E-3", "-0.001"),
    ],
)
def test_numbers_come_back_without_what_says_nothing(ours: DynamoDB, sent: str, kept: str) -> None:
    """moto keeps what was sent.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    ask(ours, "put_item", Item={**key(), "n": {"N": sent}})
    assert ask(ours, "get_item", Key=key())["Item"]["n"] == {"N": kept}


@pytest.mark.parametrize(
    "number", ["x", "", "NaN", "1_000", " 1", "1e126", "1e-131", "1" * 39, "9e9999999999999999999"]
)
def test_numbers_have_limits(ours: DynamoDB, number: str) -> None:
    assert ask(ours, "put_item", Item={**key(), "n": {"N": number}}) == "ValidationException"


def test_a_string_must_have_an_encoding(ours: DynamoDB) -> None:
    for item in ({**key(), "s": {"S": "\ud800"}}, key("\ud800")):
        assert ask(ours, "put_item", Item=item) == "ValidationException"


def test_a_page_that_ends_at_its_limit_has_a_last_key(ours: DynamoDB) -> None:
    """Nobody has looked whether there is more.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
    """
    ask(ours, "put_item", Item=key("x", "1"))
    asked = expressions(KeyConditionExpression="pk = :x")
    page = ask(ours, "query", Limit=1, **asked)
    assert page["LastEvaluatedKey"] == key("x", "1")
    page = ask(ours, "query", Limit=1, ExclusiveStartKey=page["LastEvaluatedKey"], **asked)
    assert page == {"Items": [], "Count": 0, "ScannedCount": 0}
    assert "LastEvaluatedKey" not in ask(ours, "query", Limit=2, **asked)


@pytest.mark.parametrize(
    ("comparison", "start"),
    [("sk > :one", "1"), ("sk < :one", "1"), ("sk = :one", "2"), ("begins_with(sk, :one)", "2")],
)
def test_a_start_outside_the_key_condition_is_refused(
    ours: DynamoDB, comparison: str, start: str
) -> None:
    """moto only looks at the partition."""
    answer = ask(
        ours,
        "query",
        KeyConditionExpression=f"pk = :pk AND {comparison}",
        ExpressionAttributeValues={":pk": {"S": "x"}, ":one": {"S": "1"}},
        ExclusiveStartKey=key("x", start),
    )
    assert answer == "ValidationException"


@pytest.mark.parametrize(
    "condition",
    [
        "pk < :x",
        "pk = :5",
        "pk = :x AND sk = :5",
        "pk = :x AND sk = :empty",
        "pk = :x AND pk = :he",
    ],
)
def test_a_key_condition_is_refused_otherwise_than_by_moto(ours: DynamoDB, condition: str) -> None:
    asked = expressions(KeyConditionExpression=condition)
    assert ask(ours, "query", **asked) == "ValidationException"


def test_a_page_has_a_megabyte_and_the_filter_comes_after(ours: DynamoDB) -> None:
    """Of 1,048,576 bytes, not of moto's 1,000,000; measured as stored, not as projected."""
    padding = 102_400 - size_of(key("x", "00")) - len("ns") - 2
    for number in range(12):
        item = {**key("x", f"{number:02}"), "n": {"N": str(number % 2)}, "s": {"S": "x" * padding}}
        ask(ours, "put_item", Item=item)
    asked = expressions(
        KeyConditionExpression="pk = :x", FilterExpression="n = :1", ProjectionExpression="sk"
    )
    first = ask(ours, "query", **asked)
    assert (first["Count"], first["ScannedCount"]) == (5, 10)
    assert first["LastEvaluatedKey"] == key("x", "09")
    rest = ask(ours, "query", ExclusiveStartKey=first["LastEvaluatedKey"], **asked)
    assert rest == {"Items": [{"sk": {"S": "11"}}], "Count": 1, "ScannedCount": 2}


def test_a_transaction_says_of_an_impossible_update_that_it_is_invalid(ours: DynamoDB) -> None:
    """moto raises it as if it were alone.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """
    ask(ours, "put_item", Item=ITEM)
    update = {"TableName": "t", "Key": key(), **expressions(UpdateExpression="ADD s :1")}
    with pytest.raises(ClientError) as refused:
        ours.transact_write_items(TransactItems=[{"Update": update}])
    assert refused.value.response["CancellationReasons"][0]["Code"] == "ValidationError"


def test_a_transaction_with_the_token_of_another_is_not_carried_out_again(ours: DynamoDB) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""
    update = {"TableName": "t", "Key": key(), **expressions(UpdateExpression="ADD n :1")}
    for _ in range(2):
        ours.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="token")
    assert ask(ours, "get_item", Key=key())["Item"]["n"] == {"N": "1"}
    other = [{"Delete": {"TableName": "t", "Key": key()}}]
    with pytest.raises(ClientError, match="IdempotentParameterMismatchException"):
        ours.transact_write_items(TransactItems=other, ClientRequestToken="token")


def test_a_transaction_has_at_most_four_megabytes(ours: DynamoDB) -> None:
    large = {"s": {"S": "x" * 400_000}}
    puts = [{"Put": {"TableName": "t", "Item": key(sk=str(n)) | large}} for n in range(1, 12)]
    with pytest.raises(ClientError, match="ValidationException"):
        ours.transact_write_items(TransactItems=puts)
    ours.transact_write_items(TransactItems=puts[:10])


# What is its own.


def test_what_it_does_not_know_is_not_ignored(ours: DynamoDB) -> None:
    with pytest.raises(TypeError):
        ours.get_item(TableName="t", Key=key(), AttributesToGet=["n"])
    with pytest.raises(TypeError):
        ours.put_item(TableName="t", Item=key(), UpdateExpression="REMOVE n")
    with pytest.raises(NotImplementedError):
        ours.get_item(TableName="t", Key=key(), ProjectionExpression="doc.x")


def test_items_are_nobody_elses(ours: DynamoDB) -> None:
    kept = {**ITEM, "n": {"N": "1"}}
    given = {name: dict(value) for name, value in kept.items()}
    given["tags"] = {"SS": ["x", "y"]}
    ask(ours, "put_item", Item=given)
    given["n"]["N"] = "2"
    given["tags"]["SS"].append("z")
    never = {
        "TableName": "t",
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }

    def refusal(operation: str, **parameters: Any) -> Any:
        delete = {"TransactItems": [{"Delete": {"Key": key(), **never}}]}
        with pytest.raises(ClientError) as refused:
            getattr(ours, operation)(**({**never, **parameters} if parameters else delete))
        return refused.value.response

    answers: list[Callable[[], Any]] = [
        lambda: ours.get_item(TableName="t", Key=key())["Item"],
        lambda: ours.query(
            TableName="t",
            KeyConditionExpression="pk = :a",
            ExpressionAttributeValues={":a": {"S": "a"}},
        )["Items"][0],
        lambda: ours.update_item(TableName="t", Key=key(), ReturnValues="ALL_NEW")["Attributes"],
        lambda: ours.put_item(TableName="t", Item=kept, ReturnValues="ALL_OLD")["Attributes"],
        lambda: ours.batch_get_item(RequestItems={"t": {"Keys": [key()]}})["Responses"]["t"][0],
        lambda: ours.scan(TableName="t")["Items"][0],
        lambda: refusal("put_item", Item=key())["Item"],
        lambda: refusal("transact_write_items")["CancellationReasons"][0]["Item"],
    ]
    for answer in answers:
        item = answer()
        assert _plain(item) == _plain(kept)
        item["n"]["N"] = "3"
        item["tags"]["SS"].append("z")
        item["l"]["L"][2]["L"].clear()
        item["doc"]["M"]["x"]["N"] = "4"
    value: dict[str, Any] = {":tags": {"SS": ["x"]}, ":l": {"L": [{"N": "1"}]}}
    ours.update_item(
        TableName="t",
        Key=key(),
        UpdateExpression="SET tags = :tags, l = :l",
        ExpressionAttributeValues=value,
    )
    value[":tags"]["SS"].append("y")
    value[":l"]["L"].clear()
    item = ask(ours, "get_item", Key=key())["Item"]
    assert (item["tags"], item["l"]) == ({"SS": ["x"]}, {"L": [{"N": "1"}]})


def test_hooks_refuse_and_lose_answers(ours: DynamoDB) -> None:
    seen: list[Any] = []

    def lose(operation: str, parameters: dict[str, Any]) -> None:
        seen.append((operation, parameters["TableName"]))
        raise ConnectionResetError

    ours.before = lose
    with pytest.raises(ConnectionResetError):
        ours.put_item(TableName="t", Item=key())
    ours.before, ours.after = None, lose
    with pytest.raises(ConnectionResetError):
        ours.put_item(TableName="u", Item=key())
    with pytest.raises(ConnectionResetError):  # instead of a ClientError
        ours.delete_item(TableName="u", Key=key(), ConditionExpression="attribute_not_exists(pk)")
    ours.after = None
    assert seen == [("PutItem", "t"), ("PutItem", "u"), ("DeleteItem", "u")]
    assert (ours.scan(TableName="t")["Count"], ours.scan(TableName="u")["Count"]) == (0, 1)


def test_batches_leave_what_they_are_told_to(ours: DynamoDB) -> None:
    ours.leave = lambda table, request: "'2'" in str(request)
    writes = [{"PutRequest": {"Item": key(sk=sk)}} for sk in "123"]
    answer = ours.batch_write_item(RequestItems={"t": writes})
    assert answer == {"UnprocessedItems": {"t": [writes[1]]}}
    wanted = {"t": {"Keys": [key(sk=sk) for sk in "123"], "ConsistentRead": True}}
    answer = ours.batch_get_item(RequestItems=wanted)
    assert answer["Responses"] == {"t": [key(sk="1"), key(sk="3")]}
    assert answer["UnprocessedKeys"] == {"t": {"Keys": [key(sk="2")], "ConsistentRead": True}}


def test_ttl_deletes_what_is_past_one_or_all(ours: DynamoDB) -> None:
    for sk, ttl in (("1", {"N": "10"}), ("2", {"N": "11"}), ("3", {"N": "12"}), ("4", {"S": "0"})):
        ask(ours, "put_item", Item={**key(sk=sk), "ttl": ttl})
    ask(ours, "put_item", Item=key(sk="5"))
    assert ours.expire(9.9) == []
    assert ours.expire(11, choose=lambda late: late[-1]) == [("t", "a", "2")]
    assert ours.expire(11) == [("t", "a", "1")]
    assert [item["sk"]["S"] for item in ours.scan(TableName="t")["Items"]] == ["3", "4", "5"]


def test_requests_from_many_threads_are_atomic(ours: DynamoDB) -> None:
    def add(number: int) -> None:
        ask(ours, "update_item", Key=key(), **expressions(UpdateExpression="ADD n :1"))
        ask(ours, "put_item", Item=key("x", str(number)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(2_000)))
    assert ask(ours, "get_item", Key=key())["Item"]["n"] == {"N": "2000"}
    found = ask(ours, "query", **expressions(KeyConditionExpression="pk = :x"))["Items"]
    assert [item["sk"]["S"] for item in found] == sorted(map(str, range(2_000)))


# What it costs.


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "é"}, 2),
        ({"N": "0"}, 1),
        ({"N": "12345"}, 4),
        ({"N": "-12"}, 3),
        ({"N": "1000"}, 2),
        ({"B": b"abc"}, 3),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["ab", "c"]}, 3),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"S": "c"}]}, 8),
        ({"M": {"ab": {"S": "c"}}}, 7),
    ],
)
def test_an_item_has_the_size_of_its_names_and_values(value: Any, size: int) -> None:
    assert size_of({"é": value}) == 2 + size


def spent(ours: DynamoDB) -> tuple[int, int, float]:
    """Return requests, write units and read units since the last time."""
    meter, ours.meter = ours.meter, Meter()
    assert meter
    return meter.requests, meter.write_units, meter.read_units


def kilobytes(number: float, sk: str = "1") -> dict[str, Any]:
    return {**key(sk=sk), "s": {"S": "x" * (round(number * 1024) - size_of(key(sk=sk)) - 1)}}


def test_reads_cost_by_four_kilobytes_of_what_is_there(ours: DynamoDB) -> None:
    ask(ours, "put_item", Item=kilobytes(4))
    ask(ours, "put_item", Item=kilobytes(4.1, "2"))
    spent(ours)
    for consistent, units in ((True, (1, 2, 1)), (False, (0.5, 1, 0.5))):
        for sk, unit in zip("123", units, strict=True):
            ask(
                ours,
                "get_item",
                Key=key(sk=sk),
                ConsistentRead=consistent,
                ProjectionExpression="n",
            )
            assert spent(ours) == (1, 0, unit)
    keys = {"Keys": [key(sk=sk) for sk in "123"], "ConsistentRead": True}
    ours.batch_get_item(RequestItems={"t": keys})
    assert spent(ours) == (1, 0, 4)


def test_a_query_costs_what_it_reads_together(ours: DynamoDB) -> None:
    for number in range(10):
        ask(ours, "put_item", Item=kilobytes(1, str(number)))
    spent(ours)
    values = {":a": {"S": "a"}, ":x": {"S": "x"}}
    asked: dict[str, Any] = {
        "KeyConditionExpression": "pk = :a",
        "FilterExpression": "s = :x",
        "ProjectionExpression": "n",
        "ExpressionAttributeValues": values,
    }
    for limit, units in ((10, 3), (5, 2), (4, 1)):
        ask(ours, "query", ConsistentRead=True, Limit=limit, **asked)
        assert spent(ours) == (1, 0, units)
    ask(ours, "query", **{**asked, "ExpressionAttributeValues": {**values, ":a": {"S": "b"}}})
    assert spent(ours) == (1, 0, 0.5)


def test_writes_cost_the_larger_of_old_and_new(ours: DynamoDB) -> None:
    never = {"ConditionExpression": "attribute_exists(q)"}
    costs: list[tuple[str, dict[str, Any], int]] = [
        ("put_item", {"Item": kilobytes(1)}, 1),
        ("put_item", {"Item": kilobytes(2.1)}, 3),
        ("put_item", {"Item": key(), **never}, 3),
        ("update_item", {"Key": key(), **expressions(UpdateExpression="SET n = :1")}, 3),
        ("update_item", {"Key": key(), **expressions(UpdateExpression="REMOVE s")}, 3),
        ("put_item", {"Item": kilobytes(9), **never}, 1),
        ("put_item", {"Item": kilobytes(2)}, 2),
        ("delete_item", {"Key": key()}, 2),
        ("delete_item", {"Key": key()}, 1),
        ("put_item", {"Item": key(), **never}, 1),
    ]
    for operation, parameters, units in costs:
        ask(ours, operation, **parameters)
        assert spent(ours) == (1, units, 0), (operation, parameters)


def test_transactions_cost_double_even_if_cancelled_and_batches_as_their_writes(
    ours: DynamoDB,
) -> None:
    for condition in ("attribute_not_exists(pk)", "attribute_exists(q)"):
        check = {"Key": key(sk="9"), "ConditionExpression": condition}
        writes: list[Any] = [{"Put": {"Item": kilobytes(1.5)}}, {"ConditionCheck": check}]
        named = [{kind: {"TableName": "t", **each}} for kind, each in map(_only, writes)]
        _outcome(ours, "transact_write_items", {"TransactItems": named})
        assert spent(ours) == (1, 6, 0)
    deletes: list[Any] = [{"DeleteRequest": {"Key": key(sk=sk)}} for sk in "123"]
    ours.batch_write_item(RequestItems={"t": deletes})
    assert spent(ours) == (1, 4, 0)


def test_the_meter_counts_by_operation(ours: DynamoDB) -> None:
    ask(ours, "put_item", Item=ITEM)
    ask(ours, "get_item", Key=key())
    ask(ours, "get_item", Key=key())
    assert ours.meter
    assert ours.meter.operations == {"PutItem": 1, "GetItem": 2}
