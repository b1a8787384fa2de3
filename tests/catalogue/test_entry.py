"""Entries are read strictly, and what is wrong with one is a line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from taiyi_ray import catalogue
from taiyi_ray.catalogue.entry import read_entries
from taiyi_ray.errors import ConfigError
from taiyi_ray.tasks.vocabulary import Term
from tests.catalogue.made import VALUES, entry, layout


def written(folder: Path, **changed: Any) -> Path:
    values = {k: v for k, v in {**VALUES, **changed}.items() if v != "missing"}
    (folder / "made.yaml").write_text(yaml.safe_dump(values, allow_unicode=True))
    return folder


def test_an_entry_is_read_with_its_terms(tmp_path: Path) -> None:
    (made,) = read_entries(written(tmp_path)).values()
    assert made == entry()
    assert made.types["Drug"] == Term("chemical", "chemical", "药物")
    assert made.splits == ("train", "test")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"licence": "missing"}, "made.yaml: licence is missing"),
        ({"terms": "missing"}, "made.yaml: terms is missing"),
        ({"licnce": "MIT"}, "made.yaml: unknown setting 'licnce'; did you mean 'licence'?"),
        ({"may_train": "perhaps"}, "made.yaml: may_train: Input should be 'yes', 'no'"),
        ({"types": {"Drug": "chemicl"}}, "made.yaml: types: Drug: no term is called 'chemicl'"),
        ({"relations": {"Helps": 3}}, "made.yaml: relations: Helps: expected the name of a term"),
        ({"events": {"Grow": ["Them"]}}, "no role is called 'Them'; did you mean 'Theme'?"),
        ({"group": "taiyi"}, "a dataset of the group taiyi has a `row`"),
        ({"format": None}, "the entry or each of its layouts has a format"),
        ({"layouts": []}, "a verified entry has layouts"),
        ({"name": "other"}, "made.yaml: the entry 'other' belongs in other.yaml"),
        ({"layouts": layout(train=[])}, "made.yaml: layouts.0.splits.train.files"),
        ({"layouts": layout(held=["a"])}, "made.yaml: layouts.0.splits.held"),
        ({"format": "pubtatr"}, "made.yaml: unknown format 'pubtatr'; did you mean 'pubtator'?"),
        (
            {"format": "delimited", "format_options": {"delimiter": 3}},
            "made.yaml: format delimited: fields is missing; delimiter: Input should be a valid",
        ),
        ({"format_options": {"a": 1}}, "made.yaml: format pubtator: takes no options, got a"),
        ({"tasks": ["nre"]}, "made.yaml: tasks: no task is called 'nre'; did you mean 're'?"),
        ({"labels": {"tcc": {}}}, "made.yaml: labels: no task is called 'tcc'; did you mean 'tc'?"),
        ({"task_options": {"x": {}}}, "made.yaml: task_options: no task is called 'x'; known: ner"),
        ({"listed": {"trian": 5}}, "made.yaml: listed.trian.[key]: Input should be 'train', 'dev'"),
        ({"pmids": "(["}, "made.yaml: pmids: is no regular expression (unterminated character set"),
        ({"pmids": "PMID.*"}, "made.yaml: pmids: expected a regular expression with one group"),
    ],
)
def test_what_is_wrong_with_an_entry_is_a_line_that_names_it(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_entries(written(tmp_path, **changed))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: made\nname: made\n", "made.yaml: not YAML: the key 'name' stands twice"),
        ("types: {a: gene, a: disease}\n", "the key 'a' stands twice"),
        ("name: [made\n", "made.yaml: not YAML"),
        ("- made\n", "made.yaml: expected the fields of an entry"),
    ],
)
def test_a_file_that_is_no_entry_is_a_line_that_names_it(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "made.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"made\.yaml") as caught:
        read_entries(tmp_path)
    assert message in str(caught.value)


def test_two_entries_of_one_row_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        values = {**VALUES, "name": name, "group": "taiyi", "row": "en-1"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"b\.yaml: the row en-1 is that of 'a' already"):
        read_entries(tmp_path)


def test_yes_and_no_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "made.yaml").write_text(
        yaml.safe_dump({**VALUES, "may_train": "no"}).replace("'no'", "no")
    )
    assert read_entries(tmp_path)["made"].may_train == "no"


def test_the_options_of_a_task_ask_for_every_term_once() -> None:
    made = entry(
        types={"Gene": "gene", "Family": "gene", "Domain": None},
        events={"Expression": {"name": "expression", "roles": ["Theme"], "trigger": None}},
        labels={"tc": {"A": {"en": "first", "zh": "甲"}, "B": None}, "qa": None},
        task_options={"qa": {"form": "choice"}, "tc": {"wording": 2}},
    )
    assert [term.name for term in made.options_of("ner")["types"]] == ["gene"]
    (event,) = made.options_of("ee")["types"]
    assert (event.name, [role.zh for role in event.roles], event.trigger) == (
        "expression", ["对象"], None,
    )  # fmt: skip
    assert made.options_of("tc") == {"wording": 2, "labels": (Term("A", "first", "甲"),)}
    assert made.options_of("qa") == {"form": "choice"}
    assert made.options_of("title") == {}


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no dataset is called 'bc5cdx'; did you mean 'bc5cdr'"):
        catalogue.entry("bc5cdx")
    with pytest.raises(ConfigError, match=r"^--x y: no dataset or task .* 'y'; `taiyi-ray"):
        catalogue.entry("y", "--x y", kind="dataset or task", words=["ner"])
