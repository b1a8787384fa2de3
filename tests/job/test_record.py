"""The record of a run: what its receipts add up to, and when it is written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from taiyi_ray import storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.receipt import Receipt
from taiyi_ray.job.record import RunRecord


def record_of(folder: Path) -> RunRecord:
    config = AnnotateConfig(inputs=["in"], output=str(folder / "out"), engine="fake")
    return RunRecord(config, JobOutput(config.output), "model", "fingerprint", 9)


def written(folder: Path, name: str) -> Any:
    data = storage.read(str(folder / "out" / name))
    return None if data is None else json.loads(data)


def test_rates_are_of_the_time_from_the_first_engine_to_the_newest_commit(tmp_path):
    record, now = record_of(tmp_path), time.time()
    for ready, made in ((now + 10, now + 40), (now + 20, now + 30), (now + 10, now + 30)):
        record.add(
            Receipt("s/0-1", "e", ready, made, documents=3, prompt_tokens=60, output_tokens=6,
                    unreadable_answers=1)
        )  # fmt: skip
    run = record.write("unfinished", Totals())
    assert (record.engines, record.committed) == (2, now + 40)
    assert (run["documents"], run["prompt_tokens"], run["output_tokens"]) == (9, 180, 18)
    assert run["unreadable_answers"] == 3
    assert (run["annotating_seconds"], run["engine_seconds"]) == (30.0, 40.0)
    assert (run["documents_per_second"], run["prompt_tokens_per_second"]) == (0.3, 6.0)
    assert written(tmp_path, f"runs/{record.run_id}.json") == run
    assert written(tmp_path, "run.json") is None


def test_a_run_is_heard_of_before_it_committed_anything(tmp_path):
    record = record_of(tmp_path)
    with record.kept_fresh():
        pass
    run = written(tmp_path, f"runs/{record.run_id}.json")
    assert (run["state"], run["documents"], run["documents_per_second"]) == ("running", 0, 0)


def test_a_complete_run_is_the_run_of_the_output(tmp_path):
    record = record_of(tmp_path)
    record.write("complete", Totals())
    assert written(tmp_path, "run.json")["run_id"] == record.run_id
