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
        "train: 1 relations, where 0 are expected",
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
