"""The statements that register a lake's tables elsewhere: `taiyi-ray lake sql`.

They follow the manuals: https://duckdb.org/docs/current/core_extensions/delta,
https://docs.delta.io (CREATE TABLE ... USING DELTA LOCATION),
https://trino.io/docs/current/connector/delta-lake.html (register_table),
https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables-getting-started.html and
https://github.com/duckdb/dbt-duckdb (external_location).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.lake.tables import TABLES


def quoted(text: str) -> str:
    """A text as a literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def _escaped(text: str) -> str:
    """A text as a literal of Spark or Hive, where two literals side by side are one."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _duckdb(table: str, address: str) -> str:
    return f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM delta_scan({quoted(address)});"


def _spark(table: str, address: str) -> str:
    return f"CREATE TABLE IF NOT EXISTS taiyi.{table} USING DELTA LOCATION {_escaped(address)};"


def _trino(table: str, address: str) -> str:
    return (
        "CALL delta.system.register_table(schema_name => 'taiyi', "
        f"table_name => '{table}', table_location => {quoted(address)});"
    )


def _athena(table: str, address: str) -> str:
    return (
        f"CREATE EXTERNAL TABLE taiyi.{table} LOCATION {_escaped(address + '/')} "
        "TBLPROPERTIES ('table_type' = 'DELTA');"
    )


def _dbt(table: str, address: str) -> str:
    # dbt-duckdb puts names in braces of a location; two braces are one.
    location = f"delta_scan({quoted(address)})".replace("{", "{{").replace("}", "}}")
    return (
        f"      - name: {table}\n"
        f"        description: {json.dumps(TABLES[table].comment)}\n"
        "        meta:\n"
        f"          external_location: {json.dumps(location, ensure_ascii=False)}"
    )


_HEADS = {
    "duckdb": "INSTALL delta; LOAD delta;",
    "spark": "CREATE DATABASE IF NOT EXISTS taiyi;",
    "trino": "CREATE SCHEMA IF NOT EXISTS delta.taiyi;",
    "athena": "CREATE DATABASE IF NOT EXISTS taiyi;",
    "dbt": "version: 2\nsources:\n  - name: taiyi\n    tables:",
}
"""What stands before the tables."""

_SECRET = "CREATE OR REPLACE SECRET taiyi (TYPE s3, PROVIDER credential_chain);"
"""Where DuckDB finds the credentials for a bucket."""

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
        ConfigError: there is no such dialect, or it cannot read a lake at this address.
    """
    if dialect not in DIALECTS:
        raise ConfigError(
            f"--dialect {dialect}: is not known{nearest(dialect, DIALECTS)} "
            f"(known: {', '.join(DIALECTS)})"
        )
    lake = storage.absolute(lake)
    heads = [_HEADS[dialect]]
    if storage.is_local(lake):
        if dialect == "athena":
            raise ConfigError(f"--dialect athena: reads tables in S3 only, and not {lake}")
        lake = f"file://{lake}"
    elif dialect == "duckdb":
        heads.append(_SECRET)
    parts = [DIALECTS[dialect](table, storage.join(lake, table)) for table in TABLES]
    return "\n".join([*heads, *parts])
