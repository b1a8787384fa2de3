"""An update of a lake: what outputs have and the ledger lacks is taken, and committed at once.

1. The new rows are sorted into ranges of documents on the local disk (`staging.py`).
2. Range by range the ledger is extended, the state rule says what the documents are now
   (`rule.py`), and the tables that change get a new file for the range. Memory holds one range.
3. One object is put if absent: `_lake/<n>.json`. Until then nobody sees the new files; if another
   writer was first, all begins anew from the state that it left.
4. The Delta logs follow (`delta.py`).

Annotations that become current and are not among the new rows (version 1 of a document comes back,
or the best record of a text is an older one) are read from their output again.
"""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.plan import load_job, load_plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.lake import commits, delta, rule
from taiyi_ray.lake.commits import Commit, DataFile
from taiyi_ray.lake.pinned import duck
from taiyi_ray.lake.rule import NUMBERED, PMIDS_A_RANGE, Key
from taiyi_ray.lake.staging import Given, Staged, TakenUnit, columns, keyed, stage, unit_rows
from taiyi_ray.lake.tables import (
    ANNOTATIONS,
    ANSWERS,
    CHANGES,
    DOCUMENTS,
    FAILURES,
    REVISIONS,
    RUNS,
    UNITS,
    Table,
)
from taiyi_ray.records import NOT_APPLICABLE, SCHEMA

_log = logging.getLogger(__name__)

_ROW_GROUP = 32_768
"""Rows of a row group: a search for one text reads those few whose bounds hold it."""

_MEMORY = "1GB"
"""What DuckDB may use; more goes to the temporary folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an update is asked for.

    Attributes:
        baseline: YY of a yearly baseline that is whole now: what is not in it vanishes.
        mixed: whether outputs of other fingerprints are taken.
        key: the key of documents outside of PubMed's files; None for that of the lake.
        answers: whether the table `answers` is filled; None for what the lake has.
        pmids: number of PMIDs in a range, of a new lake.
    """

    baseline: int | None = None
    mixed: bool = False
    key: Key | None = None
    answers: bool | None = None
    pmids: int = PMIDS_A_RANGE


