"""What the tests of the lake share: outputs of their own making, a naive lake, its comparison."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from taiyi_ray.annotation import Annotated
from taiyi_ray.corpus.plan import Job, Part, PlannedSource, add_part, load_job, load_plan, put_job
from taiyi_ray.corpus.units import Unit
from taiyi_ray.job.output import JobOutput
from taiyi_ray.lake import ask, commits, ranges
from taiyi_ray.lake.commits import Commit, opened
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.records import (
    Annotations,
    Answer,
    Argument,
    Document,
    Event,
    Failure,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)


@dataclass
class Record:
    """A record of a source, as an output has it.

    Attributes:
        pmid: its PMID or other id; None for a fault of the source.
        text: its text; the mentions are its capital words.
        version: its version.
        journal: part of its metadata.
        status: of its row.
        book: the book that it is, or is a chapter of.
    """

    pmid: str | None
    text: str = ""
    version: int | None = 1
    journal: str = ""
    status: str = "ok"
    book: str = ""


def document(record: Record, source: str, position: int) -> Document:
    """What was read of a record."""
    return Document(
        record.pmid,
        passages([("title", "en", record.text), ("abstract", "en", record.text[::-1])])
        if record.text
        else [],
        version=record.version,
        language="en",
        title=record.text or None,
        metadata={
            name: value
            for name, value in (("journal", record.journal), ("book", record.book))
            if value
        },
        status=record.status if record.status == "deleted" else "ok",  # type: ignore[arg-type]
        source=source,
        position=position,
    )


def row(record: Record, source: str, position: int, unit: str, run_id: str, print_: str) -> Any:
    """The row of an output for a record."""
    read = document(record, source, position)
    annotated = Annotated(read, status=record.status)  # type: ignore[arg-type]
    if record.status in ("ok", "partial"):
        found = re.finditer(r"\b[A-Z]\w+", read.text)
        mentions = [
            Mention(n, "disease" if n % 2 else "gene", m[0], *m.span(), passage=0)
            for n, m in enumerate(found)
        ]
        annotated.annotations = Annotations(
            mentions=mentions,
            relations=[
                Relation(n, "beside", head.text, tail.text, [head.id], [tail.id])
                for n, (head, tail) in enumerate(pairwise(mentions))
            ],
            events=[
                Event(n, "named", one.id, [Argument("name", one.id, one.text)])
                for n, one in enumerate(mentions)
            ],
            labels=[Label("tc", f"by {run_id}")],
            texts=[Text("summary", f"{read.text[:9]} by {run_id}")],
        )
        raw = f"x by {run_id}"
        annotated.answers = [Answer("ner", ["x"], "en", 0, 0, raw, 9, 0, 1, "stop", None)]
    if record.status in ("partial", "failed"):
        annotated.errors = [Failure("engine_error", "ner", f"{run_id} failed")]
    return annotated.row(unit=unit, run_id=run_id, fingerprint=print_)


class Out:
    """An output that a test writes: each source is one unit.

    Args:
        address: of the output.
        fingerprint: of its job.
    """

    def __init__(self, address: str, fingerprint: str = "f" * 16) -> None:
        self.address, self.fingerprint = address, fingerprint
        self._output = JobOutput(address)

    def add(
        self,
        name: str,
        records: Sequence[Record],
        run_id: str = "20260101T000000-aaaaaa",
        *,
        format_: str = "pubmed",
        commit: bool = True,
        complete: bool = True,
        answered_in: str | None = None,
    ) -> str:
        """Plan a source and commit its rows; return its name in the output."""
        source = f"{name}-01234567"
        planned = PlannedSource(
            path=f"/in/{name}", size=1, tag="t", sha256=None, name=source, format=format_,
            complete=complete, units=[(0, len(records) - 1)],
        )  # fmt: skip
        part = Part(sources=[planned])
        job = load_job(self.address)
        if job is None:
            put_job(
                self.address,
                Job(
                    fingerprint=self.fingerprint, identity={"model": "m", "ner.templates": "t"},
                    config={}, versions={}, part=part,
                ),
            )  # fmt: skip
        else:
            add_part(self.address, len(load_plan(self.address, job).parts), part)
        if commit:
            self.write(name, records, run_id, answered_in=answered_in)
        return source

    def write(
        self,
        name: str,
        records: Sequence[Record],
        run_id: str,
        replaces: str = "",
        answered_in: str | None = None,
    ) -> None:
        """Commit a source's rows, or replace them."""
        source = f"{name}-01234567"
        unit = Unit(source=source, path=f"/in/{name}", first=0, last=len(records) - 1)
        rows = [
            row(record, source, n, unit.name, run_id, self.fingerprint)
            | {"answered_in": answered_in}
            for n, record in enumerate(records)
        ]
        assert self._output.commit(unit, rows, run_id, replaces=replaces).stands
        run = {
            "run_id": run_id, "state": "complete", "started": "2026-01-01T00:00:00+00:00",
            "model": "m", "tasks": ["ner"], "fingerprint": self.fingerprint,
            "config": {"engine": "fake", "adapter": None},
        }  # fmt: skip
        self._output.write_run(run, complete=True)

    def replace(self, name: str, records: Sequence[Record], run_id: str) -> None:
        """Write a source's rows anew, as --retry-failed does."""
        unit = f"{name}-01234567/{0:09d}-{len(records) - 1:09d}"
        self.write(name, records, run_id, self._output.committed()[unit])

    def committed(self) -> dict[str, str]:
        """The committed units, each with its tag."""
        return self._output.committed()

    def rows(self) -> list[dict[str, Any]]:
        """All rows that are committed."""
        job = load_job(self.address)
        assert job is not None
        there = self._output.committed()
        return [
            row
            for unit in load_plan(self.address, job).units()
            if unit.name in there
            for row in self._output.rows(unit)
        ]


