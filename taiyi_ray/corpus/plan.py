"""The plan of a corpus job: its sources cut into units. Parts are added, and never changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from taiyi_ray import storage
from taiyi_ray.corpus.output import JOB
from taiyi_ray.corpus.source import PlannedSource, Scanned, Source
from taiyi_ray.corpus.sources import SourceKinds
from taiyi_ray.corpus.units import Unit, cut
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import version_of
from taiyi_ray.records import Document

UNIT_RECORDS = 1000
"""Records of a unit at most."""
UNITS_AN_ENGINE = 8
"""A small corpus is cut into smaller units, so that each engine gets about this many."""


class Identity(NamedTuple):
    """What documents are asked with: all that can change an answer (`taiyi_ray.fingerprint`).

    Attributes:
        fingerprint: digest of the values.
        values: settings, tasks and model, by dotted names.
    """

    fingerprint: str
    values: dict[str, Any]


class Part(BaseModel, frozen=True):
    """One addition to the plan: `job.json` holds the first, `plan/<n>.json` the others.

    Attributes:
        sources: the sources with the units that it adds.
        identities: the values of those identities, by fingerprint, that sources name and no
            earlier part has; left out if there is none.
    """

    sources: list[PlannedSource]
    identities: dict[str, dict[str, Any]] = Field({}, exclude_if=lambda identities: not identities)


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
    """All parts of an output's plan, in order.

    Args:
        parts: the parts.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.sources: dict[str, PlannedSource] = {}
        """The newest entry of each source, by name: its units end where the source's plan ends."""
        self.identities: dict[str, dict[str, Any]] = {}
        """The values of the identities that sources name, by fingerprint."""
        for part in self.parts:
            for source in part.sources:
                self.sources[source.name] = source
            self.identities |= part.identities

    @cached_property
    def _by_address(self) -> dict[str, PlannedSource]:
        """The sources by their real addresses, whatever spelling of an address was planned."""
        return {storage.real(storage.absolute(s.path)): s for s in self.sources.values()}

    def known(self, source: Source) -> PlannedSource | None:
        """Return the newest entry of a source, which may have been planned under another name."""
        return self._by_address.get(source.address)

    def units(self) -> Iterator[Unit]:
        """Yield all planned units, in the order of the parts."""
        for part in self.parts:
            for source in part.sources:
                for first, last in source.units:
                    yield Unit(source=source.name, path=source.path, first=first, last=last)

    @property
    def records(self) -> int:
        """The number of planned records."""
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
            f"{output}/job.json: was not written by this program; choose another --output"
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


Request = tuple[Source, int, int | None]
"""The arguments `source`, `first` and `most` of a call of `Source.record_sizes`."""

Scan = Callable[[Iterable[Request]], Iterator[Scanned]]
"""Scans sources, and yields the results in order: in this process or on a cluster."""


def extend(
    plan: Plan,
    sources: Sequence[Source],
    limit: int | None,
    engines: int,
    scan: Scan,
    identities: Mapping[str, Identity],
) -> Part:
    """Plan what is not planned yet: new sources, and the rest of those that --limit cut off.

    Args:
        plan: what is planned already.
        sources: the input.
        limit: number of records that the whole plan may have; None for no limit.
        engines: number of engines that will work: a small corpus gets smaller units for them.
        scan: how to scan sources.
        identities: what those sources are asked with that have assignments of their own, by the
            sources' addresses.

    Raises:
        ConfigError: a source changed since it was planned, or this program would read the rest of
            it differently from the program that planned it.
    """
    todo: list[_ToPlan] = []
    for source in sources:
        known = plan.known(source)
        if known is not None:
            source.check_unchanged(known)
        if known is None or not known.complete:
            todo.append(_to_plan(source, known, identities.get(source.address)))
    most = UNIT_RECORDS * UNITS_AN_ENGINE * engines
    held: list[tuple[_ToPlan, Scanned]] = []
    planned: list[PlannedSource] = []
    total = 0
    room = None if limit is None else limit - plan.records
    for one, result in _scanned(todo, scan, room):
        if one.first and not result.sizes and not result.complete:
            continue  # the source itself ends no later than before
        held.append((one, result))
        total += len(result.sizes)
        # The corpus is large enough for units of the usual size, so the scanned sources are cut
        # now: their records' sizes need no memory any more.
        if total >= most:
            planned += (_planned(*one, UNIT_RECORDS) for one in held)
            held.clear()
    records = max(1, min(UNIT_RECORDS, total // (UNITS_AN_ENGINE * engines)))
    planned += (_planned(*one, records) for one in held)
    new = {source.fingerprint for source in planned} - plan.identities.keys()
    asked = {own.fingerprint: own.values for own in identities.values() if own.fingerprint in new}
    return Part(sources=planned, identities=asked)


def check_read_alike(source: PlannedSource) -> None:
    """Raise ConfigError when this program reads a source's format in another version than planned.

    The texts of the documents, and so all offsets, could be different.
    """
    if source.format_version != version_of(source.format):
        raise ConfigError(
            f"{source.path}: was planned by another version of this program, which reads "
            f"{source.format} differently; finish the job with that version, or write to another "
            "--output"
        )


class _ToPlan(NamedTuple):
    """A source whose records are to be planned, from one position on.

    Attributes:
        source: the source.
        name: its name, which may be the one that it was planned under before.
        fingerprint: of the identity that it is asked with; empty for the one of the job.
        first: position of its first record that is not planned yet.
    """

    source: Source
    name: str
    fingerprint: str
    first: int


def _to_plan(source: Source, known: PlannedSource | None, own: Identity | None) -> _ToPlan:
    if known is not None:
        check_read_alike(known)
        return _ToPlan(source, known.name, known.fingerprint, known.records)
    return _ToPlan(source, source.name, own.fingerprint if own else "", 0)


def _scanned(
    todo: Sequence[_ToPlan], scan: Scan, room: int | None
) -> Iterator[tuple[_ToPlan, Scanned]]:
    """Scan sources, each from its first record that is not planned yet.

    `room` is the number of records that may still be planned, None for any number. With a limit the
    sources are scanned one after another, because each decides what the next may add.
    """
    if room is None:
        results = scan((one.source, one.first, None) for one in todo)
        yield from zip(todo, results, strict=True)
        return
    for one in todo:
        if room <= 0:
            return
        result = next(scan([(one.source, one.first, room)]))
        yield one, result
        room -= len(result.sizes)


def _planned(one: _ToPlan, scanned: Scanned, records: int) -> PlannedSource:
    """Cut what was scanned of a source into units of at most `records` records."""
    return PlannedSource(
        **dict(one.source.state()),
        name=one.name,
        format=scanned.format,
        format_version=version_of(scanned.format),
        complete=scanned.complete,
        units=cut(scanned.sizes, one.first, records),
        kind=one.source.kind,
        fingerprint=one.fingerprint,
    )


# -------------------------------------------------------------------------------------- reading


@contextmanager
def opened(
    planned: PlannedSource,
    kinds: SourceKinds,
    first: int,
    last: int,
    columns: Mapping[str, str],
) -> Iterator[Iterator[Document]]:
    """Open a source, and yield an iterator over its documents in order.

    Args:
        planned: the source as it was planned.
        kinds: the kinds of sources.
        first: position of the first document.
        last: position of the last document (inclusive).
        columns: the user's names for keys of a document (`--column`), by key.

    Raises:
        ConfigError: the source changed since it was planned.
        StorageError: the source is gone, or cannot be read.
    """
    source = kinds[planned.kind](planned)
    source.check_unchanged(planned)
    with source.documents(planned.format, first, last, columns) as documents:
        yield documents
