"""Batches on a real service by OpenAI's client: cancelled, killed, ended and started again.

The engine answers after a while, and ends its process on a word, as a crash would.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai.types import Batch

from taiyi_ray import storage
from tests.serve.batches.batching import URL, jsonl, line
from tests.serve.serving import server

pytestmark = pytest.mark.alone

ENDED = ("completed", "failed", "cancelled", "expired")
POISON = "strychnine"


class Served:
    """A service with a folder of its own, which can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: AbstractContextManager[tuple[str, int]] | None = None

    def start(self) -> None:
        arguments = (
            f"--engine fake --document-slots 32 --batches {self.folder}/store "
            f"--engine-arg latency=0.15 --engine-arg kill_on={POISON}"
        )
        self._server = server(self.folder / "log", *arguments.split())
        address, self.pid = self._server.__enter__()
        self.client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")

    def end(self) -> None:
        """As a person ends it."""
        assert self._server is not None
        self._server.__exit__(None, None, None)
        self._server = None

    def create(self, lines: list[dict[str, Any]], **more: Any) -> Batch:
        file = self.client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
        endpoint: Any = URL
        return self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more
        )

    def wait(self, batch: Batch, until: Callable[[Batch], bool], seconds: float = 90) -> Batch:
        end = time.monotonic() + seconds
        while not until(batch := self.client.batches.retrieve(batch.id)):
            assert time.monotonic() < end and batch.status not in ENDED, batch
            time.sleep(0.1)
        return batch

    def lines(self, id_: str | None) -> list[dict[str, Any]]:
        assert id_ is not None
        return [json.loads(one) for one in self.client.files.content(id_).text.splitlines()]

    def process(self, deployment: str) -> psutil.Process:
        """The replica of a deployment."""
        for child in psutil.Process(self.pid).children(recursive=True):
            if f"ServeReplica:taiyi:{deployment}" in " ".join(child.cmdline()):
                return child
        raise AssertionError(f"no replica of {deployment}")

    def units(self, batch: Batch) -> dict[str, str]:
        """Committed units, and when they were written."""
        found = storage.walk(f"{self.folder}/store")
        return {one.path: one.tag for one in found if f"/units/{batch.id}/" in one.path}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = Served(tmp_path_factory.mktemp("batches"))
    service.start()
    yield service
    service.end()


def ended(batch: Batch) -> bool:
    return batch.status in ENDED


def begun(batch: Batch) -> bool:
    """In the middle: some results are there."""
    return batch.request_counts is not None and batch.request_counts.completed > 0


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [one["custom_id"] for one in lines]


def numbered(*numbers: int) -> list[str]:
    return [f"r{n}" for n in numbers]


def check_whole(served: Served, batch: Batch, number: int) -> None:
    """Each request has one result, in order, each the answer to its own text."""
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": number, "completed": number, "failed": 0}
    lines = served.lines(batch.output_file_id)
    assert ids(lines) == numbered(*range(number)) and batch.error_file_id is None
    for n, one in enumerate(lines):
        assert one["response"]["status_code"] == 200
        (row,) = one["response"]["body"]["rows"]
        assert row["passages"][0]["text"] == line(n)["body"]["text"]


def test_from_upload_to_download(served):
    lines = [line(n) for n in range(60)]
    lines[7]["body"] = {"txt": "x"}
    lines[9]["body"]["stream"] = True
    batch = served.create(lines, metadata={"run": "7"})
    assert batch.status in ("validating", "in_progress") and batch.metadata == {"run": "7"}
    batch = served.wait(batch, ended)
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 60, "completed": 58, "failed": 2}
    expected = [n for n in range(60) if n not in (7, 9)]
    assert ids(served.lines(batch.output_file_id)) == numbered(*expected)
    errors = served.lines(batch.error_file_id)
    assert [(one["custom_id"], one["response"]["status_code"]) for one in errors] == [
        ("r7", 422), ("r9", 400),
    ]  # fmt: skip
    assert served.client.batches.list(limit=1).data[0].id == batch.id
    files = {file.id: file.purpose for file in served.client.files.list()}
    assert files[batch.input_file_id] == "batch" and files[batch.output_file_id] == "batch_output"


def test_a_request_and_an_answer_of_any_size_come_through(served):
    text = "Aspirin eased headache in patients with migraine. " * 20_000
    body = {"documents": [{"text": text}] * 6, "tasks": ["tc"],
            "options": {"tc": {"labels": ["a", "b"]}}}  # fmt: skip
    batch = served.wait(served.create([line(0, body)]), ended)
    (result,) = served.lines(batch.output_file_id)
    assert [row["passages"][0]["text"] for row in result["response"]["body"]["rows"]] == [text] * 6


def test_what_is_wrong_with_the_input_is_told_by_line(served):
    batch = served.wait(served.create([line(0), line(1), line(0)]), ended)
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data
    assert [(e.code, e.line) for e in batch.errors.data] == [("duplicate_custom_id", 3)]


def test_cancelled_in_the_middle_it_keeps_what_was_answered(served):
    batch = served.wait(served.create([line(n) for n in range(1000)]), begun)
    assert served.client.batches.cancel(batch.id).status == "cancelling"
    batch = served.wait(batch, ended, 30)
    assert batch.status == "cancelled" and batch.cancelled_at and batch.request_counts
    output, left = served.lines(batch.output_file_id), served.lines(batch.error_file_id)
    assert 0 < len(output) == batch.request_counts.completed < 1000
    assert len(output) + len(left) == 1000 and not set(ids(output)) & set(ids(left))
    assert {one["error"]["code"] for one in left} == {"batch_cancelled"}
    health = served.client.get("/../ready", cast_to=dict)
    assert health["slots_taken"] == 0
    with pytest.raises(openai.ConflictError, match="cancelled"):
        served.client.batches.cancel(batch.id)


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["Batches", "Service"])
def test_a_killed_process_costs_no_result_and_doubles_none(served, deployment):
    batch = served.wait(served.create([line(n) for n in range(400)]), begun)
    victim = served.process(deployment)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(30)
    there = served.units(batch)
    assert there and len(there) < 16, "it was killed in the middle"
    batch = served.wait(batch, ended)
    check_whole(served, batch, 400)
    after = served.units(batch)
    assert {path: after[path] for path in there} == there, "what was committed was left alone"


@pytest.mark.slow
def test_a_request_that_kills_its_engine_fails_alone(served):
    lines = [line(n) for n in range(24)]
    lines[5]["body"]["text"] += f" {POISON}"
    batch = served.wait(served.create(lines), ended, 240)
    assert batch.status == "completed"
    (error,) = served.lines(batch.error_file_id)
    assert error["custom_id"] == "r5" and error["response"]["status_code"] == 500
    assert "died 3 times" in error["response"]["body"]["error"]["message"]
    assert len(served.lines(batch.output_file_id)) == 23


@pytest.mark.slow
def test_ended_and_started_again_the_service_goes_on(served):
    batch = served.wait(served.create([line(n) for n in range(300)]), begun)
    served.end()
    there = served.units(batch)
    assert there and len(there) < 17, "it was ended in the middle"
    served.start()
    batch = served.wait(batch, ended)
    check_whole(served, batch, 300)
    after = served.units(batch)
    assert {path: after[path] for path in there} == there
