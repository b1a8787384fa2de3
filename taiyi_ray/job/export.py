"""Writes the rows of an output as files of another format: `taiyi-ray export`.

Each source becomes one file, or several of a bounded number of documents (brat: a folder with two
files for each document), in the order of the plan. One unit is in memory at a time. Files are
written whole or not at all, and the plan and the documents' ids decide their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice
from typing import Any
from urllib.parse import quote

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output, day_of
from taiyi_ray.corpus.plan import Plan, load_job, load_plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.formats import WRITTEN
from taiyi_ray.formats.format import UNWRITTEN, Writer, Written
from taiyi_ray.records import annotations_from_row, document_from_row

_LONGEST_NAME = 150


@dataclass(slots=True)
class Exported:
    """The counts of an export.

    Attributes:
        documents: number of documents written.
        files: number of files written.
        left_out: documents that were not written and units that are not committed, by reason.
        lost: parts of annotations that the format cannot hold, by kind.
    """

    documents: int = 0
    files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """Return a line on what was written, and one for each kind of thing that was not."""
        lines = [f"{self.documents:,} documents in {self.files:,} files"]
        lines += [f"left out: {count:,} {what}" for what, count in self.left_out.most_common()]
        lines += [f"lost: {what} ({count:,})" for what, count in self.lost.most_common()]
        return "\n".join(lines)


def export(output: str, name: str, to: str, most: int | None = None) -> Exported:
    """Write the documents of an output that are `ok` or `partial`, with their annotations.

    Args:
        output: the output folder of a corpus job, finished or not.
        name: of the format.
        to: the folder to write to; not the output itself, nor a folder in its annotations.
        most: documents of a file, for formats whose files hold more than one; None for all
            documents of a source.

    Raises:
        ConfigError: the format cannot be written, no output is there, or `to` lies in it.
        StorageError: something cannot be read or written.
    """
    format_ = WRITTEN.get(name)
    if format_ is None:
        hint = nearest(name, WRITTEN)
        raise ConfigError(f"--format {name}: cannot be written{hint} (known: {', '.join(WRITTEN)})")
    address, to = storage.absolute(output), storage.absolute(to)
    if to == address or storage.is_within(to, storage.join(address, "annotations")):
        raise ConfigError(f"--to {to}: is in the output itself; name another folder")
    job = load_job(address)
    if job is None:
        raise ConfigError(f"{output}: no output of `taiyi-ray annotate` is there (no job.json)")
    plan = load_plan(address, job)
    source = Output(address)
    there = source.committed()
    exported = Exported()
    assert format_.writer is not None
    for source_name, units in _by_source(plan).items():
        committed = [unit for unit in units if unit.name in there]
        exported.left_out["units that are not committed yet"] += len(units) - len(committed)
        rows = (row for unit in committed for row in source.rows(unit))
        records = _written(rows, format_.writer, exported)
        stem = storage.join(to, source_name)
        if format_.writer.apart:
            _write_apart(records, stem, format_.writer, exported)
        else:
            _write_files(records, stem, format_.writer, most, exported)
    exported.left_out = +exported.left_out
    return exported


def _by_source(plan: Plan) -> dict[str, list[Unit]]:
    """Return the units of each source in order, from all parts of the plan.

    A source has units in more than one part when a --limit cut it short and was lifted later.
    """
    by_source: dict[str, list[Unit]] = {}
    for unit in plan.units():
        by_source.setdefault(unit.source, []).append(unit)
    return {name: sorted(units, key=lambda unit: unit.first) for name, units in by_source.items()}


def _written(
    rows: Iterable[dict[str, Any]], writer: Writer, exported: Exported
) -> Iterator[tuple[dict[str, Any], Written]]:
    """Turn rows into records of the format, and count what is left out and lost.

    Failed and deleted documents are left out. Each record is yielded with its row.
    """
    for row in rows:
        if row["status"] in UNWRITTEN:
            exported.left_out[f"{row['status']} documents"] += 1
            continue
        written = writer.write(document_from_row(row), annotations_from_row(row))
        exported.lost += written.lost
        exported.documents += 1
        yield row, written


def _write_files(
    records: Iterator[tuple[dict[str, Any], Written]],
    stem: str,
    writer: Writer,
    most: int | None,
    exported: Exported,
) -> None:
    """Write a source as one file, or as several of at most `most` documents.

    The date in a file is the day of the run that made its first row, so that a second export writes
    the same file.
    """
    (ending,) = writer.endings
    for number in count():
        first = next(records, None)
        if first is None:
            return
        rest = islice(records, None if most is None else most - 1)
        part = "" if most is None else f"-{number:06d}"
        with storage.written(f"{stem}{part}{ending}") as file:
            parts = (written.parts[ending] for _, written in chain([first], rest))
            for piece in writer.file(parts, day_of(first[0]["run_id"])):
                file.write(piece)
        exported.files += 1


def _write_apart(
    records: Iterator[tuple[dict[str, Any], Written]],
    folder: str,
    writer: Writer,
    exported: Exported,
) -> None:
    """Write each document of a source as files of its own, which are named by its id."""
    names: set[str] = set()
    for row, written in records:
        name = _name(row["document_id"] or "", row["position"], names)
        for ending in writer.endings:
            with storage.written(storage.join(folder, f"{name}{ending}")) as file:
                file.write(written.parts[ending])
            exported.files += 1


def _name(document_id: str, position: int, names: set[str]) -> str:
    """Return a name for a document's files: its id, with its position before it if that is needed.

    `names` holds the names given so far, in small letters, because many file systems do not tell
    `a` from `A`. The new name is added to it.
    """
    name = quote(document_id, safe="")[-_LONGEST_NAME:]
    while not name or name.startswith(".") or name.lower() in names:
        name = f"{position:09d}-{name}"
    names.add(name.lower())
    return name
