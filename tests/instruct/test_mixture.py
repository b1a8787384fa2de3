"""The mixture: the paper's rates, rules where it has none, and what a user sets."""

from __future__ import annotations

from typing import Any

import pytest

from taiyi_ray import catalogue
from taiyi_ray.config import InstructConfig
from taiyi_ray.instruct.mixture import mix_of, published, rate_of, shares
from taiyi_ray.instruct.plan import Build, Part, asking_form
from taiyi_ray.tasks import TASKS, template
from taiyi_ray.tasks.template import SHORT_FORM, AskingForm


def config(**settings: Any) -> InstructConfig:
    return InstructConfig(data_root="corpora", output="out", **settings)


@pytest.mark.parametrize(
    ("dataset", "task", "documents", "rate"),
    [
        ("bc5cdr", "ner", 500, 1.3),  # 650 records of 500 abstracts
        ("bc5cdr", "re", 500, 1.0),
        ("bc5cdr", "ner", 250, 1.3),  # half of the dataset is there
        ("anat_em", "ner", 5800, 0.2),  # 1,160 records, here of sentences
        ("biored", "ner", 400, 1.3),  # not in the paper's mix: the rule for several types
        ("biored", "re", 400, 1.6),
        ("jnlpba", "ner", 2000, 1.3),
        ("bc2gm", "ner", 2000, 1.0),  # one type
    ],
)
def test_the_rate_is_the_papers_or_that_of_its_rule(
    dataset: str, task: str, documents: int, rate: float
) -> None:
    assert rate_of(catalogue.entry(dataset), task, documents, config()) == pytest.approx(rate)


def test_the_papers_shares_are_told_by_the_stage_that_first_trains_them() -> None:
    medqa = catalogue.entry("med_qa")
    assert (shares(medqa, 1), shares(medqa, 2)) == ({}, shares(medqa))
    bc5cdr = catalogue.entry("bc5cdr")
    assert (shares(bc5cdr, 1), shares(bc5cdr, 2)) == (shares(bc5cdr), {})
    assert shares(medqa) and shares(bc5cdr)


def test_a_rate_may_be_set_for_a_dataset_a_task_or_both() -> None:
    entry = catalogue.entry("bc5cdr")
    rates = {"bc5cdr/ner": 3.0, "bc5cdr": 2.0, "ner": 1.5}
    assert rate_of(entry, "ner", 500, config(rates=rates)) == 3.0
    assert rate_of(entry, "re", 500, config(rates=rates)) == 2.0
    assert rate_of(catalogue.entry("biored"), "ner", 400, config(rates=rates)) == 1.5


@pytest.mark.parametrize(
    ("dataset", "task", "documents", "records"),
    [
        ("CMeEE-V2", "ner", 15_000, 19_491),
        ("med_qa", "qa", 10_178, 11_195),
        ("cMedQQ", "similarity", 16_000, 10_000),  # not in the paper's mix
    ],
)
def test_a_dataset_gives_the_papers_number_of_records_or_ten_thousand_at_most(
    dataset: str, task: str, documents: int, records: int
) -> None:
    entry = catalogue.entry(dataset)
    for most, number in ((None, records), (500, 500)):
        mix = mix_of(entry, task, documents, documents, config(most=most))
        assert documents * mix.rate == pytest.approx(number)


def test_a_task_uses_so_many_documents_of_a_dataset_at_most() -> None:
    mix = mix_of(catalogue.entry("biored"), "ner", 400, 400, config(most=100))
    assert mix.rate == 0.25
    both = mix_of(catalogue.entry("biored"), "ner", 400, 500, config(most=100))
    assert both.rate == 0.2  # 100 of the 500 that both of its splits have


def test_wordings_are_all_or_the_short_one() -> None:
    entry = catalogue.entry("bc5cdr")
    every = mix_of(entry, "ner", 500, 500, config()).wordings
    assert every == tuple(range(1, TASKS["ner"].wordings + 1))
    short = mix_of(entry, "ner", 500, 500, config(wordings="short"))
    assert short.wordings == (template.SHORT,)
    assert short.headed and not mix_of(entry, "ner", 500, 500, config()).headed


def test_instructions_in_one_form_name_it_and_others_do_not() -> None:
    def form(**settings: Any) -> AskingForm | None:
        entry = catalogue.entry("bc5cdr")
        mixes = {task: mix_of(entry, task, 500, 500, config(**settings)) for task in ("ner", "re")}
        mixes["chat"] = mixes["ner"].model_copy(update={"wordings": (1,), "headed": False})
        part = Part(name="stage1/bc5cdr/train", dataset="bc5cdr", split="train",
                    holds="all", dev_share=0, mixes=mixes, options={}, units=[])  # fmt: skip
        return asking_form(Build(identity={}, inputs={}, unchecked=[], held_out="h",
                                 trained="t", parts=[part]))  # fmt: skip

    assert form(wordings="short") == SHORT_FORM
    first = SHORT_FORM.model_copy(update={"document_first": True})
    assert form(wordings="short", document_first=1) == first
    assert form() is None


def test_the_published_counts_are_found_by_task() -> None:
    assert published(catalogue.entry("bc5cdr"), "re") == 500
    assert published(catalogue.entry("biored"), "ner") is None


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("bc5cdr", {"ner": 650, "re": 500}),
        ("BenTsao_livercacer", {"dialogue": 911}),  # the mix calls it questions
        ("CHIP-CDEE", {"ee": 2992}),  # ADD
        ("biosses", {"similarity": 70}),  # its scores are the gold of no task
    ],
)
def test_every_share_of_the_papers_mix_is_counted(dataset: str, expected: dict[str, int]) -> None:
    assert shares(catalogue.entry(dataset)) == expected


def test_the_shares_sum_up_to_what_the_paper_itemises() -> None:
    every = sum(shares(entry).total() for entry in catalogue.entries())
    assert every == sum(share.records for entry in catalogue.entries() for share in entry.mix)
    assert "" not in {task for entry in catalogue.entries() for task in shares(entry)}
