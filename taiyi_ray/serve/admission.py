"""How much is at work at once: what an engine cannot take is refused at once, not queued.

A queue would make all wait, those already let in most of all. Who is refused hears when to come
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from taiyi_ray.config import ServeConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.serve.problems import Problem

_COME_AGAIN = 2.0
"""Seconds: about what a short answer takes under full load."""


def places(config: ServeConfig) -> int:
    """The places of an engine."""
    return config.max_in_flight or ENGINES[config.engine].most_in_flight(config)


def places_of_batches(config: ServeConfig) -> int:
    """Those of them that batches may have: half, so that others find some."""
    return max(1, places(config) // 2)


class Admission:
    """Counts what is at work in an engine: documents, and answers of chats.

    Args:
        most: at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.kept = 0
        """Places that are kept for who waits."""
        self._freed = asyncio.Event()

    def check(self, number: int) -> None:
        """See that so many places are free; raises Problem (503) where they are not."""
        with self.places(number):
            pass

    async def enter(self, held: ExitStack, number: int) -> None:
        """Have so many places until `held` is closed; raises Problem (503), they are not free."""
        held.enter_context(self.places(number))

    async def freed(self) -> None:
        """Wait until a place is given back."""
        await self._freed.wait()

    @contextmanager
    def places(self, number: int) -> Iterator[None]:
        """Have so many places for a while; more than there are at all is let in alone.

        Raises:
            Problem: 503, they are not free.
        """
        if self.taken and self.taken + number > self.most - self.kept:
            raise Problem(
                503,
                f"{self.taken} of {self.most} places are taken and the request wants {number}; "
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
    """Some of the places, for those who must leave the others free.

    Who finds none free waits, one at a time, and gets the next ones, one by one: so what wants many
    comes to its turn however much there is that wants few. The others are told to come again.

    Args:
        of: all places; what is taken here is taken there.
        most: of this share.
    """

    def __init__(self, of: Admission, most: int) -> None:
        super().__init__(most)
        self._of = of
        self._waiting = False

    def check(self, number: int) -> None:
        """See that nobody waits; raises Problem (503) where one does."""
        if self._waiting:
            message = "another request of a batch waits for places; try again"
            raise Problem(503, message, retry_after=_COME_AGAIN)

    async def enter(self, held: ExitStack, number: int) -> None:
        """Have so many places of both, the whole share at most, when they are free.

        Raises:
            Problem: 503, another one waits.
        """
        self.check(number)
        self._waiting = True
        try:
            for _ in range(min(number, self.most)):
                while self.taken >= self.most or self._of.taken >= self._of.most:
                    self._of.kept = int(self.taken < self.most)
                    await self._of.freed()
                self._of.kept = 0
                held.enter_context(self._one())
        finally:
            self._of.kept, self._waiting = 0, False

    @contextmanager
    def _one(self) -> Iterator[None]:
        with self.places(1), self._of.places(1):
            yield
