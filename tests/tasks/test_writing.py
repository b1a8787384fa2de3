"""Titles and summaries: what is asked, and gold there and back."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.records import Annotations, Document, Text, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import Gold, asked, back, english


def test_a_title_is_asked_for_without_showing_the_one_there_is() -> None:
    document = Document("d", passages([("title", "en", "Old."), ("abstract", "en", "The text.")]))
    (question,) = asked("title").questions(document)
    assert question.messages[0]["content"] == (
        "Write a title for the text. Answer with the title only.\n\nThe text."
    )
    with pytest.raises(NotApplicable, match="no text in English or Chinese besides title"):
        asked("title").questions(Document("d", document.passages[:1]))


def test_a_title_is_asked_for_about_the_first_window_and_a_summary_about_each() -> None:
    document = english("One two three four. Five six seven eight.")
    title, summary = asked("title"), asked("summary", sentences=1)
    assert [q.window.index for q in title.task.questions(document, title, 24)] == [0]
    windows = summary.task.questions(document, summary, 24)
    assert [q.window.index for q in windows] == [0, 1]
    assert "in one sentence." in windows[0].messages[0]["content"]


# -------------------------------------------------------------------------------------------- gold


def csl(folder: Path) -> Iterator[Gold]:
    path = folder / "csl-medical-abstracts" / "csl_medical.jsonl.gz"
    for line in gzip.decompress(path.read_bytes()).splitlines():
        record = json.loads(line)
        parts = [("title", "zh", record["title"]), ("abstract", "zh", record["abstract"])]
        yield Document("d", passages(parts)), Annotations(texts=[Text("title", record["title"])])


def mts(folder: Path) -> Iterator[Gold]:
    path = folder / "mts-dialog" / "MTS-Dialog-ValidationSet.csv.gz"
    for record in csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())):
        summary = record["section_text"].strip()
        yield english(record["dialogue"]), Annotations(texts=[Text("summary", summary)])


@pytest.mark.parametrize(
    ("task", "read", "number"), [("title", csl, 254), ("summary", mts, 100)], ids=["CSL", "MTS"]
)
def test_gold_titles_and_summaries_come_back(
    shared_data: Path, task: str, read: Any, number: int
) -> None:
    corpus = list(read(shared_data))
    assert len(corpus) == number
    for document, gold in corpus:
        assert back(asked(task), document, gold).texts == gold.texts
