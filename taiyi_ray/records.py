"""The records that flow through taiyi_ray, and the Arrow schema of the rows they end in.

A Document is a list of passages. Its text is the passages joined by one line feed. Every offset
counts Unicode code points of that text, and every range is half-open: for a mention of one piece,
``text[start:end] == mention.text``.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa

Status = Literal["ok", "partial", "failed", "deleted"]
Grounded = Literal["exact", "folded", "none"]

SEPARATOR = "\n"

LONGEST_MESSAGE = 1000
"""The most characters of a message about a document. A longer message quotes the document: it is
cut."""


def brief(message: str) -> str:
    """Cut a message to LONGEST_MESSAGE."""
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"


@dataclass(slots=True)
class Passage:
    """A stretch of text in one language.

    Attributes:
        type: its part in the document: `title`, `abstract`, `text`, the heading of a section, ...
        language: ISO 639-1 code where there is one.
        offset: where it starts in the document's text, in code points.
        text: its text; `passages()` leaves out those without one.
    """

    type: str
    language: str
    offset: int
    text: str

    @property
    def end(self) -> int:
        """The offset behind its last character."""
        return self.offset + len(self.text)


NOT_APPLICABLE = "not_applicable"
"""The kind of an entry in `errors` that says why a task had nothing to ask. It is no failure."""


@dataclass(slots=True)
class Failure:
    """A fault that is recorded in a document's row.

    Attributes:
        kind: a short name that queries can count by.
        where: what failed: a record of a source, a task, a question, ...
        message: the fault in words, cut to LONGEST_MESSAGE.
    """

    kind: str
    where: str
    message: str

    def __post_init__(self) -> None:
        self.message = brief(self.message)


@dataclass(slots=True)
class Span:
    """A part of a discontinuous mention.

    Attributes:
        start, end: half-open code-point offsets in the document's text.
    """

    start: int
    end: int


@dataclass(slots=True)
class Concept:
    """The entry of a terminology that a mention was normalised to.

    Attributes:
        db: the terminology (`MESH`); empty where the source does not name it.
        id: the identifier within the terminology.
        name: the preferred name, if known.
        score: the confidence of the normalisation, if known.
    """

    db: str
    id: str
    name: str | None = None
    score: float | None = None


@dataclass(slots=True)
class Mention:
    """One occurrence of a name in the document.

    Attributes:
        id: unique among the mentions of the document.
        type: the entity type; None when only a relation or an event names the mention.
        text: the text between `start` and `end`. Of a discontinuous mention, the texts of its
            `spans` joined by blanks. Of a mention that was not located, the text as stated.
        start, end: half-open code-point offsets in the document's text; None when not located.
        spans: the parts of a discontinuous mention, with the same kind of offsets; else empty.
        passage: the index of the passage that holds `start`.
        grounded: `exact`: the text matches as it is. `folded`: it matches when case, width, hyphens
            and the like are ignored. `none`: it was not located.
        score: the confidence of the annotator, if known.
        concept: what the mention was normalised to, if anything.
    """

    id: int
    type: str | None
    text: str
    start: int | None
    end: int | None
    spans: list[Span] = field(default_factory=list)
    passage: int | None = None
    grounded: Grounded = "exact"
    score: float | None = None
    concept: Concept | None = None


COREFERENCE = "coreference"
"""The type of relations between two mentions of the same thing, one behind the other in its chain.
Such a relation is of these two mentions alone, and not of all that have the same words."""


@dataclass(slots=True)
class Relation:
    """A relation between two surfaces.

    Attributes:
        id: unique among the relations of the document.
        type: the relation type.
        head_text, tail_text: the surfaces.
        head, tail: ids of mentions. An answer names only surfaces: the ids are then those of all
            mentions with that surface. Gold has the ids of the mentions that its source names.
        score: the confidence of the annotator, if known.
    """

    id: int
    type: str
    head_text: str
    tail_text: str
    head: list[int]
    tail: list[int]
    score: float | None = None


@dataclass(slots=True)
class Argument:
    """A participant of an event.

    Attributes:
        role: the role that it plays.
        mention: the id of the mention that plays it; None when there is only a text.
        text: the text of the participant.
    """

    role: str
    mention: int | None
    text: str


@dataclass(slots=True)
class Event:
    """An event.

    Attributes:
        id: unique among the events of the document.
        type: the event type.
        trigger: the id of the mention that expresses the event; None without one.
        arguments: the participants. An event that takes part in another one stands there as the
            mention of its trigger.
    """

    id: int
    type: str
    trigger: int | None
    arguments: list[Argument]


@dataclass(slots=True)
class Label:
    """A class that a task gave to the document.

    Attributes:
        task: the task: `tc`, `similarity`, `entailment`, `qa`, `qa:NAME` where questions have
            names, or `act:NUMBER` of a turn.
        label: the class.
        score: the confidence of the annotator, if known.
    """

    task: str
    label: str
    score: float | None = None


@dataclass(slots=True)
class Text:
    """A text that a task wrote about the document: a translation, a title, a summary.

    Attributes:
        task: the task, with its part: `mt:zh`, `title`, `summary`, `report:SECTION`, `qa:NAME`, ...
        text: the text.
    """

    task: str
    text: str


@dataclass(slots=True)
class Answer:
    """What the model wrote in answer to one question.

    Attributes:
        task: the task that asked, as in `Label.task` and `Text.task`.
        types: the types, labels or sections that the question names.
        language: the language of the question.
        window: the number of the window of the text that the question is about, from 0.
        attempt: the number of the attempt that gave this answer, from 0.
        raw: the answer as the model wrote it; None where there is none.
        prompt_tokens: tokens of the prompt.
        cached_tokens: tokens of the prompt that the engine took from its prefix cache.
        output_tokens: tokens of the answer.
        finish_reason: why the engine stopped writing.
        error: what is wrong with the answer; None for a good one.
    """

    task: str
    types: list[str]
    language: str
    window: int
    attempt: int
    raw: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    finish_reason: str | None
    error: str | None


@dataclass(slots=True)
class Annotations:
    """All annotations of one document, by a model or by the source (gold).

    Attributes:
        mentions: one entry for each occurrence; relations and events refer to their ids.
        relations: the relations between mentions.
        events: the events.
        labels: the classes of the document.
        texts: the texts written about the document.
    """

    mentions: list[Mention] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """One record of a source.

    Attributes:
        document_id: the record's own id, None where it has none. Ids may repeat: the key of a
            document is (`source`, `position`).
        passages: the text, in order of `offset`.
        version: the version of the record, where the format has one.
        language: the language that the record states for the publication.
        title: the title, if the record has one.
        metadata: what else the format gives: journal, date, doi, ...
        status: `ok`; `deleted` when the source withdraws the record; `failed` when it could not be
            read. (`partial` is a status of rows.)
        errors: the faults of the record.
        source: the name of the source.
        position: the number of the record in its source, from 0.
        gold: the annotations that the source itself has, for evaluation and training. No row holds
            them.
    """

    document_id: str | None
    passages: list[Passage] = field(default_factory=list)
    version: int | None = None
    language: str | None = None
    title: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    status: Status = "ok"
    errors: list[Failure] = field(default_factory=list)
    source: str = ""
    position: int = 0
    gold: Annotations = field(default_factory=Annotations)

    @property
    def text(self) -> str:
        """The passages joined. Each access joins them anew: keep the result in a loop."""
        return SEPARATOR.join(passage.text for passage in self.passages)

    def passage_at(self, offset: int) -> int | None:
        """The index of the passage that holds the character at `offset`; None if none does."""
        number = bisect_right(self.passages, offset, key=lambda passage: passage.offset) - 1
        return number if number >= 0 and offset < self.passages[number].end else None

    def content_hash(self) -> str:
        """SHA-256 of the passages (type, language, text), in hexadecimal."""
        digest = hashlib.sha256()
        for passage in self.passages:
            for part in (passage.type, passage.language, passage.text):
                data = part.encode("utf-8")
                digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()


def passages(parts: Iterable[tuple[str, str, str]]) -> list[Passage]:
    """Make passages of (type, language, text) parts, with offsets; empty texts are left out."""
    laid: list[Passage] = []
    offset = 0
    for type_, language, text in parts:
        if text:
            laid.append(Passage(type_, language, offset, text))
            offset += len(text) + len(SEPARATOR)
    return laid


# ---------------------------------------------------------------------------------- Arrow schema


def _field(name: str, type_: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, type_, metadata={"description": description})


def _structs(**fields: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct(fields.items()))


_STRING, _INT32, _FLOAT = pa.string(), pa.int32(), pa.float32()
_IDS = pa.list_(_INT32)
_CONCEPT = pa.struct([("db", _STRING), ("id", _STRING), ("name", _STRING), ("score", _FLOAT)])

_DOCUMENT_FIELDS = [
    _field(
        "document_id",
        _STRING,
        "PMID or the record's own id; null where the source is damaged and no id could be read. "
        "Ids may repeat: the key of a row is (`source`, `position`).",
    ),
    _field(
        "version",
        _INT32,
        "Version of the record (of a PMID in PubMed); null where the format has none.",
    ),
    _field(
        "language",
        _STRING,
        "Language that the record states for the publication, as an ISO 639-1 code where there is "
        "one; null when it states none.",
    ),
    _field("title", _STRING, "Title, which is also a passage; null when there is none."),
    _field(
        "metadata",
        pa.map_(_STRING, _STRING),
        "What else the format gives: journal, date, doi, publication_types, mesh, ... Where a key "
        "has more than one value, they are joined by `; `.",
    ),
    _field(
        "passages",
        _structs(type=_STRING, language=_STRING, offset=_INT32, text=_STRING),
        "The text of the document is the texts of its passages, joined by one line feed each. "
        "`offset` is where a passage starts in it, in code points.",
    ),
]
_END_FIELDS = [
    _field(
        "status",
        _STRING,
        "`ok`; `partial` when some answer was cut, repeated itself or failed; `failed` when "
        "nothing is usable; `deleted` when the source withdraws the record.",
    ),
    _field(
        "errors",
        _structs(kind=_STRING, where=_STRING, message=_STRING),
        "What went wrong: a `kind` to count by, `where` it happened, and a `message`. An entry of "
        "the kind `not_applicable` is no fault: it says why the task in `where` had nothing to ask "
        "about this document, and does not change the status.",
    ),
    _field(
        "source",
        _STRING,
        "Name of the source, which is also its folder below OUT/annotations: its path below the "
        "input, percent-encoded, and 8 hexadecimal digits of a digest of its address.",
    ),
    _field("position", pa.int64(), "Number of the record in its source, from 0."),
]

_MENTIONS = _structs(
    id=_INT32,
    type=_STRING,
    text=_STRING,
    start=_INT32,
    end=_INT32,
    spans=_structs(start=_INT32, end=_INT32),
    passage=_INT32,
    grounded=_STRING,
    score=_FLOAT,
    concept=_CONCEPT,
)

DOCUMENT_SCHEMA = pa.schema(
    [
        *_DOCUMENT_FIELDS,
        *_END_FIELDS,
        _field("given_mentions", _MENTIONS, "The mentions of the input, which `nen` asks about."),
    ]
)
"""The columns in which a reading task passes Documents on to an engine."""

SCHEMA = pa.schema(
    [
        *_DOCUMENT_FIELDS,
        _field(
            "mentions",
            _MENTIONS,
            "One entry for each occurrence: `text[start:end] == mention.text`, where the range is "
            "half-open and counts code points of the document's text. `id` is unique in the "
            "document. `type` is null when only a relation or an event names the mention. `spans` "
            "has the parts of a discontinuous mention, and is empty for others. `passage` is the "
            "number of the passage that holds `start`, from 0. `grounded` says how the text "
            "matches: `exact`; `folded` when case, width, hyphens and the like are ignored; `none` "
            "when the mention was not located, and `start` and `end` are null.",
        ),
        _field(
            "relations",
            _structs(
                id=_INT32,
                type=_STRING,
                head_text=_STRING,
                tail_text=_STRING,
                head=_IDS,
                tail=_IDS,
                score=_FLOAT,
            ),
            "Pairs of surfaces (`head_text`, `tail_text`). `head` and `tail` are the ids of all "
            "mentions that have the surface; of the type `coreference` they are the ids of the two "
            "mentions that follow each other in a chain.",
        ),
        _field(
            "events",
            _structs(
                id=_INT32,
                type=_STRING,
                trigger=_INT32,
                arguments=_structs(role=_STRING, mention=_INT32, text=_STRING),
            ),
            "Events. `trigger` is the id of the mention that expresses the event, null when there "
            "is none. Each entry of `arguments` has its role, and the id and the text of its "
            "mention. An event that plays a role in another one stands there as the mention of its "
            "trigger.",
        ),
        _field(
            "labels",
            _structs(task=_STRING, label=_STRING, score=_FLOAT),
            "Labels that the document got. `task` is `tc`, `similarity`, `entailment`, `qa`, "
            "`qa:NAME` where questions have names, or `act:NUMBER` of a turn of a dialogue.",
        ),
        _field(
            "texts",
            _structs(task=_STRING, text=_STRING),
            "Texts that were written about the document. `task` is `mt:zh`, `mt:en`, `title`, "
            "`summary`, `dialogue`, `text2dt`, `report:SECTION`, `qa` or `qa:NAME`. The texts "
            "about all windows of a long document are joined by line feeds.",
        ),
        _field(
            "answers",
            _structs(
                task=_STRING,
                types=pa.list_(_STRING),
                language=_STRING,
                window=_INT32,
                attempt=_INT32,
                raw=_STRING,
                prompt_tokens=_INT32,
                cached_tokens=_INT32,
                output_tokens=_INT32,
                finish_reason=_STRING,
                error=_STRING,
            ),
            "One entry for each answer of the model: the task as in `labels` and `texts`; the "
            "types, labels or sections that the question names; its language and window; the "
            "number of the attempt; the answer as the model wrote it; counts of tokens; why the "
            "answer ended; and what is wrong with it, if anything is.",
        ),
        *_END_FIELDS,
        _field(
            "unit",
            _STRING,
            "Unit of the output that the row belongs to: `<source>/<first>-<last>`.",
        ),
        _field("run_id", _STRING, "Run that made the row (`OUT/runs/<run_id>.json`)."),
        _field(
            "fingerprint",
            _STRING,
            "Digest of all that can change an answer: model, tasks with their options, templates, "
            "grounding, decoding.",
        ),
        _field("content_hash", _STRING, "SHA-256 of the passages."),
        _field(
            "answered_in",
            _STRING,
            "Where `--reuse` copied the annotations and answers from: the file of the unit that "
            "has the row with the same `content_hash` and `fingerprint`. Null when this row's run "
            "asked the model itself.",
        ),
    ]
)
"""The columns of OUT/annotations. Their names and types are a contract with those who read them."""

ENTRIES: Final = {
    "passages[].type": (
        "Part of the document that it is: `title`, `abstract`, `text`, the heading of a "
        "section, ..."
    ),
    "passages[].language": "Language of the text, as an ISO 639-1 code where there is one.",
    "passages[].offset": "Where the passage starts in the document's text, in code points.",
    "passages[].text": "Text of the passage, which is never empty.",
    "mentions[].id": "Number of the mention, unique among those of the document.",
    "mentions[].type": "Type of the name; null when only a relation or an event names the mention.",
    "mentions[].text": (
        "Text between `start` and `end`; of a discontinuous mention, its parts joined by blanks."
    ),
    "mentions[].start": (
        "Where the mention starts in the document's text, in code points; null when it was "
        "not located."
    ),
    "mentions[].end": (
        "Where it ends: the code point behind its last one; null when it was not located."
    ),
    "mentions[].spans": "Parts of a discontinuous mention; empty for others.",
    "mentions[].spans[].start": "Where the part starts, as `start` of a mention.",
    "mentions[].spans[].end": "Where the part ends, as `end` of a mention.",
    "mentions[].passage": "Number of the passage that holds `start`, from 0.",
    "mentions[].grounded": (
        "How the text matches: `exact`; `folded` when case, width, hyphens and the like are "
        "ignored; `none` when the mention was not located."
    ),
    "mentions[].score": "Confidence of the annotator; null where it is not known.",
    "mentions[].concept": (
        "Entry of a terminology that the mention was normalised to; null without one."
    ),
    "mentions[].concept.db": (
        "Terminology, such as `MESH`; empty where the source does not name it."
    ),
    "mentions[].concept.id": "Identifier in the terminology.",
    "mentions[].concept.name": "Preferred name; null where it is not known.",
    "mentions[].concept.score": "Confidence of the normalisation; null where it is not known.",
    "relations[].id": "Number of the relation, unique among those of the document.",
    "relations[].type": "Type of the relation.",
    "relations[].head_text": "Surface of the head, as the answer names it.",
    "relations[].tail_text": "Surface of the tail, as the answer names it.",
    "relations[].head": "Ids of the mentions that have the surface of the head.",
    "relations[].tail": "Ids of the mentions that have the surface of the tail.",
    "relations[].score": "Confidence of the annotator; null where it is not known.",
    "events[].id": "Number of the event, unique among those of the document.",
    "events[].type": "Type of the event.",
    "events[].trigger": "Id of the mention that expresses the event; null without one.",
    "events[].arguments": "Participants of the event.",
    "events[].arguments[].role": "Role that the participant plays.",
    "events[].arguments[].mention": (
        "Id of the mention that plays it; null where there is only a text."
    ),
    "events[].arguments[].text": "Text of the participant.",
    "labels[].task": (
        "Task that gave the label: `tc`, `similarity`, `entailment`, `qa`, `qa:NAME` or "
        "`act:NUMBER`."
    ),
    "labels[].label": "Class that the document got.",
    "labels[].score": "Confidence of the annotator; null where it is not known.",
    "texts[].task": (
        "Task that wrote the text, with its part: `mt:zh`, `title`, `report:SECTION`, "
        "`qa:NAME`, ..."
    ),
    "texts[].text": "Text that was written about the document.",
    "answers[].task": "Task that asked, as in `labels` and `texts`.",
    "answers[].types": "Types, labels or sections that the question names.",
    "answers[].language": "Language of the question.",
    "answers[].window": "Number of the window of the text that the question is about, from 0.",
    "answers[].attempt": "Number of the attempt that gave the answer, from 0.",
    "answers[].raw": "Answer as the model wrote it; null where there is none.",
    "answers[].prompt_tokens": "Tokens of the prompt.",
    "answers[].cached_tokens": "Tokens of the prompt that the engine took from its prefix cache.",
    "answers[].output_tokens": "Tokens of the answer.",
    "answers[].finish_reason": "Why the engine stopped writing.",
    "answers[].error": "What is wrong with the answer; null for a good one.",
    "errors[].kind": "Short name of the fault, to count by; `not_applicable` is none.",
    "errors[].where": "What failed: a record of a source, a task, a question, ...",
    "errors[].message": "The fault in words.",
}
"""What the fields of entries mean, by their paths: `[]` is an entry of the list before it."""


def columns_markdown() -> str:
    """The columns of SCHEMA with their types and meanings: docs/columns.md (`make docs`)."""
    lines = [
        "# Columns of `annotations`",
        "",
        "Made from `taiyi_ray/records.py` by `make docs`. Names and types are a contract.",
        "",
        "| Column | Type | Meaning |",
        "|---|---|---|",
    ]
    nested: list[str] = []
    for column in SCHEMA:
        meaning = column.metadata[b"description"].decode()
        lines.append(f"| `{column.name}` | {_short(column.type)} | {meaning} |")
        inner = _nested(column.name, column.type)
        if inner:
            nested += ["", f"## An entry of `{column.name}`", ""]
            nested += ["| Field | Type | Meaning |", "|---|---|---|"]
            nested += [f"| `{name}` | {type_} | {ENTRIES[name]} |" for name, type_ in inner]
    return "\n".join(lines + nested) + "\n"


def _short(type_: pa.DataType) -> str:
    if pa.types.is_list(type_):
        return f"list of {_short(type_.value_type)}"
    if pa.types.is_map(type_):
        return f"map of {_short(type_.key_type)} to {_short(type_.item_type)}"
    return "struct" if pa.types.is_struct(type_) else str(type_)


def _nested(name: str, type_: pa.DataType) -> list[tuple[str, str]]:
    """The fields inside a column as (path, short type), depth first; `[]` marks a list's entry."""
    if pa.types.is_list(type_):
        return _nested(f"{name}[]", type_.value_type)
    if not pa.types.is_struct(type_):
        return []
    inner = []
    for field_ in type_:
        path = f"{name}.{field_.name}"
        inner += [(path, _short(field_.type)), *_nested(path, field_.type)]
    return inner


