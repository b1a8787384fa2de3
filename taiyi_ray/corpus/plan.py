"""The plan of a corpus job: its sources cut into units. Parts are added, and never changed."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import BaseModel

from taiyi_ray import storage
from taiyi_ray.corpus.output import JOB
from taiyi_ray.corpus.sources import (
    KnownFile,
    SourceFile,
    check_unchanged,
    check_unchanged_there,
    known_file,
)
from taiyi_ray.corpus.units import Unit, cut
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import documents, named, raw_records, read_beside, recognised
from taiyi_ray.records import Document

UNIT_RECORDS = 1000
"""Records of a unit at most."""
UNITS_AN_ENGINE = 8
"""A small corpus is cut into smaller units, so that each engine gets about this many."""


class PlannedSource(KnownFile, frozen=True):
    """The units of one source.

    Attributes:
        name: the source's folder below OUT/annotations.
        format: name of the file format.
        format_version: version of that format in the program that planned the source; plans of
            older programs do not have it, and it was 1 then.
        complete: whether the units go to the end of the source; --limit may end them before.
        units: first and last position (inclusive) of each unit that this part of the plan adds.
    """

    name: str
    format: str
    format_version: int = 1
    complete: bool
    units: list[tuple[int, int]]

    @property
    def records(self) -> int:
        return self.units[-1][1] + 1 if self.units else 0


class Part(BaseModel, frozen=True):
    """One addition to the plan: `job.json` holds the first, `plan/<n>.json` the others."""

    sources: list[PlannedSource]


class Job(BaseModel, frozen=True):
    """OUT/job.json, which is put once.

    Attributes:
        format: version of this file's form.
        fingerprint: digest of `identity`.
        identity: settings, tasks and model, as far as they can change an answer.
        config: all settings of the run that made the output.
        versions: of this program, Python and the main packages, in that run.
        part: the first part of the plan.
    """

    format: int = 1
    fingerprint: str
    identity: dict[str, Any]
    config: dict[str, Any]
    versions: dict[str, str]
    part: Part


class Plan:
    """All parts of an output's plan, in order."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.sources: dict[str, PlannedSource] = {}
        """The newest entry of each source, by name: its units end where the source's plan ends."""
        for part in self.parts:
            for source in part.sources:
                self.sources[source.name] = source

    @cached_property
    def _places(self) -> dict[str, PlannedSource]:
        """The sources by their real addresses, whatever spelling of an address was planned."""
        return {storage.real(storage.absolute(s.path)): s for s in self.sources.values()}

    def known(self, file: SourceFile) -> PlannedSource | None:
        """Return the newest entry of this file, which may have been planned under another name."""
        return self._places.get(storage.real(file.stored.path))

    def units(self) -> Iterator[Unit]:
        for part in self.parts:
            for source in part.sources:
                for first, last in source.units:
                    yield Unit(source=source.name, path=source.path, first=first, last=last)

    @property
    def records(self) -> int:
        return sum(unit.records for unit in self.units())


def load_job(output: str) -> Job | None:
    """Read OUT/job.json; None when there is none.

    Raises:
        ConfigError: `output` is a file, or its job.json is not of this program.
    """
    if storage.exists(output) and not storage.is_folder(output):
        raise ConfigError(f"--output {output}: is a file; name a folder, new or of an earlier run")
    data = storage.read(storage.join(output, JOB))
    if data is None:
        return None
    try:
        return Job.model_validate_json(data)
    except ValueError as error:
        raise ConfigError(
            f"{output}/job.json: not of this program; choose another --output"
        ) from error


def load_plan(output: str, job: Job) -> Plan:
    """Read the parts of the plan: the first stands in job.json, the others in OUT/plan/."""
    parts = [job.part]
    while (data := storage.read(_part_path(output, len(parts)))) is not None:
        parts.append(Part.model_validate_json(data))
    return Plan(parts)


def add_part(output: str, number: int, part: Part) -> bool:
    """Put a part of the plan, unless another run has put one under the same number.

    Args:
        output: address of the output folder.
        number: of the part: how many parts there are before it.
        part: the new part.

    Returns:
        Whether this part is now in the plan.
    """
    return storage.put_if_absent(_part_path(output, number), _json(part))


def put_job(output: str, job: Job) -> bool:
    """Put job.json unless there is one; return whether this one was put."""
    return storage.put_if_absent(storage.join(output, JOB), _json(job))


def _part_path(output: str, number: int) -> str:
    return storage.join(output, "plan", f"{number}.json")


def _json(model: BaseModel) -> bytes:
    return json.dumps(model.model_dump(), ensure_ascii=False, indent=1).encode()


# ------------------------------------------------------------------------------------- scanning


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


