"""Finds training documents that occur in the test sets: by identifier, by text, by shared n-grams.

It also finds documents that are held out for development and occur in a training set.

An n-gram is 8 words in a row, or 16 Chinese characters, or what comes to as much where a text mixes
both: a word counts as two characters. A training document overlaps with a test document when a
share of the *test* document's n-grams occur in it, or when all of its own occur in the test
document: where documents are sentences, none holds a fifth of an abstract. Both sides are compared
without case, punctuation and white space, and without regard to passages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from taiyi_ray.forms import HAN
from taiyi_ray.models.trained import Hashes, hashed, text_hash, unpacked, words
from taiyi_ray.records import Annotations, Document

VERSION = 1
"""It rises when the same documents overlap with other ones."""

SIZE = 16
"""The size of an n-gram: a Chinese character is 1, any other word 2."""

_SENTENCE = 32
"""A text with fewer n-grams is a sentence."""

_HAN = re.compile(f"[{HAN}]")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses no bits (Knuth 6.4)


class HeldOut(NamedTuple):
    """A document of a test set.

    Attributes:
        dataset: the name of its dataset.
        pmid: its PubMed identifier, if the dataset's identifiers are such.
    """

    dataset: str
    pmid: str | None


class Compared(NamedTuple):
    """What is compared of a document.

    Attributes:
        text: the hash of its text.
        grams: the hashes of its n-grams.
    """

    text: int
    grams: Hashes

    @classmethod
    def of(cls, document: Document) -> Self:
        """What is compared of a training document."""
        return cls(text_hash(document), grams(document))

    @classmethod
    def of_test(cls, document: Document) -> Self:
        """What is compared of a test document.

        That are no n-grams where it is a sentence without gold. Some stand in many papers (`All
        authors read and approved the final manuscript`), and none has an answer that training could
        give away.
        """
        made = cls.of(document)
        if document.gold == Annotations() and len(made.grams) < _SENTENCE:
            return made._replace(grams=made.grams[:0])
        return made


class Overlap(NamedTuple):
    """Why a training document is taken out.

    Attributes:
        kind: `pmid`, `text` or `ngrams`.
        dataset: the dataset of the test document.
    """

    kind: str
    dataset: str


@lru_cache(1 << 16)
def _known(unit: str) -> tuple[int, int]:
    """The number and the size of a word or a Chinese character."""
    return hashed(unit), 1 if _HAN.match(unit) else 2


def grams(document: Document) -> Hashes:
    """The hashes of a text's n-grams, each once, sorted; none where the text is too short."""
    units = [_known(unit) for unit in words(document)]
    numbers, sizes = np.array(units, np.uint64).reshape(-1, 2).T
    before = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])  # the size of all before one
    ends = np.searchsorted(before, before[:-1] + SIZE)
    count = np.searchsorted(ends, len(units), "right")  # behind these the text is too short
    lengths = (ends - np.arange(len(units)))[:count]
    numbers = np.pad(numbers, (0, SIZE))
    hashes = np.zeros(count, np.uint64)
    for offset in range(int(lengths.max(initial=0))):  # a polynomial in _FACTOR, modulo 2^64
        mixed = hashes * _FACTOR + numbers[offset : offset + count]
        hashes = np.where(lengths > offset, mixed ^ (mixed >> np.uint64(29)), hashes)
    return np.unique(hashes)


@dataclass(frozen=True, slots=True)
class Index:
    """What is known of the test sets: some 2 KB a document, and no text.

    Attributes:
        documents: the test documents.
        texts: the number of a document in `documents`, by the hash of its text.
        pmids: the same, by its PubMed identifier.
        hashes: the n-grams of all documents, sorted.
        owners: the number of the document of each n-gram.
        sizes: how many n-grams each document has.
    """

    documents: list[HeldOut]
    texts: dict[int, int]
    pmids: dict[str, int]
    hashes: Hashes
    owners: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, documents: Iterable[tuple[HeldOut, Compared]]) -> Index:
        """Make the index of test documents."""
        known: list[HeldOut] = []
        texts: dict[int, int] = {}
        pmids: dict[str, int] = {}
        hashes: list[Hashes] = []
        for number, (held_out, compared) in enumerate(documents):
            known.append(held_out)
            texts.setdefault(compared.text, number)
            if held_out.pmid is not None:
                pmids.setdefault(held_out.pmid, number)
            hashes.append(compared.grams)
        sizes = np.array([len(of_one) for of_one in hashes], np.uint32)
        every = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        owners = np.repeat(np.arange(len(hashes), dtype=np.uint32), sizes)
        order = np.argsort(every, kind="stable")
        return cls(known, texts, pmids, every[order], owners[order], sizes)

    def overlap(self, document: Document, pmid: str | None, share: float) -> Overlap | None:
        """Say which test document a training document overlaps with; None when with none.

        Args:
            document: the training document.
            pmid: its PubMed identifier, if it has one.
            share: the least share of a test document's n-grams that makes an overlap, above 0.
        """
        if pmid is not None and (number := self.pmids.get(pmid)) is not None:
            return Overlap("pmid", self.documents[number].dataset)
        text, mine = Compared.of(document)
        if (number := self.texts.get(text)) is not None:
            return Overlap("text", self.documents[number].dataset)
        first = np.searchsorted(self.hashes, mine, "left")
        last = np.searchsorted(self.hashes, mine, "right")
        shared = first < last
        if not shared.any():
            return None
        owners = np.concatenate(
            [self.owners[a:b] for a, b in zip(first[shared], last[shared], strict=True)]
        )
        numbers, counts = np.unique(owners, return_counts=True)
        enough = np.flatnonzero((counts >= share * self.sizes[numbers]) | (counts == len(mine)))
        if not len(enough):
            return None
        return Overlap("ngrams", self.documents[int(numbers[enough[0]])].dataset)

    def to_bytes(self) -> bytes:
        """The index as bytes, the same for equal indexes."""
        buffer = io.BytesIO()
        np.save(buffer, self.hashes)
        np.save(buffer, self.owners)
        np.save(buffer, self.sizes)
        np.save(buffer, np.array(list(self.texts), np.uint64))
        np.save(buffer, np.array(list(self.texts.values()), np.uint32))
        for texts in (
            [document.dataset for document in self.documents],
            [document.pmid or "" for document in self.documents],
        ):
            np.save(buffer, np.frombuffer("\n".join(texts).encode(), np.uint8))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Read what `to_bytes` made."""
        buffer = io.BytesIO(data)
        hashes, owners, sizes, texts, numbers, datasets, identifiers = (
            np.load(buffer, allow_pickle=False) for _ in range(7)
        )
        documents = [
            HeldOut(dataset, pmid or None)
            for dataset, pmid in zip(
                unpacked(datasets, sizes), unpacked(identifiers, sizes), strict=True
            )
        ]
        pmids: dict[str, int] = {}
        for number, document in enumerate(documents):
            if document.pmid is not None:
                pmids.setdefault(document.pmid, number)
        known = dict(zip(texts.tolist(), numbers.tolist(), strict=True))
        return cls(documents, known, pmids, hashes, owners, sizes)
