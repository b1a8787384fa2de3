"""Titles and summaries: what is asked, and gold there and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.records import Document, Text, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, corpus, english


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


@pytest.mark.parametrize(
    ("task", "name", "splits", "number"),
    [("title", "csl_medical", ["dev", "test"], 254), ("summary", "mts_dialog", ["dev"], 100)],
)
def test_gold_titles_and_summaries_come_back(
    shared_data: Path, task: str, name: str, splits: list[str], number: int
) -> None:
    found = list(corpus(shared_data, name, *splits))
    assert len(found) == number
    for document, gold in found:
        (text,) = gold.texts
        assert back(asked(task), document, gold).texts == [Text(task, text.text.strip())]
