"""How many requests a server answers well at once: found out while it answers.

Two kinds of servers, two ways. One that refuses what is too much for it (429, 503, no answer in
time) gets additive increase and multiplicative decrease (AIMD: Chiu and Jain 1989, as in TCP). One
that takes everything and lets it queue, as vLLM does, gets the question of TCP Vegas (Brakmo and
Peterson 1994) with rates for round-trip times: did twice as many in flight gain anything?
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_FIRST = 16
_CUT = 0.75
"""Of the limit is left after a refusal. A refused request costs little: it is sent again later."""

_GAIN = 1.1
"""Twice as many in flight must raise the rate by this factor, or it stays as it was."""

_ROUND = 4
"""A rate is measured over so many answers for each request in flight: fewer are noise."""

_REST = 20
"""Rounds until a limit that could not gain is tried again: servers get replicas."""


@dataclass(slots=True)
class Place:
    """A request's place among those in flight; `refused` is set when the server had no room."""

    epoch: int
    refused: bool = False


class Pace:
    """Lets as many requests be in flight as the server answers well, and at most `most`."""

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._in_flight = 0
        self._waiting = 0
        self._changed = asyncio.Condition()
        self._epoch = 0
        self._refuses = False
        self._lower: tuple[int, float] | None = None
        """The limit before it was raised, and the rate that it had."""
        self._rest = 0
        self._began: float | None = None
        self._answers, self._tokens = 0, 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Wait until one more request may be in flight, and count it there."""
        async with self._changed:
            self._waiting += 1
            try:
                await self._changed.wait_for(lambda: self._in_flight < self.limit)
            finally:
                self._waiting -= 1
            self._in_flight += 1
        place = Place(self._epoch)
        try:
            yield place
        finally:
            self._in_flight -= 1
            # What was sent before the limit changed says nothing about the new one.
            if place.epoch == self._epoch:
                self._refused() if place.refused else self._answered()
            async with self._changed:
                self._changed.notify(self.limit - self._in_flight)

    def worked(self, tokens: int) -> None:
        """Count the tokens of an answer: the rates are theirs."""
        self._tokens += tokens

    def _refused(self) -> None:
        self._refuses = True
        self._set(int(self.limit * _CUT))

    def _answered(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._began is None or not self._waiting:  # below the limit a rate says nothing of it
            self._began, self._answers, self._tokens = now, 0, 0
            return
        self._answers += 1
        if self._answers >= _ROUND * self.limit and now > self._began:
            self._judge(self._tokens / (now - self._began))

    def _judge(self, rate: float) -> None:
        if self._refuses:
            self._set(self.limit + 1)
        elif self._rest:
            self._rest -= 1
            self._set(self.limit)
        elif self._lower is None or rate > _GAIN * self._lower[1]:
            self._lower = (self.limit, rate)
            self._set(2 * self.limit)
        else:
            self._set(self._lower[0])
            self._lower, self._rest = None, _REST

    def _set(self, limit: int) -> None:
        self.limit = min(max(1, limit), self._most)
        self._epoch += 1
        self._began = None
