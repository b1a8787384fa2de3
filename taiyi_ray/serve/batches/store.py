"""What is known of files and batches: objects of a storage, and nothing else.

    PLACE/<owner>/files/<file>.json               what a file is; put after its content
    PLACE/<owner>/contents/<file>
    PLACE/<owner>/batches/<batch>.json            as it was asked for
    PLACE/<owner>/plans/<batch>.json              its units; the input was found valid
    PLACE/<owner>/units/<batch>/<first>-<last>.jsonl    results; that it exists is their commit
    PLACE/<owner>/ended/<batch>.json              how it ended
    PLACE/open/<owner>/<batch>                    to be worked on; removed when it has ended
    PLACE/open/<owner>/<batch>.cancel             to be cancelled; likewise

All is put if absent: of two that do the same one wins, and both go on with what stands. `<owner>`
is a digest of the name of a key, so that one never lists or names what is another's.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

from openai.types import Batch, BatchError, BatchRequestCounts, FileObject
from openai.types.batch import Errors
from pydantic import BaseModel

from taiyi_ray import storage
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.serve.keys import Caller

WINDOW = 24 * 3600
"""Seconds in which a batch is answered: OpenAI's only `completion_window`."""

_ID = re.compile(r"(?:file-|batch_)[0-9a-f]{32}")
_HEAD = 96
"""Bytes of a unit's first line, which counts what the others hold."""
_READERS = 16

_CANCEL = ".cancel"

Kind = TypeVar("Kind", bound=BaseModel)


class File(BaseModel, frozen=True):
    """A file of requests (`batch`) or of results (`batch_output`)."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]

    def shown(self) -> FileObject:
        """As OpenAI's clients expect it."""
        return FileObject(**self.model_dump(), object="file", status="processed")


class Order(BaseModel, frozen=True):
    """A batch as it was asked for.

    Attributes:
        owner, models: of the key that order, and which models it is for (None: all).
        digest: of the model that is to answer: another one leaves the batch alone.
    """

    id: str
    owner: str
    models: list[str] | None
    digest: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: int

    @property
    def expires_at(self) -> int:
        return self.created_at + WINDOW

    @property
    def caller(self) -> Caller:
        return Caller(self.owner, None if self.models is None else frozenset(self.models))

    def shown(self, status: Any, **more: Any) -> Batch:
        """As OpenAI's clients expect it."""
        return Batch(
            **self.model_dump(exclude={"owner", "models", "digest"}),
            object="batch",
            completion_window="24h",
            expires_at=self.expires_at,
            status=status,
            **more,
        )


class Span(NamedTuple):
    """A planned unit: its first and last request, and where their lines lie in the file."""

    first: int
    last: int
    start: int
    size: int


class Plan(BaseModel, frozen=True):
    """The units of a batch whose input is valid."""

    started_at: int
    spans: list[Span]

    @property
    def total(self) -> int:
        return self.spans[-1].last + 1


class Ended(BaseModel, frozen=True):
    """How a batch ended; times, files and errors under OpenAI's names."""

    status: Literal["completed", "failed", "cancelled", "expired"]
    times: dict[str, int]
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = []


class Store:
    """The files and batches of all owners.

    Args:
        place: folder or s3:// address; a new folder is for its owner's eyes only.
    """

    def __init__(self, place: str) -> None:
        self.place = storage.absolute(place)
        storage.private_folder(self.place)

    def of(self, caller: Caller) -> Shelf:
        """What belongs to a key."""
        digest = hashlib.sha256(caller.name.encode("utf-8", "surrogatepass")).hexdigest()
        return Shelf(self.place, digest[:32])

    def open(self) -> Iterator[tuple[Shelf, str, bool]]:
        """Batches that have not ended, and whether they are to be cancelled: one listing."""
        root = storage.join(self.place, "open")
        names = [stored.path[len(root) + 1 :] for stored in storage.walk(root)]
        cancelled = {name.removesuffix(_CANCEL) for name in names if name.endswith(_CANCEL)}
        # A cancellation of a batch that ended meanwhile has none to belong to: it is taken up too.
        for name in sorted(cancelled.union(n for n in names if not n.endswith(_CANCEL))):
            owner, _, batch = name.partition("/")
            yield Shelf(self.place, owner), batch, name in cancelled


