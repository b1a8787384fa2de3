"""The plan of a run: made once, extended later, and the same for runs that plan at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus import plan as plan_module
from taiyi_ray.corpus.plan import Plan, load_job, load_plan
from taiyi_ray.corpus.source import Source
from taiyi_ray.engine import ENGINES
from taiyi_ray.errors import ConfigError
from taiyi_ray.job import job as job_module
from taiyi_ray.job import planning
from taiyi_ray.job.asks import Asks
from taiyi_ray.job.loop import Loop
from taiyi_ray.job.output import JobOutput
from tests.corpus.test_plan import files, lines, ranges
from tests.samples import asked


def planned(
    config: AnnotateConfig, output: JobOutput, sources: Sequence[Source], *, write: bool
) -> Plan:
    """The plan of a run of the fake engine over these sources."""
    asks = Asks(config, ENGINES["fake"].probe(config), [asked("ner")], sources)
    return planning.planned(config, output, asks, sources, write=write)


@pytest.mark.parametrize("before", [0, 1])
def test_runs_that_plan_at_once_agree_on_one_plan(tmp_path, monkeypatch, before):
    """With nothing planned they race for job.json, else for the next part."""
    output = JobOutput(str(tmp_path / "out"))
    config = AnnotateConfig(inputs=["in"], output=output.address, engine="fake")
    paths = [lines(tmp_path, f"{n}.jsonl", 4) for n in range(3)]

    def plan(paths: Sequence[Path]) -> Plan:
        return planned(config, output, files(*paths), write=True)

    if before:
        plan(paths[:1])
    together = threading.Barrier(2, timeout=30)
    waits = threading.local()

    def extend_together(*arguments):
        made = plan_module.extend(*arguments)
        if not getattr(waits, "over", False):
            waits.over = True
            together.wait()
        return made

    monkeypatch.setattr(planning, "extend", extend_together)
    with ThreadPoolExecutor(2) as pool:
        plans = list(pool.map(plan, [paths, paths[:2]]))
    written = load_job(output.address)
    assert written
    final = load_plan(output.address, written)
    assert {name: (u[0][0], u[-1][1]) for name, u in ranges(final).items()} == {
        "0.jsonl": (0, 3),
        "1.jsonl": (0, 3),
        "2.jsonl": (0, 3),
    }
    assert final.records == 12
    for made in plans:
        assert made.parts == final.parts[: len(made.parts)]
    assert {len(made.sources) for made in plans} <= {2, 3}


def test_a_dry_run_shows_the_plan_as_it_would_be_and_writes_nothing(tmp_path):
    output = JobOutput(str(tmp_path / "out"))
    config = AnnotateConfig(inputs=["in"], output=output.address, engine="fake")
    paths = [lines(tmp_path, f"{n}.jsonl", 4) for n in range(3)]

    def records(number: int, *, write: bool) -> int:
        return planned(config, output, files(*paths[:number]), write=write).records

    assert records(1, write=False) == 4
    assert not Path(output.address).exists()
    assert records(1, write=True) == 4
    assert records(2, write=True) == 8
    before = sorted(Path(output.address).rglob("*"))
    assert records(2, write=False) == 8
    assert records(3, write=False) == 12
    assert sorted(Path(output.address).rglob("*")) == before


def test_a_job_that_read_its_input_otherwise_is_not_gone_on_with(tmp_path, monkeypatch):
    path = lines(tmp_path, "a.jsonl", 4)
    output = tmp_path / "out"
    config = AnnotateConfig(inputs=[str(path)], output=str(output), engine="fake")
    worked: list[int] = []
    monkeypatch.setattr(Loop, "work", lambda _, pending, *__: worked.append(len(pending)))
    monkeypatch.setattr(job_module, "finish", lambda *_: 0)
    assert job_module.run(config) == 0
    assert job_module.run(config) == 0
    assert worked == [4, 4]
    written = (output / "job.json").read_text()
    (output / "job.json").write_text(written.replace('"format_version": 1', '"format_version": 0'))
    with pytest.raises(
        ConfigError, match=r"a\.jsonl: was planned by another version .* another --output"
    ):
        job_module.run(config)