def record_sizes(path: str, first: int = 0, most: int | None = None) -> Scanned:
    """Find a source's format and the sizes of its records.

    Args:
        path: address of the source.
        first: position of the first record whose size is wanted.
        most: how many sizes are wanted at most; None for all.
    """
    sizes = array("I")
    with storage.open_read(path) as stream:
        format_ = recognised(path, stream)
        assert format_ is not None
        for position, record in enumerate(raw_records(stream, path, format_, read_beside)):
            if position < first:
                continue
            if most is not None and len(sizes) >= most:
                return Scanned(format_.name, sizes, False)
            sizes.append(record.size)
    return Scanned(format_.name, sizes, True)


Scan = Callable[[Iterable[tuple[str, int, int | None]]], Iterator[Scanned]]
"""Calls `record_sizes` for each (path, first, most), in order: in this process or on a cluster."""


def extend(
    plan: Plan, files: Sequence[SourceFile], limit: int | None, engines: int, scan: Scan
) -> Part:
    """Plan what is not planned yet: new files, and the rest of files that --limit cut off.

    Args:
        plan: what is planned already.
        files: the input.
        limit: number of records that the whole plan may have; None for no limit.
        engines: number of engines that will work: a small corpus gets smaller units for them.
        scan: how to scan files.

    Raises:
        ConfigError: a file changed since it was planned, or this program would read the rest of it
            differently from the program that planned it.
    """
    todo: list[tuple[SourceFile, int]] = []
    for file in files:
        known = plan.known(file)
        if known is not None:
            check_unchanged(known, file.stored, file.beside)
            file = replace(file, name=known.name)
        if known is None or not known.complete:
            if known is not None:
                check_read_alike(known)
            todo.append((file, known.records if known else 0))
    most = UNIT_RECORDS * UNITS_AN_ENGINE * engines
    held: list[tuple[SourceFile, int, Scanned]] = []
    sources: list[PlannedSource] = []
    total = 0
    room = None if limit is None else limit - plan.records
    for file, first, result in _scanned(todo, scan, room):
        held.append((file, first, result))
        total += len(result.sizes)
        # The corpus is large enough for units of the usual size, so the scanned files are cut now:
        # their records' sizes need no memory any more.
        if total >= most:
            sources += (_planned(*one, UNIT_RECORDS) for one in held)
            held.clear()
    records = max(1, min(UNIT_RECORDS, total // (UNITS_AN_ENGINE * engines)))
    sources += (_planned(*one, records) for one in held)
    return Part(sources=sources)


def check_read_alike(source: PlannedSource) -> None:
    """Raise ConfigError when this program reads a source's format in another version than planned.

    The texts of the documents, and so all offsets, could be different.
    """
    if source.format_version != named(source.format).version:
        raise ConfigError(
            f"{source.path}: another version of this program began with it, which reads "
            f"{source.format} otherwise; finish it with that version, or write to another --output"
        )


def _scanned(
    todo: Sequence[tuple[SourceFile, int]], scan: Scan, room: int | None
) -> Iterator[tuple[SourceFile, int, Scanned]]:
    """Scan files, each from the position given with it.

    `room` is the number of records that may still be planned, None for any number. With a limit the
    files are scanned one after another, because each decides what the next may add.
    """
    if room is None:
        results = scan((file.stored.path, first, None) for file, first in todo)
        for (file, first), result in zip(todo, results, strict=True):
            yield file, first, result
        return
    for file, first in todo:
        if room <= 0:
            return
        result = next(scan([(file.stored.path, first, room)]))
        yield file, first, result
        room -= len(result.sizes)


def _planned(file: SourceFile, first: int, scanned: Scanned, records: int) -> PlannedSource:
    return PlannedSource(
        **dict(known_file(file.stored, file.beside)),
        name=file.name,
        format=scanned.format,
        format_version=named(scanned.format).version,
        complete=scanned.complete,
        units=cut(scanned.sizes, first, records),
    )


# -------------------------------------------------------------------------------------- reading


@contextmanager
def opened(
    source: PlannedSource, first: int, last: int, *, columns: Mapping[str, str] | None = None
) -> Iterator[Iterator[Document]]:
    """Open a source, and yield an iterator over its documents in order.

    Args:
        source: as it was planned.
        first, last: positions of the first and the last document (inclusive).
        columns: the source's own names for keys of a document (`--column`).

    Raises:
        ConfigError: the source changed since it was planned.
        StorageError: the source is gone, or cannot be read.
    """
    check_unchanged_there(source)
    with storage.open_read(source.path) as stream:
        format_ = named(source.format)
        yield documents(
            stream, source.path, format_, source.name, first, last,
            read=read_beside, columns=columns,
        )  # fmt: skip
