"""The runner of batches: it looks for open batches, answers their pending units and commits them.

All state is in the store. A runner that is started again continues with the units that are not
committed. Two runners at the same time do the same work twice, but each result is stored once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from taiyi_ray import storage
from taiyi_ray.corpus.units import Unit
from taiyi_ray.serve.batches.plan import Request, planned, requests
from taiyi_ray.serve.batches.store import (
    BatchPlan,
    Ended,
    Order,
    Shelf,
    Store,
    UnitSpan,
    derived_id,
    made_at,
)

_log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Batches at work at most; the others wait for their turn."""
_LOOK, _IDLE = 1.0, 10.0
"""Seconds between two listings of open batches; _IDLE holds while no batch is at work and the store
is remote."""
_AGAIN = 30.0
"""Seconds after which a batch that could not be worked on is tried again."""
_STILLBORN = 3600.0
"""Seconds after which a mark without a batch is removed: the request that put the mark ended before
it stored the batch."""

_ENDS = {
    "batch_cancelled": "This batch was cancelled before this request was answered.",
    "batch_expired": "This request was not answered before the completion window ended.",
}


class RouteAnswer(NamedTuple):
    """The answer of a route: the HTTP status, and the body."""

    status: int
    body: Any


Ask = Callable[[str, dict[str, Any], Order, str], Coroutine[Any, Any, RouteAnswer]]
"""Answers a request, given its url, its body, the order of its batch, and its id. It tries again by
itself while the request cannot be answered for a passing reason."""


Known = Callable[[str], Awaitable[bool]]
"""Tells whether the key of this name is still let in."""


@dataclass
class _Work:
    """A batch at work.

    Attributes:
        shelf: of the batch's owner.
        owner: name of the owner's key; None until the order is read.
        task: works on the batch.
        end: is set to the reason when the batch shall end early.
    """

    shelf: Shelf
    owner: str | None = None
    task: asyncio.Task[None] | None = None
    end: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def stop(self, why: Literal["batch_cancelled", "batch_expired"]) -> None:
        if not self.end.done():
            self.end.set_result(why)


