"""Publish changes of entities: python examples/publish.py [BUS] < changes

Standard input holds a change a line, such as {"entityId":"order-17","message":"packed"}.
"""

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator

import boto3

# PutEvents takes ten entries, and 1 MB, which was 256 KB for long. A frame may have 120 KB.
MOST_ENTRIES, MOST_BYTES, LARGEST_DETAIL = 10, 250_000, 119_000
PASSING = {"InternalFailure", "ThrottlingException"}
Entry = dict[str, str]


def publish(changes: Iterable[object], bus: str = "default") -> None:
    """Put a change after the other on the bus; raise if some are not taken.

    PutEvents succeeds even if it refuses entries: each has its own answer.
    """
    events = boto3.client("events")
    for left in batches(entry(change, bus) for change in changes):
        for attempt in range(8):
            answers = events.put_events(Entries=left)["Entries"]
            codes = [answer.get("ErrorCode") for answer in answers]
            left[:] = [each for each, code in zip(left, codes, strict=True) if code]
            if not left or {*codes} - {None} - PASSING:
                break
            time.sleep(random.uniform(0.05, 0.1 * 2**attempt))
        if left:
            raise RuntimeError(f"not taken, for {[code for code in codes if code]}: {left}")


def entry(change: object, bus: str) -> Entry:
    detail = json.dumps(change, ensure_ascii=False, separators=(",", ":"))
    if len(detail.encode()) > LARGEST_DETAIL:
        raise ValueError(f"too large for a frame: {detail[:80]}...")
    names = {"EventBusName": bus, "Source": "my.application", "DetailType": "Entity Updated"}
    return {**names, "Detail": detail}


def batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for each in entries:
        bytes_ = sum(len(value.encode()) for value in each.values())
        if len(batch) == MOST_ENTRIES or (batch and size + bytes_ > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += bytes_
    if batch:
        yield batch


if __name__ == "__main__":
    publish(map(json.loads, sys.stdin), *sys.argv[1:])
