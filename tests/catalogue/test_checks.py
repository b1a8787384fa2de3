"""A check says what stands in a dataset, and what is not as the entry says."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray import catalogue
from taiyi_ray.catalogue.entry import Expected
from taiyi_ray.errors import ConfigError
from tests.catalogue.made import ABSTRACT, corpus, entry, layout


def test_a_check_counts_documents_gold_and_broken_records(tmp_path: Path) -> None:
    text = ABSTRACT.encode() + b"2|t|\xff\n2|a|x\n\n"
    (checked,) = catalogue.check(entry(), corpus(tmp_path, {"made/train.txt": text}))
    assert checked.found == Expected(documents=1, failed=1, mentions=2, relations=1)
    assert checked.reasons == {"encoding": 1}
    assert checked.types == {
        ("mention", "chemical"): 1,
        ("mention", "disease"): 1,
        ("relation", "treatment"): 1,
    }
    assert checked.faults == [
        "train: 1 failed, where 0 are expected (the first: made/train.txt, record 1: "
        "not valid UTF-8: invalid start byte at byte 4 of the document)",
        "train: 1 relations, where 0 are expected (see made/train.txt, record 1)",
    ]


def test_offsets_that_had_to_be_mended_are_a_fault_unless_they_are_expected(tmp_path: Path) -> None:
    moved = ABSTRACT.replace("\t36\t40\t", "\t37\t41\t")
    lost = ABSTRACT.replace("\t36\t40\t", "\t90\t94\t")
    root = corpus(tmp_path, {"made/train.txt": ABSTRACT + moved + lost})
    counts = {"documents": 3, "mentions": 6, "relations": 3}

    def faults(**noted: int) -> list[str]:
        files = {"files": ["made/train.txt"], "counts": {**counts, "noted": noted}}
        (checked,) = catalogue.check(entry(layouts=layout(train=files)), root)
        return checked.faults

    assert faults(gold_moved=1, gold_offsets=1) == []
    assert faults(gold_offsets=1) == [
        "train: 1 documents with gold_moved, where 0 are expected (the first: made/train.txt, "
        "record 1: 1 of 2 annotations have offsets that follow another way to count, as in "
        "'gout' at 37-41)"
    ]
    assert faults(gold_moved=2) == [
        "train: 1 documents with gold_moved, where 2 are expected (the first: made/train.txt, "
        "record 1: 1 of 2 annotations have offsets that follow another way to count, as in "
        "'gout' at 37-41)",
        "train: 1 documents with gold_offsets, where 0 are expected (the first: made/train.txt, "
        "record 2: 1 of 2 annotations are not at their offsets, as in 'gout' at 90-94)",
    ]


def test_a_check_counts_texts_that_stand_in_the_dataset_before(tmp_path: Path) -> None:
    root = corpus(tmp_path, {"made/train.txt": ABSTRACT * 2, "made/test.txt": ABSTRACT})
    train, test = catalogue.check(entry(), root)
    assert (train.reasons, test.reasons) == ({"text also in train": 1}, {"text also in train": 1})


def test_what_is_as_expected_has_no_faults(tmp_path: Path) -> None:
    counts = {"documents": 1, "mentions": 2, "relations": 1}
    made = entry(layouts=layout(train={"files": ["made/train.txt"], "counts": counts}))
    (checked,) = catalogue.check(made, corpus(tmp_path, {"made/train.txt": ABSTRACT}))
    assert (checked.split, checked.expected, checked.faults) == ("train", checked.found, [])


def test_a_dataset_that_is_not_there_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made: the files of its train split are not below"):
        catalogue.check(entry(), tmp_path)
    with pytest.raises(ConfigError, match="made: nobody here has seen its files yet"):
        catalogue.check(entry(format=None, layouts=[], verified=False), tmp_path)
