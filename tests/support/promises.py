"""What must hold in the world, whatever the schedule: `Audit` watches, and checks when it ends."""

from collections import Counter, defaultdict
from typing import Any

from push.jobs import Letter
from support.people import Client
from support.world import (
    HISTORY_SECONDS,
    Broken,
    Operation,
    Post,
    Process,
    World,
)

UNKNOWN, DIED = "outcome unknown", "died before its note"


class Audit:
    """Sees every request, every post, and every end of a process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts: Counter[str] = Counter()
        self.most_repeated = 0  # by one death
        # The log as it was written: (topic, epoch) -> (event id, time) of 1, 2, 3 ...
        self.log: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
        self.numbers: dict[str, list[str]] = defaultdict(list)  # of an event id
        self.job_ends: dict[str, float] = {}  # event id -> ttl of its first job
        # (connection, event id) -> how often the frame arrived by a post, and why it might twice
        self.arrivals: Counter[tuple[str, str]] = Counter()
        self.excuses: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.half_forgotten: set[str] = set()  # connections whose forgetter was interrupted

    # While it runs.

    def items(self) -> list[dict[str, Any]]:
        """Return all items, in plain Python."""
        items = self.world.dynamodb.scan(TableName="table")["Items"]
        return [_plain(item) for item in items]

    def item(self, pk: str, sk: str) -> dict[str, Any] | None:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        answer = self.world.dynamodb.get_item(TableName="table", Key=key)
        return _plain(answer["Item"]) if "Item" in answer else None

    def before(self, process: Process, operation: Operation, fault: str) -> None:
        """Look at a request before it is carried out."""
        key = operation.parameters.get("Key", {})
        if operation.name == "delete_item":
            process.forgetting = key["pk"]["S"].removeprefix("CONNECTION#")
        if process.forgetting and fault in ("refuse", "unknown", "retry", "conflict"):
            self.half_forgotten.add(process.forgetting)

    def after(
        self, process: Process, operation: Operation, error: Exception | None, fault: str
    ) -> None:
        """Look at a request that was carried out; `error` is a refusal."""
        key = operation.parameters.get("Key", {})
        sk = key.get("sk", {}).get("S")
        values = operation.parameters.get("ExpressionAttributeValues", {})
        if operation.name == "update_item" and sk == "JOB":
            self._job_written(process, key["pk"]["S"], values, error)
        if operation.name == "update_item" and sk == "HEAD" and ":next" in values and not error:
            self._head_moved(key["pk"]["S"], values[":epoch"]["S"], int(values[":next"]["N"]))
        if operation.name == "send_message_batch":
            letters = [
                Letter.parse(each["MessageBody"]) for each in operation.parameters["Entries"]
            ]
            process.sent += letters
            if fault == "unknown":
                process.doubtful += letters

    def _job_written(
        self, process: Process, job: str, values: dict[str, Any], error: Exception | None
    ) -> None:
        row, owner = self.item(job, "JOB"), values[":owner"]["S"]
        assert row
        if error and row["owner"] == owner and not row["done"]:
            raise Broken(f"nobody waits for its own lease: {row}")
        if error:
            return
        if row["owner"] != owner:
            raise Broken(f"who has lost a job writes nothing into it: {row}")
        process.job, process.owner = job, owner
        if values.get(":lease") != {"N": "0"}:  # not when it lets go
            process.noted = self.world.now
        self.job_ends.setdefault(job.split("#")[1], row["ttl"])

    def _head_moved(self, topic: str, epoch: str, seq: int) -> None:
        slot = self.item(topic, f"EVENT#{epoch}#{seq:015}")
        if slot is None:
            raise Broken(f"a number exists exactly when its frame is durable: {topic} {seq}")
        log = self.log[topic, epoch]
        if seq != len(log) + 1:
            raise Broken(f"numbers have no holes: {topic} {seq} after {len(log)}")
        log.append((slot["id"], self.world.now))
        self.facts["numbers given"] += 1
        numbers = self.numbers[slot["id"]]
        numbers.append(f"{epoch}-{seq}")
        if len(numbers) > 1 and self.world.now < self.job_ends[slot["id"]]:
            raise Broken(f"one number per event: {slot['id']} {numbers}")

    def posted(
        self,
        process: Process,
        connection_id: str,
        frame: dict[str, Any],
        arrived: bool,
        unknown: bool,
    ) -> Post | None:
        """A post; `unknown`: the walk does not learn whether it arrived."""
        self.facts["posts"] += 1
        if not arrived:
            return None
        self.arrivals[connection_id, frame["id"]] += 1
        post = Post(connection_id, frame["id"], unknown)
        process.posts.append(post)
        return post

    def ended(self, process: Process, result: Any) -> None:
        """A process is over: what it did, and did not write down, may be done again."""
        if isinstance(result, BaseException) and process.forgetting:
            self.half_forgotten.add(process.forgetting)
        if process.job is None:
            return
        self._excuse_posts(process, process.job)
        for letter in process.sent:
            why = UNKNOWN if letter in process.doubtful else DIED
            for connection_id in letter.ids:
                if why == UNKNOWN or not self._is_written_down(process.job, connection_id):
                    self._excuse(connection_id, letter.event_id, why)

    def _excuse_posts(self, process: Process, job: str) -> None:
        repeated = 0
        for post in process.posts:
            if post.unknown:
                self._excuse(post.connection_id, post.event_id, UNKNOWN)
            elif not self._is_written_down(job, post.connection_id):
                self._excuse(post.connection_id, post.event_id, DIED)
                repeated += 1
                known = post.answered is not None and post.answered < process.noted
                if known and "skew" not in self.world.faults:
                    raise Broken(f"a note leaves out nobody whose outcome is known: {post} {job}")
        self.most_repeated = max(self.most_repeated, repeated)

    def _is_written_down(self, job: str, connection_id: str) -> bool:
        row = self.item(job, "JOB")
        if row is None or row["done"]:
            return row is not None
        return connection_id <= row["reached"] and connection_id not in row["open"]

    def _excuse(self, connection_id: str, event_id: str, why: str) -> None:
        """Allow that a connection gets the frame of an event once more."""
        self.excuses[connection_id, event_id][why] += 1

    def not_recovered(self, wanted: Any) -> None:
        """A client is told that it cannot get what it missed."""
        self.facts["told: not recovered"] += 1
        topic, since = wanted
        head = self.item(topic.key, "HEAD")
        if since and head and head["epoch"] == since.epoch:
            missed = self.log[topic.key, since.epoch][since.seq :]
            if all(at + HISTORY_SECONDS > self.world.now for _, at in missed):
                raise Broken(f"recovered=false only beyond the history: {wanted} {head}")

    # When it is quiet.

    def check(self, clients: list[Client]) -> None:
        """Check every promise."""
        self.check_logs()
        self.check_jobs()
        self.check_clients(clients)
        if "skew" not in self.world.faults:
            self.check_duplicates()
        self.check_sets()
        self.check_forgotten()
        if any("nobody" in item["pk"] for item in self.items()):
            raise Broken("unwatched events write nothing")

    def check_logs(self) -> None:
        for (topic, epoch), log in self.log.items():
            head = self.item(topic, "HEAD")
            if head is None or head["epoch"] != epoch:
                continue
            if head["seq"] != len(log):
                raise Broken(f"numbers have no holes: {topic} {log} {head}")
            for seq, (event_id, at) in enumerate(log, 1):
                item = self.item(topic, f"EVENT#{epoch}#{seq:015}")
                if item is None and at + HISTORY_SECONDS > self.world.now:
                    raise Broken(f"what is numbered is kept: {topic} {seq}")
                if item and (
                    item["id"] != event_id or f'"cursor":"{epoch}-{seq}"' not in item["frame"]
                ):
                    raise Broken(f"a number never changes: {item}")

    def check_jobs(self) -> None:
        for item in self.items():
            if item["sk"] == "JOB" and not item["done"]:
                raise Broken(f"every job ends: {item}")

    def check_clients(self, clients: list[Client]) -> None:
        """Whoever stayed, or came back, has heard every number, once and in order."""
        for client in clients:
            if client.refusals:
                raise Broken(f"within the limits nobody is refused: {client.refusals}")
            if client.connection is None or client.is_lost() or client.connection.vanished:
                continue
            for topic, feed in client.feeds.items():
                head = self.item(topic.key, "HEAD")
                if head is None or feed.base is None or feed.base.epoch != head["epoch"]:
                    raise Broken(f"none missing: {topic} {feed.base} {head}")
                if feed.heard != list(range(feed.base.seq + 1, head["seq"] + 1)):
                    raise Broken(f"none missing: {topic} {feed.base} {feed.heard} {head}")

    def check_duplicates(self) -> None:
        """A frame is pushed twice only after an unknown outcome, or a death before the note."""
        for (connection_id, event_id), number in self.arrivals.items():
            excuses = self.excuses[connection_id, event_id]
            if number - 1 > excuses.total():
                raise Broken(
                    f"two frames only by a death or a lost answer: {connection_id} {event_id} "
                    f"{number} {dict(excuses)}"
                )
            self.facts["pushed again"] += number - 1
        self.facts["frames pushed"] += len(self.arrivals)

    def check_sets(self) -> None:
        """The set of a connection that is open names exactly its rows."""
        items = self.items()
        for item in items:
            if item["sk"] != "CONNECTION":
                continue
            connection_id = item["pk"].removeprefix("CONNECTION#")
            if self.world.connections[connection_id].open:
                rows = {each["pk"] for each in items if each["sk"] == item["pk"]}
                if rows != item.get("topics", set()):
                    raise Broken(f"the set of a connection names its rows: {item} {rows}")

    def orphans(self) -> list[tuple[str, str]]:
        """Rows of connections that are gone, in topics that have a head, before their ttl."""
        items = self.items()
        heads = {item["pk"] for item in items if item["sk"] == "HEAD"}
        return [
            (item["pk"], item["connectionId"])
            for item in items
            if item["sk"].startswith("CONNECTION#")
            if item["pk"] in heads and item["ttl"] > self.world.now
            if not self.world.connections[item["connectionId"]].open
        ]

    def check_forgotten(self) -> None:
        """Nothing is left of a gone connection, unless whoever forgot it was interrupted."""
        for topic, connection_id in self.orphans():
            if connection_id not in self.half_forgotten:
                raise Broken(f"a gone connection is forgotten at once: {topic} {connection_id}")
            self.facts["rows left for the next event"] += 1


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    def value(typed: dict[str, Any]) -> Any:
        ((kind, content),) = typed.items()
        match kind:
            case "N":
                return int(content)
            case "SS":
                return set(content)
            case "L":
                return [value(each) for each in content]
        return content

    return {name: value(typed) for name, typed in item.items()}
