"""Translation: what is asked, and gold there and back."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Annotations, Document, Text, passages
from taiyi_ray.tasks.task import NotApplicable
from tests.samples import asked, back, chinese, english

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
