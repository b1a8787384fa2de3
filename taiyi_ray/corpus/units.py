"""Units: runs of consecutive records, each committed whole by one object that is put if absent.

The plan decides a unit's name, and a unit is committed once an object of that name exists: the
pending units are the planned ones minus one listing. There are no done flags. Two processes may
work on the same unit; the object that is put first counts. The corpus job and the service's batches
both use units.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from taiyi_ray import storage

UNIT_BYTES = 8 << 20
"""Bytes of a unit's raw records at most. The text of a record is never longer than the record."""


class Unit(BaseModel, frozen=True):
    """A run of consecutive records of one source, which is committed whole.

    Attributes:
        source: name of the source.
        path: address of the source.
        first, last: positions of its first and last record (inclusive).
    """

    source: str
    path: str
    first: int
    last: int

    @classmethod
    def named(cls, name: str) -> Unit:
        """Return the unit of a name, without the address of its source."""
        source, _, bounds = name.rpartition("/")
        first, _, last = bounds.partition("-")
        return cls(source=source, path="", first=int(first), last=int(last))

    @property
    def name(self) -> str:
        """The name, which sorts by the first position within a source."""
        return f"{self.source}/{self.first:09d}-{self.last:09d}"

    @property
    def records(self) -> int:
        """The number of records."""
        return self.last - self.first + 1


def cut(sizes: Sequence[int], first: int, most_records: int) -> list[tuple[int, int]]:
    """Cut consecutive records into units of at most `most_records` records and UNIT_BYTES bytes.

    A record that is larger than UNIT_BYTES is a unit of its own.

    Args:
        sizes: bytes of each record.
        first: position of the first record.
        most_records: of a unit.

    Returns:
        First and last position (inclusive) of each unit.
    """
    units: list[tuple[int, int]] = []
    start, filled = 0, 0
    for n, size in enumerate(sizes):
        if n > start and (n - start >= most_records or filled + size > UNIT_BYTES):
            units.append((first + start, first + n - 1))
            start, filled = n, 0
        filled += size
    if len(sizes) > start:
        units.append((first + start, first + len(sizes) - 1))
    return units


class Units:
    """The committed units below one address.

    Args:
        address: that address; a unit lies at `<address>/<source>/<first>-<last><ending>`.
        ending: of the objects' names.
    """

    def __init__(self, address: str, ending: str) -> None:
        self.address, self.ending = address, ending

    def path(self, unit: Unit) -> str:
        """Return the address of the object of a unit, committed or not."""
        return storage.join(self.address, unit.name + self.ending)

    def committed(self, source: str | None = None) -> dict[str, str]:
        """Return the names of the committed units, each with its object's tag: one listing.

        Args:
            source: name of the only source to list; None for all.
        """
        below = self.address if source is None else storage.join(self.address, source)
        return {
            stored.path[len(self.address) + 1 :].removesuffix(self.ending): stored.tag
            for stored in storage.walk(below)
            if stored.path.endswith(self.ending)
        }

    def commit(self, unit: Unit, data: bytes, *, replaces: str = "") -> bool:
        """Put a unit's object, unless there is one already.

        Args:
            unit: the unit.
            data: the bytes of the object.
            replaces: tag of the unit's present object, when that one is to be replaced; nothing is
                written if the object has another tag by now.

        Returns:
            Whether the unit's object now has this data.
        """
        if replaces:
            return storage.replace(self.path(unit), data, tag=replaces)
        return storage.put_if_absent(self.path(unit), data)
