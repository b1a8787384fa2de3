"""The order of training records: a pure function of seed, stage and epoch, without any state.

So a run that goes on needs only its stage and step, on whatever number of workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def permutation(number: int, seed: int, stage: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers from 0 to `number` - 1 in the order of an epoch.

    The keys by which they are sorted come from Philox, a counter-based generator, whose raw output
    numpy keeps the same in all versions (NEP 19), other than its shuffles.

    Args:
        number: how many there are.
        seed: the seed of the run.
        stage: the number of the stage, from 0.
        epoch: the number of the epoch in the stage, from 0.
    """
    generator = np.random.Philox(key=np.array([seed, (stage << 32) | epoch], dtype=np.uint64))
    return np.argsort(generator.random_raw(number), kind="stable")


@dataclass(frozen=True)
class Order:
    """Which records each step of a stage takes.

    Groups of records are permuted, and a group's records follow one another, so that they meet in
    one step and share their document. Every record comes once an epoch; the last step of an epoch
    may have fewer.

    Attributes:
        members: the numbers of all records, those of a group one after the other.
        borders: where each group begins in `members`, and the end of the last.
        batch: records of a step.
        seed: the seed of the run.
        stage: the number of the stage, from 0.
    """

    members: NDArray[np.int64]
    borders: NDArray[np.int64]
    batch: int
    seed: int
    stage: int

    @property
    def steps_of_an_epoch(self) -> int:
        """The number of steps in which every record comes once."""
        return math.ceil(len(self.members) / self.batch)

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Return the numbers of all records in the order of an epoch."""
        groups = permutation(len(self.borders) - 1, self.seed, self.stage, number)
        starts, ends = self.borders[groups], self.borders[groups + 1]
        lengths = ends - starts
        # For each record: where its group begins, and the how manieth of the group it is.
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        members: NDArray[np.int64] = self.members[np.repeat(starts, lengths) + within]
        return members

    def step(self, number: int) -> NDArray[np.int64]:
        """Return the numbers of the records of a step of the stage, counted from 0."""
        epoch, within = divmod(number, self.steps_of_an_epoch)
        return self._epoch_once(epoch)[within * self.batch : (within + 1) * self.batch]

    def _epoch_once(self, number: int) -> NDArray[np.int64]:
        kept: dict[int, NDArray[np.int64]] = self.__dict__.setdefault("_kept", {})
        if number not in kept:
            kept.clear()
            kept[number] = self.epoch(number)
        return kept[number]
