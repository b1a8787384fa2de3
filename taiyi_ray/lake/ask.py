"""Questions to a lake: SQL over one commit, what changed, the history of a document, what is there.

Answers come in batches, so that a large one needs no memory.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TextIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table as RichTable

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, first_line
from taiyi_ray.lake import commits, rule
from taiyi_ray.lake.commits import Commit
from taiyi_ray.lake.pinned import connect, reader, view
from taiyi_ray.lake.tables import REVISIONS, TABLES

SHOWN = 200
"""Rows that a table on the screen shows at most."""

_BATCH = 8192


@contextmanager
def query(
    lake: str, sql: str, at: str | None = None, values: Sequence[object] = ()
) -> Iterator[pa.RecordBatchReader]:
    """Ask a lake in DuckDB's SQL; its tables are views of their names.

    Args:
        lake: address of the lake.
        sql: one statement that asks: SELECT, or EXPLAIN of one.
        at: the commit to ask: a number, a date or a time; None for the newest.
        values: for the statement's parameters (`?`).

    Raises:
        ConfigError: no such lake or commit, or the statement cannot be answered.
    """
    lake = storage.absolute(lake)
    commit = commits.opened(lake, at)
    with _told(lake, commit), connect(lake, commit) as connection:
        _check_asks(connection, sql)
        yield connection.sql(sql, params=list(values) or None).to_arrow_reader(_BATCH)


_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?(\([^)]*\)\s*)?", re.IGNORECASE)


def _check_asks(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """See that a text is one statement that only asks.

    EXPLAIN ANALYZE does what it explains, and so this must be a question too.

    Raises:
        ConfigError: it is none, several, or one that does something else.
    """
    kinds = [statement.type for statement in connection.extract_statements(sql)]
    if kinds == [duckdb.StatementType.EXPLAIN]:
        explained = connection.extract_statements(_EXPLAIN.sub("", sql, count=1))
        kinds = [statement.type for statement in explained]
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise ConfigError(f"a lake answers one SELECT (or EXPLAIN of one) at a time, not: {found}")


@contextmanager
def _told(lake: str, commit: Commit) -> Iterator[None]:
    """Turn what DuckDB says of a statement into one line."""
    try:
        yield
    except duckdb.PermissionException as error:
        raise ConfigError(f"a query reads the lake's tables alone ({first_line(error)})") from error
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException) and storage.join(lake, "") in str(error):
            raise ConfigError(
                f"{lake}: files of commit {commit.number} cannot be read ({first_line(error)}); "
                "`taiyi-ray lake vacuum` removes those of old commits"
            ) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^")]
        raise ConfigError(" ".join(lines)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # What fails while rows are read comes through Arrow, which keeps the message alone.
        raise ConfigError(first_line(error)) from error


_CHANGED = """
    SELECT committed_in, committed_at, change, cause, document_id, pmid, version, source, position
    FROM changes WHERE {condition} ORDER BY committed_in, pmid, key
"""


def changed(lake: str, since: str) -> tuple[str, list[object]]:
    """The statement, and its values, for what changed after a commit or from a date on.

    Args:
        lake: address of the lake.
        since: the number of a commit, or a date or time (ISO 8601).
    """
    if since.isdecimal() and len(since) < 9:
        commits.opened(storage.absolute(lake), since)
        return _CHANGED.format(condition="committed_in > ?"), [int(since)]
    when = commits.moment(since, end=False)
    return _CHANGED.format(condition="committed_at >= CAST(? AS TIMESTAMPTZ)"), [when]


_HISTORY = """
    SELECT version, status, source, position, run_id, fingerprint, content_hash,
        CASE WHEN (source, position, run_id) IN (SELECT (w_source, w_position, w_run_id) FROM now)
            THEN 'newest' ELSE '' END AS record,
        CASE WHEN (source, position, run_id) IN (SELECT (a_source, a_position, a_run_id) FROM now)
            THEN 'these' ELSE '' END AS annotations
    FROM of_document ORDER BY version, year, number, source, position, run_id
"""


def history(lake: str, document_id: str) -> pa.Table:
    """The records that there were of a document, oldest first, and which of them count.

    Args:
        lake: address of the lake.
        document_id: its PMID or other id.

    Raises:
        ConfigError: no lake is there, or it never had this document.
    """
    lake = storage.absolute(lake)
    commit = commits.opened(lake)
    of_pmid = f"p{int(document_id) // commit.pmids:06d}" if document_id.isdecimal() else ""
    paths = [
        path
        for path, file in commit.files.get(REVISIONS.name, {}).items()
        if file.range == of_pmid or not file.range.startswith("p")
    ]
    with _told(lake, commit), reader(lake) as connection:
        view(connection, lake, REVISIONS, paths, "of_ranges")
        connection.execute(
            "CREATE TEMP TABLE of_document AS FROM of_ranges WHERE document_id = ?", [document_id]
        )
        connection.execute(f"CREATE TEMP TABLE now AS {rule.current('of_document', commit.floor)}")
        found = connection.sql(_HISTORY).to_arrow_table()
    if not len(found):
        raise ConfigError(f"{document_id}: {lake} never had a document of this id")
    return found


def tables(commit: Commit) -> pa.Table:
    """The tables of a commit: rows, files and bytes."""
    rows = [
        {
            "table": table.name,
            "rows": commit.rows(table.name),
            "files": len(commit.files.get(table.name, {})),
            "bytes": sum(file.size for file in commit.files.get(table.name, {}).values()),
            "one row is": table.comment,
        }
        for table in TABLES.values()
    ]
    return pa.Table.from_pylist(rows)


# ------------------------------------------------------------------------------------- the answer


def _plain(value: Any) -> Any:
    """A value as a cell of text."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _rows(answer: pa.RecordBatchReader) -> Iterator[list[Any]]:
    for batch in answer:
        # Column by column: an answer may have several of one name, and a row by names only one.
        columns = [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield [_plain(value) for value in row]


def on_screen(answer: pa.RecordBatchReader) -> tuple[RichTable, bool]:
    """The first rows as a table to print, and whether there are more."""
    shown = RichTable(*(field.name for field in answer.schema), box=None, pad_edge=False)
    rows = _rows(answer)
    for row in islice(rows, SHOWN):
        shown.add_row(*("" if value is None else str(value) for value in row))
    return shown, next(rows, None) is not None


def write_csv(answer: pa.RecordBatchReader, file: TextIO) -> None:
    """Write all rows as CSV with a header; nested values are JSON, null is an empty field."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(field.name for field in answer.schema)
    writer.writerows(_rows(answer))


def write_parquet(answer: pa.RecordBatchReader, address: str) -> None:
    """Write all rows as a Parquet file, which is there when it is whole.

    Args:
        answer: the rows.
        address: of the file.

    Raises:
        ConfigError: Parquet has no such type as one of the columns.
    """
    with storage.written(address) as file:
        try:
            writer = pq.ParquetWriter(file, answer.schema, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise ConfigError(
                f"--format parquet: cannot hold a column of the answer ({first_line(error)}); "
                "cast it to VARCHAR"
            ) from error
        with writer:
            for batch in answer:
                writer.write_batch(batch)