class Runner:
    """Works on the open batches of a store.

    Args:
        store: the batches.
        ask: answers a request.
        known: tells whether a key is still let in; the batches of other keys are not worked on.
        digest: of the model that answers; only batches that were ordered for it are answered.
        models: names that a request may give as its model; the first is the base model.
        slots: how many requests may be at work at once.
        most_bytes: of a request.
    """

    def __init__(
        self,
        store: Store,
        ask: Ask,
        known: Known,
        *,
        digest: str,
        models: Sequence[str],
        slots: int,
        most_bytes: int,
    ) -> None:
        self._store, self._ask, self._known = store, ask, known
        self._digest, self._models, self._most_bytes = digest, models, most_bytes
        self._slots = asyncio.Semaphore(slots)
        self._working: dict[str, _Work] = {}
        self._not_before: dict[str, float] = {}
        self._told = asyncio.Event()

    def look(self) -> None:
        """Look for new batches now."""
        self._told.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                self._told.clear()
                try:
                    await self._take_up()
                except Exception:
                    _log.exception("batches at %s could not be listed", self._store.address)
                idle = not self._working and "://" in self._store.address
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), _IDLE if idle else _LOOK)
        finally:
            tasks = [work.task for work in self._working.values() if work.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_up(self) -> None:
        for work in list(self._working.values()):
            if work.owner is None or work.end.done():
                continue  # its order is not read yet, or it is about to end early
            if work.task and not await self._known(work.owner):
                work.task.cancel()
        listed = await asyncio.to_thread(lambda: list(self._store.open()))
        waiting = []
        for shelf, id_, cancelled in listed:
            if cancelled and id_ in self._working:
                self._working[id_].stop("batch_cancelled")
            elif id_ not in self._working and self._not_before.get(id_, 0) < time.monotonic():
                waiting.append((shelf, id_, cancelled))
        self._not_before = {id_: t for _, id_, _ in listed if (t := self._not_before.get(id_))}
        # Cancelled batches come first, then those of the owner with the fewest batches at work,
        # then the oldest.
        at_work = Counter(work.shelf.owner for work in self._working.values())
        waiting.sort(key=lambda one: one[1])
        while waiting and len(self._working) < _AT_ONCE:
            one = min(waiting, key=lambda one: (not one[2], at_work[one[0].owner]))
            waiting.remove(one)
            at_work[one[0].owner] += 1
            self._start(*one)

    def _start(self, shelf: Shelf, id_: str, cancelled: bool) -> None:
        work = self._working[id_] = _Work(shelf)
        if cancelled:
            work.stop("batch_cancelled")
        work.task = asyncio.ensure_future(self._work(id_, work))

    async def _work(self, id_: str, work: _Work) -> None:
        try:
            if not await self._done(id_, work):
                self._not_before[id_] = time.monotonic() + _AGAIN
        except Exception:
            _log.exception("batch %s: tried again in %g seconds", id_, _AGAIN)
            self._not_before[id_] = time.monotonic() + _AGAIN
        finally:
            del self._working[id_]

    async def _done(self, id_: str, work: _Work) -> bool:
        """Work on a batch until it has ended; return False when this is not possible now."""
        shelf = work.shelf
        order = await asyncio.to_thread(shelf.batch, id_)
        if order is None:
            if time.time() - made_at(id_) > _STILLBORN:
                await asyncio.to_thread(shelf.close, id_)
            return True
        if await asyncio.to_thread(shelf.ended, id_):
            await asyncio.to_thread(shelf.close, id_)
            return True
        left = order.expires_at - time.time()
        if left <= 0:
            work.stop("batch_expired")
        # A batch of another model, or of a key that was removed, waits until that is back.
        theirs = order.digest != self._digest or not await self._known(order.owner)
        if theirs and not work.end.done():
            return False
        work.owner = order.owner
        expiring = asyncio.get_running_loop().call_later(left, work.stop, "batch_expired")
        try:
            plan = await asyncio.to_thread(self._plan, shelf, order)
            if isinstance(plan, BatchPlan):
                await self._answer(shelf, order, plan, work.end)
                plan = await asyncio.to_thread(_finish, shelf, order, plan)
            await asyncio.to_thread(shelf.end, id_, plan)
        finally:
            expiring.cancel()
        return True

    def _plan(self, shelf: Shelf, order: Order) -> BatchPlan | Ended:
        if shelf.file(order.input_file_id) is None:
            return _failed(_GONE)
        plan = shelf.plan(order.id)
        if plan is not None:
            return plan
        with storage.open_read(shelf.content(order.input_file_id)) as stream:
            new = planned(stream, order, self._models, self._most_bytes)
        return shelf.put_plan(order.id, new) if isinstance(new, BatchPlan) else _failed(*new)

    async def _answer(
        self, shelf: Shelf, order: Order, plan: BatchPlan, end: asyncio.Future[str]
    ) -> None:
        """RouteAnswer and commit all pending units."""
        there = await asyncio.to_thread(shelf.committed, order.id)
        async with asyncio.TaskGroup() as group:
            for span in plan.spans:
                unit = shelf.unit(order, span)
                if unit.name in there:
                    continue
                asked = await asyncio.to_thread(_read, order, unit, span)
                asking: list[asyncio.Task[RouteAnswer]] = []
                # The next unit is only read when all requests of this one are at work, so that
                # memory is bounded.
                for id_, request in asked:
                    if not await _unless(self._slots.acquire(), end):
                        break
                    task = group.create_task(self._ask(request.url, request.body, order, id_))
                    task.add_done_callback(lambda _: self._slots.release())
                    asking.append(task)
                committing = group.create_task(_commit(shelf, unit, asked, asking, end))
                if end.done():
                    await committing


def _read(order: Order, unit: Unit, span: UnitSpan) -> list[tuple[str, Request]]:
    """The requests of a unit, with their ids."""
    data = storage.read_part(unit.path, span.start, span.size)
    return [(_request_id(order, span.first + n), r) for n, r in enumerate(requests(data))]


async def _commit(
    shelf: Shelf,
    unit: Unit,
    asked: Sequence[tuple[str, Request]],
    asking: Sequence[asyncio.Task[RouteAnswer]],
    end: asyncio.Future[str],
) -> None:
    """Commit a unit when all its requests are answered, or when the batch ends early.

    Args:
        shelf: of the batch's owner.
        unit: the unit.
        asked: its requests, with their ids.
        asking: tasks that answer the requests; fewer than these when the batch ended before all
            were begun.
        end: is set when the batch shall end early.
    """

    async def all_answered() -> None:
        await asyncio.gather(*asking)

    await _unless(all_answered(), end)
    for task in asking:
        task.cancel()  # does nothing to a task that is done
    await asyncio.gather(*asking, return_exceptions=True)
    results = []
    for (id_, request), done in zip_longest(asked, asking):
        answer = None if done is None or done.cancelled() else done.result()
        results.append(_result(id_, request.custom_id, answer, end))
    await asyncio.to_thread(shelf.commit, unit, results)


async def _unless(work: Coroutine[Any, Any, Any], end: asyncio.Future[str]) -> bool:
    """Await `work`, and cancel it if `end` is set first; return whether it was done."""
    if end.done():
        work.close()
        return False
    task = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {task, end}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        return False
    task.result()
    return True


def _request_id(order: Order, number: int) -> str:
    return f"batch_req_{hashlib.sha256(f'{order.id} {number}'.encode()).hexdigest()[:32]}"


def _result(
    id_: str, custom_id: str, answer: RouteAnswer | None, end: asyncio.Future[str]
) -> dict[str, Any]:
    """Return a line of the output or error file, whose form is OpenAI's.

    https://platform.openai.com/docs/api-reference/batch/request-output
    """
    response = error = None
    if answer is not None:
        response = {"status_code": answer.status, "request_id": id_, "body": answer.body}
    else:
        error = {"code": end.result(), "message": _ENDS[end.result()]}
    return {"id": id_, "custom_id": custom_id, "response": response, "error": error}


_GONE = {"code": "file_not_found", "message": "the input file was deleted"}


def _failed(*errors: dict[str, Any]) -> Ended:
    return Ended(status="failed", times={"failed_at": int(time.time())}, errors=list(errors))


def _finish(shelf: Shelf, order: Order, plan: BatchPlan) -> Ended:
    """Make the result files of a batch whose units are all committed.

    Every process that does so makes the same files under the same ids.
    """
    units = [shelf.unit(order, span) for span in plan.spans]
    counts = shelf.counts([unit.name for unit in units])
    finalizing = int(time.time())
    ids: dict[str, str | None] = {"output": None, "error": None}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        for unit in units:
            for completed, line in shelf.results(unit):
                (output if completed else error).write(line)
        for what, file in (("output", output), ("error", error)):
            if file.tell():
                file.seek(0)
                id_ = ids[what] = derived_id("file-", order.id, what)
                name = f"{order.id}_{what}.jsonl"
                shelf.add_file(name, file, purpose="batch_output", id_=id_)
    cancelling = shelf.cancelled_at(order.id)
    now = int(time.time())
    times = {"in_progress_at": plan.started_at, "finalizing_at": finalizing}
    status: Literal["completed", "cancelled", "expired"] = "completed"
    if cancelling is not None:
        status, times["cancelling_at"] = "cancelled", cancelling
    elif counts["left"]:
        status = "expired"
    times[f"{status}_at"] = now
    return Ended(
        status=status,
        times=times,
        total=plan.total,
        completed=counts["completed"],
        failed=counts["failed"],
        output_file_id=ids["output"],
        error_file_id=ids["error"],
    )
