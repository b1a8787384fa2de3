"""How much is at work at once: what an engine cannot take is refused at once, not queued.

A queue would make all wait, those already let in most of all. Who is refused hears when to come
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taiyi_ray.config import ServeConfig
from taiyi_ray.engine import most_in_flight
from taiyi_ray.serve.problems import Problem

_COME_AGAIN = 2.0
"""Seconds: about what a short answer takes under full load."""


def places(config: ServeConfig) -> int:
    """The places of an engine."""
    return config.max_in_flight or most_in_flight(config)


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

    @contextmanager
    def places(self, number: int) -> Iterator[None]:
        """Have so many places for a while; more than there are at all is let in alone.

        Raises:
            Problem: 503, they are not free.
        """
        if self.taken and self.taken + number > self.most:
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


class Share(Admission):
    """Some of the places, for those who must leave the others free.

    Args:
        of: all places; what is taken here is taken there.
        most: of this share.
    """

    def __init__(self, of: Admission, most: int) -> None:
        super().__init__(most)
        self._of = of

    @contextmanager
    def places(self, number: int) -> Iterator[None]:
        """Have so many places of both for a while; raises Problem (503) where they are taken."""
        with super().places(number), self._of.places(number):
            yield
