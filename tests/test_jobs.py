"""The scripts in jobs/, submitted as their docstrings say to a head with token authentication."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load as tensors_of

from taiyi_ray import storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.job.status import Progress
from taiyi_ray.train import run
from taiyi_ray.train.status import TrainingLook
from tests.conftest import Head, running_head, running_node
from tests.job.jobs import corpus
from tests.train.small import make_instructions, make_model

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "jobs").glob("*.py"))


def command(script: Path) -> str:
    """The `ray job submit` command of a script's docstring, in one line."""
    text = (ast.get_docstring(ast.parse(script.read_text())) or "").replace("\\\n", " ")
    (line,) = re.findall(r"^ *(ray job submit .*)$", text, re.MULTILINE)
    return " ".join(line.split())


def submit(head: Head, line: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person does: in the repository's folder, with its `ray` on the path."""
    return subprocess.run(
        line,
        shell=True,
        cwd=ROOT,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture
def line(head: Head, bucket: str, tmp_path: Path) -> Iterator[str]:
    """The docstring's command, of a bucket with 60 documents in it, for the fake engine."""
    source = corpus(tmp_path / "docs.jsonl", 60)
    storage.replace(f"{bucket}/in/docs.jsonl", source.read_bytes())
    yield f"{command(ROOT / 'jobs/annotate.py')} --engine fake --ask together"


def documents(output: str) -> list[tuple[str, str]]:
    """What the rows of an output say of each document, in order."""
    found = []
    for stored in storage.walk(f"{output}/annotations"):
        with storage.open_read(stored.path) as file:
            for row in pq.read_table(file).to_pylist():
                kept = {k: v for k, v in row.items() if k not in ("run_id", "unit")}
                found.append((row["document_id"], json.dumps(kept, sort_keys=True)))
    return sorted(found)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_says_how_it_is_submitted(script):
    line = command(script)
    assert line.startswith("ray job submit --runtime-env jobs/runtime_env.yaml -- python jobs/")
    assert f"python jobs/{script.name} " in line
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert line in " ".join(shown.replace("\\\n", " ").split())


def test_a_job_carries_the_package_and_nothing_else(head, bucket, line):
    done = submit(head, line)
    assert done.returncode == 0, done.stdout
    assert "60  (ok 60)" in done.stdout
    assert "succeeded" in done.stdout
    assert Progress(f"{bucket}/out").status().state == "complete"
    (carried,) = {
        path.resolve()  # Ray's link session_latest leads there too
        for path in head.session.glob("session_*/runtime_resources/working_dir_files/_ray_pkg_*")
        if path.is_dir()
    }
    files = {str(path.relative_to(carried)) for path in carried.rglob("*") if path.is_file()}
    assert "taiyi_ray/tasks/templates/ner.v2.zh.jinja" in files
    assert "jobs/annotate.py" in files
    tracked = subprocess.run(
        ["git", "ls-files", "taiyi_ray", "jobs", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    compiled = {name for name in files if "__pycache__" in name}  # on the node, at import
    assert files - compiled == set(tracked)
    of_model = {name for name in files if name.startswith("taiyi_ray/models/demo/")}
    size = sum((carried / name).stat().st_size for name in files - compiled - of_model)
    assert size < 3 << 20


def test_without_the_token_nothing_is_accepted(head, line, tmp_path):
    stranger = Head(
        head.environment | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}, head.nodes,
        head.address, head.metrics, head.session, head.pid,
    )  # fmt: skip
    done = submit(stranger, line)
    assert done.returncode != 0
    assert "401" in done.stdout or "Unauthorized" in done.stdout


def test_a_job_that_fails_says_why_in_its_last_lines(head, line):
    done = submit(head, line.replace("s3://bucket/in", "s3://bucket/nothing"))
    assert done.returncode == 1
    last = "\n".join(done.stdout.strip().splitlines()[-8:])
    assert "taiyi-ray: s3://bucket/nothing: no such file or folder" in last, last
    assert "exit code 2" in last


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_was_stopped_goes_on(head, bucket, line, tmp_path):
    source = corpus(tmp_path / "more.jsonl", 400)
    storage.replace(f"{bucket}/in/docs.jsonl", source.read_bytes())
    assert submit(head, line.replace("/out", "/quiet")).returncode == 0
    slow = line.replace("submit", "submit --no-wait --submission-id stopped")
    done = submit(head, f"{slow} --engine-arg latency=3")
    assert done.returncode == 0, done.stdout
    until = time.monotonic() + 120
    while not (units := Progress(f"{bucket}/out").status().units_done):
        assert time.monotonic() < until, submit(head, "ray job logs stopped").stdout
        time.sleep(0.5)
    done = submit(head, "ray job stop stopped")
    assert "was stopped" in done.stdout
    there = Progress(f"{bucket}/out").status()
    assert 0 < units <= there.units_done < there.units
    assert submit(head, line).returncode == 0
    assert documents(f"{bucket}/out") == documents(f"{bucket}/quiet")


def drain(head: Head) -> None:
    """Tell a cluster that the node that is not its head will be taken away in 15 seconds."""
    listed = submit(head, "ray list nodes --format json").stdout
    nodes = json.loads(listed[listed.index("[") :])
    (node,) = (node["node_id"] for node in nodes if not node["is_head_node"])
    done = submit(
        head,
        f"ray drain-node --address {head.address} --node-id {node} --reason-message spot "
        "--reason DRAIN_NODE_REASON_PREEMPTION --deadline-remaining-seconds 15",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["killed", "drained"])
@pytest.mark.alone
def test_a_training_on_two_nodes_goes_on_when_one_of_them_goes(s3_server, bucket, tmp_path, how):
    make_model(tmp_path / "model")
    make_instructions(tmp_path / "data")
    settings = {
        "data": f"{bucket}/data", "model": f"{bucket}/model", "output": f"{bucket}/out",
        # With a higher rate, what two workers add up in another order grows over so many steps.
        "precision": "float32", "rank": 4, "batch": 9, "row_tokens": 256, "learning_rate": 5e-4,
        "checkpoint_every": 5, "keep": 99, "stage_data": [{"data": ["stage1"], "epochs": 40}],
    }  # fmt: skip
    for folder in ("data", "model"):
        for file in (tmp_path / folder).rglob("*.*"):
            name = str(file.relative_to(tmp_path))
            storage.replace(f"{bucket}/{name}", file.read_bytes())
    storage.replace(f"{bucket}/train.yaml", yaml.safe_dump(settings).encode())
    here = {name: str(tmp_path / name) for name in ("data", "model", "output")}
    assert run(TrainConfig(**settings | here)) == 0

    line = command(ROOT / "jobs/train.py").replace("--workers 8", "--workers 1:2")
    assert "s3://bucket/train.yaml --workers 1:2" in line
    log = tmp_path / "job.log"
    # Each node has a place for one worker.
    with (
        running_head(tmp_path, s3_server, cpus=1) as head,
        running_node(head, tmp_path / "node.log", cpus=1) as kill,
        log.open("w") as shown,
    ):
        job = subprocess.Popen(
            line, shell=True, cwd=ROOT, env=head.environment, stdout=shown, stderr=shown
        )
        until = time.monotonic() + 300
        while not storage.exists(f"{bucket}/out/checkpoints/000000020.json"):
            assert job.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        if how == "killed":
            kill()
        else:
            drain(head)
        assert job.wait(400) == 0, log.read_text()
    text = log.read_text()
    assert "on 2 workers" in text and "on 1 worker " in text, text
    assert TrainingLook(f"{bucket}/out").status().state == "complete"
    if how == "drained":
        markers = [stored.path for stored in storage.glob(f"{bucket}/out/checkpoints", "*.json")]
        assert [path for path in markers if int(path[-14:-5]) % 5], "one was written at the notice"
    found, wanted = (
        tensors_of(storage.read(f"{output}/adapter/adapter_model.safetensors") or b"")
        for output in (f"{bucket}/out", here["output"])
    )
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5, msg=key)
