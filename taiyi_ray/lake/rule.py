"""The state rule: which revision of a document counts, and whose annotations it has.

The ledger has one row for each record. PubMed's files are ordered by their names: the rule is NLM's
(https://ftp.ncbi.nlm.nih.gov/pubmed/baseline/README.txt and updatefiles/README.txt there).

- Records are ordered by (year, file number, position) of files `pubmedYYn<digits>`. A file without
  such a name is older than all that have one; such files are ordered by their names. A record that
  more than one run has read counts in the newest of them.
- The newest record of a (document, version) decides: a deletion ends that version, anything else
  makes it live. The highest living version is the document, so that deleting version 2 brings
  version 1 back.
- Records of a year before the newest yearly baseline count no more.
- The document has the annotations of the best record with the same version, text and fingerprint:
  `ok` before `partial` before `failed`, of equal ones the oldest. So neither a failure nor a
  revision of metadata alone displaces annotations.
- A record that could not be read (`fault`) is forgotten once its row is a good one: the file was
  fetched again, or a newer program reads it.
- What makes records revisions of one document is `key`: the PMID in PubMed's files; elsewhere the
  place of the record, (source, position), or its document_id if the lake was made so.
"""

from __future__ import annotations

from typing import Final, Literal

Key = Literal["record", "document_id"]
"""What the key of a document is outside of PubMed's files."""

NUMBERED: Final = r"(^|%2F)pubmed(\d\d)n(\d+)\.xml"
"""The year and the number of a PubMed file, in the name of its source."""

PMIDS_A_RANGE: Final = 65_536
POSITIONS_A_RANGE: Final = 65_536
"""Documents of a range at most. A range is one file of each table, and fits into the memory."""


def _rank(status: str) -> str:
    return f"CASE {status} WHEN 'ok' THEN 0 WHEN 'partial' THEN 1 WHEN 'failed' THEN 2 ELSE 0 END"


_ORDER: Final = ("year", "number", "name", "position", "run_id", "output")


def _order(direction: str, of: str = "") -> str:
    return ", ".join(f"{of}{column} {direction}" for column in _ORDER)


def keyed(rows: str, *, pubmed: str, key: Key, pmids: int) -> str:
    """SQL for rows of outputs with the columns that the ledger adds.

    Args:
        rows: a relation with columns of `records.SCHEMA`, and `texts`: the number of passages.
        pubmed: an SQL condition that holds for rows of PubMed's files.
        key: what the key of other documents is.
        pmids: number of PMIDs in a range.

    Returns:
        A query for `version`, `pmid`, `key`, `year`, `number`, `fault` and `range` of each row, in
        their order.
    """
    other = "source || '#' || position"
    if key == "document_id":
        other = f"coalesce('id:' || document_id, {other})"
        spread = "coalesce(document_id, source)"
    else:
        spread = "source"
    elsewhere = _elsewhere(spread, key)
    return f"""
        WITH numbered AS (
            SELECT * REPLACE (coalesce(version, 1)::INTEGER AS version),
                CASE WHEN {pubmed} AND regexp_full_match(document_id, '[1-9][0-9]{{0,17}}')
                    THEN document_id::BIGINT END AS pmid,
                CASE WHEN {pubmed}
                    THEN nullif(regexp_extract(source, '{NUMBERED}', 2), '')::INTEGER END AS yy,
                CASE WHEN {pubmed}
                    THEN nullif(regexp_extract(source, '{NUMBERED}', 3), '')::BIGINT END AS digits
            FROM {rows}
        )
        SELECT version, pmid,
            coalesce(pmid::VARCHAR, {other}) AS key,
            coalesce(yy, -1)::INTEGER AS year,
            coalesce(digits, -1)::BIGINT AS number,
            (status = 'failed' AND document_id IS NULL AND texts = 0)
                OR (status = 'deleted' AND pmid IS NULL AND document_id IS NULL) AS fault,
            CASE WHEN pmid IS NOT NULL THEN printf('p%06d', pmid // {pmids})
                ELSE {elsewhere} END AS range
        FROM numbered
    """


