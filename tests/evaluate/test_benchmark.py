"""The list of benchmarks: what it names exists, and published numbers are those of the paper."""

from __future__ import annotations

import pytest

from taiyi_ray.catalogue import SPLITS, DataRoot
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate import scoring
from taiyi_ray.evaluate.benchmark import Published, benchmarks, chosen
from taiyi_ray.metrics import METRICS
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.template import AskingForm
from tests.evaluate.made import corpora, source

THIRTEEN = (
    "bc5cdr-chemical", "bc5cdr-disease", "chemdner", "ncbi-disease", "cmeee", "bc5cdr-cid", "cmeie",
    "litcovid", "hoc", "kuake-qic", "pubmedqa", "medqa-usmle", "medqa-mcmle",
)  # fmt: skip


def test_the_thirteen_of_the_paper_come_first_and_have_its_averages():
    first = list(benchmarks().values())[:13]
    assert tuple(benchmark.name for benchmark in first) == THIRTEEN
    for system, average in {
        "Taiyi 1": 65.11, "Taiyi 2": 74.53, "GPT-3.5": 49.27, "DeepSeek-14B": 40.29, "SOTA": 75.27
    }.items():  # fmt: skip
        published = [one.published.values for one in first if one.published]
        values = [of.get(system) or [*of.values()][-1] for of in published]
        assert sum(values) / 13 == pytest.approx(average, abs=0.005)


@pytest.mark.parametrize("benchmark", benchmarks().values(), ids=lambda benchmark: benchmark.name)
def test_what_a_benchmark_measures_with_is_held_out_of_training(benchmark):
    assert benchmark.split in benchmark.entry.held_out


def test_the_thirteen_whose_documents_are_of_pubmed_are_known_by_pmid():
    of_pubmed = {name for name in THIRTEEN if benchmarks()[name].entry.pmids}
    assert set(THIRTEEN) - of_pubmed == {
        "cmeee", "cmeie", "kuake-qic", "medqa-usmle", "medqa-mcmle"
    }  # fmt: skip


@pytest.mark.parametrize("benchmark", benchmarks().values(), ids=lambda benchmark: benchmark.name)
def test_what_a_benchmark_names_is_known(benchmark):
    assert benchmark.task in TASKS
    assert benchmark.task in benchmark.entry.tasks
    assert set(benchmark.metrics) <= METRICS.keys()
    if benchmark.published:
        assert benchmark.published.metric in benchmark.metrics
    assert not [split for split in benchmark.terminology if benchmark.measures(split)]
    if benchmark.entry.layouts and not benchmark.terminology:
        (asked,) = asked_of(benchmark.name)
        assert asked.task.name == benchmark.task


def asked_of(name, more=(), *, grammar=True, root="."):
    return benchmarks()[name].assignments(dict(more), grammar=grammar, data_root=DataRoot(root))


def test_the_options_of_a_run_reach_the_tasks_that_have_them():
    (asked,) = asked_of("cmeee", {"ask": "together", "wording": 2}, grammar=False)
    assert (asked.options.ask, asked.options.wording, asked.grammar) == ("together", 2, False)
    (asked,) = asked_of("kuake-qic", {"ask": "together"})
    assert asked.options.labels


def test_a_benchmark_asks_for_the_types_that_it_names_only():
    (asked,) = asked_of("bc5cdr-disease")
    assert [term.name for term in asked.options.types] == ["disease"]


def test_a_terminology_has_the_gold_names_of_other_splits(tmp_path):
    root = corpora(tmp_path)
    relations, concepts = asked_of("bc5cdr-cid-linked", {"wording": 2}, root=root)
    assert (relations.task.name, concepts.task.name) == ("re", "nen")
    assert (relations.options.wording, concepts.options.wording) == (2, 2)
    assert concepts.options.mentions == "names"
    assert {one.id: one.names for one in concepts.options.terms.entries} == {
        "D009270": ("Naloxone",),
        "D007022": ("hypotension",),
        "D003000": ("Clonidine",),
        "D000077227": ("sedation",),
    }
    (given,) = asked_of("bc5cdr-concepts", root=root)
    assert (given.task.name, given.options.mentions) == ("nen", "given")


def test_names_are_chosen_once_and_an_unknown_one_is_an_error_with_the_nearest():
    assert [one.name for one in chosen(["hoc", "cmeee", "hoc"])] == ["hoc", "cmeee"]
    assert chosen(None) == chosen(["all"]) == list(benchmarks().values())
    with pytest.raises(ConfigError, match=r"--benchmarks bc5cdr-chem: .*bc5cdr-chemical"):
        chosen(["bc5cdr-chem"])


def test_ten_of_the_thirteen_are_in_the_folder_of_real_corpora(shared_data):
    root = DataRoot(shared_data)
    absent = {name for name in THIRTEEN if not root.splits(benchmarks()[name].entry)}
    assert absent == {"chemdner", "litcovid", "medqa-mcmle"}


def test_published_numbers_say_which_set_they_are_of():
    values = {"metric": "string_f1", "documents": [6], "values": {"Taiyi": 1.0}, "source": "x"}
    assert Published(**values, digest="ab").by_count is None
    for more in ({}, {"digest": "ab", "by_count": "there is one"}):
        with pytest.raises(ValueError, match="says by `digest`, `by_count` or `not_comparable`"):
            Published(**values, **more)


@pytest.mark.parametrize(
    "name", [name for name in THIRTEEN if benchmarks()[name].published.digest is not None]
)
def test_the_real_test_set_is_the_published_one(shared_data, tmp_path, name):
    asked = source(shared_data, name)
    documents = list(asked.read())
    told = [
        scoring.told(one, scoring.asked_of(one.gold, asked.assignments[0])) for one in documents
    ]
    published = benchmarks()[name].published
    assert len(documents) in published.documents
    assert scoring.set_digest(told) == published.digest


def test_nothing_is_chosen_on_a_split_that_models_are_measured_with():
    cmeee, biored = benchmarks()["cmeee"], benchmarks()["biored"]
    assert [cmeee.measures(split) for split in SPLITS] == [False, True, True]
    assert [biored.measures(split) for split in SPLITS] == [False, True, True]
    assert not benchmarks()["bc5cdr-cid"].measures("dev")
    assert benchmarks()["bc5cdr-cid"].choices_from == "evaluate --split dev with --scores first"
    assert "--split train --limit N" in cmeee.choices_from
    assert "CMDD has no other split" in benchmarks()["cmdd"].choices_from


def test_a_benchmark_asks_in_its_language_whatever_the_model_wants() -> None:
    form = AskingForm(tasks={"ner": {"languages": ["en"]}})
    root = DataRoot("nowhere")
    for name in ("cmedqaner", "bc5cdr-disease"):
        asked, *_ = benchmarks()[name].assignments({}, grammar=True, data_root=root)
        assert asked.in_form(form).options.languages == ("en", "zh")
