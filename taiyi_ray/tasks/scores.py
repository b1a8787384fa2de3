"""How sure a model was of a piece of its answer, from the probabilities of the answer's tokens."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A piece of an answer and where it begins there."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def strip(self) -> Piece:
        """The piece without white space at its ends."""
        blank = len(self.text) - len(self.text.lstrip())
        return Piece(self.text.strip(), self.start + blank)

    def after(self, at: int) -> Piece:
        """What follows the first `at` characters, without white space at its ends."""
        return Piece(self.text[at:], self.start + at).strip()

    def split(self, separator: str) -> Iterable[Piece]:
        """The parts between the separators, none stripped."""
        at = self.start
        for part in self.text.split(separator):
            yield Piece(part, at)
            at += len(part) + len(separator)


@dataclass(frozen=True, slots=True)
class Scores:
    """The tokens of an answer: its text, where each token begins, its log-probability (natural).

    Under a grammar the engine masks what is forbidden before it computes probabilities: a token
    that the grammar forced counts 1, and a score says how sure the model was among what was left.
    """

    text: str
    starts: Sequence[int]
    logprobs: Sequence[float]

    def part(self, start: int, end: int) -> Scores:
        """The scores of a part of the answer, by its own places: those of its whole tokens."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        starts = [at - start for at in self.starts[first:last]]
        return Scores(self.text[start:end], starts, self.logprobs[first:last])

    def of(self, *pieces: Piece) -> float | None:
        """The geometric mean of the probabilities of the tokens of these pieces, 0 to 1.

        A token that also holds a separator or another piece says nothing about this one and is left
        out; the blank before a word belongs to the word's token. None when no token is left.
        """
        found = [
            self.logprobs[n]
            for piece in pieces
            for n in range(
                max(0, bisect_left(self.starts, piece.start) - 1),
                bisect_left(self.starts, piece.end),
            )
            if self._is_within(n, piece)
        ]
        return math.exp(math.fsum(found) / len(found)) if found else None

    def _is_within(self, n: int, piece: Piece) -> bool:
        start = self.starts[n]
        end = self.starts[n + 1] if n + 1 < len(self.starts) else len(self.text)
        outside = self.text[start : piece.start] + self.text[max(start, piece.end) : end]
        return start < end and end > piece.start and not outside.strip(" ")
