"""The tables of a lake: their columns, their order, and how rows of an output become theirs.

The types are those of `records.SCHEMA` (docs/columns.md): a table of entries (mentions, relations
...) has the fields of that column's entries, behind the columns that name the document. Delta keeps
the descriptions as comments on the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from taiyi_ray.corpus.reuse import LEDGER
from taiyi_ray.records import ENTRIES, SCHEMA


@dataclass(frozen=True)
class Table:
    """A table of the lake.

    Attributes:
        name: its name, and its folder below the lake.
        comment: what one row is.
        schema: its columns, each with a comment.
        order: the columns that the rows of a file are sorted by.
        entries: the column of an output whose entries are the rows; None for other tables.
    """

    name: str
    comment: str
    schema: pa.Schema
    order: tuple[str, ...]
    entries: str | None = None


def _field(name: str, type_: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, type_, metadata={"comment": comment})


def _of_output(name: str, comment: str = "") -> pa.Field:
    """A column as `records.SCHEMA` has it, with its description there or with another one."""
    column = SCHEMA.field(name)
    return _field(name, column.type, comment or column.metadata[b"description"].decode())


_STRING, _INT32, _INT64 = pa.string(), pa.int32(), pa.int64()

_PMID = _field("pmid", _INT64, "PMID as a number; null for documents that are not of PubMed files.")
_DOCUMENT = (
    _of_output("document_id", "PMID or the record's own id; null where it has none."),
    _PMID,
    _of_output("source", "Source of the record whose annotations these are."),
    _of_output("position", "Number of that record in its source; with it a key of `documents`."),
)
_COMMIT = _field("committed_in", _INT64, "Number of the update (`DIR/_lake/<n>.json`).")


def _entries(name: str, comment: str, *order: str, column: str = "") -> Table:
    column = column or name
    entry = SCHEMA.field(column).type.value_type
    numbered = [_field("number", _INT32, "Index of the passage in its document.")]
    fields = [
        *_DOCUMENT,
        *(numbered if name == "passages" else ()),
        *(_field(inner.name, inner.type, ENTRIES[f"{column}[].{inner.name}"]) for inner in entry),
    ]
    return Table(name, comment, pa.schema(fields), (*order, "pmid", "source", "position"), column)


DOCUMENTS = Table(
    "documents",
    "One row a document: its newest version.",
    pa.schema(
        [
            *_DOCUMENT,
            _of_output("version"),
            _of_output("language"),
            _of_output("title"),
            _of_output("metadata"),
            _of_output("status", "`ok`, `partial` or `failed`, of the annotations that count."),
            _of_output("run_id", "The run that made the annotations (table `runs`)."),
            _of_output("fingerprint"),
            _of_output("answered_in"),
            _of_output("content_hash"),
            _field("metadata_hash", _STRING, "MD5 of language, title and metadata."),
            _field("revised_source", _STRING, "Source of the newest record of this version."),
            _field("revised_position", _INT64, "Number of that record in its source."),
            _field("revised_run_id", _STRING, "The run that read that record."),
            _field("key", _STRING, "What makes records revisions of one document."),
        ]
    ),
    ("pmid", "source", "position"),
)
REVISIONS = Table(
    LEDGER,
    "The ledger: one row for each record of the outputs, revised and deleted ones too.",
    pa.schema(
        [
            _of_output("document_id"),
            _PMID,
            _of_output("source"),
            _of_output("position"),
            _field("version", _INT32, "Version of the record; 1 where it states none."),
            _of_output("status"),
            _of_output("run_id"),
            _of_output("fingerprint"),
            _of_output("content_hash"),
            _field("metadata_hash", _STRING, "MD5 of language, title and metadata."),
            _field("key", _STRING, "What makes records revisions of one document."),
            _field("year", _INT32, "YY of a file `pubmedYYn<digits>`; -1 for other names."),
            _field("number", _INT64, "The digits of such a name; -1 for other names."),
            _field("fault", pa.bool_(), "No document could be read of the record."),
            _field("output", _STRING, "Address of the output that holds the row."),
            _of_output("unit"),
        ]
    ),
    ("pmid", "source", "position", "run_id"),
)
FAILURES = _entries(
    "failures", "One row for each error of a document, or of a record that cannot be read.",
    "kind", "where", column="errors",
)  # fmt: skip
ANSWERS = _entries("answers", "One row for each question that was asked of a document.", "task")

ANNOTATIONS = (
    _entries("passages", "The text of the documents, passage by passage."),
    _entries("mentions", "One row for each occurrence of a name.", "type", "text"),
    _entries("relations", "One row for each pair of names.", "type", "head_text", "tail_text"),
    _entries("events", "One row for each event.", "type"),
    _entries("labels", "One row for each class of a document.", "task", "label"),
    _entries("texts", "One row for each text that was written about a document.", "task"),
    FAILURES,
    ANSWERS,
)
"""The tables whose rows are entries of a record. `answers` is left empty unless it is wanted."""

CHANGES = Table(
    "changes",
    "One row for each document that an update changed.",
    pa.schema(
        [
            _COMMIT,
            _field("committed_at", pa.timestamp("us", tz="UTC"), "Time of the update."),
            _field(
                "change",
                _STRING,
                "`insert`, `text`, `metadata`, `annotation` (other annotations of the same text) "
                "or `delete`.",
            ),
            _field("cause", _STRING, "`record`, or `baseline`: not in the new yearly baseline."),
            _of_output("document_id"),
            _PMID,
            _field("version", _INT32, "Version of the document; of a deleted one, the last."),
            _field("source", _STRING, "Source of the newest record; null for a deleted document."),
            _field("position", _INT64, "Number of that record in its source."),
            _field("key", _STRING, "What makes records revisions of one document."),
        ]
    ),
    ("pmid", "key"),
)
RUNS = Table(
    "runs",
    "One row for each run of `annotate` whose rows were taken.",
    pa.schema(
        [
            _field("run_id", _STRING, "Id of the run."),
            _field("output", _STRING, "Address of its output."),
            _field("state", _STRING, "How far it came."),
            _field("started", _STRING, "When it began (ISO 8601, UTC)."),
            _field("model", _STRING, "Name of the model that answered."),
            _field("adapter", _STRING, "The adapter on it; null without one."),
            _field("engine", _STRING, "The engine."),
            _field("tasks", pa.list_(_STRING), "What was asked."),
            _field("fingerprint", _STRING, "Digest of all that can change an answer."),
            _field(
                "identity",
                pa.map_(_STRING, _STRING),
                "What the fingerprint is a digest of: the model's digest, the templates, ...; each "
                "value as JSON.",
            ),
        ]
    ),
    ("run_id", "output"),
)
UNITS = Table(
    "units",
    "One row for each unit of an output that was taken.",
    pa.schema(
        [
            _field("output", _STRING, "Address of the output."),
            _field("unit", _STRING, "Name of the unit."),
            _field("tag", _STRING, "Tag of its object when it was taken: it changes with it."),
            _COMMIT,
        ]
    ),
    ("output", "unit"),
)

RANGED = (DOCUMENTS, REVISIONS, *ANNOTATIONS)
"""The tables with one file for each range of documents that has rows in them."""

TABLES = {table.name: table for table in (*RANGED, CHANGES, RUNS, UNITS)}
