"""The corpus job from its command, with the fake engine: every disturbance, the same table."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taiyi_ray.corpus.sources import find
from taiyi_ray.records import SCHEMA
from taiyi_ray.tasks import TASKS
from tests.job.jobs import (
    annotate,
    content,
    corpus,
    processes,
    start,
    table,
    unit_files,
)

FAKE = ("--engine", "fake")
RAY = ("ray::", "raylet", "gcs_server")


def wait_for_units(output: Path, number: int, process, seconds: float = 150) -> None:
    until = time.monotonic() + seconds
    while len(unit_files(output)) < number:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "no unit was committed"
        time.sleep(0.05)


def worker_of(driver: int) -> int:
    """The process of the actor that holds the engine, below the driver's own Ray session."""
    found = [line for line in processes("ray::MapWorker") if line]
    assert found, "no engine actor is running"
    return int(found[0].split()[0])


def test_a_task_file_over_all_tasks_fills_every_column_and_counts_by_task(joined, tmp_path):
    examples, output = Path(__file__).resolve().parents[2] / "examples" / "tasks", tmp_path / "out"
    source, tasks = examples / "documents.jsonl", tmp_path / "tasks.yaml"
    tasks.write_text((examples / "all.yaml").read_text("utf-8"), "utf-8")
    text = annotate(source, "-o", output, *FAKE, "--task-file", tasks)
    assert "9  (ok 9)" in text
    rows = table(output)
    for column in ("mentions", "relations", "labels", "texts"):
        assert any(row[column] for row in rows), column
    run = json.loads((output / "run.json").read_text())
    assert run["tasks"] == list(TASKS)
    totals = run["totals"]
    assert set(totals["questions"]) == set(TASKS)
    assert totals["failures"] == {} and totals["wrong"] == {}
    assert totals["not_applicable"]["dialogue"] == 7
    assert totals["not_applicable"].keys() == set(TASKS)
    assert totals["texts"]["mt:zh"] == 5
    job = json.loads((output / "job.json").read_text())
    assert job["identity"]["tc.labels"][0] == dict.fromkeys(("name", "en", "zh"), "Treatment")
    assert str(tasks) not in json.dumps(job["identity"])
    assert "not asked" in text
    # What the file says is what counts: another place of it is no change, another word is.
    moved = tasks.rename(tmp_path / "moved.yaml")
    assert "nothing to do" in annotate(source, "-o", output, *FAKE, "--task-file", moved)
    moved.write_text(moved.read_text("utf-8").replace("Prevention", "Prognosis"), "utf-8")
    refused = annotate(source, "-o", output, *FAKE, "--task-file", moved, code=2)
    assert "tc.labels: " in refused


def test_every_record_is_a_row_and_a_second_run_has_nothing_to_do(joined, tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 150), tmp_path / "out"
    text = annotate(source, "-o", output, *FAKE)
    assert "150  (ok 150)" in text
    rows = table(output)
    assert [row["document_id"] for row in rows] == [f"d{n}" for n in range(150)]
    assert sum(len(row["mentions"]) for row in rows) > 500
    assert sum(len(row["relations"]) for row in rows) > 100
    run = json.loads((output / "run.json").read_text())
    assert run["state"] == "complete"
    assert run["totals"]["documents"] == {"ok": 150}
    assert (output / "report.html").stat().st_size > 10_000
    for path in unit_files(output):
        schema = pq.read_schema(path)
        assert schema.equals(SCHEMA), path
        assert schema.field("mentions").metadata == SCHEMA.field("mentions").metadata
    before = {path: path.stat().st_mtime_ns for path in unit_files(output)}
    assert "nothing to do: all 150 documents" in annotate(source, "-o", output, *FAKE)
    assert {path: path.stat().st_mtime_ns for path in unit_files(output)} == before
    (output / "run.json").unlink()  # as if killed after the last unit
    annotate(source, "-o", output, *FAKE)
    assert json.loads((output / "run.json").read_text())["totals"] == run["totals"]


@pytest.mark.slow  # test_older.py goes on with a limited output
def test_a_limit_can_be_lifted_later(joined, tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 90), tmp_path / "out"
    annotate(source, "-o", output, *FAKE, "--limit", "25")
    assert len(table(output)) == 25
    new = corpus(tmp_path / "more.jsonl", 10)
    annotate(source, new, "-o", output, *FAKE)
    rows = table(output)
    assert len(rows) == 100
    whole = tmp_path / "whole"
    annotate(source, new, "-o", whole, *FAKE)
    assert content(output) == content(whole)


