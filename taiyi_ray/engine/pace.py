"""Find out how many requests a server answers well at once, while it answers.

Some servers refuse what is too much for them (429, 503, no answer in time). For these the limit
follows additive increase and multiplicative decrease (AIMD: Chiu and Jain 1989, as in TCP). Others,
such as vLLM, take every request and let it queue. For these the limit follows the idea of TCP Vegas
(Brakmo and Peterson 1994), with rates instead of round-trip times: it is doubled as long as twice
as many requests in flight raise the rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_FIRST = 16
_CUT = 0.75
"""The share of the limit that is left after a refusal. It can be large, because a refused request
costs little: it is sent again later."""

_GAIN = 1.1
"""A doubled limit must raise the rate by this factor, or the limit goes back to what it was."""

_ROUND = 4
"""A rate is measured over this many answers for each request in flight; over fewer it is noise."""

_REST = 20
"""The rounds until a limit is doubled again after it gained nothing: a server may get replicas."""


@dataclass(slots=True)
class RequestSlot:
    """The slot of one request in flight.

    Attributes:
        epoch: the number of the round of measuring in which the request was sent.
        refused: set by the sender when the server refused the request as one too many.
    """

    epoch: int
    refused: bool = False


class Pace:
    """Limits the requests in flight to as many as the server answers well, and to `most`."""

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._in_flight = 0
        self._waiting = 0
        self._changed = asyncio.Condition()
        self._epoch = 0
        self._refuses = False
        self._lower: tuple[int, float] | None = None
        """The limit before it was doubled, and the rate under it, in tokens a second."""
        self._rest = 0
        self._began: float | None = None
        self._answers, self._tokens = 0, 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[RequestSlot]:
        """Wait until one more request may be in flight, and count it as long as the block runs."""
        async with self._changed:
            self._waiting += 1
            try:
                await self._changed.wait_for(lambda: self._in_flight < self.limit)
            finally:
                self._waiting -= 1
            self._in_flight += 1
        slot = RequestSlot(self._epoch)
        try:
            yield slot
        finally:
            self._in_flight -= 1
            # A request that was sent before the limit changed says nothing about the new limit.
            if slot.epoch == self._epoch:
                self._refused() if slot.refused else self._answered()
            async with self._changed:
                self._changed.notify(self.limit - self._in_flight)

    def worked(self, tokens: int) -> None:
        """Count the tokens of an answer, of which the rates are made."""
        self._tokens += tokens

    def _refused(self) -> None:
        self._refuses = True
        self._set(int(self.limit * _CUT))

    def _answered(self) -> None:
        now = asyncio.get_running_loop().time()
        # When no request waits, the limit may not be used up, and the rate tells nothing about it.
        if self._began is None or not self._waiting:
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
