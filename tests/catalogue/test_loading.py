"""Documents of a dataset come with gold in our terms; what is wrong in data or entry is told."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray import catalogue
from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Document
from tests.catalogue.made import ABSTRACT, corpus, entry, layout

TRAIN = {"made/train.txt": ABSTRACT}


def loaded(root: Path, **changed: Any) -> list[Document]:
    return list(catalogue.load(entry(**changed), "train", data_root=root))


def test_gold_has_our_terms_and_everything_else_stays(tmp_path: Path) -> None:
    (document,) = loaded(corpus(tmp_path, TRAIN))
    assert [(m.type, m.text, m.start, m.end) for m in document.gold.mentions] == [
        ("chemical", "Aspirin", 0, 7),
        ("disease", "gout", 36, 40),
    ]
    assert [(r.type, r.head, r.tail) for r in document.gold.relations] == [("treatment", [0], [1])]
    assert (document.document_id, document.source, document.position) == ("1", "made/train.txt", 0)


def test_what_an_entry_leaves_out_has_no_type_or_is_no_relation(tmp_path: Path) -> None:
    (document,) = loaded(
        corpus(tmp_path, TRAIN),
        types={"Drug": None, "Disease": "disease"},
        relations={"Helps": None},
    )
    assert [m.type for m in document.gold.mentions] == [None, "disease"]
    assert document.gold.relations == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"types": {"Drug": "chemical"}}, "'Disease' is not in the map `types`"),
     ({"relations": {}}, "'Helps' is not in the map `relations`")],
)  # fmt: skip
def test_a_type_that_the_entry_does_not_know_ends_the_reading_with_its_place(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(corpus(tmp_path, TRAIN), **changed)
    assert str(caught.value) == (
        f"made: made/train.txt, record 0: {named}; add it there in catalogue/rows/made.yaml, "
        "with null to leave it out"
    )


def test_events_roles_and_labels_are_mapped_too(tmp_path: Path) -> None:
    root = corpus(
        tmp_path,
        {"made/train.txt": "T1\tDrug 0 7\tAspirin\nT2\tEase 8 13\teased\nE1\tEase:T2 Agent:T1\n"},
    )
    (root / "made/train.txt").rename(root / "made/train.ann")
    corpus(root, {"made/train.txt": "Aspirin eased pain."})
    (document,) = loaded(
        root,
        format="brat",
        layouts=layout(train=["made/train.ann"]),
        types={"Drug": "chemical", "Ease": None},
        events={"Ease": {"name": "relief", "roles": ["Cause"]}},
        roles={"Agent": "Cause"},
    )
    (event,) = document.gold.events
    assert (event.type, [a.role for a in event.arguments]) == ("relief", ["Cause"])


def test_labels_of_a_task_are_mapped_or_kept(tmp_path: Path) -> None:
    root = corpus(tmp_path, {"made/train.txt": "A\t1\tpain\n"})
    options = {
        "delimiter": "\t",
        "header": False,
        "fields": {"text": "3"},
        "labels": {"tc": "1", "qa": "2"},
    }
    (document,) = loaded(
        root,
        format="delimited",
        format_options=options,
        labels={"tc": {"A": {"name": "first", "en": "first", "zh": "甲"}}, "qa": None},
    )
    assert [(one.task, one.label) for one in document.gold.labels] == [("tc", "first"), ("qa", "1")]
    with pytest.raises(ConfigError, match=r"'A' is not in the map `labels\.tc`"):
        loaded(root, format="delimited", format_options=options, labels={"qa": None})


def test_a_broken_record_is_a_failed_document_with_its_reason(tmp_path: Path) -> None:
    broken = ABSTRACT.encode() + b"2|t|\xff\n2|a|x\n\n" + ABSTRACT.encode()
    documents = loaded(corpus(tmp_path, {"made/train.txt": broken}))
    assert [document.status for document in documents] == ["ok", "failed", "ok"]
    assert documents[1].errors[0].kind == "encoding"


def test_a_file_of_which_no_record_is_right_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(corpus(tmp_path, {"made/train.txt": "A table\nof something\n"}))
    assert "made: no record of its train split is of the format pubtator" in str(caught.value)
    assert "made/train.txt, record 0:" in str(caught.value)
    assert "put the right file there, or correct catalogue/rows/made.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "listed", ["1\n3\n", json.dumps(["1", 3]), json.dumps({"1": "yes", "3": "no"})]
)
def test_splits_of_one_file_are_told_by_lists_of_ids(tmp_path: Path, listed: str) -> None:
    every = "".join(f"{number}|t|Title.\n{number}|a|Text.\n\n" for number in range(1, 5))
    root = corpus(tmp_path, {"all.txt": every, "ids.txt": listed})
    inside, outside = (
        loaded(root, layouts=layout(train={"files": ["all.txt"], which: "ids.txt"}))
        for which in ("ids", "without_ids")
    )
    assert [document.document_id for document in inside] == ["1", "3"]
    assert [document.document_id for document in outside] == ["2", "4"]


def test_a_list_of_ids_that_is_none_is_one_line(tmp_path: Path) -> None:
    root = corpus(tmp_path, {**TRAIN, "ids.json": '{"1": '})
    made = layout(train={"files": ["made/train.txt"], "ids": "ids.json"})
    with pytest.raises(ConfigError, match=r"made: ids\.json is no list of ids \(Expecting value"):
        loaded(root, layouts=made)


def test_a_dataset_in_one_language_is_in_it_whatever_its_letters(tmp_path: Path) -> None:
    root = corpus(tmp_path, TRAIN)
    for languages, found in ((["zh"], ["zh", "zh"]), (["en", "zh"], ["en", "en"])):
        (document,) = loaded(root, language=languages)
        assert [passage.language for passage in document.passages] == found


def test_splits_of_one_file_are_told_by_metadata(tmp_path: Path) -> None:
    lines = [{"id": n, "text": "a", "part": "dev" if n else "train"} for n in range(3)]
    root = corpus(tmp_path, {"all.jsonl": "\n".join(map(json.dumps, lines))})
    options = {"layout": "lines", "fields": {"document_id": "id", "text": "text"}}
    (document,) = loaded(
        root,
        format="json",
        format_options=options,
        layouts=layout(train={"files": ["all.jsonl"], "where": {"part": "train"}}),
    )
    assert document.document_id == "0"


def test_what_is_absent_is_named_with_its_address_and_terms(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue.load(entry(), "test", data_root=corpus(tmp_path, TRAIN))
    assert str(caught.value) == (
        f"made: the files of its test split are not below {tmp_path} (looked for made/test.txt*); "
        "get it at https://example.org/made; terms: none"
    )


def test_splits_and_entries_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made: has no split 'dev' "):
        catalogue.load(entry(), "dev", data_root=tmp_path)
    with pytest.raises(ConfigError, match="no split is called 'tran'; did you mean 'train'"):
        catalogue.load(entry(), "tran", data_root=tmp_path)
    with pytest.raises(ConfigError, match="made: nobody here has seen its files yet"):
        unseen = entry(format=None, layouts=[], verified=False)
        catalogue.load(unseen, "train", data_root=tmp_path)


def test_training_wants_consent_for_all_that_is_not_clearly_allowed() -> None:
    free, asked = entry(), entry(name="asked", may_train="unknown", terms="ask the owner")
    catalogue.check_terms([free], [])
    catalogue.check_terms([free, asked], ["asked"])
    with pytest.raises(ConfigError) as caught:
        catalogue.check_terms([free, asked], [])
    assert "asked: whether it may train a model: not known (ask the owner)" in str(caught.value)
    assert "--accept-terms asked" in str(caught.value)
    with pytest.raises(ConfigError, match="--accept-terms askt: is none of the datasets"):
        catalogue.check_terms([asked], ["askt"])


@pytest.mark.parametrize(
    ("name", "file", "archive", "member"),
    [
        (
            "bc5cdr",
            "bc5cdr/CDR_DevelopmentSet.PubTator.txt.gz",
            "CDR_Data.zip",
            "CDR_Data/CDR.Corpus.v010516/CDR_DevelopmentSet.PubTator.txt",
        ),
        (
            "ncbi_disease",
            "ncbi-disease/NCBIdevelopset_corpus.txt.gz",
            "NCBIdevelopset_corpus.zip",
            "NCBIdevelopset_corpus.txt",
        ),
    ],
)
def test_the_archives_of_the_owners_are_read_as_they_come(
    shared_data: Path, tmp_path: Path, name: str, file: str, archive: str, member: str
) -> None:
    with zipfile.ZipFile(tmp_path / archive, "w") as written:
        written.writestr(member, gzip.decompress((shared_data / file).read_bytes()))
    found, expected = (
        [(one.document_id, one.text, one.gold) for one in catalogue.load(name, "dev", data_root=at)]
        for at in (str(tmp_path), str(shared_data))
    )
    assert found == expected and found
