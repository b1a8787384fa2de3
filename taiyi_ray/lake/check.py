"""Whether the tables of a lake are what its ledger says: `taiyi-ray lake check`."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from taiyi_ray import storage
from taiyi_ray.lake import commits, delta, rule
from taiyi_ray.lake.pinned import connect, view
from taiyi_ray.lake.tables import ANNOTATIONS, RANGED, REVISIONS

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
        SELECT {key} FROM r_documents GROUP BY ALL HAVING count(*) > 1
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


def check(lake: str) -> Iterator[str]:
    """Yield a line for each thing that is wrong, range by range.

    The ledger is computed anew by the state rule and compared with `documents`; keys are unique;
    entries belong to a document; mentions stand in the text at their offsets; the Delta logs are
    those of the commits.

    Args:
        lake: address of the lake.

    Raises:
        ConfigError: no lake is there, or another program wrote to a table.
    """
    lake = storage.absolute(lake)
    commit = commits.opened(lake)
    delta.check(lake, commit)
    with connect(lake, commit) as connection:
        for range_ in sorted(commit.by_range(REVISIONS.name)):
            for table in RANGED:
                path = commit.by_range(table.name).get(range_)
                view(connection, lake, table, [path] if path else [], f"r_{table.name}")
            for what, wrong in _counted(connection, commit.floor):
                if wrong:
                    yield f"range {range_}: {wrong:,} {what}"


def _counted(connection: duckdb.DuckDBPyConnection, floor: int) -> Iterator[tuple[str, int]]:
    def count(query: str) -> int:
        ((found,),) = connection.sql(query).fetchall()
        return int(found)

    now = rule.current("r_revisions", floor)
    yield "documents are not what the ledger says", count(_DIFFERENT.format(now=now))
    yield "keys of documents are there twice", count(_TWICE.format(key="key"))
    yield "records are two documents", count(_TWICE.format(key="source, position"))
    for table in ANNOTATIONS:
        faults = "WHERE document_id IS NOT NULL" if table.name == "failures" else ""
        query = _ORPHANS.format(table=f"r_{table.name}", faults=faults)
        yield f"rows of {table.name} belong to no document", count(query)
    yield "failures of records that can be read", count(_NO_FAULTS)
    yield "mentions are not in the text at their offsets", count(_OFFSETS)
