"""Sources of another kind than files, and what is asked about each source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from taiyi_ray import models
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.plan import Job, Part, Plan
from taiyi_ray.corpus.source import Source
from taiyi_ray.corpus.sources import SOURCE_KINDS, find
from taiyi_ray.engine import ENGINES
from taiyi_ray.errors import ConfigError
from taiyi_ray.job.asks import Asks, known_to
from taiyi_ray.job.job import run_sources
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.planning import planned
from tests.job.jobs import corpus, table, unit_files
from tests.job.made import MADE, Made
from tests.models.tiny import make_adapter, make_model
from tests.samples import asked

OF_RUN = (asked("ner", "gene"),)
DISEASES = (asked("ner", "disease"),)
CHEMICALS = (asked("ner", "chemical"), asked("tc", labels=["Treatment", "Risk"]))


def settings(output: Path, *, limit: int | None = None) -> AnnotateConfig:
    return AnnotateConfig(
        inputs=["made"], output=str(output), engine="fake", context_length=4096, limit=limit
    )


def run(output: Path, *sources: Source, limit: int | None = None) -> None:
    config = settings(output, limit=limit)
    assert run_sources(config, sources, OF_RUN, Console(quiet=True)) == 0


# Ray's own settings warn of themselves when a process that shows warnings imports it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_output_grows_by_sources_of_any_kind_that_are_asked_different_things(
    joined, tmp_path, monkeypatch
):
    monkeypatch.setitem(SOURCE_KINDS, MADE, Made.of)
    output = tmp_path / "out"
    (file,) = find([str(corpus(tmp_path / "docs.jsonl", 3))]).files
    aspirin, insulin = Made("aspirin", 20, DISEASES), Made("insulin", 5, CHEMICALS)
    run(output, aspirin, limit=12)
    first = {path: path.read_bytes() for path in unit_files(output)}
    assert [row["position"] for row in table(output)] == list(range(12))

    run(output, file, aspirin, insulin)
    assert {path: path.read_bytes() for path in first} == first
    rows = table(output)
    assert [(row["source"], row["position"]) for row in rows] == [
        *(("aspirin/20", n) for n in range(20)),
        *((file.name, n) for n in range(3)),
        *(("insulin/5", n) for n in range(5)),
    ]
    job = json.loads((output / "job.json").read_text())
    part = json.loads((output / "plan/1.json").read_text())
    expected = {
        "aspirin/20": (["ner"], ["disease"], job["part"]["identities"]),
        file.name: (["ner"], ["gene"], {job["fingerprint"]: job["identity"]}),
        "insulin/5": (["ner", "tc"], ["chemical"], part["identities"]),
    }
    for row in rows:
        tasks, types, identities = expected[row["source"]]
        assert row["status"] == "ok"
        assert [answer["task"] for answer in row["answers"]] == tasks
        assert row["answers"][0]["types"] == types
        assert [one["name"] for one in identities[row["fingerprint"]]["ner.types"]] == types


def test_the_plan_of_a_file_says_nothing_of_kinds_and_identities(tmp_path):
    (file,) = find([str(corpus(tmp_path / "docs.jsonl", 3))]).files
    written = plan_of(tmp_path, file).parts[0].model_dump()
    assert list(written) == ["sources"]
    assert list(written["sources"][0]) == [
        *("path", "size", "tag", "sha256", "beside"),
        *("name", "format", "format_version", "complete", "units"),
    ]


# --------------------------------------------------------------------------- what a run may not do


def asks_of(tmp_path: Path, *sources: Source) -> Asks:
    config = settings(tmp_path / "out")
    return Asks(config, ENGINES["fake"].probe(config), OF_RUN, sources)


def plan_of(tmp_path: Path, *sources: Source) -> Plan:
    output = JobOutput(str(tmp_path / "out"))
    asks = asks_of(tmp_path, *sources)
    return planned(settings(tmp_path / "out"), output, asks, sources, write=True)


@pytest.mark.parametrize(
    ("before", "now"), [(DISEASES, CHEMICALS), (DISEASES, ()), ((), CHEMICALS)]
)
def test_a_source_that_is_asked_otherwise_than_planned_is_refused(tmp_path, before, now):
    plan_of(tmp_path, Made("aspirin", 4, before), Made("insulin", 4, DISEASES))
    with pytest.raises(ConfigError, match=r"^made://aspirin/4: belongs to .*ner\.types: "):
        plan_of(tmp_path, Made("insulin", 4, DISEASES), Made("aspirin", 4, now))


def test_two_sources_that_are_asked_the_same_share_an_identity_of_the_plan(tmp_path):
    first = plan_of(tmp_path, Made("aspirin", 4, DISEASES), Made("insulin", 4, DISEASES))
    assert len(first.identities) == 1
    plan = plan_of(tmp_path, Made("naloxone", 4, DISEASES), Made("insulin", 4, DISEASES))
    assert (plan.identities, len(plan.sources)) == (first.identities, 3)
    assert plan.parts[1].identities == {}


def test_a_source_of_another_kind_that_changed_is_refused(tmp_path):
    plan_of(tmp_path, Made("aspirin", 4, DISEASES))
    with pytest.raises(ConfigError, match=r"^made://aspirin/4: changed since its units"):
        plan_of(tmp_path, Made("aspirin", 4, DISEASES, version=2))


def test_units_that_are_left_of_a_source_want_to_know_what_to_ask(tmp_path):
    sources: Sequence[Source] = (Made("aspirin", 4, DISEASES), Made("insulin", 4))
    plan = plan_of(tmp_path, *sources)
    units = list(plan.units())
    for given in (sources, sources[:1]):
        asks = asks_of(tmp_path, *given).by_fingerprint(plan, units)
        assert [asks[plan.sources[unit.source].fingerprint].assignments for unit in units] == [
            *[DISEASES] * 4,
            *[OF_RUN] * 4,
        ]
    with pytest.raises(ConfigError, match=r"^made://aspirin/4: some of its units are left"):
        asks_of(tmp_path, sources[1]).by_fingerprint(plan, units)
    of_insulin = [unit for unit in units if unit.source == "insulin/4"]
    assert asks_of(tmp_path, sources[1]).by_fingerprint(plan, of_insulin)


def test_an_output_that_was_begun_when_a_merged_model_was_known_by_its_files_goes_on_so(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TAIYI_RAY_CACHE", str(tmp_path / "cache"))
    base = make_model(tmp_path / "base")
    adapter = str(make_adapter(tmp_path / "adapter", base))
    config = AnnotateConfig(inputs=["in"], output="out", model=str(base), adapter=adapter)
    now = ENGINES["vllm"].probe(config)
    model = models.resolve(str(base), adapter)
    assert now.identity == now.digest == model.digest

    def begun(identity: str) -> Job:
        values = {"model": identity}
        part = Part(sources=[])
        return Job(fingerprint="f", identity=values, config={}, versions={}, part=part)

    by_files = models.by_files(model).digest
    older = known_to(begun(by_files), now, "template")
    assert (older.identity, older.digest) == (by_files, now.digest)
    assert known_to(begun(now.identity), now, "template") == now
    assert known_to(begun("another model"), now, "template") == now
    server = ENGINES["fake"].probe(config)
    assert known_to(begun("another server"), server, "template") == server


def test_answers_about_mentions_of_the_input_are_never_copied(tmp_path):
    terms = {"D1": ["Aspirin"]}
    in_text = asked("nen", terms=terms, mentions="names")
    asks_of(tmp_path, Made("aspirin", 4, DISEASES), Made("pain", 4, (in_text,))).check_reusable()
    given = (*DISEASES, asked("nen", terms=terms))
    with pytest.raises(ConfigError, match="--reuse: nen asks about annotations that the input"):
        asks_of(tmp_path, Made("aspirin", 4, given)).check_reusable()
