"""Pack the records of a step into rows: questions on one document share its tokens in a row.

A step's records are chosen before they are packed. So how they are packed, and over how many
workers, changes the speed of a step and not what is learned from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One training record as tokens.

    Attributes:
        ids: its token ids.
        answers: half-open spans of `ids` that the model has to write.
        kind: a number for its task and dataset, by which losses are summed.
        group: a number that records about one document share.
    """

    ids: Ids
    answers: tuple[tuple[int, int], ...]
    kind: int
    group: int

    @property
    def targets(self) -> int:
        """The number of tokens that the model has to write."""
        return sum(end - start for start, end in self.answers)


@dataclass(frozen=True, slots=True)
class Block:
    """Records that share their first tokens; each goes on in a branch of its own.

    Attributes:
        prefix: the number of tokens that all records begin with, and that are computed once.
        records: the records.
    """

    prefix: int
    records: tuple[TokenRecord, ...]

    @property
    def branches(self) -> tuple[int, ...]:
        """The number of tokens of each record behind the prefix."""
        return tuple(len(record.ids) - self.prefix for record in self.records)

    @property
    def tokens(self) -> int:
        """The number of tokens that are computed."""
        return self.prefix + sum(self.branches)


Row = tuple[Block, ...]
"""Blocks that are computed one behind the other, without seeing one another."""


def blocks(records: Sequence[TokenRecord], row_tokens: int, *, share: bool = True) -> list[Block]:
    """Put the records of a group that begin alike into blocks, where this saves tokens.

    Args:
        records: the records of a step; each has at most `row_tokens` tokens.
        row_tokens: the most tokens of a block.
        share: whether records share a beginning at all.
    """
    if not share:
        return [Block(0, (record,)) for record in records]
    groups: dict[int, list[TokenRecord]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    made = []
    for group in groups.values():
        # Those that begin alike become neighbours. The order does not depend on the step's.
        group.sort(key=lambda record: (record.ids.tolist(), record.answers))
        made += _shared(group, row_tokens)
    return made


def _shared(group: Sequence[TokenRecord], row_tokens: int) -> list[Block]:
    made: list[Block] = []
    taken = [group[0]]
    prefix = _promptlike(group[0])
    for record in group[1:]:
        common = min(prefix, _promptlike(record), _alike(taken[-1].ids, record.ids))
        tokens = common + sum(len(one.ids) - common for one in [*taken, record])
        saved = 0 if len(taken) == 1 else (len(taken) - 1) * prefix
        if len(taken) * common > saved and tokens <= row_tokens:
            taken, prefix = [*taken, record], common
        else:
            made.append(_block(prefix, taken))
            taken, prefix = [record], _promptlike(record)
    made.append(_block(prefix, taken))
    return made


def _block(prefix: int, records: Sequence[TokenRecord]) -> Block:
    return Block(prefix if len(records) > 1 else 0, tuple(records))


def _promptlike(record: TokenRecord) -> int:
    """How many tokens may be shared: the one behind which the first answer begins is not."""
    return max(0, record.answers[0][0] - 1)


def _alike(one: Ids, other: Ids) -> int:
    """The number of tokens that both begin with."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length


def packed(made: Sequence[Block], workers: int, row_tokens: int) -> list[list[Row]]:
    """Return the rows of each worker: the longest blocks first, to the worker that has least.

    Args:
        made: the blocks of a step.
        workers: the number of workers.
        row_tokens: the most tokens of a row.
    """
    longest_first = sorted(made, key=lambda block: -block.tokens)
    shares: list[list[Block]] = [[] for _ in range(workers)]
    loads = [(0, worker) for worker in range(workers)]
    for block in longest_first:
        load, worker = heapq.heappop(loads)
        shares[worker].append(block)
        heapq.heappush(loads, (load + block.tokens, worker))
    return [_rows(share, row_tokens) for share in shares]


def _rows(longest_first: Sequence[Block], row_tokens: int) -> list[Row]:
    """Each block goes to the row that it fills best."""
    rows: list[list[Block]] = []
    free: list[int] = []
    for block in longest_first:
        fitting = [(left, number) for number, left in enumerate(free) if left >= block.tokens]
        if fitting:
            _, number = min(fitting)
            rows[number].append(block)
            free[number] -= block.tokens
        else:
            rows.append([block])
            free.append(row_tokens - block.tokens)
    return [tuple(row) for row in rows]


@dataclass(frozen=True, slots=True)
class RowTensors:
    """A row as arrays.

    Attributes:
        ids: token ids.
        positions: the position of each token in its record.
        sources: indexes of the tokens behind which a target stands.
        labels: the targets.
        kinds: the `TokenRecord.kind` of each target.
        layout: for each block its prefix and the lengths of its branches.
    """

    ids: Ids
    positions: Ids
    sources: Ids
    labels: Ids
    kinds: Ids
    layout: tuple[tuple[int, tuple[int, ...]], ...]


def tensors(row: Row) -> RowTensors:
    """Write a row out: each block's prefix, then its branches, whose positions go on from it."""
    ids: list[Ids] = []
    positions: list[Ids] = []
    sources: list[Ids] = []
    labels: list[Ids] = []
    kinds: list[Ids] = []
    at = 0
    for block in row:
        prefix = block.prefix
        if prefix:
            ids.append(block.records[0].ids[:prefix])
            positions.append(np.arange(prefix))
            at += prefix
        for record in block.records:
            length = len(record.ids)
            ids.append(record.ids[prefix:])
            positions.append(np.arange(prefix, length))
            for start, end in record.answers:
                # The first answer begins behind a token of the branch (`_promptlike`), or of the
                # record itself where nothing is shared.
                sources.append(np.arange(start - 1, end - 1) - prefix + at)
                labels.append(record.ids[start:end])
                kinds.append(np.full(end - start, record.kind))
            at += length - prefix
    return RowTensors(
        ids=_joined(ids),
        positions=_joined(positions),
        sources=_joined(sources),
        labels=_joined(labels),
        kinds=_joined(kinds),
        layout=tuple((block.prefix, block.branches) for block in row),
    )


def _joined(parts: Sequence[Ids]) -> Ids:
    return np.concatenate(parts).astype(np.int64)