def _elsewhere(spread: str, key: Key) -> str:
    """SQL for the range of a record that has no PMID."""
    number = "0" if key == "document_id" else f"position // {POSITIONS_A_RANGE}"
    return f"printf('s%s-%06d', left(md5({spread}), 2), {number})"


def fault_ranges(units: str, key: Key) -> str:
    """SQL for the ranges that faults of some units would be in.

    Args:
        units: a relation with `source`, `first` and `last`.
        key: what the key of documents outside of PubMed's files is.
    """
    return f"""
        SELECT DISTINCT {_elsewhere("source", key)} AS range FROM (
            SELECT source, unnest([first, last]) AS position FROM {units}
        )
    """


def mended(faults: str, units: str, faulty: str) -> str:
    """SQL for the faults that newer rows of the same records do not have any more.

    Args:
        faults: a relation with the `source` and `position` of faults.
        units: the units that an update takes, with `source`, `first`, `last` and `output`.
        faulty: the faults in these units, with `source`, `position` and `output`.
    """
    return f"""
        SELECT DISTINCT fault.*
        FROM {faults} AS fault
        JOIN {units} AS unit ON unit.source = fault.source
            AND fault.position BETWEEN unit.first AND unit.last
        WHERE NOT EXISTS (
            FROM {faulty} AS still WHERE (still.source, still.position, still.output)
                = (fault.source, fault.position, unit.output)
        )
    """


def records(rows: str) -> str:
    """SQL for the ledger of a range: each record once for each text and fingerprint.

    A record comes more than once when `--retry-failed` replaced its row, or when two outputs read
    the same file: the better row counts, of equal ones that of the newest run. Where an output was
    copied or moved the runs are the same, and the row is the one that can be read now.

    Args:
        rows: a relation with the ledger's columns, and `new`: whether this update takes the row.
    """
    return f"""
        SELECT * FROM {rows}
        QUALIFY row_number() OVER (
            PARTITION BY source, position, key, fingerprint, content_hash
            ORDER BY {_rank("status")}, run_id DESC, new DESC, output DESC
        ) = 1
    """


def current(ledger: str, floor: int, *more: str) -> str:
    """SQL for the documents that a ledger makes.

    Args:
        ledger: a relation that `records` made.
        floor: the year of the newest baseline; -1 before the first.
        *more: further columns of the newest record that are wanted.

    Returns:
        A query with a row for each document: `key`, `pmid`, `document_id`, `version`, and of the
        newest record (`w_...`) and the record whose annotations count (`a_...`) `source`,
        `position`, `run_id`, `output` and `unit`; `content_hash` and `metadata_hash`.
    """
    parts = "source", "position", "run_id", "output", "unit"
    newest = ", ".join(f"w.{part} AS w_{part}" for part in parts)
    annotated = ", ".join(f"e.{part} AS a_{part}" for part in parts)
    others = "".join(f", w.{column}" for column in more)
    return f"""
        WITH told AS (
            SELECT *, CASE WHEN year < 0 THEN source ELSE '' END AS name
            FROM {ledger} WHERE NOT fault
        ), newest AS (
            SELECT * FROM told WHERE year >= {floor} OR pmid IS NULL
            QUALIFY row_number() OVER (PARTITION BY key, version ORDER BY {_order("DESC")}) = 1
        ), living AS (
            SELECT * FROM newest WHERE status <> 'deleted'
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY version DESC) = 1
        )
        SELECT w.key, w.pmid, w.document_id, w.version, w.content_hash, w.metadata_hash,
            {newest}, {annotated}{others}
        FROM living AS w JOIN told AS e USING (key, version, content_hash, fingerprint)
        WHERE e.status <> 'deleted'
        QUALIFY row_number() OVER (
            PARTITION BY w.key ORDER BY {_rank("e.status")}, {_order("ASC", "e.")}
        ) = 1
    """
