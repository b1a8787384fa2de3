"""The slots of an engine: each is capacity for one document or one answer to a chat.

A request that finds too few free slots is refused at once, and not queued. A queue would delay all
requests, those that are already at work most of all. The refusal says when to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from taiyi_ray.config import ServeConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.serve.problems import Problem

_COME_AGAIN = 2.0
"""Seconds after which a refused client may try again: a short answer takes about as long when the
engine is fully loaded."""


def document_slots(config: ServeConfig) -> int:
    """Return the number of slots of an engine."""
    return config.document_slots or ENGINES[config.engine].question_slots(config)


def batch_slots(config: ServeConfig) -> int:
    """Return how many of these slots batches may take: half, so that some are left for others."""
    return max(1, document_slots(config) // 2)


class Admission:
    """Counts the slots that are taken.

    Args:
        slots: how many there are.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self.kept = 0
        """Slots that only a request that waits in a `Share` may take."""
        self._freed = asyncio.Event()

    def check(self, number: int) -> None:
        """Check that so many slots are free; raises Problem (503) if they are not."""
        with self.take(number):
            pass

    async def enter(self, held: ExitStack, number: int) -> None:
        """Take so many slots until `held` is closed; raises Problem (503) if they are not free."""
        held.enter_context(self.take(number))

    async def freed(self) -> None:
        """Wait until a slot is given back."""
        await self._freed.wait()

    @contextmanager
    def take(self, number: int) -> Iterator[None]:
        """Take so many slots inside the `with` block.

        A request for more slots than there are is let in when nothing else is at work.

        Raises:
            Problem: 503, they are not free.
        """
        if self.taken and self.taken + number > self.slots - self.kept:
            raise Problem(
                503,
                f"{self.taken} of {self.slots} slots are taken and the request needs {number}; "
                "try again, with fewer documents if it has many",
                retry_after=_COME_AGAIN,
            )
        self.taken += number
        try:
            yield
        finally:
            self.taken -= number
            self._freed.set()
            self._freed = asyncio.Event()


class Share(Admission):
    """A part of the slots, for the requests of batches, which must leave the others free.

    A request that finds too few free slots waits, and takes each slot that becomes free until it
    has all that it wants: so requests for few slots cannot overtake one for many. Only one
    request waits at a time; others are refused meanwhile.

    Args:
        of: the whole of the slots; a slot that is taken here is taken there too.
        slots: how many slots this share has.
    """

    def __init__(self, of: Admission, slots: int) -> None:
        super().__init__(slots)
        self._of = of
        self._waiting = False

    def check(self, number: int) -> None:
        """Check that no other request waits; raises Problem (503) if one does."""
        if self._waiting:
            message = "another request of a batch waits for slots; try again"
            raise Problem(503, message, retry_after=_COME_AGAIN)

    async def enter(self, held: ExitStack, number: int) -> None:
        """Wait for so many slots (at most the whole share), and hold them until `held` is closed.

        Raises:
            Problem: 503, another request waits.
        """
        self.check(number)
        self._waiting = True
        try:
            for _ in range(min(number, self.slots)):
                while self.taken >= self.slots or self._of.taken >= self._of.slots:
                    self._of.kept = int(self.taken < self.slots)
                    await self._of.freed()
                self._of.kept = 0
                held.enter_context(self._one())
        finally:
            self._of.kept, self._waiting = 0, False

    @contextmanager
    def _one(self) -> Iterator[None]:
        with self.take(1), self._of.take(1):
            yield