class Shelf:
    """The files and batches of one owner; an id of another form, or another's, is not there."""

    def __init__(self, place: str, owner: str) -> None:
        self.owner = owner
        self._place, self._open = storage.join(place, owner), storage.join(place, "open", owner)
        self._units = Units(storage.join(self._place, "units"), ".jsonl")

    # ---------------------------------------------------------------------------------- files

    def add_file(
        self, name: str, content: BinaryIO, *, purpose: Any = "batch", id_: str | None = None
    ) -> File:
        """Store a file; with an id one that always has the same content."""
        id_ = id_ or _new_id("file-")
        with storage.written(self.content(id_)) as stored:
            shutil.copyfileobj(content, stored, 1 << 20)
            size = stored.tell()
        file = File(id=id_, bytes=size, created_at=int(time.time()), filename=name, purpose=purpose)
        storage.put_if_absent(self._path("files", id_), _json(file))
        return file

    def file(self, id_: str) -> File | None:
        return self._read(File, "files", id_)

    def files(
        self, after: str | None, most: int, purpose: str | None = None
    ) -> tuple[list[File], bool]:
        """The newest files, or those before `after`; and whether there are more."""
        listed = (self.file(id_) for id_ in self._listed("files", after))
        found = (file for file in listed if file and purpose in (None, file.purpose))
        return _page(found, most)

    def content(self, id_: str) -> str:
        """Where a file's content lies."""
        return storage.join(self._place, "contents", id_)

    def user_of(self, id_: str) -> str | None:
        """A batch that has not ended and whose input this file is."""
        for stored in storage.walk(self._open):
            batch = stored.path[len(self._open) + 1 :].removesuffix(_CANCEL)
            order = self.batch(batch)
            if order and order.input_file_id == id_ and not self.ended(batch):
                return batch
        return None

    def remove_file(self, id_: str) -> None:
        storage.remove(self._path("files", id_))
        storage.remove(self.content(id_))

    # -------------------------------------------------------------------------------- batches

    def add_batch(
        self, caller: Caller, digest: str, endpoint: str, file: str, metadata: dict[str, str] | None
    ) -> Order:
        """Take up a batch."""
        models = None if caller.models is None else sorted(caller.models)
        order = Order(
            id=_new_id("batch_"),
            owner=caller.name,
            models=models,
            digest=digest,
            endpoint=endpoint,
            input_file_id=file,
            metadata=metadata,
            created_at=int(time.time()),
        )
        # Marked first: what is seen as a batch will be worked on.
        storage.put_if_absent(storage.join(self._open, order.id), b"")
        storage.put_if_absent(self._path("batches", order.id), _json(order))
        return order

    def batch(self, id_: str) -> Order | None:
        return self._read(Order, "batches", id_)

    def batches(self, after: str | None, most: int) -> tuple[list[Batch], bool]:
        """The newest batches, or those before `after`; and whether there are more."""
        listed = (self.batch(id_) for id_ in self._listed("batches", after))
        return _page((self.shown(found) for found in listed if found), most)

    def cancel(self, id_: str) -> None:
        """Ask for the end of a batch that has not ended."""
        storage.put_if_absent(
            storage.join(self._open, id_ + _CANCEL), str(int(time.time())).encode()
        )

    def cancelled_at(self, id_: str) -> int | None:
        data = storage.read(storage.join(self._open, id_ + _CANCEL))
        return None if data is None else int(data)

    def plan(self, id_: str) -> Plan | None:
        return self._read(Plan, "plans", id_)

    def put_plan(self, id_: str, plan: Plan) -> Plan:
        """Put a plan; return the one that stands."""
        storage.put_if_absent(self._path("plans", id_), _json(plan))
        return self.plan(id_) or plan

    def ended(self, id_: str) -> Ended | None:
        return self._read(Ended, "ended", id_)

    def end(self, id_: str, ended: Ended) -> None:
        """Say how a batch ended, unless that was said."""
        storage.put_if_absent(self._path("ended", id_), _json(ended))
        self.close(id_)

    def close(self, id_: str) -> None:
        """Take a batch from those that are to be worked on."""
        storage.remove(storage.join(self._open, id_))
        storage.remove(storage.join(self._open, id_ + _CANCEL))

    # ---------------------------------------------------------------------------------- units

    def unit(self, order: Order, span: Span) -> Unit:
        """The unit that a span of a batch's plan is."""
        path = self.content(order.input_file_id)
        return Unit(source=order.id, path=path, first=span.first, last=span.last)

    def committed(self, id_: str) -> dict[str, str]:
        """Names of a batch's committed units: one listing."""
        return self._units.committed(id_)

    def commit(self, unit: Unit, results: list[dict[str, Any]]) -> bool:
        """Put the results of a unit, if there are none; return whether these stand.

        Its first line counts them: `completed`, `failed`, and `left` out when the batch ended.
        """
        counts = Counter(_kind(result) for result in results)
        head = {kind: counts[kind] for kind in ("completed", "failed", "left")}
        lines = [json.dumps(result, ensure_ascii=False) for result in results]
        data = "\n".join([json.dumps(head).ljust(_HEAD - 1), *lines, ""])
        return self._units.commit(unit, data.encode("utf-8", "backslashreplace"))

    def counts(self, names: Iterator[str] | list[str]) -> Counter[str]:
        """What committed units hold, by their names."""
        paths = [storage.join(self._units.place, name + self._units.ending) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(_counted, paths), Counter[str]())

    def results(self, unit: Unit) -> Iterator[tuple[bool, bytes]]:
        """The lines of a committed unit, each with whether it was completed."""
        data = storage.read(self._units.path(unit)) or b""
        for line in data[_HEAD:].splitlines(keepends=True):
            yield _kind(json.loads(line)) == "completed", line

    # --------------------------------------------------------------------------------- a look

    def shown(self, order: Order) -> Batch:
        """A batch as it stands now."""
        ended = self.ended(order.id)
        if ended is not None:
            counts = ended.model_dump(include={"total", "completed", "failed"})
            errors = [BatchError(**error) for error in ended.errors]
            return order.shown(
                ended.status,
                request_counts=BatchRequestCounts(**counts),
                output_file_id=ended.output_file_id,
                error_file_id=ended.error_file_id,
                errors=Errors(object="list", data=errors) if errors else None,
                **ended.times,
            )
        plan, cancelled_at = self.plan(order.id), self.cancelled_at(order.id)
        status, total, counts = "validating", 0, Counter[str]()
        if plan is not None:
            there = self.committed(order.id)
            total, counts = plan.total, self.counts(list(there))
            status = "finalizing" if len(there) == len(plan.spans) else "in_progress"
        return order.shown(
            status if cancelled_at is None else "cancelling",
            in_progress_at=plan and plan.started_at,
            cancelling_at=cancelled_at,
            request_counts=BatchRequestCounts(
                total=total, completed=counts["completed"], failed=counts["failed"]
            ),
        )

    # -------------------------------------------------------------------------------- storage

    def _path(self, kind: str, id_: str) -> str:
        return storage.join(self._place, kind, f"{id_}.json")

    def _read(self, model: type[Kind], kind: str, id_: str) -> Kind | None:
        data = storage.read(self._path(kind, id_)) if _ID.fullmatch(id_) else None
        return None if data is None else model.model_validate_json(data)

    def _listed(self, kind: str, after: str | None) -> list[str]:
        """Ids, the newest first: they sort by their time."""
        root = storage.join(self._place, kind)
        ids = [stored.path[len(root) + 1 :].removesuffix(".json") for stored in storage.walk(root)]
        return [id_ for id_ in reversed(ids) if after is None or id_ < after]


def _page(found: Iterator[Kind], most: int) -> tuple[list[Kind], bool]:
    page = list(islice(found, most + 1))
    return page[:most], len(page) > most


def derived_id(prefix: str, batch: str, what: str) -> str:
    """An id of what a batch makes: whoever makes it, it is the same, and old where the batch is."""
    digest = hashlib.sha256(f"{batch} {what}".encode()).hexdigest()
    return prefix + batch.removeprefix("batch_")[:12] + digest[:20]


def _new_id(prefix: str) -> str:
    """An id that nobody guesses (80 random bits), and that sorts by its time (of milliseconds)."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def made_at(id_: str) -> float:
    """When an id was made, in seconds since 1970."""
    return int(id_.removeprefix("batch_")[:12], 16) / 1000


def _kind(result: dict[str, Any]) -> str:
    if result["response"] is None:
        return "left"
    return "completed" if result["response"]["status_code"] == 200 else "failed"


@lru_cache(1 << 16)
def _counted(path: str) -> Counter[str]:
    """The counts of a unit: it never changes."""
    return Counter(json.loads(storage.read_part(path, 0, _HEAD)))


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()
