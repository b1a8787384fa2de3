"""Every row of the catalogue: what all must hold, and what real files hold."""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from taiyi_ray import catalogue
from taiyi_ray.catalogue.entry import Archived
from taiyi_ray.tasks import assign

EVERY = catalogue.entries()
LAID = [one for one in EVERY if one.layouts]

MOST = 1000
"""The most documents of a dataset that the fast test reads."""


def test_the_140_datasets_of_taiyi_have_a_row_each() -> None:
    rows = [one.row for one in EVERY if one.group == "taiyi"]
    assert rows == [f"en-{n}" for n in range(1, 103)] + [f"zh-{n}" for n in range(1, 39)]
    assert catalogue.entry("KUAKE-IR").row == "zh-36"
    assert Counter(one.group for one in EVERY)["mix"] == 6


def test_names_differ_even_without_case() -> None:
    assert len({one.name.casefold() for one in EVERY}) == len(EVERY)


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_an_entry_says_what_it_is(one: catalogue.Entry) -> None:
    assert one.description.endswith((".", "?", ")"))
    assert not one.verified or one.layouts
    assert one.verified or one.may_train == "unknown"


@pytest.mark.parametrize("one", LAID, ids=lambda one: one.name)
def test_an_entry_that_is_read_asks_its_tasks(one: catalogue.Entry) -> None:
    for task in one.tasks:
        # The user gives the terminology, which is no part of a dataset.
        given = {"terms": {"D1": ["aspirin"]}} if task == "nen" else {}
        assign([task], {task: one.options_of(task) | given}, training=True)
    roles = {term.name for term in one.roles.values() if term}
    for event in one.events.values():
        assert event is None or {role.name for role in event.roles} <= roles


@pytest.mark.parametrize("one", LAID, ids=lambda one: one.name)
def test_labels_of_an_entry_differ_in_both_languages(one: catalogue.Entry) -> None:
    for task in one.tasks:
        options = one.options_of(task)
        for terms in (options.get(key, ()) for key in ("types", "relations", "labels")):
            for language in ("en", "zh"):
                labels = Counter(term.label(language) for term in terms)
                assert not +(labels - Counter(set(labels))), labels.most_common(2)


def _records(one: catalogue.Entry) -> int:
    every = [files.counts for layout in one.layouts for files in layout.splits.values()]
    return sum(counts.documents for counts in every if counts)


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(one, id=one.name, marks=[pytest.mark.slow] if _records(one) > MOST else [])
        for one in LAID
    ],
)
def test_real_files_hold_what_their_entry_expects(
    one: catalogue.Entry, shared_root: catalogue.DataRoot
) -> None:
    if not shared_root.splits(one):
        pytest.skip(f"{one.name} is not here")
    for checked in catalogue.check(one, shared_root):
        assert checked.expected is not None
        assert checked.faults == []


_TWICE = {"ddi_corpus": 4, "chemprot_sentences": 2, "bc2gm": 2, "cEHRNER": 1, "cMedQANER": 2}
"""Texts that stand twice in a training split with gold that differs: their owners annotated two
documents with the same words unlike each other; of ChemProt, the notes of its entry say why."""


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(one, id=one.name, marks=[pytest.mark.slow] if _records(one) > MOST else [])
        for one in LAID
        if not {"ner", "re"}.isdisjoint(one.tasks)
    ],
)
def test_gold_of_one_text_is_not_spread_over_documents(
    one: catalogue.Entry, shared_root: catalogue.DataRoot
) -> None:
    """A document whose gold is a part of what is true would teach that the rest is not there."""
    if "train" not in shared_root.splits(one):
        pytest.skip(f"the training split of {one.name} is not here")
    gold: dict[str, set[str]] = {}
    for document in catalogue.load(one, "train", data_root=shared_root):
        told = sorted((m.start or 0, m.type or "", m.text) for m in document.gold.mentions)
        links = sorted((r.type, r.head_text, r.tail_text) for r in document.gold.relations)
        gold.setdefault(document.text, set()).add(repr((told, links)))
    assert sum(len(found) > 1 for found in gold.values()) == _TWICE.get(one.name, 0)


@pytest.mark.parametrize("one", LAID, ids=lambda one: one.name)
def test_no_entry_allows_training_where_the_notes_on_its_files_do_not(
    one: catalogue.Entry, shared_root: catalogue.DataRoot, shared_data: Path
) -> None:
    folders = {
        name.partition("/")[0]
        for split, layout in shared_root.layouts(one).items()
        for wanted in layout.splits[split].files
        for name in shared_root.matching(wanted.archive if isinstance(wanted, Archived) else wanted)
    }
    for folder in folders:
        notes = (shared_data / folder / "NOTES.md").read_text(encoding="utf-8")
        told = re.search(r"^may train: (yes|no|unknown)", notes, re.MULTILINE)
        assert told, folder
        assert told[1] == "yes" or one.may_train != "yes"


@pytest.fixture(scope="module")
def shared_root(shared_data: Path) -> catalogue.DataRoot:
    return catalogue.DataRoot(shared_data)


_CBLUE = (
    "CMeEE",
    "CMeIE",
    "CHIP-CDN",
    "CHIP-CTC",
    "CHIP-STS",
    "KUAKE-QIC",
    "KUAKE-QQR",
    "KUAKE-QTR",
)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        *((n, [f"CBLUE/{n}/{n}_{split}.json" for split in ("train", "dev")]) for n in _CBLUE),
        ("CMeEE-V2", ["CMeEE-V2/CMeEE-V2_train.json", "CMeEE-V2/CMeEE-V2_dev.json"]),
        ("CMeIE-V2", ["CMeIE-V2/CMeIE-V2_train.jsonl", "CMeIE-V2/CMeIE-V2_dev.jsonl"]),
        (
            "med_qa",
            [
                f"data_clean/questions/US/4_options/phrases_no_exclude_{split}.jsonl"
                for split in ("train", "dev", "test")
            ],
        ),
        ("MedMCQA", ["medmcqa/data/train.json", "medmcqa/data/dev.json"]),
    ],
)  # fmt: skip
def test_the_files_of_an_owners_archive_are_found_by_their_names(
    name: str, files: list[str], tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    root = catalogue.DataRoot(tmp_path)
    one = catalogue.entry(name)
    read = {
        split: list(root.matching(pattern))
        for split, layout in root.layouts(one).items()
        for pattern in layout.splits[split].files
        if isinstance(pattern, str)
    }
    assert sorted(read.values()) == [[file] for file in sorted(files)]
    assert read.keys() <= {"train", "dev", "test"} and "train" in read


def test_parallel_sentences_are_read_from_their_archive(tmp_path: Path) -> None:
    folder = "./processed_data/open_access/open_access"
    packed = tmp_path / "nejm-open-access.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for ending, text in (
            ("zh", "患者好转 。\n无 。\n"),
            ("en", "The patient improved .\nNone .\n"),
        ):
            member = tarfile.TarInfo(f"{folder}/nejm.train.{ending}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    first, second = catalogue.load("paramed", "train", data_root=tmp_path)
    assert first.text == "患者好转 。"
    assert [(text.task, text.text) for text in first.gold.texts] == [
        ("mt:en", "The patient improved .")
    ]
    assert second.gold.texts[0].text == "None ."
