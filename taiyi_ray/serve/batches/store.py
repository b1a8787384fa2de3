"""Files and batches, whose whole state is in a storage.

The objects there are:

    STORE/<owner>/files/<file>.json               name, size and purpose; put after the content
    STORE/<owner>/contents/<file>                 the content of a file
    STORE/<owner>/batches/<batch>.json            a batch as it was ordered
    STORE/<owner>/plans/<batch>.json              its units; put once its input proved valid
    STORE/<owner>/units/<batch>/<first>-<last>.jsonl    a unit's results; committed once this exists
    STORE/<owner>/ended/<batch>.json              how a batch ended
    STORE/open/<owner>/<batch>                    the batch is open; removed when it has ended
    STORE/open/<owner>/<batch>.cancel             the batch shall be cancelled; removed likewise

These objects are put if absent: when two processes do the same work, the object that was put first
counts, and both continue with it. `<owner>` is a digest of a key's name, so that no key can list or
name what belongs to another.
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
"""Seconds after which a batch expires: OpenAI has only this `completion_window`."""

_ID = re.compile(r"(?:file-|batch_)[0-9a-f]{32}")
_HEAD = 96
"""Bytes of a unit's first line, which has the counts of the results in the other lines."""
_READERS = 16

_CANCEL = ".cancel"

Kind = TypeVar("Kind", bound=BaseModel)


class File(BaseModel, frozen=True):
    """A file of requests (`batch`) or of results (`batch_output`).

    Attributes:
        id: of the file.
        bytes: size of its content.
        created_at: when it was stored, in seconds since 1970.
        filename: as the client named it.
        purpose: `batch` or `batch_output`.
    """

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]

    def shown(self) -> FileObject:
        """Return it in the form that OpenAI's clients expect."""
        return FileObject(**self.model_dump(), object="file", status="processed")


class Order(BaseModel, frozen=True):
    """A batch as it was ordered.

    Attributes:
        id: of the batch.
        owner: name of the key that ordered it.
        models: names of the models that the key is for; None for all.
        digest: of the model that shall answer; a service with another model leaves the batch alone.
        endpoint: path that all its requests name.
        input_file_id: the file of its requests.
        metadata: the client's own notes.
        created_at: when it was ordered, in seconds since 1970.
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
        """When the batch expires, in seconds since 1970."""
        return self.created_at + WINDOW

    @property
    def caller(self) -> Caller:
        """The key that ordered the batch, with the rights that it had then."""
        return Caller(self.owner, None if self.models is None else frozenset(self.models))

    def shown(self, status: Any, **more: Any) -> Batch:
        """Return it in the form that OpenAI's clients expect."""
        return Batch(
            **self.model_dump(exclude={"owner", "models", "digest"}),
            object="batch",
            completion_window="24h",
            expires_at=self.expires_at,
            status=status,
            **more,
        )


class UnitSpan(NamedTuple):
    """A planned unit of a batch.

    Attributes:
        first, last: numbers of its first and last request (inclusive), from 0.
        start: offset of their lines in the input file, in bytes.
        size: of these lines, in bytes.
    """

    first: int
    last: int
    start: int
    size: int


class BatchPlan(BaseModel, frozen=True):
    """The units of a batch whose input is valid.

    Attributes:
        started_at: when it was planned, in seconds since 1970.
        spans: the units, in order.
    """

    started_at: int
    spans: list[UnitSpan]

    @property
    def total(self) -> int:
        """The number of requests."""
        return self.spans[-1].last + 1