@dataclass(slots=True)
class Updated:
    """What an update did.

    Attributes:
        commit: the state of the lake now.
        units: number of units that were taken.
        counts: rows taken, and documents changed by kind.
        notes: what a person should know besides.
    """

    commit: Commit
    units: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return a line on what was done, and one for each note."""
        done = f"commit {self.commit.number}: {self.commit.rows('documents'):,} documents"
        if not self.units and not self.counts:
            return "\n".join([f"nothing new; {done}", *self.notes])
        changes = ", ".join(f"{n:,} {kind}" for kind, n in self.counts.most_common() if n)
        return "\n".join([f"{done}; {self.units:,} units taken ({changes})", *self.notes])


def update(lake: str, outputs: Sequence[str], settings: Settings | None = None) -> Updated:
    """Take what outputs have and the lake lacks.

    Args:
        lake: address of the lake's folder; it is made if nothing is there.
        outputs: addresses of outputs of `annotate`, finished or not.
        settings: what else is asked for.

    Raises:
        ConfigError: an output or a setting does not fit the lake; nothing was changed.
        StorageError: something cannot be read or written.
    """
    settings = settings or Settings()
    lake = storage.absolute(lake)
    given = [_given(output, lake) for output in outputs]
    storage.probe(lake)
    while True:
        before = commits.newest(lake) or _first(settings)
        _check_settings(before, settings)
        delta.check(lake, before)
        done = _attempt(lake, before, given, settings)
        if done is not None:
            delta.follow(lake, done.commit)
            return done
        _log.warning("%s: another writer was first; beginning anew from its state", lake)


def _given(output: str, lake: str) -> Given:
    address = storage.absolute(output)
    if storage.is_within(lake, storage.join(address, "annotations")):
        raise ConfigError(f"--table {lake}: lies in the output itself; name another folder")
    job = load_job(address)
    if job is None:
        raise ConfigError(f"{output}: no output of `taiyi-ray annotate` is there (no job.json)")
    reading = Output(address)
    return Given(address, reading, job, load_plan(address, job), reading.committed())


def _first(settings: Settings) -> Commit:
    """The commit of an empty lake; it is put when nothing speaks against the first update."""
    return Commit(
        number=0,
        attempt=secrets.token_hex(8),
        committed_at=commits.now(),
        key=settings.key or "record",
        answers=bool(settings.answers),
        pmids=settings.pmids,
    )


def _check_settings(lake: Commit, settings: Settings) -> None:
    if settings.key not in (None, lake.key):
        raise ConfigError(f"--key {settings.key}: the lake was made with --key {lake.key}")
    if settings.answers and not lake.answers:
        raise ConfigError("--answers: the lake was made without; make a new one of the outputs")


def _check_fingerprints(
    known: dict[str, str], given: Sequence[Given], settings: Settings
) -> dict[str, str]:
    """Return the fingerprints of all outputs; refuse one that is new to a lake without --mixed."""
    prints = set(known.values())
    for one in given:
        if prints and one.job.fingerprint not in prints and not settings.mixed:
            raise ConfigError(
                f"{one.address}: has the fingerprint {one.job.fingerprint}, other rows have "
                f"{', '.join(sorted(prints))}; with --mixed it is taken, and the column "
                "fingerprint tells them apart"
            )
        prints.add(one.job.fingerprint)
    return known | {one.address: one.job.fingerprint for one in given}


# --------------------------------------------------------------------------------------- one try


def _attempt(
    lake: str, before: Commit, given: Sequence[Given], settings: Settings
) -> Updated | None:
    """Make an update from the state `before`; None if another writer committed meanwhile."""
    outputs = _check_fingerprints(before.outputs, given, settings)
    taken = _taken(lake, before)
    new = [
        one
        for output in given
        for one in output.units()
        if taken.get((one.address, one.unit.name)) != one.tag
    ]
    floor = before.floor
    if settings.baseline is not None:
        units = [*taken, *((u.address, u.unit.name) for u in new)]
        _check_series(settings.baseline, lake, given, units)
        floor = max(floor, settings.baseline)
    if before.number == 0 and not commits.put(lake, before):
        return None
    if not new and floor == before.floor:
        return Updated(before)
    with tempfile.TemporaryDirectory(prefix="taiyi-ray-lake-") as folder:
        work = _Work(lake, before, floor, Path(folder), dict(outputs))
        rows = work.take(new)
        ranges = work.staged.ranges
        if floor != before.floor:
            ranges = sorted({*ranges, *before.by_range(REVISIONS.name)})
        for name in ranges:
            work.rewrite(name)
        work.write_whole(UNITS, _units(taken, new, before.number + 1), "all")
        work.write_whole(RUNS, _runs(given, work), "all")
        counts = Counter({"rows": rows}) + work.counts
        commit = work.commit(outputs, counts)
        if not commits.put(lake, commit):
            work.forget()
            return None
        return Updated(commit, len(new), work.counts, _notes(new))


def _taken(lake: str, commit: Commit) -> dict[tuple[str, str], str]:
    """The units that were taken, each with the tag that it had."""
    table = _read(lake, commit, UNITS, "all")
    found = zip(
        table["output"].to_pylist(), table["unit"].to_pylist(), table["tag"].to_pylist(),
        strict=True,
    )  # fmt: skip
    return {(output, unit): tag for output, unit, tag in found}


def _notes(new: Sequence[TakenUnit]) -> list[str]:
    unnamed = {u.unit.source for u in new if u.pubmed and not re.search(NUMBERED, u.unit.source)}
    if not unnamed:
        return []
    some = ", ".join(sorted(unnamed)[:3]) + (", ..." if len(unnamed) > 3 else "")
    return [
        f"{len(unnamed)} PubMed files are not named pubmedYYn<digits>: they count as older than "
        f"all that are, in the order of their names ({some})"
    ]


def _check_series(
    year: int, lake: str, given: Sequence[Given], units: Sequence[tuple[str, str]]
) -> None:
    """See that the files of a year are all there, from the first to the last, and whole.

    Args:
        year: YY of the files.
        lake: address of the lake.
        given: the outputs of this update.
        units: the units of all outputs, also of earlier ones: the output's address, and the name.

    Raises:
        ConfigError: a file is missing, or an output has not all of it yet.
    """
    series: dict[int, set[str]] = {}
    for address, name in units:
        if (number := _number(year, name)) is not None:
            series.setdefault(number, set()).add(address)
    if not series:
        raise ConfigError(f"--baseline {year:02d}: no file pubmed{year:02d}n<digits> was taken")
    missing = sorted(set(range(1, max(series) + 1)) - series.keys())
    if missing:
        raise ConfigError(
            f"--baseline {year:02d}: {len(missing)} files are missing below number {max(series)}, "
            f"the first is pubmed{year:02d}n{missing[0]:04d}; annotate them, then update again"
        )
    for output in given:
        _check_whole(year, output)
    here = {output.address for output in given}
    left = {number for number, addresses in series.items() if not addresses & here}
    for address in sorted({address for number in left for address in series[number]}):
        if load_job(address) is not None:  # else it is gone, and nobody can tell
            _check_whole(year, _given(address, lake), left)


def _check_whole(year: int, output: Given, only: set[int] | None = None) -> None:
    """See that an output has all of its files of a year.

    Args:
        year: YY of the files.
        output: the output.
        only: the numbers of the files that matter; None for all.
    """
    wanted = f"--baseline {year:02d}"

    def matters(name: str) -> bool:
        number = _number(year, name)
        return number is not None and (only is None or number in only)

    for source in output.plan.sources.values():
        if matters(source.name) and not source.complete:
            raise ConfigError(f"{wanted}: {source.path} was cut short by --limit; annotate it all")
    for unit in output.plan.units():
        if matters(unit.source) and unit.name not in output.committed:
            raise ConfigError(
                f"{wanted}: {output.address} is not finished ({unit.name} is missing); run "
                "its annotate again"
            )


def _number(year: int, name: str) -> int | None:
    """The number of a file of this year, by the name of its source; None of any other."""
    match = re.search(NUMBERED, name)
    return int(match[3]) if match and int(match[2]) == year else None


def _units(taken: dict[tuple[str, str], str], new: Sequence[TakenUnit], number: int) -> pa.Table:
    tags = taken | {(one.address, one.unit.name): one.tag for one in new}
    rows = [
        {"output": output, "unit": unit, "tag": tag, "committed_in": number}
        for (output, unit), tag in sorted(tags.items())
    ]
    return pa.Table.from_pylist(rows, UNITS.schema)


def _runs(given: Sequence[Given], work: _Work) -> pa.Table:
    """The runs whose rows were taken: those that the lake has, and the outputs' own."""
    known = _read(work.lake, work.before, RUNS, "all").to_pylist()
    rows = {(row["run_id"], row["output"]): row for row in known}
    for output in given:
        identity = [(name, json.dumps(value)) for name, value in output.job.identity.items()]
        for stored in storage.walk(storage.join(output.address, "runs")):
            data = storage.read(stored.path)
            if not stored.path.endswith(".json") or data is None:
                continue
            run = json.loads(data)
            config = run.get("config", {})
            rows[run["run_id"], output.address] = {
                "run_id": run["run_id"],
                "output": output.address,
                "state": run.get("state"),
                "started": run.get("started"),
                "model": run.get("model"),
                "adapter": config.get("adapter"),
                "engine": config.get("engine"),
                "tasks": run.get("tasks"),
                "fingerprint": run.get("fingerprint"),
                "identity": identity,
            }
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], RUNS.schema)


