"""The examples that are most like a document, for few-shot questions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rapidfuzz import process
from rapidfuzz.distance import Indel

from taiyi_ray.forms import HAN
from taiyi_ray.records import Document, as_values

_WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+")


@dataclass(frozen=True)
class Similar:
    """Documents with gold, of which those most like another document stand before its questions.

    Two documents are as alike as their bags of words (Chinese: of characters): twice the number of
    words that both have, by the number of words of both (Dice's coefficient).

    Attributes:
        examples: the documents to choose from.
        number: how many stand before a question.
        words: the words of each, in order.
    """

    examples: Sequence[Document]
    number: int
    words: Sequence[Sequence[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", [_words(example) for example in self.examples])

    def to(self, document: Document) -> list[Document]:
        """The examples for a document, the most similar one last, next to the question.

        A document with just the same words is no example: it may be the document itself.
        """
        # Of sorted words the longest common subsequence is what both bags have.
        found = process.extract(
            _words(document), self.words, scorer=Indel.normalized_similarity, processor=None,
            limit=None,
        )  # fmt: skip
        others = [number for _, similarity, number in found if similarity < 1.0]
        return [self.examples[number] for number in reversed(others[: self.number])]

    def digest(self) -> str:
        """What stands for the examples and their number in the fingerprint."""
        told = [[one.text, as_values(one.gold)] for one in self.examples]
        return hashlib.sha256(json.dumps([self.number, told]).encode()).hexdigest()[:16]


def _words(document: Document) -> list[str]:
    return sorted(_WORD.findall(document.text.casefold()))
