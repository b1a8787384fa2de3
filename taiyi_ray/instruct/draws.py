"""Random choices as pure functions of a seed and a key, so that any worker makes the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Draws:
    """Choices about one thing, such as one record of a dataset.

    Attributes:
        seed: the seed of the whole build.
        key: what the choices are about; another key gives independent choices.
    """

    seed: int
    key: tuple[str | int, ...]

    def uniform(self, name: str) -> float:
        """Return a number in [0, 1); another name gives an independent number.

        The number is made of the first 53 bits of a BLAKE2b digest, as many as a float holds.
        """
        parts = "\x1f".join(map(str, (self.seed, *self.key, name)))
        digest = hashlib.blake2b(parts.encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / (1 << 53)

    def index(self, name: str, size: int) -> int:
        """Return a number from 0 to `size` - 1."""
        return int(self.uniform(name) * size)

    def order(self, name: str, items: Sequence[_Item]) -> list[_Item]:
        """Return the items in a random order."""
        keys = [self.uniform(f"{name}\x1f{number}") for number in range(len(items))]
        return [items[number] for number in sorted(range(len(items)), key=keys.__getitem__)]


def times(position: int, rate: float, start: float) -> int:
    """How often the record at a position is used, when `rate` uses a record are wanted.

    Uses are spread evenly: among any n records in a row they number n x rate, rounded up or down.
    So a rate below 1 is a sample, and no process has to know what the others took.

    Args:
        position: the number of the record, from 0.
        rate: uses a record, on average; at least 0.
        start: a number in [0, 1) that decides where the uses begin.
    """
    return floor((position + 1) * rate + start) - floor(position * rate + start)