# ------------------------------------------------------------------------------------ the tables


def _read(lake: str, commit: Commit, table: Table, range_: str) -> pa.Table:
    """Read a table's file of a range; an empty table if there is none."""
    path = commit.by_range(table.name).get(range_)
    if path is None:
        return table.schema.empty_table()
    address = storage.join(lake, table.name, path)
    return storage.read_with(address, pq.read_table).cast(table.schema)


class _Work:
    """One try of an update.

    Args:
        lake: address of the lake.
        before: the state that it begins from.
        floor: year of the newest baseline; -1 before the first.
        folder: a local folder for what does not fit into the memory.
        outputs: the outputs that rows may be read from again, by address.
    """

    def __init__(
        self, lake: str, before: Commit, floor: int, folder: Path, outputs: dict[str, str]
    ) -> None:
        self.lake, self.before, self._floor = lake, before, floor
        self.staged = Staged(folder)
        self.counts: Counter[str] = Counter()
        self._files = {name: dict(files) for name, files in before.files.items()}
        self._wrote: list[str] = []
        self._outputs = {address: Output(address) for address in outputs}
        self._committed_at = commits.now()
        self._stamp = f"{datetime.fromisoformat(self._committed_at):%Y%m%dT%H%M%S}"
        self._changes = folder / "changes.parquet"
        self._spill = folder / "spill"
        self._entries = [t for t in ANNOTATIONS if before.answers or t is not ANSWERS]

    @cached_property
    def _duck(self) -> duckdb.DuckDBPyConnection:
        self._spill.mkdir()
        return duck(
            memory_limit=_MEMORY,
            temp_directory=str(self._spill),
        )

    @cached_property
    def _changes_writer(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(self._changes, CHANGES.schema, compression="zstd")

    def take(self, units: Sequence[TakenUnit]) -> int:
        """Stage the rows of units; return their number."""
        before = self.before
        return stage(
            units, self.staged, self._duck,
            key=before.key, pmids=before.pmids, answers=before.answers,
        )  # fmt: skip

    @contextmanager
    def _named(self, **tables: pa.Table) -> Iterator[None]:
        """Let DuckDB know tables by names."""
        for name, table in tables.items():
            self._duck.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self._duck.unregister(name)

    def _ask(self, query: str) -> pa.Table:
        return self._duck.sql(query).to_arrow_table()

    # -------------------------------------------------------------------------------- a range

    def rewrite(self, range_: str) -> None:
        """Bring the tables of a range to the new rows and the floor."""
        new = self.staged.take(range_)
        ledger = _read(self.lake, self.before, REVISIONS, range_)
        if new is not None:
            names = ", ".join(f'"{name}"' for name in REVISIONS.schema.names)
            with self._named(old=ledger, new=new):
                both = f"(SELECT {names} FROM old UNION ALL SELECT {names} FROM new)"
                found = self._ask(f"{rule.records(both)} ORDER BY {_order(REVISIONS)}")
            ledger = found.select(REVISIONS.schema.names).cast(REVISIONS.schema)
            self._write(REVISIONS, ledger, range_)
        old = _read(self.lake, self.before, DOCUMENTS, range_)
        with self._named(ledger=ledger, old=old):
            now = self._ask(rule.current("ledger", self._floor))
            risen = self._floor != self.before.floor
            unbounded = self._ask(rule.current("ledger", -1)) if risen else now
            with self._named(now=now, unbounded=unbounded):
                moved = self._ask(_MOVED)
        with self._named(moved=moved):
            changed = self._changed(moved)
            faults = self._faults(new)
            if not changed and not len(faults):
                return
            newest = self._rows("w", "other_record OR other_metadata", new)
            annotated = self._rows("a", "other_annotations", new)
            with self._named(newest=newest, annotated=annotated, faults=faults, old=old):
                if changed:
                    found = self._ask(_DOCUMENTS)
                    self._write(DOCUMENTS, found.cast(DOCUMENTS.schema), range_)
                if len(faults) or pc.any(moved["other_annotations"]).as_py():
                    for table in self._entries:
                        self._rewrite_entries(table, range_)

    def _changed(self, moved: pa.Table) -> bool:
        """Note what changed; return whether anything about documents did."""
        if not len(moved):
            return False
        number = self.before.number + 1
        found = self._ask(_CHANGES.format(number=number, committed_at=self._committed_at))
        for change in found["change"].to_pylist():
            self.counts[change] += 1
        if len(found):
            self._changes_writer.write_table(found.cast(CHANGES.schema))
        return True

    def _faults(self, new: pa.Table | None) -> pa.Table:
        """The new rows that no document could be read of."""
        return self._nothing if new is None else new.filter(new["fault"])

    def _rows(self, side: str, which: str, new: pa.Table | None) -> pa.Table:
        """The rows of the records that count now: of the new rows, else of their outputs.

        Args:
            side: `w` for the newest records, `a` for those whose annotations count.
            which: the documents whose rows are wanted, as a condition on `moved`.
            new: the new rows of the range.
        """
        new = self._nothing if new is None else new
        records = new.select(["source", "position", "run_id", "output"])
        records = records.append_column("row", pa.array(range(len(new)), pa.int64()))
        with self._named(records=records):
            found = self._ask(_NEEDED.format(side=side, which=which))
        places = found["row"].drop_null()
        # The first time a range is filled all new rows count, and a copy would cost its memory.
        parts = [new if len(places) == len(new) else new.take(places)]
        by_unit: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in found.filter(pc.is_null(found["row"])).to_pylist():
            by_unit.setdefault((row["output"], row["unit"]), []).append(row)
        for (output, unit), wanted in by_unit.items():
            parts.append(self._again(output, unit, wanted))
        return pa.concat_tables(parts)

    @cached_property
    def _nothing(self) -> pa.Table:
        names = columns(self.before.answers)
        empty = pa.schema([SCHEMA.field(name) for name in names]).empty_table()
        empty = empty.append_column("output", pa.array([], pa.string()))
        empty = empty.append_column("of_pubmed", pa.array([], pa.bool_()))
        return self._keyed(empty)

    def _keyed(self, rows: pa.Table) -> pa.Table:
        found = keyed(rows, self._duck, key=self.before.key, pmids=self.before.pmids)
        return found.drop_columns("range")

    def _again(self, output: str, unit: str, wanted: Sequence[dict[str, Any]]) -> pa.Table:
        """Read rows of a unit again that an earlier update took."""
        names = columns(self.before.answers)
        reading = self._outputs.get(output) or Output(output)
        try:
            rows = unit_rows(reading, Unit.named(unit), names)
        except StorageError as error:
            raise StorageError(
                f"{output}: an older version of a document counts again, and its annotations must "
                f"be read there; that failed ({error})"
            ) from error
        positions = pa.array([row["position"] for row in wanted], pa.int64())
        rows = rows.filter(pc.is_in(rows["position"], positions))
        pubmed = wanted[0]["pmid"] is not None
        rows = rows.append_column("output", pa.array([output] * len(rows), pa.string()))
        rows = rows.append_column("of_pubmed", pa.array([pubmed] * len(rows), pa.bool_()))
        return self._keyed(rows)

    def _rewrite_entries(self, table: Table, range_: str) -> None:
        """Take the entries of documents that changed out of a table, and put theirs into it."""
        entries, order = _entries_of(table), f"ORDER BY {_order(table)}"
        old = _read(self.lake, self.before, table, range_)
        if not len(old):
            self._write(table, self._ask(f"{entries} {order}").cast(table.schema), range_)
            return
        fault = _FAULT if table is FAILURES else ""
        with self._named(old=old):
            kept = _KEPT.format(fault=fault)
            counts = f"SELECT (SELECT count(*) FROM ({kept})), (SELECT count(*) FROM ({entries}))"
            ((left, new),) = self._duck.sql(counts).fetchall()
            if left == len(old) and not new:
                return
            found = self._ask(f"SELECT * FROM ({kept} UNION ALL {entries}) {order}")
        self._write(table, found.cast(table.schema), range_)

    # ------------------------------------------------------------------------------ the files

    def _write(self, table: Table, rows: pa.Table, range_: str) -> None:
        """Write a table's file of a range; the one before is not in the next state."""
        files = self._files.setdefault(table.name, {})
        for path in [path for path, file in files.items() if file.range == range_]:
            del files[path]
        if not len(rows):
            return
        buffer = io.BytesIO()
        pq.write_table(
            rows, buffer, compression="zstd", row_group_size=_ROW_GROUP, write_page_index=True
        )
        self._put(table, range_, buffer.getvalue())

    def write_whole(self, table: Table, rows: pa.Table, range_: str) -> None:
        """Write a small table that has one file."""
        self._write(table, rows, range_)

    def _put(self, table: Table, range_: str, data: bytes) -> None:
        path = f"{range_}-{self._stamp}-{secrets.token_hex(4)}.parquet"
        address = storage.join(self.lake, table.name, path)
        storage.put_if_absent(address, data)
        self._wrote.append(address)
        metadata = pq.read_metadata(pa.BufferReader(data))
        self._files.setdefault(table.name, {})[path] = DataFile(
            range=range_,
            size=len(data),
            rows=metadata.num_rows,
            stats=delta.statistics(metadata),
        )

    def commit(self, outputs: dict[str, str], counts: Counter[str]) -> Commit:
        """The commit of all that was written."""
        number = self.before.number + 1
        if "_changes_writer" in self.__dict__:
            self._changes_writer.close()
            self._put(CHANGES, f"n{number:06d}", self._changes.read_bytes())
        return self.before.model_copy(
            update={
                "number": number,
                "attempt": secrets.token_hex(8),
                "committed_at": self._committed_at,
                "outputs": outputs,
                "floor": self._floor,
                "counts": dict(counts),
                "files": self._files,
            }
        )

    def forget(self) -> None:
        """Remove the files of a try that was not committed."""
        for address in self._wrote:
            storage.remove(address)


def _order(table: Table) -> str:
    return ", ".join(f'"{column}"' for column in table.order)


_MOVED = """
    SELECT coalesce(now.key, old.key) AS key,
        coalesce(now.pmid, old.pmid) AS pmid,
        coalesce(now.document_id, old.document_id) AS document_id,
        coalesce(now.version, old.version) AS version,
        now.key IS NULL AS gone,
        now.key IS NULL AND coalesce(now.key, old.key) IN (SELECT key FROM unbounded) AS vanished,
        old.key IS NULL AS added,
        old.content_hash IS DISTINCT FROM now.content_hash
            OR old.version IS DISTINCT FROM now.version AS other_text,
        old.metadata_hash IS DISTINCT FROM now.metadata_hash AS other_metadata,
        (old.revised_source, old.revised_position, old.revised_run_id)
            IS DISTINCT FROM (now.w_source, now.w_position, now.w_run_id) AS other_record,
        (old.source, old.position, old.run_id)
            IS DISTINCT FROM (now.a_source, now.a_position, now.a_run_id) AS other_annotations,
        old.source AS old_source, old.position AS old_position,
        now.* EXCLUDE (key, pmid, document_id, version)
    FROM now FULL JOIN old USING (key)
    WHERE gone OR added OR other_text OR other_metadata OR other_record OR other_annotations
"""
"""The documents of a range that are not as they were."""

_CHANGES = """
    SELECT {number}::BIGINT AS committed_in, TIMESTAMPTZ '{committed_at}' AS committed_at,
        CASE WHEN gone THEN 'delete' WHEN added THEN 'insert' WHEN other_text THEN 'text'
            WHEN other_metadata THEN 'metadata' ELSE 'annotation' END AS change,
        CASE WHEN vanished THEN 'baseline' ELSE 'record' END AS cause,
        document_id, pmid, version, w_source AS source, w_position AS position, key
    FROM moved
    WHERE gone OR added OR other_text OR other_metadata OR other_annotations
    ORDER BY pmid, key
"""

_NEEDED = """
    SELECT records.row, needed.* FROM (
        SELECT {side}_source AS source, {side}_position AS position, {side}_run_id AS run_id,
            {side}_output AS output, {side}_unit AS unit, pmid
        FROM moved WHERE NOT gone AND ({which})
    ) AS needed LEFT JOIN records USING (source, position, run_id, output)
    ORDER BY row
"""
"""The records whose rows are wanted, and where they are among the new rows."""

_DOCUMENTS = """
    SELECT moved.document_id, moved.pmid, moved.a_source AS source, moved.a_position AS position,
        moved.version,
        CASE WHEN w.key IS NULL THEN old.language ELSE w.language END AS language,
        CASE WHEN w.key IS NULL THEN old.title ELSE w.title END AS title,
        CASE WHEN w.key IS NULL THEN old.metadata ELSE w.metadata END AS metadata,
        coalesce(a.status, old.status) AS status,
        moved.a_run_id AS run_id,
        coalesce(a.fingerprint, old.fingerprint) AS fingerprint,
        CASE WHEN a.key IS NULL THEN old.answered_in ELSE a.answered_in END AS answered_in,
        moved.content_hash, moved.metadata_hash,
        moved.w_source AS revised_source, moved.w_position AS revised_position,
        moved.w_run_id AS revised_run_id, moved.key
    FROM moved
    LEFT JOIN newest AS w USING (key)
    LEFT JOIN annotated AS a USING (key)
    LEFT JOIN old USING (key)
    WHERE NOT moved.gone
    UNION ALL BY NAME
    SELECT old.* FROM old ANTI JOIN moved USING (key)
    ORDER BY pmid, source, position
"""

_KEPT = """
    SELECT old.* FROM old
    ANTI JOIN (
        SELECT old_source AS source, old_position AS position FROM moved
        WHERE other_annotations AND old_source IS NOT NULL
    ) AS left_behind USING (source, position)
    {fault}
"""

_FAULT = """
    WHERE old.document_id IS NOT NULL OR NOT EXISTS (
        FROM faults WHERE (faults.source, faults.position) = (old.source, old.position))
"""


def _entries_of(table: Table) -> str:
    """SQL for the entries of documents whose annotations are others now."""
    document = number = "document_id, pmid, source, position"
    rows, which = "annotated", ""
    if table.entries == "passages":
        number += ", unnest(range(len(passages)))::INTEGER AS number"
        document += ", number"
    if table is FAILURES:
        rows = "(SELECT * FROM annotated UNION ALL SELECT * FROM faults)"
        which = f"WHERE entry.kind <> '{NOT_APPLICABLE}'"
    names = ", ".join(f'"{name}"' for name in table.schema.names)
    return f"""
        SELECT {names} FROM (
            SELECT {document}, unnest(entry) FROM (
                SELECT {number}, unnest("{table.entries}") AS entry FROM {rows}
            ) {which}
        )
    """
