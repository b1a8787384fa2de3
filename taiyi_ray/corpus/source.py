"""A source: whatever yields records by position, such as a file, and what the plan keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from pydantic import BaseModel, Field

from taiyi_ray.records import Document
from taiyi_ray.tasks.task import Assignment

FILE = "file"
"""The kind of a source that is a file (`corpus/sources.py`)."""


class SourceState(BaseModel, frozen=True):
    """A source as it was when its units were planned.

    Attributes:
        path: its address.
        size: in bytes; 0 for a kind of source that has none.
        tag: a text that changes when the content does. Of a file it is that of `storage.Stored`.
        sha256: digest of a local file, else None.
        beside: the files that belong to a file, or to those that a source is read from. None in
            plans of older programs, in which changes of those files are not noticed, and for kinds
            of sources that have none.
    """

    path: str
    size: int
    tag: str
    sha256: str | None = None
    beside: list[SourceState] | None = None


class PlannedSource(SourceState, frozen=True):
    """The units of one source, as a part of the plan holds them.

    Attributes:
        name: the source's folder below OUT/annotations.
        format: name of the file format.
        format_version: version of that format in the program that planned the source; plans of
            older programs do not have it, and it was 1 then.
        complete: whether the units go to the end of the source; --limit may end them before.
        units: first and last position (inclusive) of each unit that this part of the plan adds.
        kind: kind of the source, a key of `sources.SOURCE_KINDS`; files leave it out of the plan.
        fingerprint: of the identity that its documents are asked with (`Part.identities`); empty,
            and left out of the plan, if that is the identity of the job.
    """

    name: str
    format: str
    format_version: int = 1
    complete: bool
    units: list[tuple[int, int]]
    kind: str = Field(FILE, exclude_if=lambda kind: kind == FILE)
    fingerprint: str = Field("", exclude_if=lambda fingerprint: not fingerprint)

    @property
    def records(self) -> int:
        """The number of records from the beginning of the source to the last planned one."""
        return self.units[-1][1] + 1 if self.units else 0


class Scanned(NamedTuple):
    """The result of scanning a source.

    Attributes:
        format: name of its file format.
        sizes: bytes of each record that was scanned.
        complete: whether the scan came to the end of the source.
    """

    format: str
    sizes: Sequence[int]
    complete: bool


class Source(Protocol):
    """A source as it is now. It can be pickled, because Ray tasks scan and read it."""

    @property
    def kind(self) -> str:
        """Its kind, a key of `sources.SOURCE_KINDS`."""
        ...

    @property
    def name(self) -> str:
        """Its folder below OUT/annotations, if it is not planned yet. It may have slashes."""
        ...

    @property
    def address(self) -> str:
        """Where it is stored: a source with the same address is the same source.

        Except for files, it begins with a scheme of the kind's own, such as `catalogue://`. Two
        sources that ask different things about the same records have different addresses.
        """
        ...

    @property
    def size(self) -> int:
        """Its bytes, by which the job decides where it is scanned."""
        ...

    @property
    def assignments(self) -> Sequence[Assignment]:
        """The tasks that are asked about its documents; none for those of the whole run."""
        ...

    def state(self) -> SourceState:
        """Return what the plan keeps to tell later whether the source changed."""
        ...

    def record_sizes(self, first: int = 0, most: int | None = None) -> Scanned:
        """Find the format of the source and the sizes of its records.

        Args:
            first: position of the first record whose size is wanted.
            most: how many sizes are wanted at most; None for all.
        """
        ...

    def check_unchanged(self, planned: SourceState) -> None:
        """Raise ConfigError if the source is not what it was when its units were planned."""
        ...

    def documents(
        self, format_name: str, first: int, last: int, columns: Mapping[str, str]
    ) -> AbstractContextManager[Iterator[Document]]:
        """Open the source, and yield an iterator over its documents in order.

        Args:
            format_name: name of the format, as the plan has it.
            first: position of the first document.
            last: position of the last document (inclusive).
            columns: the user's names for keys of a document (`--column`), by key.

        Raises:
            StorageError: the source is gone, or cannot be read.
        """
        ...
