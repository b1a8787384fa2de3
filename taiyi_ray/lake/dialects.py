"""The statements that register a lake's tables elsewhere: `taiyi-ray lake sql`."""

from __future__ import annotations

from collections.abc import Callable

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.lake.tables import TABLES


def _duckdb(table: str, address: str) -> str:
    return f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM delta_scan('{address}');"


def _spark(table: str, address: str) -> str:
    return f"CREATE TABLE IF NOT EXISTS taiyi.{table} USING DELTA LOCATION '{address}';"


def _trino(table: str, address: str) -> str:
    return (
        "CALL delta.system.register_table(schema_name => 'taiyi', "
        f"table_name => '{table}', table_location => '{address}');"
    )


def _athena(table: str, address: str) -> str:
    return (
        f"CREATE EXTERNAL TABLE taiyi.{table} LOCATION '{address}/' "
        "TBLPROPERTIES ('table_type' = 'DELTA');"
    )


def _dbt(table: str, address: str) -> str:
    return (
        f"      - name: {table}\n"
        f"        description: {TABLES[table].comment!r}\n"
        "        meta:\n"
        f"          external_location: \"delta_scan('{address}')\""
    )


_HEADS = {
    "duckdb": "INSTALL delta; LOAD delta;",
    "spark": "CREATE DATABASE IF NOT EXISTS taiyi;",
    "trino": "CREATE SCHEMA IF NOT EXISTS delta.taiyi;",
    "athena": "CREATE DATABASE IF NOT EXISTS taiyi;",
    "dbt": "version: 2\nsources:\n  - name: taiyi\n    tables:",
}
"""What stands before the tables."""

DIALECTS: dict[str, Callable[[str, str], str]] = {
    "duckdb": _duckdb,
    "spark": _spark,
    "trino": _trino,
    "athena": _athena,
    "dbt": _dbt,
}
"""The dialects, each with its statement for a table at an address."""


def statements(lake: str, dialect: str) -> str:
    """The statements that register the tables of a lake.

    Args:
        lake: address of the lake.
        dialect: a name of DIALECTS; `dbt` is a file of sources, as dbt-duckdb reads it.

    Raises:
        ConfigError: there is no such dialect.
    """
    if dialect not in DIALECTS:
        raise ConfigError(
            f"--dialect {dialect}: is not known{nearest(dialect, DIALECTS)} "
            f"(known: {', '.join(DIALECTS)})"
        )
    lake = storage.absolute(lake)
    parts = [DIALECTS[dialect](table, storage.join(lake, table)) for table in TABLES]
    return "\n".join([_HEADS[dialect], *parts])