@pytest.mark.slow  # a minute and a half; test_chaos.py kills more in less
@pytest.mark.timeout(600)
@pytest.mark.alone
def test_five_thousand_documents_with_kills_end_as_without(tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 5000)
    quiet, output = tmp_path / "quiet", tmp_path / "out"
    annotate(source, "-o", quiet, *FAKE)
    slow = (*FAKE, "--engine-arg", "latency=0.15")
    # The driver, twice; then the actor's process under a driver that lives.
    for committed in (1, 3):
        driver = start(source, "-o", output, *slow)
        wait_for_units(output, committed, driver)
        driver.kill()
        driver.communicate()
        time.sleep(1)
    driver = start(source, "-o", output, *slow)
    wait_for_units(output, 5, driver)
    os.kill(worker_of(driver.pid), signal.SIGKILL)
    text, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, text
    assert content(output) == content(quiet)
    keys = [(row["source"], row["position"]) for row in table(output)]
    assert len(keys) == len(set(keys)) == 5000


@pytest.mark.slow  # test_workers.py has each of its steps
def test_a_document_that_kills_engines_is_one_failed_row(joined, tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 60, special={17: " POISON", 40: " POISON"})
    output = tmp_path / "out"
    text = annotate(source, "-o", output, *FAKE, "--engine-arg", "die_on=POISON")
    rows = table(output)
    assert len(rows) == 60, text
    bad = {
        row["document_id"]: row["errors"][0]["kind"] for row in rows if row["status"] == "failed"
    }
    assert bad == {"d17": "engine_died", "d40": "engine_died"}
    assert all(row["status"] == "ok" for row in rows if row["document_id"] not in bad)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupt_ends_in_seconds_leaves_no_process_and_can_go_on(
    ray_cluster, monkeypatch, tmp_path, number
):
    source, output = corpus(tmp_path / "docs.jsonl", 200), tmp_path / "out"
    before = set(processes(*RAY))
    driver = start(source, "-o", output, *FAKE, "--engine-arg", "latency=1.5")
    wait_for_units(output, 1, driver)
    driver.send_signal(number)
    text, _ = driver.communicate(timeout=30)
    assert driver.returncode == 130, text
    assert "the same command goes on" in text
    assert "Traceback" not in text
    until = time.monotonic() + 10
    while found := set(processes(*RAY)) - before:
        assert time.monotonic() < until, found
        time.sleep(0.2)
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)  # a cluster that is there already is faster
    annotate(source, "-o", output, *FAKE)
    assert len(table(output)) == 200


def test_an_engine_that_cannot_start_ends_the_job_with_its_reason(joined, tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 20), tmp_path / "out"
    text = annotate(
        source, "-o", output, *FAKE, "--engine-arg", "start_error=the GPU is on fire", code=4
    )
    assert text.splitlines()[-1].startswith("taiyi-ray: ")
    assert "the GPU is on fire" in text.splitlines()[-1]
    assert "Traceback" not in text


def test_a_job_that_stalls_ends_and_says_what_it_waited_for(joined, tmp_path):
    """No node has such a GPU, and nobody starts one."""
    source, output = corpus(tmp_path / "docs.jsonl", 20), tmp_path / "out"
    patience = ("--gpu", "H100", "--stall-minutes", "0.05")
    last = annotate(source, "-o", output, *FAKE, *patience, code=4).splitlines()[-1]
    assert last.startswith("taiyi-ray: no unit was committed for 0.05 minutes: 0 engines committed")
    assert "an engine takes 2 CPUs and 1 H100 GPU; 0 of 1 nodes are large enough for one" in last


def test_the_output_inside_the_input_is_not_annotated(joined, tmp_path):
    folder = tmp_path / "in::here [1]"
    folder.mkdir()
    (folder / "a::b.txt").write_text("Patients with diabetes had fever.")
    (folder / "x.ann").write_text("T1\tDisease 0 8\tDiabetes\n")
    (folder / "x.txt").write_text("Diabetes.")
    output = folder / "out#1?"
    assert "left out" not in annotate(folder, "-o", f"local://{output}", *FAKE)
    assert sorted(row["document_id"] for row in table(output)) == ["a::b", "x"]
    text = annotate(f"file://{folder}/", "-o", output, *FAKE)
    assert f"note: left out {output}, an output of taiyi-ray" in text
    assert "nothing to do: all 2 documents are in" in text
    (folder / "x.txt").write_text("Asthma..")
    assert "x.txt: changed since its units were planned" in annotate(
        folder, "-o", output, *FAKE, code=2
    )