class Ended(BaseModel, frozen=True):
    """How a batch ended. The names of times, files and errors are OpenAI's.

    Attributes:
        status: how it ended.
        times: times in seconds since 1970, by name.
        total: number of requests.
        completed: number of requests that were answered with the status 200.
        failed: number of requests that were answered with another status.
        output_file_id, error_file_id: files of its results; None where there are none.
        errors: faults of its input.
    """

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
        address: folder or s3:// address; in a new folder only the user of this process can read.
    """

    def __init__(self, address: str) -> None:
        self.address = storage.absolute(address)
        storage.private_folder(self.address)

    def of(self, caller: Caller) -> Shelf:
        """Return the files and batches that belong to a key."""
        digest = hashlib.sha256(caller.name.encode("utf-8", "surrogatepass")).hexdigest()
        return Shelf(self.address, digest[:32])

    def open(self) -> Iterator[tuple[Shelf, str, bool]]:
        """Yield the open batches, each with whether it shall be cancelled: one listing."""
        root = storage.join(self.address, "open")
        names = [stored.path[len(root) + 1 :] for stored in storage.walk(root)]
        cancelled = {name.removesuffix(_CANCEL) for name in names if name.endswith(_CANCEL)}
        # A batch may end while a client cancels it: then the mark to cancel it is left without the
        # batch's own mark. Such a batch is yielded too, so that the runner removes the mark.
        for name in sorted(cancelled.union(n for n in names if not n.endswith(_CANCEL))):
            owner, _, batch = name.partition("/")
            yield Shelf(self.address, owner), batch, name in cancelled


class Shelf:
    """The files and batches of one owner.

    An id that belongs to another owner, or does not have the form of an id, counts as unknown.

    Args:
        store: address of the store.
        owner: digest of the owner's name.
    """

    def __init__(self, store: str, owner: str) -> None:
        self.owner = owner
        self._address, self._open = storage.join(store, owner), storage.join(store, "open", owner)
        self._units = Units(storage.join(self._address, "units"), ".jsonl")

    # ---------------------------------------------------------------------------------- files

    def add_file(
        self, name: str, content: BinaryIO, *, purpose: Any = "batch", id_: str | None = None
    ) -> File:
        """Store a file.

        Args:
            name: of the file, as a client sees it.
            content: stream of its content.
            purpose: `batch` or `batch_output`.
            id_: an id under which only this same content is ever stored; None for a new id.
        """
        id_ = id_ or _new_id("file-")
        with storage.written(self.content(id_)) as stored:
            shutil.copyfileobj(content, stored, 1 << 20)
            size = stored.tell()
        file = File(id=id_, bytes=size, created_at=int(time.time()), filename=name, purpose=purpose)
        storage.put_if_absent(self._path("files", id_), _json(file))
        return file

    def file(self, id_: str) -> File | None:
        """Return a file; None if there is none of this id."""
        return self._read(File, "files", id_)

    def files(
        self, after: str | None, most: int, purpose: str | None = None
    ) -> tuple[list[File], bool]:
        """Return a page of files, the newest first, and whether there are more.

        Args:
            after: id of the last file of the page before; None for the first page.
            most: files of a page.
            purpose: of the files; None for any.
        """
        listed = (self.file(id_) for id_ in self._listed("files", after))
        wanted = (file for file in listed if file and purpose in (None, file.purpose))
        return _page(wanted, most)

    def content(self, id_: str) -> str:
        """Return the address of a file's content."""
        return storage.join(self._address, "contents", id_)

    def user_of(self, id_: str) -> str | None:
        """Return the id of an open batch whose input is this file; None if there is none."""
        for stored in storage.walk(self._open):
            batch = stored.path[len(self._open) + 1 :].removesuffix(_CANCEL)
            order = self.batch(batch)
            if order and order.input_file_id == id_ and not self.ended(batch):
                return batch
        return None

    def remove_file(self, id_: str) -> None:
        """Remove a file and its content; a file that is not there is no error."""
        storage.remove(self._path("files", id_))
        storage.remove(self.content(id_))

    # -------------------------------------------------------------------------------- batches

    def add_batch(
        self, caller: Caller, digest: str, endpoint: str, file: str, metadata: dict[str, str] | None
    ) -> Order:
        """Store an order of a batch, and mark the batch as open.

        Args:
            caller: the key that orders it.
            digest: of the model that shall answer.
            endpoint: path that all its requests name.
            file: id of the file of its requests.
            metadata: the client's own notes.
        """
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
        # The mark is put first, so that every batch that a client can see will be worked on.
        storage.put_if_absent(storage.join(self._open, order.id), b"")
        storage.put_if_absent(self._path("batches", order.id), _json(order))
        return order

    def batch(self, id_: str) -> Order | None:
        """Return a batch as it was ordered; None if there is none of this id."""
        return self._read(Order, "batches", id_)

    def batches(self, after: str | None, most: int) -> tuple[list[Batch], bool]:
        """Return a page of batches, the newest first, and whether there are more.

        `after` is the id of the last batch of the page before.
        """
        listed = (self.batch(id_) for id_ in self._listed("batches", after))
        return _page((self.shown(order) for order in listed if order), most)

    def cancel(self, id_: str) -> None:
        """Mark an open batch as one that shall be cancelled."""
        storage.put_if_absent(
            storage.join(self._open, id_ + _CANCEL), str(int(time.time())).encode()
        )

    def cancelled_at(self, id_: str) -> int | None:
        """Return when a client cancelled a batch, in seconds since 1970; None if none did."""
        data = storage.read(storage.join(self._open, id_ + _CANCEL))
        return None if data is None else int(data)

    def plan(self, id_: str) -> BatchPlan | None:
        """Return the plan of a batch; None before it was planned."""
        return self._read(BatchPlan, "plans", id_)

    def put_plan(self, id_: str, plan: BatchPlan) -> BatchPlan:
        """Put a batch's plan unless there is one; return the plan that is stored."""
        storage.put_if_absent(self._path("plans", id_), _json(plan))
        return self.plan(id_) or plan

    def ended(self, id_: str) -> Ended | None:
        """Return how a batch ended; None while it is open."""
        return self._read(Ended, "ended", id_)

    def end(self, id_: str, ended: Ended) -> None:
        """Store how a batch ended, unless that is stored already, and close it."""
        storage.put_if_absent(self._path("ended", id_), _json(ended))
        self.close(id_)

    def close(self, id_: str) -> None:
        """Remove the marks of a batch that is not worked on any more."""
        storage.remove(storage.join(self._open, id_))
        storage.remove(storage.join(self._open, id_ + _CANCEL))

    # ---------------------------------------------------------------------------------- units

    def unit(self, order: Order, span: UnitSpan) -> Unit:
        """Return the unit of a span in a batch's plan."""
        path = self.content(order.input_file_id)
        return Unit(source=order.id, path=path, first=span.first, last=span.last)

    def committed(self, id_: str) -> dict[str, str]:
        """Return the names of a batch's committed units, with their objects' tags: one listing."""
        return self._units.committed(id_)

    def commit(self, unit: Unit, results: list[dict[str, Any]]) -> bool:
        """Put the results of a unit unless there are some; return whether these are stored now.

        The first line has the counts of the results: `completed`, `failed`, and `left` for requests
        that were not answered before the batch ended.
        """
        counts = Counter(_kind(result) for result in results)
        head = {kind: counts[kind] for kind in ("completed", "failed", "left")}
        lines = [json.dumps(result, ensure_ascii=False) for result in results]
        data = "\n".join([json.dumps(head).ljust(_HEAD - 1), *lines, ""])
        return self._units.commit(unit, data.encode("utf-8", "backslashreplace"))

    def counts(self, names: Iterator[str] | list[str]) -> Counter[str]:
        """Add up the counts of committed units, which are given by their names."""
        paths = [storage.join(self._units.address, name + self._units.ending) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(_counted, paths), Counter[str]())

    def results(self, unit: Unit) -> Iterator[tuple[bool, bytes]]:
        """Yield the result lines of a committed unit, each with whether it counts as completed."""
        data = storage.read(self._units.path(unit)) or b""
        for line in data[_HEAD:].splitlines(keepends=True):
            yield _kind(json.loads(line)) == "completed", line

    # --------------------------------------------------------------------------------- a look

    def shown(self, order: Order) -> Batch:
        """Return the present state of a batch in the form that OpenAI's clients expect."""
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
        return storage.join(self._address, kind, f"{id_}.json")

    def _read(self, model: type[Kind], kind: str, id_: str) -> Kind | None:
        data = storage.read(self._path(kind, id_)) if _ID.fullmatch(id_) else None
        return None if data is None else model.model_validate_json(data)

    def _listed(self, kind: str, after: str | None) -> list[str]:
        """Return the ids that come after `after`, the newest first: an id begins with its time."""
        root = storage.join(self._address, kind)
        ids = [stored.path[len(root) + 1 :].removesuffix(".json") for stored in storage.walk(root)]
        return [id_ for id_ in reversed(ids) if after is None or id_ < after]