def as_values(record: Any) -> Any:
    """Turn a record of this module, or a list of records, into dictionaries and lists for Arrow.

    This takes a fifth of the time of `dataclasses.asdict`, which copies every string and number.
    """
    if isinstance(record, list):
        return [as_values(item) for item in record]
    names = getattr(record, "__slots__", None)
    return {name: as_values(getattr(record, name)) for name in names} if names else record


_SURROGATE = re.compile("[\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Replace each lone surrogate by U+FFFD, because UTF-8 and Arrow cannot hold it.

    The text keeps its length, so that no offset changes.
    """
    return _SURROGATE.sub("\ufffd", text)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {name: _storable(inner) for name, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value


_REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def as_table(
    rows: list[dict[str, Any]],
    schema: pa.Schema,
    instead: Callable[[dict[str, Any], str], dict[str, Any]],
) -> pa.Table:
    """Make a table of rows. A row that Arrow cannot hold is replaced; the others stay.

    Args:
        rows: the rows. The list is changed: the replacements are put into it.
        schema: the schema of the table.
        instead: makes the replacement of a row, given the row and Arrow's reason.
    """
    try:
        return pa.Table.from_pylist(rows, schema)
    except _REFUSALS:
        for number, row in enumerate(rows):
            try:
                pa.Table.from_pylist([row], schema)
            except _REFUSALS as error:
                rows[number] = _storable(instead(row, f"{type(error).__name__}: {error}"))
        return pa.Table.from_pylist(rows, schema)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table in the columns of SCHEMA.

    A column that an older program did not write is null or an empty list, and a column that SCHEMA
    does not have is left out.
    """
    if not table.schema.equals(SCHEMA):
        known = table.select([name for name in table.schema.names if name in SCHEMA.names])
        table = pa.Table.from_pylist(known.to_pylist(), SCHEMA)
    lists = [column.name for column in SCHEMA if pa.types.is_nested(column.type)]
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        row.update((name, []) for name in lists if row[name] is None)
    return rows


def document_row(document: Document) -> dict[str, Any]:
    """The document in the columns that a row of SCHEMA has for it, without its gold annotations."""
    row = {f.name: as_values(getattr(document, f.name)) for f in _DOCUMENT_FIELDS + _END_FIELDS}
    row["metadata"] = list(document.metadata.items())
    return row


def passed_row(document: Document) -> dict[str, Any]:
    """The document as a row of DOCUMENT_SCHEMA, with its gold mentions and no other gold."""
    return {**document_row(document), "given_mentions": as_values(document.gold.mentions)}


def document_from_row(row: dict[str, Any]) -> Document:
    """The inverse of `passed_row` and `document_row`, for rows that came through Arrow."""
    return Document(
        document_id=row["document_id"],
        passages=[Passage(**passage) for passage in row["passages"]],
        version=row["version"],
        language=row["language"],
        title=row["title"],
        metadata=dict(row["metadata"]),
        status=row["status"],
        errors=[Failure(**failure) for failure in row["errors"]],
        source=row["source"],
        position=row["position"],
        gold=Annotations([_mention(values) for values in row.get("given_mentions") or ()]),
    )


def annotations_from_row(row: dict[str, Any]) -> Annotations:
    """The annotations in a row of SCHEMA. A key that the row lacks gives an empty list."""
    return Annotations(
        mentions=[_mention(values) for values in row.get("mentions") or ()],
        relations=[Relation(**values) for values in row.get("relations") or ()],
        events=[_event(values) for values in row.get("events") or ()],
        labels=[Label(**values) for values in row.get("labels") or ()],
        texts=[Text(**values) for values in row.get("texts") or ()],
    )


def _mention(values: dict[str, Any]) -> Mention:
    concept = values.get("concept")
    spans = [Span(**span) for span in values.get("spans") or ()]
    return Mention(**{**values, "spans": spans, "concept": Concept(**concept) if concept else None})


def _event(values: dict[str, Any]) -> Event:
    return Event(**{**values, "arguments": [Argument(**a) for a in values["arguments"]]})