# --------------------------------------------------------------------------------- the naive lake

_RANK = {"ok": 0, "partial": 1, "failed": 2, "deleted": 0}


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    match = re.search(r"(?:^|%2F)pubmed(\d\d)n(\d+)\.xml", row["source"])
    year, number = (int(match[1]), int(match[2])) if match else (-1, -1)
    name = "" if match else row["source"]
    return year, number, name, row["position"], row["run_id"]


@dataclass
class Naive:
    """The lake as a person would compute it: all rows in memory, all documents anew each time.

    Attributes:
        floor: year of the newest baseline.
        history: all rows there ever were.
    """

    floor: int = -1
    history: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)

    def take(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take the rows of an output as they are now."""
        for row in rows:
            key = row["source"], row["position"], row["fingerprint"], row["content_hash"]
            known = self.history.get(key)
            better = known is None or (
                (-_RANK[row["status"]], row["run_id"]) >= (-_RANK[known["status"]], known["run_id"])
            )
            if better:
                self.history[key] = row

    def documents(
        self, floor: int | None = None
    ) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
        """By PMID, the newest record and the one whose annotations count; with another floor."""
        floor = self.floor if floor is None else floor
        by_version: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for row in self.history.values():
            if row["document_id"] is not None:
                key = int(row["document_id"]), row["version"] or 1
                by_version.setdefault(key, []).append(row)
        found: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        for (pmid, version), rows in sorted(by_version.items()):
            events = sorted((row for row in rows if _order(row)[0] >= floor), key=_order)
            if not events or events[-1]["status"] == "deleted":
                continue
            newest = events[-1]
            same = [
                row
                for row in sorted(rows, key=_order)
                if row["status"] != "deleted"
                and row["content_hash"] == newest["content_hash"]
                and row["fingerprint"] == newest["fingerprint"]
            ]
            found[pmid] = newest, min(same, key=lambda row: _RANK[row["status"]])
            assert version
        return found


def read(lake: str, table: str, commit: Commit | None = None) -> list[dict[str, Any]]:
    """All rows of a table."""
    commit = commit or opened(lake)
    schema = TABLES[table]
    parts = [ranges.read(lake, commit, schema, range_) for range_ in commit.by_range(table)]
    return pa.concat_tables(parts).to_pylist() if parts else []


def compare(lake: str, naive: Naive) -> None:
    """See that the tables are what the naive lake computes."""
    wanted = naive.documents()
    commit = opened(lake)
    documents = read(lake, "documents", commit)
    assert len(documents) == len(wanted)
    for row in documents:
        newest, annotated = wanted[row["pmid"]]
        assert row["document_id"] == newest["document_id"]
        assert row["version"] == (newest["version"] or 1)
        assert (row["title"], row["metadata"]) == (newest["title"], newest["metadata"])
        assert (row["revised_source"], row["revised_position"], row["revised_run_id"]) == (
            newest["source"], newest["position"], newest["run_id"],
        )  # fmt: skip
        for name in ("source", "position", "run_id", "fingerprint", "status", "content_hash"):
            assert row[name] == annotated[name], (name, row, annotated)
    for table in ("passages", "mentions", "relations", "events", "labels", "texts", "answers"):
        if table == "answers" and not commit.answers:
            assert not read(lake, table, commit)
            continue
        found = sorted(
            repr((r["pmid"], {k: v for k, v in r.items() if k not in _KEYS and k != "number"}))
            for r in read(lake, table, commit)
        )
        assert found == sorted(
            repr((pmid, entry)) for pmid, (_, row) in wanted.items() for entry in row[table]
        )
    failures = read(lake, "failures", commit)
    assert sorted((f["pmid"], f["message"]) for f in failures if f["pmid"]) == sorted(
        (pmid, error["message"]) for pmid, (_, row) in wanted.items() for error in row["errors"]
    )
    ledger = {(r["source"], r["position"], r["run_id"]) for r in read(lake, "revisions", commit)}
    assert ledger == {(r["source"], r["position"], r["run_id"]) for r in naive.history.values()}


def changes(
    before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]], unbounded: set[int]
) -> dict[int, tuple[str, str]]:
    """What an update changed, and why, by PMID.

    Args:
        before: the rows of `documents` before it.
        after: those after it.
        unbounded: the PMIDs that would be there without its baseline, if it made one.
    """
    found = {}
    for pmid in before.keys() | after.keys():
        if pmid not in before:
            found[pmid] = "insert", "record"
        elif pmid not in after:
            found[pmid] = "delete", "baseline" if pmid in unbounded else "record"
        else:
            for change, names in (
                ("text", ("content_hash", "version")),
                ("metadata", ("language", "title", "metadata")),
                ("annotation", ("source", "position", "run_id")),
            ):
                if any(before[pmid][name] != after[pmid][name] for name in names):
                    found[pmid] = change, "record"
                    break
    return found


_KEYS = ("document_id", "pmid", "source", "position")


FIRST = [
    Record("7", "Metformin helps"),
    Record("300000", "Insulin and Stroke"),
    Record("12", "mice"),
]
"""The records of the first file of `conftest.out`."""


def asked(lake: str, sql: str, at: str | None = None) -> list[tuple[object, ...]]:
    """The rows of an answer."""
    with ask.query(lake, sql, at) as found:
        return [tuple(row.values()) for row in found.read_all().to_pylist()]


def paths(lake: str, table: str) -> dict[str, str]:
    """The files of a table now, by range."""
    return commits.opened(lake).by_range(table)
