"""The plan: which datasets train, and what nothing trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from taiyi_ray import catalogue, cli
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.config import InstructConfig
from taiyi_ray.errors import ConfigError
from taiyi_ray.instruct.plan import choose, compared, held_out_splits, identity
from tests.instruct.corpora import bc5cdr, ncbi_disease, numbered


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    bc5cdr(tmp_path, train=numbered(0, 3), dev=numbered(3, 2), test=numbered(5, 2))
    ncbi_disease(tmp_path, train=numbered(10, 2))
    return DataRoot(tmp_path)


def config(root: DataRoot | None = None, **settings: Any) -> InstructConfig:
    address = root.address if root else "corpora"
    return InstructConfig(data_root=address, output="out", **settings)


def test_what_benchmarks_measure_with_is_held_out_unless_the_user_says_otherwise() -> None:
    every = held_out_splits(config())
    assert every["bc5cdr"] == ("test",)
    assert every["biored"] == ("dev", "test")
    assert every.keys() == {entry.name for entry in catalogue.entries() if entry.held_out}
    assert held_out_splits(config(held_out=["bc5cdr/test", "gad"])) == {
        "bc5cdr": ("test",),
        "gad": ("train", "dev", "test"),
    }
    more = held_out_splits(config(held_out=["benchmarks", "biored"]))
    assert more["biored"] == ("dev", "test", "train")
    assert more.keys() == every.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "no dataset is called 'nonsense'; `taiyi-ray datasets` lists them"),
        ("bc5cdx", "no dataset is called 'bc5cdx'; did you mean 'bc5cdr'?"),
        ("benchmark", "no dataset is called 'benchmark'; did you mean 'benchmarks'?"),
        ("bc5cdr/tst", "no split of bc5cdr is called 'tst'; did you mean 'test'?"),
        ("pubmed_qa/dev", "no split of pubmed_qa is called 'dev'; known: train, test"),
    ],
)
def test_held_out_names_datasets_and_splits_that_there_are(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        held_out_splits(config(held_out=[name]))
    assert str(caught.value) == f"--held-out {name}: {message}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"datasets": ["bc5cdx"]},
            "--datasets bc5cdx: no dataset is called 'bc5cdx'; did you mean 'bc5cdr'?",
        ),
        ({"tasks": ["ner", "nre"]}, "--tasks nre: no task is called 'nre'; did you mean 're'?"),
        (
            {"tasks": ["qa"], "datasets": ["bc5cdr"]},
            "--tasks qa: bc5cdr has gold for ner, nen, re alone; take it out of --datasets, or "
            "name other tasks",
        ),
        (
            {"tasks": ["qa"]},
            "has no dataset of --tasks qa to train on; `taiyi-ray datasets` lists what there is",
        ),
        (
            {"rates": {"bc5cdx": 1}},
            "--rate bc5cdx: no dataset or task is called 'bc5cdx'; did you mean 'bc5cdr'?",
        ),
        (
            {"rates": {"nre": 1}},
            "--rate nre: no dataset or task is called 'nre'; did you mean 're'?",
        ),
        (
            {"rates": {"bc5cdr/tc": 1}},
            "--rate bc5cdr/tc: no task of bc5cdr is called 'tc'; known: ner, nen, re",
        ),
        (
            {"rates": {"bc5cdx/ner": 1}},
            "--rate bc5cdx/ner: no dataset is called 'bc5cdx'; did you mean 'bc5cdr'?",
        ),
        (
            {"accept_terms": ["bc5cdx"]},
            "--accept-terms bc5cdx: no dataset is called 'bc5cdx'; did you mean 'bc5cdr'?",
        ),
        (
            {"accept_terms": ["cEHRNER"]},
            "--accept-terms cEHRNER: is none of the datasets that are chosen; take it away",
        ),
        (
            {"datasets": ["biosses"]},
            "--datasets biosses: has no training split (only test); take it out of --datasets",
        ),
    ],
)
def test_a_name_of_nothing_is_an_error_that_names_the_option(
    root: DataRoot, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(config(root, **settings), root, {}, {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nre": {}}, "--task-file t.yaml: no task is called 'nre'; did you mean 're'?"),
        ({"ner": {"typs": ["x"]}}, "--task-file, for ncbi_disease: ner: unknown setting 'typs'"),
        ({"nen": {"terms": "no.tsv"}}, "--task-file, for ncbi_disease: nen: terms: no.tsv"),
    ],
)
def test_a_wrong_option_in_the_task_file_ends_the_build_and_leaves_nothing_out(
    root: DataRoot, options: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(config(root, task_file="t.yaml"), root, options, {})
    assert str(caught.value).startswith(message)


def test_where_nothing_is_left_to_train_on_the_error_says_what_was_left_out(
    root: DataRoot,
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(config(root, tasks=["nen"]), root, {}, {})
    assert "; left out for ncbi_disease, bc5cdr: nen: terms is missing" in str(caught.value)


def test_several_datasets_whose_terms_are_accepted_may_stand_in_one_option(
    root: DataRoot,
) -> None:
    where = ["--data-root", root.address, "--output", "out"]
    terms = ["--accept-terms", "bc5cdr, cEHRNER", "--accept-terms", "bc5cdx,bc2gm"]
    ended = CliRunner().invoke(cli.app, ["build-instructions", *where, *terms])
    assert str(ended.exception).startswith("--accept-terms bc5cdx: no dataset is called")


def test_rates_are_numbers_of_at_least_0() -> None:
    for rate in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"rates\.ner"):
            config(rates={"ner": rate})


def test_a_dataset_that_is_held_out_does_not_train(root: DataRoot) -> None:
    chosen, notes = choose(config(root), root, {}, {"bc5cdr": ("train", "test")})
    assert [one.entry.name for one in chosen] == ["ncbi_disease"]
    assert "bc5cdr is left out: it is held out of training" in notes
    with pytest.raises(ConfigError, match="--datasets bc5cdr: is held out of training"):
        choose(config(root, datasets=["bc5cdr"]), root, {}, {"bc5cdr": ("train",)})


def test_a_split_that_is_held_out_is_not_read_for_the_loss_either(root: DataRoot) -> None:
    named = config(root, datasets=["bc5cdr"])
    ((_, _, splits),) = choose(named, root, {}, {})[0]
    assert splits == {"train": 500, "dev": 500}
    ((_, _, splits),) = choose(named, root, {}, {"bc5cdr": ("dev",)})[0]
    assert splits == {"train": 500}


def test_what_is_compared_with_is_what_is_there(root: DataRoot) -> None:
    here, absent = compared({"bc5cdr": ("test",), "ncbi_disease": ("dev", "test")}, root)
    assert [(entry.name, split) for entry, split in here] == [("bc5cdr", "test")]
    assert absent == ["ncbi_disease/dev", "ncbi_disease/test"]


def test_the_identity_says_how_tasks_ask_and_formats_are_read(root: DataRoot) -> None:
    chosen, _ = choose(config(root), root, {}, {})
    short, every = (
        identity(config(root, wordings=wordings), chosen, {}, []) for wordings in ("short", "all")
    )
    assert short["formats"].keys() == {"pubtator"}
    assert short["tasks"].keys() == {"ner", "re"}
    assert short["tasks"] != every["tasks"]
    assert "data_root" not in short["settings"] and "held_out" not in short["settings"]


def test_a_task_that_lacks_an_option_is_left_out_with_one_note_for_all_datasets(
    root: DataRoot,
) -> None:
    chosen, notes = choose(config(root), root, {}, {})
    assert [one.tasks for one in chosen] == [("ner",), ("ner", "re")]
    (note,) = [note for note in notes if "nen" in note]
    assert note.startswith("left out for ncbi_disease, bc5cdr: nen: terms is missing")
    given, _ = choose(config(root), root, {"nen": {"terms": {"D1": ["aspirin"]}}}, {})
    assert [one.tasks for one in given] == [("ner", "nen"), ("ner", "nen", "re")]
