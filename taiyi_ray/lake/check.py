"""Whether the tables of a lake are what its ledger says: `taiyi-ray lake check`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray import storage
from taiyi_ray.errors import StorageError, StorageGone, first_line
from taiyi_ray.lake import commits, delta, rule
from taiyi_ray.lake.commits import Commit, DataFile
from taiyi_ray.lake.pinned import reader, view
from taiyi_ray.lake.tables import ANNOTATIONS, RANGED

_DIFFERENT = """
    SELECT count(*) FROM ({now}) AS now FULL JOIN r_documents AS old USING (key)
    WHERE (old.version, old.content_hash, old.metadata_hash, old.pmid)
            IS DISTINCT FROM (now.version, now.content_hash, now.metadata_hash, now.pmid)
        OR (old.revised_source, old.revised_position, old.revised_run_id)
            IS DISTINCT FROM (now.w_source, now.w_position, now.w_run_id)
        OR (old.source, old.position) IS DISTINCT FROM (now.a_source, now.a_position)
"""
_TWICE = """
    SELECT count(*) FROM (
        SELECT {key} FROM {table} GROUP BY ALL HAVING count(*) > 1
    )
"""
_ORPHANS = """
    SELECT count(*) FROM {table} AS entry ANTI JOIN r_documents USING (source, position)
    {faults}
"""
_NO_FAULTS = """
    SELECT count(*) FROM r_failures AS entry
    ANTI JOIN (FROM r_revisions WHERE fault) USING (source, position)
    WHERE entry.document_id IS NULL
"""
_OFFSETS = """
    WITH texts AS (
        SELECT source, position, string_agg(text, chr(10) ORDER BY number) AS text
        FROM r_passages GROUP BY source, position
    )
    SELECT count(*) FROM r_mentions AS mention LEFT JOIN texts USING (source, position)
    WHERE mention."start" IS NOT NULL AND coalesce(len(mention.spans), 0) = 0
        AND texts.text[mention."start" + 1 : mention."end"] IS DISTINCT FROM mention.text
"""


_UNIQUE = {
    "documents": (("key",), ("source", "position")),
    "revisions": (("source", "position", "key", "fingerprint", "content_hash"),),
    "passages": (("source", "position", "number"),),
    "mentions": (("source", "position", "id"),),
    "relations": (("source", "position", "id"),),
    "events": (("source", "position", "id"),),
}
"""The columns of which no two rows of a table have the same values."""

_READERS = 16


def check(lake: str) -> Iterator[str]:
    """Yield a line for each thing that is wrong, range by range.

    The Delta logs are those of the newest commit; the data files are whole and have the rows that
    it says. The ledger is computed anew by the state rule and compared with `documents`; keys are
    unique; entries belong to a document; mentions stand in the text at their offsets.

    Args:
        lake: address of the lake.

    Raises:
        ConfigError: no lake is there, or another program wrote to a table.
    """
    lake = storage.absolute(lake)
    commit = commits.opened(lake)
    yield from _late(lake, commit)
    broken = set()
    for range_, line in _broken(lake, commit):
        broken.add(range_)
        yield line
    ranges: dict[str, dict[str, list[str]]] = {}
    for table in RANGED:
        for path, file in commit.files.get(table.name, {}).items():
            ranges.setdefault(file.range, {}).setdefault(table.name, []).append(path)
    with reader(lake) as connection:
        for range_ in sorted(ranges.keys() - broken):
            for table in RANGED:
                paths = ranges[range_].get(table.name, [])
                view(connection, lake, table, paths, f"r_{table.name}")
            try:
                for what, wrong in _counted(connection, commit.floor):
                    if wrong:
                        yield f"range {range_}: {wrong:,} {what}"
            except duckdb.Error as error:
                yield f"range {range_}: cannot be read ({first_line(error)})"


def _late(lake: str, commit: Commit) -> Iterator[str]:
    """A line for each table whose Delta log does not have the newest commit yet."""
    for table, version in delta.check(lake, commit).items():
        if version is None or version < commit.number:
            state = "is missing" if version is None else f"is at version {version}"
            yield (
                f"{storage.join(lake, table)}: its Delta log {state}, and the newest commit is "
                f"{commit.number}; `taiyi-ray lake update OUT... --table {lake}` brings it on"
            )


def _broken(lake: str, commit: Commit) -> Iterator[tuple[str, str]]:
    """The range of each data file that is not as the commit says, and a line about it."""

    def wrong(address: str, file: DataFile, size: int | None) -> str:
        if size is None:
            return "is gone"
        if size != file.size:
            return f"has {size:,} bytes, and {file.size:,} when it was committed"
        try:
            rows = storage.read_with(address, pq.read_metadata).num_rows
        except (StorageError, pa.ArrowException) as error:
            if isinstance(error, StorageGone):
                raise
            return f"cannot be read ({first_line(error)})"
        if rows != file.rows:
            return f"has {rows:,} rows, and {file.rows:,} when it was committed"
        return ""

    with ThreadPoolExecutor(_READERS) as pool:
        for table, files in commit.files.items():
            sizes = {s.path: s.size for s in storage.walk(storage.join(lake, table))}
            addresses = [storage.join(lake, table, path) for path in files]
            lines = pool.map(wrong, addresses, files.values(), map(sizes.get, addresses))
            for address, file, line in zip(addresses, files.values(), lines, strict=True):
                if line:
                    yield file.range, f"{address}: {line}"


def _counted(connection: duckdb.DuckDBPyConnection, floor: int) -> Iterator[tuple[str, int]]:
    def count(query: str) -> int:
        ((found,),) = connection.sql(query).fetchall()
        return int(found)

    now = rule.current("r_revisions", floor)
    yield "documents are not what the ledger says", count(_DIFFERENT.format(now=now))
    for name, keys in _UNIQUE.items():
        for key in keys:
            columns = ", ".join(key)
            twice = count(_TWICE.format(table=f"r_{name}", key=columns))
            yield f"keys ({columns}) of {name} are there more than once", twice
    for table in ANNOTATIONS:
        faults = "WHERE document_id IS NOT NULL" if table.name == "failures" else ""
        query = _ORPHANS.format(table=f"r_{table.name}", faults=faults)
        yield f"rows of {table.name} belong to no document", count(query)
    yield "failures of records that can be read", count(_NO_FAULTS)
    yield "mentions are not in the text at their offsets", count(_OFFSETS)
