"""Translation, titles and summaries: what is asked, and gold there and back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Annotations, Document, Text, passages
from taiyi_ray.tasks import texts
from taiyi_ray.tasks.task import Counts, NotApplicable
from tests.samples import Gold, asked, back, chinese, english

BOTH = Document("d", passages([("title", "en", "Pain."), ("abstract", "zh", "头痛。")]))


@pytest.mark.parametrize(
    ("options", "keys"),
    [({}, ["mt:zh", "mt:en"]), ({"to": "zh"}, ["mt:zh"]), ({"to": "en"}, ["mt:en"])],
)
def test_each_language_is_translated_into_the_other(options: Any, keys: list[str]) -> None:
    questions = asked("mt", **options).questions(BOTH)
    assert [q.key for q in questions] == keys
    assert {"mt:zh": "Pain.", "mt:en": "头痛。"}[keys[0]] == questions[0].window.text
    assert all(q.grammar is None and q.types == () for q in questions)


def test_what_cannot_be_translated_has_a_reason() -> None:
    with pytest.raises(NotApplicable, match=r"^no text in English$"):
        asked("mt", to="zh").questions(chinese("头痛"))
    with pytest.raises(ConfigError, match="to: Input should be 'en' or 'zh'"):
        asked("mt", to="de")


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


def test_score_compares_task_and_text() -> None:
    mine = Annotations(texts=[Text("title", "a"), Text("summary", "b")])
    gold = Annotations(texts=[Text("title", "a"), Text("summary", "c")])
    assert texts.score(mine, gold) == Counts(tp=1, fp=1, fn=1)


# -------------------------------------------------------------------------------------------- gold


def paramed(folder: Path) -> Iterator[tuple[str, str]]:
    """English and Chinese sentences that are aligned one to one."""
    data = (folder / "mt-zh-en" / "paramed_manual_align.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {Path(m.name).name: archive.extractfile(m) for m in archive.getmembers()}
        sentences = {name: file.read().decode().split("\n") for name, file in files.items() if file}
    aligned = (folder / "mt-zh-en" / "paramed_manual_align.txt").read_text("utf-8")
    for line in aligned.splitlines():
        name, numbers = line.split("\t")[:2]
        zh, _, en = numbers.partition(" <=> ")  # the Chinese line comes first
        if zh.isdigit() and en.isdigit():
            yield sentences[f"{name}.en"][int(en) - 1], sentences[f"{name}.zh"][int(zh) - 1]


def test_gold_translations_come_back_both_ways(shared_data: Path) -> None:
    pairs = [(en, zh) for en, zh in paramed(shared_data) if en.strip() and zh.strip()]
    assert len(pairs) == 964
    blanks = 0
    for en, zh in pairs[:300]:
        for document, key, text in ((english(en), "mt:zh", zh), (chinese(zh), "mt:en", en)):
            (found,) = back(asked("mt"), document, Annotations(texts=[Text(key, text)])).texts
            assert found == Text(key, text.strip())
            blanks += text != text.strip()
    assert blanks == 0


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
