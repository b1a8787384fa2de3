"""BioASQ's JSON of task B: questions with snippets of abstracts and their answers.

    {"questions": [{"id": ..., "type": "yesno", "body": ..., "documents": ["http://.../28293123"],
      "snippets": [{"text": ...}], "exact_answer": "yes", "ideal_answer": ["..."]}]}

The task's own page describes it (http://participants-area.bioasq.org/general_information/Task_b).
`exact_answer` is yes or no, or the names of a factoid or list, each as a list of its synonyms; a
summary has none. The question and its snippets are the passages. The gold of `qa` is the label of a
yes-or-no question, and a text of each question: its ideal answer, or the exact names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_records, language
from taiyi_ray.formats.format import FormatOptions, NamedFormat, RawRecord
from taiyi_ray.formats.json_lines import invalid, json_object
from taiyi_ray.formats.json_records import JsonOptions, id_of, metadata_of, objects_at, text_at
from taiyi_ray.records import Document, Label, Text, passages

_LAYOUT = JsonOptions(layout="list", path=["questions"])


class BioasqOptions(FormatOptions):
    """Which answer of a question is its text."""

    answer: Literal["ideal", "exact"] = Field(
        "ideal", description="the answer in sentences, or the exact names, joined by `; `"
    )


def scan(stream: BinaryIO, options: BioasqOptions) -> Iterator[RawRecord]:
    """Yield each question."""
    return json_records.scan(stream, _LAYOUT)


def parse(raw: RawRecord, options: BioasqOptions) -> Document:
    """Turn a question into a Document with its answers as gold."""
    record = json_object(raw.data)
    question = text_at(record, "body")
    snippets = [("text", text_at(snippet, "text")) for snippet in objects_at(record, "snippets")]
    parts = [*dict.fromkeys(snippets), ("question", question)]
    document = Document(
        id_of(record, "id"),
        passages((type_, language.of_text(text), text) for type_, text in parts),
        metadata=metadata_of(record, "id", "body", "snippets", "exact_answer", "ideal_answer"),
    )
    exact, ideal = record.get("exact_answer"), record.get("ideal_answer")
    if record.get("type") == "yesno" and exact is not None:
        if not isinstance(exact, str) or exact.lower() not in ("yes", "no"):
            raise invalid("exact_answer", "yes or no", exact)
        document.gold.labels.append(Label("qa", exact.lower()))
    answer = _first(ideal) if options.answer == "ideal" else "; ".join(_names(exact))
    if answer:
        document.gold.texts.append(Text("qa", answer))
    return document


def _first(ideal: Any) -> str:
    """Return the first of the answers in sentences, which all say the same."""
    stated = ideal if isinstance(ideal, list) else [ideal]
    if not all(isinstance(one, str | None) for one in stated):
        raise FormatError("invalid_record", "ideal_answer must be a text, or a list of texts")
    return next((one.strip() for one in stated if one and one.strip()), "")


def _names(exact: Any) -> list[str]:
    """Return the first synonym of each exact name."""
    found = []
    for one in exact if isinstance(exact, list) else [exact]:
        name = one[0] if isinstance(one, list) and one else one
        if isinstance(name, str):
            found.append(name)
        elif name not in (None, []):
            raise invalid("exact_answer", "names, or lists of their synonyms", exact)
    return found


FORMAT = NamedFormat(
    "bioasq",
    BioasqOptions,
    scan,
    parse,
    "a question: its snippets and answers",
)