def _page(listed: Iterator[Kind], most: int) -> tuple[list[Kind], bool]:
    page = list(islice(listed, most + 1))
    return page[:most], len(page) > most


def derived_id(prefix: str, batch: str, what: str) -> str:
    """Return the id of something that a batch makes.

    It is the same id in every process, and it sorts as if the thing were as old as the batch.

    Args:
        prefix: of the id.
        batch: id of the batch.
        what: name of the thing among all that the batch makes.
    """
    digest = hashlib.sha256(f"{batch} {what}".encode()).hexdigest()
    return prefix + batch.removeprefix("batch_")[:12] + digest[:20]


def _new_id(prefix: str) -> str:
    """Return an id that begins with the time in milliseconds, and ends with 80 random bits.

    So ids sort by their age, and nobody can guess one.
    """
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def made_at(id_: str) -> float:
    """Return when the id of a batch was made, in seconds since 1970."""
    return int(id_.removeprefix("batch_")[:12], 16) / 1000


def _kind(result: dict[str, Any]) -> str:
    if result["response"] is None:
        return "left"
    return "completed" if result["response"]["status_code"] == 200 else "failed"


@lru_cache(1 << 16)
def _counted(path: str) -> Counter[str]:
    """Read the counts of a unit; they are cached, because a committed unit never changes."""
    return Counter(json.loads(storage.read_part(path, 0, _HEAD)))


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()
