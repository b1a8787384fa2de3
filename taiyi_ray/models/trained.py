"""Which documents trained a model: hashes of them, in a file beside its weights.

`build-instructions` writes the file beside the instructions, training copies it, and `evaluate`
says how many documents of a test set are in it.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from taiyi_ray import storage
from taiyi_ray.errors import ModelError
from taiyi_ray.forms import HAN
from taiyi_ray.records import Document

TRAINED_FILE = "trained_on.npy"
"""The name of the file. Its content is that of `Trained.to_bytes`."""

_WORD = re.compile(f"[{HAN}]|[^\\W_{HAN}]+")

Hashes = npt.NDArray[np.uint64]


def words(document: Document) -> list[str]:
    """The words of a text, and its Chinese characters one by one, in their order."""
    return _WORD.findall(unicodedata.normalize("NFKC", document.text).casefold())


def hashed(text: str) -> int:
    """64 bits of a hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def text_hash(document: Document) -> int:
    """64 bits of a hash of the bare text, without white space; equal texts have equal hashes."""
    return hashed("".join(words(document)))


def document_keys(document: Document, pmid: str | None) -> list[int]:
    """Numbers of which two documents share one if they have the same text or PubMed identifier.

    Args:
        document: the document.
        pmid: its PubMed identifier, if it has one.
    """
    return [text_hash(document), *([] if pmid is None else [hashed(f"pmid {pmid}")])]


@dataclass(frozen=True, slots=True)
class Trained:
    """Which splits that train have a document: some 20 bytes a document.

    Attributes:
        splits: their names, such as `bc5cdr/train`.
        keys: the keys of all documents, sorted.
        owners: the number of the split of each key.
    """

    splits: list[str]
    keys: Hashes
    owners: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, splits: Mapping[str, Hashes]) -> Trained:
        """Know the splits that train, given the keys of their documents by their names."""
        every = np.concatenate([np.empty(0, np.uint64), *splits.values()])
        owners = np.repeat(np.arange(len(splits)), [len(of) for of in splits.values()])
        order = np.argsort(every, kind="stable")
        return cls(list(splits), every[order], owners.astype(np.uint16)[order])

    def by_split(self) -> dict[str, Hashes]:
        """The keys of the documents of each split."""
        return {name: self.keys[self.owners == n] for n, name in enumerate(self.splits)}

    def having(self, of_document: Iterable[int]) -> set[str]:
        """The splits that have a document with one of these keys."""
        found: set[str] = set()
        for key in of_document:
            first, last = (self.keys.searchsorted(np.uint64(key), s) for s in ("left", "right"))
            found |= {self.splits[owner] for owner in self.owners[first:last].tolist()}
        return found

    def to_bytes(self) -> bytes:
        """The same as bytes."""
        buffer = io.BytesIO()
        np.save(buffer, self.keys)
        np.save(buffer, self.owners)
        np.save(buffer, np.frombuffer("\n".join(self.splits).encode(), np.uint8))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Trained:
        """Read what `to_bytes` made."""
        buffer = io.BytesIO(data)
        known, owners, names = (np.load(buffer, allow_pickle=False) for _ in range(3))
        # Earlier versions knew only splits called `train`, and named the datasets alone.
        splits = [name if "/" in name else f"{name}/train" for name in unpacked(names, names)]
        return cls(splits, known, owners)


def unpacked(packed: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> list[str]:
    """Texts that lie in an array of bytes, one behind another; none if `sizes` is empty."""
    return packed.tobytes().decode().split("\n") if len(sizes) else []


def trained_on(*folders: str) -> Trained | None:
    """Return which documents trained what lies in folders of models, adapters or instructions.

    Args:
        *folders: their addresses, local or s3://.

    Returns:
        What the files of all of them say together; None where no folder has the file.

    Raises:
        ModelError: such a file cannot be read.
        StorageError: the store does not answer.
    """
    known: dict[str, list[Hashes]] = {}
    found = False
    for folder in folders:
        address = storage.join(storage.absolute(folder), TRAINED_FILE)
        if (data := storage.read(address)) is None:
            continue
        found = True
        try:
            for split, its in Trained.from_bytes(data).by_split().items():
                known.setdefault(split, []).append(its)
        except (ValueError, EOFError) as error:
            raise ModelError(f"{address}: is not what training writes there ({error})") from error
    if not found:
        return None
    return Trained.of({split: np.unique(np.concatenate(of)) for split, of in known.items()})


def write_trained_on(folder: str, trained: Trained) -> None:
    """Write beside instructions, a model or an adapter which documents trained it.

    Args:
        folder: the address of the folder.
        trained: the documents.

    Raises:
        StorageError: the store cannot be written.
    """
    storage.replace(storage.join(storage.absolute(folder), TRAINED_FILE), trained.to_bytes())
