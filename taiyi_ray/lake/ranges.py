"""The work of an update: ranges of documents are brought to their new state.

Range by range the ledger is extended, the state rule says what the documents are now (`rule.py`),
and the tables that change get a new file for the range. Small ranges are computed together, because
a query takes as long for ten rows as for a thousand; the memory holds one large range, or so many
small ones. DuckDB computes which rows count, Arrow puts them together.

Annotations that become current and are not among the new rows (version 1 of a document comes back,
or the best record of a text is an older one) are read from their output again.
"""

from __future__ import annotations

import io
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import StorageError
from taiyi_ray.lake import commits, delta, rule
from taiyi_ray.lake.arrow import Numbers, among, entries, numbers, ordered, runs
from taiyi_ray.lake.commits import Commit, DataFile
from taiyi_ray.lake.pinned import duck
from taiyi_ray.lake.staging import Staged, TakenUnit, columns, keyed, stage, unit_rows
from taiyi_ray.lake.tables import (
    ANNOTATIONS,
    ANSWERS,
    CHANGES,
    DOCUMENTS,
    FAILURES,
    REVISIONS,
    Table,
)
from taiyi_ray.records import NOT_APPLICABLE, SCHEMA

_ROW_GROUP = 32_768
"""Rows of a row group: a search for one text reads those few whose bounds hold it."""

_TOGETHER = 65_536
"""Records of ranges that are computed together, at most; a larger range is computed alone."""

_MEMORY = "1GB"
"""What DuckDB may use; more goes to the temporary folder."""

_READERS, _WRITERS = 8, 2


def read(lake: str, commit: Commit, table: Table, range_: str) -> pa.Table:
    """Read a table's file of a range; an empty table if there is none.

    Args:
        lake: address of the lake.
        commit: the state to read.
        table: the table.
        range_: the range.
    """
    path = commit.by_range(table.name).get(range_)
    if path is None:
        return table.schema.empty_table()
    address = storage.join(lake, table.name, path)
    return storage.read_table(address).cast(table.schema)


