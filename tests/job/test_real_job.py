"""The corpus job with the real engine: its processes killed at work, its table whole."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.job.jobs import annotate, processes, start, table, unit_files

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCUMENTS = 12
SMALL = ("--limit", str(DOCUMENTS), "--tasks", "ner", "--types", "disease", "--max-tokens", "64")


@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "ray::MapWorker"])
def test_a_kill_at_work_ends_in_the_same_rows(tmp_path, victim):
    source, output = EXAMPLES / "pubmed-sample.xml", tmp_path / "out"
    before = set(processes("VLLM::", "ray::", "raylet"))
    driver = start(source, "-o", output, *SMALL)
    until = time.monotonic() + 240
    while not unit_files(output):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < until, "no unit was committed"
        time.sleep(0.1)
    (target,) = set(processes(victim)) - before
    os.kill(int(target.split()[0]), signal.SIGKILL)
    text, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, text
    assert not set(processes("VLLM::", "ray::", "raylet")) - before
    rows = table(output)
    assert [row["position"] for row in rows] == list(range(DOCUMENTS))
    for row in rows:
        assert row["status"] in ("ok", "partial"), row["errors"]
        document = "\n".join(passage["text"] for passage in row["passages"])
        for mention in row["mentions"]:
            assert document[mention["start"] : mention["end"]] == mention["text"]
    assert "nothing to do" in annotate(source, "-o", output, *SMALL)
