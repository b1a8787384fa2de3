"""How sure a model was of a piece of its answer, from the probabilities of the answer's tokens."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A piece of an answer.

    Attributes:
        text: the text of the piece.
        start: the offset in the answer where it begins.
    """

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
        """The text after the first `at` characters, without white space at its ends."""
        return Piece(self.text[at:], self.start + at).strip()

    def split(self, separator: str) -> Iterable[Piece]:
        """The parts between the separators, with the white space at their ends."""
        at = self.start
        for part in self.text.split(separator):
            yield Piece(part, at)
            at += len(part) + len(separator)


@dataclass(frozen=True, slots=True)
class Scores:
    """The log-probabilities of an answer's tokens.

    Under a grammar, the engine masks forbidden tokens before it computes probabilities. So a token
    that the grammar forced has the probability 1, and a score says how sure the model was among the
    allowed tokens.

    Attributes:
        text: the answer.
        starts: the offset in the answer where each token begins.
        logprobs: the natural logarithm of each token's probability.
    """

    text: str
    starts: Sequence[int]
    logprobs: Sequence[float]

    def part(self, start: int, end: int) -> Scores:
        """The scores of the tokens that begin in text[start:end], with offsets from `start`."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        starts = [at - start for at in self.starts[first:last]]
        return Scores(self.text[start:end], starts, self.logprobs[first:last])

    def behind(self, text: str) -> Scores:
        """The same scores where `text`, which has none, stands before the answer."""
        return Scores(text + self.text, [len(text) + at for at in self.starts], self.logprobs)

    def of(self, *pieces: Piece) -> float | None:
        """The geometric mean of the probabilities of the tokens of these pieces, 0 to 1.

        A token that also holds a separator or another piece says nothing about this piece and is
        left out; a token with only a blank before the word counts. None when no token is left.
        """
        logprobs = [
            self.logprobs[n]
            for piece in pieces
            for n in range(
                max(0, bisect_left(self.starts, piece.start) - 1),
                bisect_left(self.starts, piece.end),
            )
            if self._is_within(n, piece)
        ]
        return math.exp(math.fsum(logprobs) / len(logprobs)) if logprobs else None

    def _is_within(self, n: int, piece: Piece) -> bool:
        start = self.starts[n]
        end = self.starts[n + 1] if n + 1 < len(self.starts) else len(self.text)
        outside = self.text[start : piece.start] + self.text[max(start, piece.end) : end]
        return start < end and end > piece.start and not outside.strip(" ")
