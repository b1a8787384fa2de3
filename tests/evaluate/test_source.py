"""A benchmark as a source: its records by position, its limit, and what changes it."""

from __future__ import annotations

import shutil

import pytest

from taiyi_ray.corpus.plan import Plan, extend
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.source import BenchmarkSource, planned, register
from tests.catalogue.made import corpus
from tests.evaluate.made import corpora, source


@pytest.fixture
def root(tmp_path):
    return corpora(tmp_path / "corpora")


def limited(of: BenchmarkSource, limit: int | None) -> BenchmarkSource:
    return BenchmarkSource(of.benchmark, of.split, of.data_root, of.assignments, limit)


def parts(*limits: int | None, of: BenchmarkSource) -> list[list[tuple[int, int]]]:
    """The units that runs with these limits add, one after another."""
    plan, added = Plan([]), []
    for limit in limits:
        scan = lambda asked: (one.record_sizes(first, most) for one, first, most in asked)  # noqa: E731
        part = extend(plan, [limited(of, limit)], None, 1, scan, {})
        plan = Plan([*plan.parts, part]) if part.sources else plan
        added.append([unit for one in part.sources for unit in one.units])
    return added


def test_documents_have_their_position_and_the_name_of_the_source(root):
    of = source(root, "bc5cdr-cid")
    with of.documents("pubtator", 2, 4, {}) as read:
        found = [(one.source, one.position, one.document_id) for one in read]
    assert found == [("bc5cdr-cid/test", n, f"{100 + n}") for n in (2, 3, 4)]
    assert of.address == "benchmark://bc5cdr-cid/test"


def test_a_limit_cuts_the_plan_and_a_later_run_plans_the_rest_once(root):
    of = source(root, "bc5cdr-chemical")
    first, same, smaller, rest, again = parts(2, 2, 1, None, None, of=of)
    assert (first, same, smaller) == ([(0, 0), (1, 1)], [], [])
    assert rest == [(n, n) for n in (2, 3, 4, 5)]
    assert again == []


def test_files_may_lie_elsewhere_as_long_as_they_are_the_same(root, tmp_path):
    of = source(root, "bc5cdr-chemical")
    state = of.state()
    moved = shutil.move(root, tmp_path / "elsewhere")
    source(moved, "bc5cdr-chemical").check_unchanged(state)
    (tmp_path / "elsewhere/CDR_TestSet.PubTator.txt").write_text("1|t|Other.\n1|a|\n\n")
    with pytest.raises(ConfigError, match=r"^benchmark://bc5cdr-chemical/test: the files of"):
        source(moved, "bc5cdr-chemical").check_unchanged(state)


def test_a_file_that_changes_comes_or_goes_beside_the_others_is_a_change(tmp_path):
    first = {
        "full_dev/SeeDev-full-1.a1": "T1\tGene 0 4\tABI3\n",
        "full_dev/SeeDev-full-1.a2": "",
        "full_dev/SeeDev-full-1.txt": "ABI3 acts in seeds.",
    }
    root = corpus(tmp_path / "one", first)
    planned_then = source(root, "seedev").state()
    assert [one.path for one in planned_then.beside or ()] == [
        "full_dev/SeeDev-full-1.a2", "full_dev/SeeDev-full-1.txt"
    ]  # fmt: skip
    elsewhere = corpus(tmp_path / "two", {f"deeper/{name}": text for name, text in first.items()})
    source(elsewhere, "seedev").check_unchanged(planned_then)

    annotations = root / "full_dev/SeeDev-full-1.a2"
    annotations.write_text("E1\tExists_At_Stage Functional_Molecule:T1\n")
    with pytest.raises(ConfigError, match=r"^benchmark://seedev/dev: the files of seedev_full"):
        source(root, "seedev").check_unchanged(planned_then)
    older = planned_then.model_copy(update={"beside": None})  # of a program that knew none of them
    source(root, "seedev").check_unchanged(older)
    annotations.unlink()
    with pytest.raises(ConfigError, match="changed since they were planned"):
        source(root, "seedev").check_unchanged(planned_then)


def test_a_planned_benchmark_is_looked_up_again_below_the_data_root(root):
    from taiyi_ray.corpus.sources import SOURCE_KINDS

    register(str(root))
    of = source(root, "kuake-qic")
    part = extend(
        Plan([]), [of], None, 1, lambda asked: (one.record_sizes(*args) for one, *args in asked), {}
    )
    found = SOURCE_KINDS["benchmark"](part.sources[0])
    assert (found.name, found.address) == (of.name, of.address)
    assert part.sources[0].format == "cblue"


def test_an_output_of_something_else_is_refused_and_a_new_one_has_planned_nothing(tmp_path):
    from tests.job.made import Made
    from tests.job.test_asks import plan_of

    assert planned(str(tmp_path / "new")) == ([], False)
    plan_of(tmp_path, Made("aspirin", 4))
    with pytest.raises(ConfigError, match="holds rows of made://aspirin/4; choose another folder"):
        planned(str(tmp_path / "out"))
