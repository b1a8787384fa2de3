"""The status of an output: what is committed counts, a run's own file tells whether it works."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from taiyi_ray import states, storage
from taiyi_ray.annotation import Annotated, failed
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.plan import Job, Part, put_job
from taiyi_ray.corpus.source import PlannedSource
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.status import Progress, Status, table
from taiyi_ray.records import Answer, Document

SOURCE = "a.jsonl-01234567"
UNITS = [(0, 9), (10, 19), (20, 25)]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('bucket')}/out"


def plan(place: str) -> None:
    source = PlannedSource(
        name=SOURCE,
        path="/in/a.jsonl",
        format="jsonl",
        size=1,
        tag="t",
        sha256=None,
        complete=True,
        units=UNITS,
    )
    part = Part(sources=[source])
    job = Job(fingerprint="f", identity={}, config={}, versions={}, part=part)
    assert put_job(place, job)


def unit(number: int) -> Unit:
    first, last = UNITS[number]
    return Unit(source=SOURCE, path="/in/a.jsonl", first=first, last=last)


def commit(place: str, number: int, *, bad: int = 0, again: bool = False) -> None:
    """Commit a unit whose first `bad` documents failed."""
    of = unit(number)
    rows = []
    for n, position in enumerate(range(of.first, of.last + 1)):
        document = Document(f"d{position}", source=SOURCE, position=position)
        annotated = failed(document, "too_long", "x") if n < bad else Annotated(document)
        annotated.answers = [Answer("ner", [], "en", 0, 0, "", 100, 60, 5, "stop", None)]
        rows.append(annotated.row(unit=of.name, run_id="r", fingerprint="f"))
    output = JobOutput(place)
    output.commit(of, rows, "r", replaces=output.committed()[of.name] if again else "")


def run(place: str, state: str, *, ago: float = 0, rate: float = 2.0, at: str = "1") -> str:
    """Write what a run wrote `ago` seconds ago, after 100 seconds of work."""
    started = datetime.now(UTC) - timedelta(seconds=ago + 100)
    values: dict[str, Any] = {
        "run_id": f"2026-{at}",
        "state": state,
        "started": started.isoformat(timespec="seconds"),
        "seconds": 100.0,
        "documents_per_second": rate,
    }
    JobOutput(place).write_run(values, complete=state == "complete")
    return str(values["run_id"])


def test_nothing_is_there_yet(place):
    asked = Progress(place)
    assert asked.status() == Status(storage.absolute(place), "absent")
    plan(place)
    found = asked.status()
    assert (found.state, found.records, found.left, found.run_id) == ("planned", 26, 26, None)
    assert (found.units, found.units_done, found.documents) == (3, 0, {})


def test_what_is_committed_counts_and_a_run_gives_the_rate(place):
    plan(place)
    commit(place, 0, bad=3)
    run_id = run(place, "running")
    found = Progress(place).status()
    assert (found.state, found.run_id) == ("running", run_id)
    assert (found.records, found.left, found.units_done) == (26, 16, 1)
    assert found.documents == {"ok": 7, "failed": 3}
    assert found.failures == {"too_long": 3}
    assert found.tokens == {
        "prompt_tokens": 1000, "cached_tokens": 600, "output_tokens": 50, "questions": 10,
    }  # fmt: skip
    assert (found.documents_per_second, found.seconds_left) == (2.0, 8)


@pytest.mark.parametrize(
    ("state", "ago", "committed", "seen"),
    [
        ("running", 60, 1, "running"),
        ("running", 600, 1, "died"),
        ("running", 600, 3, "died"),
        ("unfinished", 600, 1, "unfinished"),
        ("complete", 600, 3, "complete"),
        ("complete", 600, 2, "unfinished"),  # new files were planned, or a unit was deleted
    ],
)
def test_the_state_of_a_run_is_told_by_its_last_words_and_their_age(
    tmp_path, state, ago, committed, seen
):
    place = str(tmp_path)
    plan(place)
    for number in range(committed):
        commit(place, number)
    run(place, state, ago=ago)
    found = Progress(place).status()
    assert found.state == seen
    assert (found.seconds_left is not None) == (seen == "running")


def test_a_run_that_works_stands_before_one_that_died_and_two_add_up(tmp_path):
    place = str(tmp_path)
    plan(place)
    run(place, "running", at="1")
    run(place, "running", ago=900, at="2", rate=50)
    found = Progress(place).status()
    assert (found.state, found.run_id, found.documents_per_second) == ("running", "2026-1", 2.0)
    run(place, "running", at="3", rate=3)
    assert Progress(place).status().documents_per_second == 5.0


def test_only_what_is_new_or_replaced_is_read_again(place, monkeypatch):
    plan(place)
    commit(place, 0, bad=2)
    commit(place, 1)
    read: list[str] = []
    footers = Output.footers

    def counted(self: Output, units: list[Unit]) -> Any:
        read.extend(unit.name for unit in units)
        return footers(self, units)

    monkeypatch.setattr(Output, "footers", counted)
    asked = Progress(place)
    assert asked.status().failures == {"too_long": 2}
    assert sorted(read) == [unit(0).name, unit(1).name]
    read.clear()
    commit(place, 2)
    assert asked.status().units_done == 3
    assert read == [unit(2).name]
    read.clear()
    commit(place, 0, again=True)
    found = asked.status()
    assert read == [unit(0).name]
    assert (found.documents, found.failures, found.left) == ({"ok": 26}, {}, 0)


def test_a_unit_that_is_deleted_is_left_again(tmp_path):
    place = str(tmp_path)
    plan(place)
    commit(place, 0)
    asked = Progress(place)
    assert asked.status().left == 16
    Path(JobOutput(place).path(unit(0))).unlink()
    assert asked.status().left == 26


def test_watching_ends_when_all_is_done(tmp_path, monkeypatch):
    place = str(tmp_path)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            plan(place)
            for number in range(3):
                commit(place, number)
        else:
            run(place, "complete")

    # Not in the module `time` itself: threads of other tests sleep too.
    monkeypatch.setattr(states, "time", SimpleNamespace(sleep=wait))
    looks = states.watch(Progress(place).status, 5)
    assert [found.state for found in looks] == ["absent", "planned", "complete"]
    assert waits == [5, 5]


def test_what_is_no_output_of_this_program_is_refused(tmp_path):
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(ConfigError, match="was not written by this program"):
        Progress(str(tmp_path)).status()
    place = str(tmp_path / "out")
    plan(place)
    commit(place, 0)
    Path(JobOutput(place).path(unit(0))).write_bytes(b"half")
    with pytest.raises(StorageError, match="is damaged, or was not written by this program"):
        Progress(place).status()


def shown(status: Status) -> str:
    console = Console(file=io.StringIO(), width=100, record=True, highlight=False)
    console.print(table(status))
    return console.export_text()


def test_a_person_sees_counts_rate_and_time_left(tmp_path):
    place = str(tmp_path)
    plan(place)
    commit(place, 0, bad=3)
    run(place, "running")
    text = shown(Progress(place).status())
    for line in (
        "10 of 26 documents (38.5%), 1 of 3 units",
        "ok 7, failed 3",
        "too_long 3",
        "1,000 prompt (600 cached), 50 output",
        "2.00 documents/s",
        "8 s, until ",
    ):
        assert line in text
    assert "nothing is there yet" in shown(Status("out", "absent"))


def test_the_command_needs_no_ray(tmp_path):
    place = tmp_path / "out"
    script = (
        "import sys; sys.argv = ['taiyi-ray', 'status', sys.argv[1], '--json']\n"
        "from taiyi_ray.cli import main\n"
        "try: main()\n"
        "finally: print({'ray', 'torch', 'vllm'} & set(sys.modules), file=sys.stderr)"
    )
    for state in ("absent", "planned"):
        done = subprocess.run(
            [sys.executable, "-c", script, place], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["state"] == state
        assert done.stderr == "set()\n"
        if state == "absent":
            plan(str(place))
