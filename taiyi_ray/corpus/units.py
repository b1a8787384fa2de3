"""Units: runs of consecutive records, each committed whole by one object that is put if absent.

A unit's name is a function of the plan, and that its object exists *is* its commit: pending is what
is planned minus one listing. There are no locks, no done flags, no renames; who does a unit a
second time loses the race for its key. The corpus job and the batches of the service stand on this.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from taiyi_ray import storage

UNIT_BYTES = 8 << 20
"""Of raw records: their text, and so a unit's text, is smaller (design: never above 16 MB)."""


class Unit(BaseModel, frozen=True):
    """A run of consecutive records of one source: what is committed whole."""

    source: str
    path: str
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.source}/{self.first:09d}-{self.last:09d}"

    @property
    def records(self) -> int:
        return self.last - self.first + 1


def cut(sizes: Sequence[int], first: int, most_records: int) -> list[tuple[int, int]]:
    """Cut records into units (first, last) of at most `most_records` records and UNIT_BYTES.

    A record that is larger is a unit of its own.
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
    """The committed units below one place.

    Args:
        place: folder or address; a unit lies at `place/<source>/<first>-<last><ending>`.
        ending: of the objects' names.
    """

    def __init__(self, place: str, ending: str) -> None:
        self.place, self.ending = place, ending

    def path(self, unit: Unit) -> str:
        return storage.join(self.place, unit.name + self.ending)

    def committed(self, source: str | None = None) -> dict[str, str]:
        """Names of the units that are there (of one source), with their tags: one listing."""
        below = self.place if source is None else storage.join(self.place, source)
        return {
            stored.path[len(self.place) + 1 :].removesuffix(self.ending): stored.tag
            for stored in storage.walk(below)
            if stored.path.endswith(self.ending)
        }

    def commit(self, unit: Unit, data: bytes, *, replaces: str = "") -> bool:
        """Put a unit's object if there is none; return whether the one that stands has this data.

        Args:
            replaces: tag of the object whose place it takes instead.
        """
        if replaces:
            return storage.replace(self.path(unit), data, tag=replaces)
        return storage.put_if_absent(self.path(unit), data)