def test_an_output_that_takes_no_unit_any_more_ends_the_job_for_its_user_to_change(
    joined, tmp_path
):
    source, output = corpus(tmp_path / "docs.jsonl", 80), tmp_path / "out"
    (file,) = find([str(source)]).files
    (output / "annotations").mkdir(parents=True)
    (output / "annotations" / file.name).touch()  # where the folder of its units belongs
    last = annotate(source, "-o", output, *FAKE, code=2).splitlines()[-1]
    assert last.startswith("taiyi-ray: 8 units are left: ")
    assert "cannot be written" in last


def test_retry_failed_does_the_failed_and_partial_rows_again(joined, tmp_path):
    letters = "abcdefghij"
    many = " ".join(f"substance{a}{b}{c}" for a in letters for b in letters for c in letters)
    bad = {"d3", "d17", "d40"}
    special = {int(name[1:]): f" {many}." for name in bad}
    source = corpus(tmp_path / "docs.jsonl", 60, words=12, special=special)
    output = tmp_path / "out"
    annotate(source, "-o", output, *FAKE, "--max-tokens", "200")
    before = table(output)
    assert {row["document_id"] for row in before if row["status"] != "ok"} == bad
    text = annotate(source, "-o", output, *FAKE, "--max-tokens", "2000", "--retry-failed")
    after = table(output)
    assert [row["status"] for row in after] == ["ok"] * 60, text
    for old, new in zip(before, after, strict=True):
        if old["document_id"] in bad:
            assert new["fingerprint"] != old["fingerprint"]
            assert new["run_id"] != old["run_id"]
            assert len(new["mentions"]) > len(old["mentions"])
        else:
            assert new == old


def test_too_many_failed_documents_are_exit_code_3(joined, tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 40), tmp_path / "out"
    arguments = (source, "-o", output, *FAKE, "--engine-arg", "refuse=1.0")
    assert "--retry-failed" in annotate(*arguments, code=3)
    assert {row["status"] for row in table(output)} == {"failed"}
    annotate(*arguments, "--max-failed", "1")  # all is done: only the judgement changes


@pytest.mark.slow
def test_a_unit_larger_than_rays_blocks_stays_whole(joined, tmp_path):
    source, output = corpus(tmp_path / "docs.jsonl", 600, words=900), tmp_path / "out"
    assert source.stat().st_size > 3_000_000
    small_blocks = (
        "import ray.data; context = ray.data.DataContext.get_current(); "
        "context.target_max_block_size = context.target_min_block_size = 65536; "
        # The setting works: what is larger is split.
        "import ray; ray.init(log_to_driver=False); "
        "one = ray.data.range(40_000, override_num_blocks=1); "
        "split = one.map_batches(lambda batch: batch, batch_size=None); "
        "assert split.materialize().num_blocks() > 4; ray.shutdown()"
    )
    annotate(source, "-o", output, *FAKE, before=small_blocks)
    assert len(table(output)) == 600
    assert len(unit_files(output)) == 8


def test_mixed_good_and_bad_sources(joined, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    corpus(folder / "good.jsonl", 5)
    (folder / "bad.jsonl").write_text('{"document_id": "x", "text": "fine"}\nnot json\n')
    (folder / "empty.xml").write_text("")
    (folder / "notes.md").write_text("passed over")
    (folder / "deep" / "病历 1.txt").write_text("高血压患者服用硝苯地平。", encoding="gb18030")
    output = tmp_path / "out"
    text = annotate(folder, "-o", output, *FAKE, "--max-failed", "1")
    assert "passed over 1 files" in text
    rows = table(output)
    assert len(rows) == 9 - 0 and sum(row["status"] == "failed" for row in rows) == 2
    failed = {row["errors"][0]["kind"] for row in rows if row["status"] == "failed"}
    assert failed == {"not_json", "empty"}
    assert {row["document_id"] for row in rows if row["language"] is None} >= {"病历 1"}