class Work:
    """One try of an update.

    Args:
        lake: address of the lake.
        before: the state that it begins from.
        floor: year of the newest baseline; -1 before the first.
        folder: a local folder for what does not fit into the memory.
        outputs: the addresses of the outputs that rows may be read from again.
    """

    def __init__(
        self, lake: str, before: Commit, floor: int, folder: Path, outputs: Iterable[str]
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
        self._paths = {
            table.name: before.by_range(table.name)
            for table in (REVISIONS, DOCUMENTS, *self._entries)
        }
        self._units = _units(())
        self._writers = ThreadPoolExecutor(_WRITERS)
        self._writing: deque[Future[_Written]] = deque()

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
        self._units = _units(units)
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

    # ----------------------------------------------------------------------------- the ranges

    def rewrite(self) -> None:
        """Bring the tables to the staged rows and the floor."""
        there = self._paths[REVISIONS.name]
        ranges = {*self.staged.rows}
        if self._floor != self.before.floor:
            ranges |= there.keys()
        with self._named(units=self._units):
            elsewhere = self._ask(rule.fault_ranges("units", self.before.key))
        ranges |= there.keys() & {*elsewhere["range"].to_pylist()}
        for together in self._groups(sorted(ranges)):
            self._rewrite(together)

    def _groups(self, ranges: Iterable[str]) -> Iterator[list[str]]:
        held: list[str] = []
        size = 0
        files = self.before.files.get(DOCUMENTS.name, {})
        for range_ in ranges:
            path = self._paths[DOCUMENTS.name].get(range_)
            rows = self.staged.rows[range_] + (files[path].rows if path else 0)
            if held and size + rows > _TOGETHER:
                yield held
                held, size = [], 0
            held.append(range_)
            size += rows
        if held:
            yield held

    def _rewrite(self, ranges: list[str]) -> None:
        """Bring the tables of some ranges to their new state.

        In all that is computed here `part` is the number of a row's range among these.
        """
        new = self._staged(ranges)
        ledger, mended = self._ledger(ranges, new)
        if not len(new) and not len(mended) and self._floor == self.before.floor:
            return
        new = _without(new, mended)
        old = self._read(DOCUMENTS, ranges)
        moved = self._moved(ledger, old, new)
        faults = new.filter(new["fault"])
        if not len(moved) and not len(faults) and not len(mended):
            return
        self._note(moved)
        now = moved.filter(pc.invert(moved["gone"]))
        pool, newest, annotated = self._pool(now, new)
        if len(moved):
            self._beside(partial(self._documents, ranges, old, moved, now, pool, newest, annotated))
        changed = moved.filter(moved["other_annotations"])
        of_annotations = numbers(now["other_annotations"].cast(pa.int8())) == 1
        rows, part = annotated[of_annotations], numbers(now["part"])[of_annotations]
        left = changed.filter(pc.is_valid(changed["old_source"])).select(
            ["old_source", "old_position"]
        )
        left = left.rename_columns(["source", "position"])
        forgotten = pa.concat_tables([faults.select(_RECORD), mended.select(_RECORD)])
        touched = {*pc.unique(changed["part"]).to_pylist()}
        of_faults = {*pc.unique(faults["part"]).to_pylist()}
        of_faults |= {*pc.unique(mended["part"]).to_pylist()}
        for table in reversed(self._entries):  # the large ones last, beside the next ranges
            parts = sorted(touched | of_faults if table is FAILURES else touched)
            if parts:
                self._beside(
                    partial(
                        self._entries_of, table, ranges, parts, pool, rows, part, faults, left,
                        forgotten,
                    )
                )  # fmt: skip

    def _staged(self, ranges: Sequence[str]) -> pa.Table:
        """The new rows of some ranges."""
        found = [
            _numbered(rows, part)
            for part, range_ in enumerate(ranges)
            if (rows := self.staged.take(range_)) is not None
        ]
        return pa.concat_tables(found) if found else self._nothing

    def _read(self, table: Table, ranges: Sequence[str], parts: Iterable[int] = ()) -> pa.Table:
        """Read a table's files of some ranges.

        Args:
            table: the table.
            ranges: the ranges that are computed together.
            parts: the numbers of those that are wanted; none for all.
        """
        wanted = list(parts or range(len(ranges)))
        paths = self._paths[table.name]
        there = [part for part in wanted if ranges[part] in paths]
        addresses = [storage.join(self.lake, table.name, paths[ranges[part]]) for part in there]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(storage.read_table, addresses))
        empty = _numbered(table.schema.empty_table(), 0)
        return pa.concat_tables(
            [
                empty,
                *(
                    _numbered(rows.cast(table.schema), part)
                    for rows, part in zip(found, there, strict=True)
                ),
            ]
        )

    def _ledger(self, ranges: Sequence[str], new: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Extend the ledger of some ranges, and write it where it changed.

        Returns:
            The ledger, and the faults that are none any more: `source`, `position` and `part`.
        """
        old = self._read(REVISIONS, ranges)
        names = [*REVISIONS.schema.names, "part"]
        ledger = pa.concat_tables([old, new.select(names).cast(old.schema)])
        faults = ledger.filter(ledger["fault"]).select([*_RECORD, "part"])
        still = new.filter(new["fault"]).select([*_RECORD, "output"])
        mended = faults.slice(0, 0)
        if len(faults):
            with self._named(faults=faults, units=self._units, faulty=still):
                mended = self._ask(rule.mended("faults", "units", "faulty")).cast(faults.schema)
        if not len(new) and not len(mended):
            return ledger, mended
        is_new = pa.array(np.arange(len(ledger)) >= len(old))
        with self._named(entered=_without(ledger.append_column("new", is_new), mended)):
            ledger = self._ask(rule.records("entered")).select(names).cast(old.schema)
        ledger = ordered(ledger, ("part", *REVISIONS.order))
        touched = {*pc.unique(new["part"]).to_pylist(), *pc.unique(mended["part"]).to_pylist()}
        self._beside(partial(self._write, REVISIONS, ledger, ranges, touched))
        return ledger, mended

    def _moved(self, ledger: pa.Table, old: pa.Table, new: pa.Table) -> pa.Table:
        """The documents that are not as they were, and where their rows are."""
        slim = old.select(_COMPARED).append_column("row", pa.array(range(len(old)), pa.int64()))
        records = new.select([*_RECORD, "run_id", "output"])
        records = records.append_column("row", pa.array(range(len(new)), pa.int64()))
        with self._named(ledger=ledger, old=slim, records=records):
            now = self._ask(rule.current("ledger", self._floor, "part"))
            unbounded = now
            if self._floor != self.before.floor:
                unbounded = self._ask(rule.current("ledger", -1))
            with self._named(now=now, unbounded=unbounded):
                return self._ask(_MOVED)

    def _note(self, moved: pa.Table) -> None:
        """Write what changed to the table of changes, and count it."""
        number = self.before.number + 1
        with self._named(moved=moved):
            found = self._ask(_CHANGES.format(number=number, committed_at=self._committed_at))
        for kind in pc.value_counts(found["change"]).to_pylist():
            self.counts[kind["values"]] += kind["counts"]
        if len(found):
            self._changes_writer.write_table(found.cast(CHANGES.schema))

    def _pool(self, now: pa.Table, new: pa.Table) -> tuple[pa.Table, Numbers, Numbers]:
        """The rows of the records that count now: of the new rows, else of their outputs.

        Args:
            now: the documents that there are and that moved.
            new: the new rows.

        Returns:
            The rows, and for each document the numbers in them of its newest record and of the one
            whose annotations count; -1 if those are as they were.
        """
        found = [numbers(now[f"{side}_row"]) for side in "wa"]
        wanted = (
            pc.or_(now["other_record"], now["other_metadata"]),
            now["other_annotations"],
        )
        by_unit: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        for side, rows in enumerate(found):
            missing = (rows < 0) & (numbers(wanted[side].cast(pa.int8())) == 1)
            names = [f"{'wa'[side]}_{name}" for name in ("output", "unit", "position")]
            for at in np.flatnonzero(missing).tolist():
                output, unit, position = (now[name][at].as_py() for name in names)
                by_unit.setdefault((output, unit), []).append((position, side, at))
        parts, size = [new], len(new)
        for (output, unit), places in by_unit.items():
            of_pubmed = now["pmid"][places[0][2]].is_valid
            again = self._again(output, unit, {position for position, *_ in places}, of_pubmed)
            rows_of = {p: n for n, p in enumerate(again["position"].to_pylist(), size)}
            for position, side, at in places:
                found[side][at] = rows_of[position]
            parts.append(_numbered(again, 0))
            size += len(again)
        return pa.concat_tables(parts), found[0], found[1]

    @cached_property
    def _nothing(self) -> pa.Table:
        names = columns(self.before.answers)
        empty = pa.schema([SCHEMA.field(name) for name in names]).empty_table()
        empty = empty.append_column("output", pa.array([], pa.string()))
        empty = empty.append_column("of_pubmed", pa.array([], pa.bool_()))
        return _numbered(self._keyed(empty), 0)

    def _keyed(self, rows: pa.Table) -> pa.Table:
        found = keyed(rows, self._duck, key=self.before.key, pmids=self.before.pmids)
        return found.drop_columns("range")

    def _again(self, output: str, unit: str, wanted: set[int], of_pubmed: bool) -> pa.Table:
        """Read rows of a unit again that an earlier update took.

        Args:
            output: address of the output.
            unit: name of the unit.
            wanted: the positions of the rows.
            of_pubmed: whether its source is a PubMed file.
        """
        names = columns(self.before.answers)
        reading = self._outputs.get(output) or Output(output)
        try:
            rows = unit_rows(reading, Unit.named(unit), names)
        except StorageError as error:
            raise StorageError(
                f"{output}: an older version of a document counts again, and its annotations must "
                f"be read there; that failed ({error})"
            ) from error
        rows = rows.filter(pc.is_in(rows["position"], pa.array(wanted, pa.int64())))
        rows = rows.append_column("output", pa.array([output] * len(rows), pa.string()))
        rows = rows.append_column("of_pubmed", pa.array([of_pubmed] * len(rows), pa.bool_()))
        return self._keyed(rows)

    def _documents(
        self,
        ranges: Sequence[str],
        old: pa.Table,
        moved: pa.Table,
        now: pa.Table,
        pool: pa.Table,
        newest: Numbers,
        annotated: Numbers,
    ) -> _Written:
        """Write the documents of the ranges in which some changed.

        Args:
            ranges: the ranges that are computed together.
            old: their documents before.
            moved: the documents that changed, those that are gone too.
            now: those that are not gone.
            pool: rows of records.
            newest: for each of `now` the number in `pool` of its newest record; -1 for as before.
            annotated: the same of the record whose annotations count.
        """
        before = numbers(now["old_row"])
        taken: dict[str, pa.Array | pa.ChunkedArray] = {
            name: now[given] for name, given in _OF_MOVED.items()
        }
        for names, row in ((_OF_NEWEST, newest), (_OF_ANNOTATED, annotated)):
            at = pa.array(np.where(row < 0, len(pool) + before, row))
            for name in names:
                both = [*pool[name].chunks, *old[name].chunks]
                taken[name] = pa.chunked_array(both, DOCUMENTS.schema.field(name).type).take(at)
        rows = pa.table([taken[name] for name in old.schema.names], old.schema)
        stays = np.ones(len(old), bool)
        stays[numbers(moved["old_row"].drop_null())] = False
        rows = pa.concat_tables([old.filter(pa.array(stays)), rows])
        touched = {*pc.unique(moved["part"]).to_pylist()}
        rows = ordered(rows, ("part", *DOCUMENTS.order))
        return self._write(DOCUMENTS, rows, ranges, touched)

    def _entries_of(
        self,
        table: Table,
        ranges: Sequence[str],
        parts: Sequence[int],
        pool: pa.Table,
        rows: Numbers,
        part: Numbers,
        faults: pa.Table,
        left: pa.Table,
        forgotten: pa.Table,
    ) -> _Written:
        """Take the entries of documents that changed out of a table, and put theirs into it.

        Args:
            table: the table.
            ranges: the ranges that are computed together.
            parts: the numbers of those in which something may have changed.
            pool: rows of records.
            rows: the numbers of those whose entries are new.
            part: for each of them the number of its range.
            faults: rows that no document could be read of.
            left: the records whose entries go.
            forgotten: the records that no document could be read of before, and now may be.
        """
        more = _entries(table, pool, rows, part)
        old = self._read(table, ranges, parts)
        goes = among(old, left)
        if table is FAILURES:
            failed = _entries(table, faults, np.arange(len(faults)), numbers(faults["part"]))
            more = pa.concat_tables([more, failed])
            goes |= among(old, forgotten) & np.asarray(pc.is_null(old["document_id"]))
        touched = {*pc.unique(more["part"]).to_pylist(), *numbers(old["part"])[goes].tolist()}
        if not touched:
            return {}
        found = pa.concat_tables([old.filter(pa.array(~goes)), more])
        return self._write(table, ordered(found, ("part", *table.order)), ranges, touched)

    # ------------------------------------------------------------------------------ the files

    def write(self, table: Table, rows: pa.Table, range_: str) -> None:
        """Write a table's file of a range, beside other work."""
        self._beside(lambda: {(table.name, range_): self._file(table, rows, range_)})

    def _beside(self, work: Callable[[], _Written]) -> None:
        """Do work that writes files beside other work, which waits if too much is open."""
        self._wait(left=2 * _WRITERS - 1)
        self._writing.append(self._writers.submit(work))

    def _wait(self, left: int = 0) -> None:
        """Wait until at most so much is open; the files that came are those of the next state."""
        while len(self._writing) > left:
            for (name, range_), found in self._writing.popleft().result().items():
                files = self._files.setdefault(name, {})
                for path in [path for path, file in files.items() if file.range == range_]:
                    del files[path]
                if found is not None:
                    path, file = found
                    files[path] = file

    def _write(
        self, table: Table, rows: pa.Table, ranges: Sequence[str], touched: Iterable[int]
    ) -> _Written:
        """Write a table's files of some ranges.

        Args:
            table: the table.
            rows: its rows, in the order of their ranges.
            ranges: the ranges that are computed together.
            touched: the numbers of those that get a new file.
        """
        there = {part: (first, size) for part, first, size in runs(rows["part"])}
        rows = rows.drop_columns("part")
        return {
            (table.name, ranges[part]): self._file(
                table, rows.slice(*there.get(part, (0, 0))), ranges[part]
            )
            for part in sorted(touched)
        }

    def _file(self, table: Table, rows: pa.Table, range_: str) -> tuple[str, DataFile] | None:
        if not len(rows):
            return None
        buffer = io.BytesIO()
        pq.write_table(
            rows, buffer, compression="zstd", row_group_size=_ROW_GROUP, write_page_index=True
        )
        return self._put(table, range_, buffer.getvalue())

    def _put(self, table: Table, range_: str, data: bytes) -> tuple[str, DataFile]:
        path = f"{range_}-{self._stamp}-{secrets.token_hex(4)}.parquet"
        address = storage.join(self.lake, table.name, path)
        self._wrote.append(address)
        storage.put_if_absent(address, data)
        metadata = pq.read_metadata(pa.BufferReader(data))
        stats = delta.statistics(metadata)
        return path, DataFile(range=range_, size=len(data), rows=metadata.num_rows, stats=stats)

    def commit(self, outputs: dict[str, str], counts: Counter[str]) -> Commit:
        """The commit of all that was written.

        Args:
            outputs: the outputs that rows came from, each with its fingerprint.
            counts: what the update did.
        """
        number = self.before.number + 1
        if "_changes_writer" in self.__dict__:
            self._changes_writer.close()
            range_, data = f"n{number:06d}", self._changes.read_bytes()
            self._beside(lambda: {(CHANGES.name, range_): self._put(CHANGES, range_, data)})
        self._wait()
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
        self._wait()
        for address in self._wrote:
            storage.remove(address)

    def close(self) -> None:
        """End the threads that write."""
        self._writers.shutdown(cancel_futures=True)


_Written = dict[tuple[str, str], tuple[str, DataFile] | None]
"""The files that were written, by table and range; None where a table has no rows any more."""

_RECORD = ["source", "position"]

_COMPARED = [
    *("part", "key", "pmid", "document_id", "version", "content_hash", "metadata_hash"),
    *("source", "position", "run_id", "revised_source", "revised_position", "revised_run_id"),
]
"""The columns of documents that tell whether something changed."""

_OF_MOVED = {
    "document_id": "document_id",
    "pmid": "pmid",
    "source": "a_source",
    "position": "a_position",
    "version": "version",
    "run_id": "a_run_id",
    "content_hash": "content_hash",
    "metadata_hash": "metadata_hash",
    "revised_source": "w_source",
    "revised_position": "w_position",
    "revised_run_id": "w_run_id",
    "key": "key",
    "part": "part",
}
"""Columns of documents, and those that the state rule gives for them."""

_OF_NEWEST = ("language", "title", "metadata")
"""Columns of documents that are those of the newest record."""

_OF_ANNOTATED = ("status", "fingerprint", "answered_in")
"""Columns of documents that are those of the record whose annotations count."""

_MOVED = """
    WITH moved AS (
        SELECT coalesce(now.part, old.part) AS part,
            coalesce(now.key, old.key) AS key,
            coalesce(now.pmid, old.pmid) AS pmid,
            coalesce(now.document_id, old.document_id) AS document_id,
            coalesce(now.version, old.version) AS version,
            now.key IS NULL AS gone,
            old.key IS NULL AS added,
            old.content_hash IS DISTINCT FROM now.content_hash
                OR old.version IS DISTINCT FROM now.version AS other_text,
            old.metadata_hash IS DISTINCT FROM now.metadata_hash AS other_metadata,
            (old.revised_source, old.revised_position, old.revised_run_id)
                IS DISTINCT FROM (now.w_source, now.w_position, now.w_run_id) AS other_record,
            (old.source, old.position, old.run_id)
                IS DISTINCT FROM (now.a_source, now.a_position, now.a_run_id) AS other_annotations,
            old.source AS old_source, old.position AS old_position, old.row AS old_row,
            now.* EXCLUDE (part, key, pmid, document_id, version)
        FROM now FULL JOIN old USING (key)
        WHERE gone OR added OR other_text OR other_metadata OR other_record OR other_annotations
    )
    SELECT moved.*, w.row AS w_row, a.row AS a_row,
        gone AND key IN (SELECT key FROM unbounded) AS vanished
    FROM moved
    LEFT JOIN records AS w ON w.source = w_source AND w.position = w_position
        AND w.run_id = w_run_id AND w.output = w_output
    LEFT JOIN records AS a ON a.source = a_source AND a.position = a_position
        AND a.run_id = a_run_id AND a.output = a_output
    ORDER BY a_row
"""
"""The documents that are not as they were; `w_row` and `a_row` number the rows of their records.

They are in the order of the new rows: where all of these count, nothing of them is copied.
"""

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


def _units(units: Sequence[TakenUnit]) -> pa.Table:
    """Units as a table for `rule.mended`."""
    return pa.table(
        {
            "source": pa.array([one.unit.source for one in units], pa.string()),
            "first": pa.array([one.unit.first for one in units], pa.int64()),
            "last": pa.array([one.unit.last for one in units], pa.int64()),
            "output": pa.array([one.address for one in units], pa.string()),
        }
    )


def _numbered(rows: pa.Table, part: int) -> pa.Table:
    return rows.append_column("part", pa.array(np.full(len(rows), part, np.int32)))


def _without(rows: pa.Table, mended: pa.Table) -> pa.Table:
    """The rows that are no faults that are mended."""
    if not len(mended):
        return rows  # a filter would copy all of them
    return rows.filter(pa.array(~(among(rows, mended) & np.asarray(rows["fault"]))))


def _entries(table: Table, pool: pa.Table, rows: Numbers, part: Numbers) -> pa.Table:
    """The entries of some rows, as rows of a table.

    Args:
        table: the table.
        pool: rows of records.
        rows: the numbers of those that are wanted.
        part: for each of them the number of its range.
    """
    all_of_them = len(rows) == len(pool) and bool((rows == np.arange(len(pool))).all())

    def of_rows(name: str) -> pa.ChunkedArray:
        # The first time a range is filled all rows count, and a copy would cost its memory.
        return pool[name] if all_of_them else pool[name].take(pa.array(rows))

    assert table.entries is not None
    fields, parent = entries(of_rows(table.entries))
    at = pa.array(parent)
    taken: dict[str, Any] = dict(fields)
    for name in ("document_id", "pmid", *_RECORD):
        taken[name] = of_rows(name).take(at)
    if table.entries == "passages":
        first = np.searchsorted(parent, parent)
        taken["number"] = pa.array((np.arange(len(parent)) - first).astype(np.int32))
    schema = table.schema
    found = pa.table([taken[name] for name in schema.names], schema)
    found = found.append_column("part", pa.array(part[parent].astype(np.int32)))
    if table is FAILURES:
        found = found.filter(pc.not_equal(found["kind"], NOT_APPLICABLE))
    return found
