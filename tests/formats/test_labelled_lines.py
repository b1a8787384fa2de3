"""A document has the labels of all its sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.formats import Documents, named

FORMAT = named("labelled-lines", {"labels": "../labels"})


def read(folder: Path, text: str, labels: str | None):
    (folder / "text").mkdir()
    (folder / "labels").mkdir()
    (folder / "text" / "7.txt").write_bytes(text.encode())
    if labels is not None:
        (folder / "labels" / "7.txt").write_bytes(labels.encode())
    (document,) = Documents(str(folder / "text" / "7.txt"), FORMAT)
    return document


def test_each_class_of_a_sentence_is_a_label_once_without_its_subclasses(tmp_path: Path) -> None:
    document = read(tmp_path, "One .\nTwo .\nThree .\n", "< A--b--c ANDB--d< <  A--e")
    assert [(p.type, p.offset, p.text) for p in document.passages] == [
        ("sentence", 0, "One ."),
        ("sentence", 6, "Two ."),
        ("sentence", 12, "Three ."),
    ]
    assert [(one.task, one.label) for one in document.gold.labels] == [("tc", "A"), ("tc", "B")]
    assert document.document_id == "7"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "there is no file of this name in the folder of the labels"),
        ("<A", "1 lists of labels for 2 sentences"),
        ("A<B<C", "2 lists of labels for 2 sentences"),
    ],
)
def test_labels_that_do_not_fit_the_sentences_fail_the_document(
    tmp_path: Path, labels: str | None, reason: str
) -> None:
    document = read(tmp_path, "One .\nTwo .", labels)
    assert document.status == "failed"
    assert reason in document.errors[0].message
