"""What the tests of batches share: input files, a runner without Ray, what came out."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from taiyi_ray import storage
from taiyi_ray.serve.batches.runner import Known, RouteAnswer, Runner
from taiyi_ray.serve.batches.store import Order, Store
from taiyi_ray.serve.keys import EVERYBODY, Caller

URL = "/v1/annotate"


def line(number: int, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A request; its number stands in its text."""
    body = body or {"text": f"Aspirin eased headache number {number}.", "tasks": ["ner"]}
    return {"custom_id": f"r{number}", "method": "POST", "url": URL, "body": body, **more}


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


def ordered(store: Store, data: bytes, caller: Caller = EVERYBODY, digest: str = "m") -> Order:
    """A batch on a file of these bytes."""
    shelf = store.of(caller)
    file = shelf.add_file("in.jsonl", io.BytesIO(data))
    return shelf.add_batch(caller, digest, URL, file.id, None)


class Service:
    """Answers requests after a while, and notes which were asked for and are at work.

    Args:
        seconds: that an answer takes.
        status: of the answer to a body.
    """

    def __init__(
        self, seconds: float = 0.0, status: Callable[[dict[str, Any]], int] = lambda body: 200
    ) -> None:
        self.seconds, self.status = seconds, status
        self.asked: Counter[str] = Counter()
        self.at_work = self.most = self.broken_off = 0

    async def __call__(self, url: str, body: dict[str, Any], order: Order, id_: str) -> RouteAnswer:
        assert url == URL
        self.asked[body["text"]] += 1
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        finally:
            self.at_work -= 1
        return RouteAnswer(self.status(body), {"echo": body["text"]})


async def everybody(key: str) -> bool:
    """No key was taken out."""
    return True


def runner(
    store: Store, ask: Any, known: Known = everybody, *, most: int = 8, digest: str = "m"
) -> Runner:
    return Runner(
        store,
        ask,
        known,
        digest=digest,
        models=["taiyi", "taiyi:ner"],
        slots=most,
        most_bytes=8 << 20,
    )


async def until(found: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something."""
    async with asyncio.timeout(seconds):
        while not found():
            await asyncio.sleep(0.01)


async def running(worker: Runner, wanted: Callable[[], Any] | Awaitable[None]) -> None:
    """Run a runner until something is so, then stop it as a replica is stopped."""
    task = asyncio.ensure_future(worker.run())
    try:
        await (until(wanted) if callable(wanted) else wanted)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def results(store: Store, order: Order, which: str = "output") -> list[dict[str, Any]]:
    """The lines of a batch's output or error file."""
    shelf = store.of(order.caller)
    id_ = getattr(shelf.shown(order), f"{which}_file_id")
    if id_ is None:
        return []
    data = storage.read(shelf.content(id_))
    assert data is not None and len(data) == shelf.file(id_).bytes
    return [json.loads(one) for one in data.splitlines()]
