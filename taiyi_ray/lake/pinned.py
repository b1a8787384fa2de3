"""The tables of a lake as they were at one commit, as views of a DuckDB.

The files are those that the commit lists, and no log is read: so all tables are of the same commit,
and DuckDB needs no extension that it would have to fetch. Files in a store are read through fsspec.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from taiyi_ray import storage
from taiyi_ray.lake.commits import Commit
from taiyi_ray.lake.dialects import quoted
from taiyi_ray.lake.tables import TABLES, Table


def duck(**settings: str) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that fetches nothing, prints nothing and does not look at Python's variables.

    Args:
        settings: further settings of DuckDB.
    """
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "python_enable_replacements": "false",
            **settings,
        }
    )
    connection.execute("SET enable_progress_bar = false")  # it goes to standard output
    return connection


def reader(lake: str) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that opens no files but those of a lake's tables, whatever it is asked.

    Args:
        lake: address of the lake.
    """
    connection = duck()
    if not storage.is_local(lake):
        connection.register_filesystem(storage.filesystem(lake))
    folders = ", ".join(quoted(storage.join(lake, name, "")) for name in TABLES)
    connection.execute(f"SET allowed_directories = [{folders}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def connect(lake: str, commit: Commit) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in which each table of the lake is a view of its name.

    Args:
        lake: address of the lake.
        commit: the state to show.
    """
    connection = reader(lake)
    for table in TABLES.values():
        view(connection, lake, table, commit.files.get(table.name, {}))
    return connection


def view(
    connection: duckdb.DuckDBPyConnection,
    lake: str,
    table: Table,
    paths: Iterable[str],
    name: str = "",
) -> None:
    """Make a view of some files of a table.

    Args:
        connection: the DuckDB.
        lake: address of the lake.
        table: the table.
        paths: of the files, below the table's folder.
        name: of the view; the table's name without one.
    """
    files = ", ".join(quoted(storage.join(lake, table.name, path)) for path in paths)
    name = name or table.name
    if files:
        # Else a folder `x=y` above the lake would be a column in place of the table's own `x`.
        source = f"read_parquet([{files}], hive_partitioning = false)"
    else:
        source = f"empty_{name}"
        connection.register(source, table.schema.empty_table())
    connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM {source}')
