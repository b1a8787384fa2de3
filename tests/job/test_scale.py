"""The job on a cluster that grows and shrinks, and on a corpus far larger than its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import free_port
from tests.job.jobs import annotate, content, corpus, start, unit_files

GPU_NODE = {"CPU": 2, "GPU": 1, "accelerator_type:L4": 1, "object_store_memory": 100_000_000}
CLUSTER: dict[str, Any] = {
    "cluster_name": "fake",
    "max_workers": 3,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.05,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,  # all nodes are this machine
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 4}, "node_config": {}, "max_workers": 0},
        "gpu": {"resources": GPU_NODE, "node_config": {}, "min_workers": 0, "max_workers": 3},
    },
    "head_node_type": "ray.head.default",
    **{key: {} for key in ("head_node", "auth", "file_mounts")},
    **{f"{part}_commands": [] for part in ("setup", "initialization")},
    **{
        f"{node}_{part}_commands": []
        for node in ("head", "worker")
        for part in ("setup", "start_ray")
    },
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
}
ENGINES = ("--engine", "fake", "--gpu", "L4", "--engines", "1:3")


@pytest.fixture
def growing_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """Ray's own fake provider: up to three nodes with a GPU, started and ended with the demand.

    Yields the head's process, whose descendants the nodes are.
    """
    port = free_port()
    config = tmp_path / "cluster.json"
    provider = CLUSTER["provider"] | {"gcs_address": f"127.0.0.1:{port}"}
    config.write_text(json.dumps(CLUSTER | {"provider": provider}))
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_process_group_cleanup_enabled": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "head.log"
    arguments = (
        f"start --head --block --include-dashboard=false --disable-usage-stats --num-cpus 4 "
        f"--port {port} --object-store-memory 200000000 --autoscaling-config {config}"
    )
    with log.open("w") as output:
        head = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), *arguments.split()],
            env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
            | {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(head.pid)
    try:
        until = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        head.kill()
        head.wait()


def engines_at_work(head: psutil.Process) -> set[int]:
    """The actors' processes: one an engine."""
    found = set()
    for process in head.children(recursive=True):
        with suppress(psutil.Error):
            if "ray::MapWorker(MapBatches(AnnotateUnits)" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def raylet_above(pid: int) -> psutil.Process:
    return next(p for p in psutil.Process(pid).parents() if "raylet" in p.name())


@pytest.mark.slow  # four minutes
@pytest.mark.timeout(600)
@pytest.mark.alone
def test_engines_follow_the_work_and_a_lost_node_loses_nothing(growing_cluster, tmp_path):
    """1 -> 3 engines while there is much to do, a node killed, and 1 for the last document."""
    lengthy = {2399: " aspirin helped against the stroke." * 3000}
    source = corpus(tmp_path / "docs.jsonl", 2400, special=lengthy)
    output = tmp_path / "out"
    slow = ("--engine-arg", "latency=5.0", "--context-length", "512", "--max-tokens", "64")
    driver = start(source, "-o", output, *ENGINES, *slow)
    seen: list[int] = []
    killed = False
    while driver.poll() is None:
        running = engines_at_work(growing_cluster)
        if not seen or seen[-1] != len(running):
            seen.append(len(running))
        if len(running) == 3 and not killed:
            raylet_above(min(running)).send_signal(signal.SIGKILL)
            killed = True
        time.sleep(0.5)
    text = driver.communicate()[0]
    print("engines:", seen)
    assert driver.returncode == 0, text
    assert killed
    assert seen[0] <= 1
    assert max(seen) == 3
    after = seen[len(seen) - seen[::-1].index(3) :]
    assert 1 in after, seen  # fewer again before the end, for the document that takes long
    quiet = tmp_path / "quiet"
    fast = ("--context-length", "512", "--max-tokens", "64")
    annotate(source, "-o", quiet, "--engine", "fake", *fast)
    assert content(output) == content(quiet)


DOCUMENTS = 100_000


def memory(process: psutil.Process) -> int:
    """Bytes that a process holds of its own, without what it shares (the object store)."""
    with suppress(psutil.Error):
        info = process.memory_info()
        return int(info.rss - info.shared)
    return 0


@pytest.mark.slow  # one to four minutes
@pytest.mark.timeout(900)
@pytest.mark.alone
def test_memory_stays_flat_over_a_hundred_thousand_documents(tmp_path):
    """Driver and workers hold no more in the last quarter of the job than in the second."""
    source = corpus(tmp_path / "docs.jsonl", DOCUMENTS, words=12)
    output = tmp_path / "out"
    driver = start(source, "-o", output, "--engine", "fake", "--tasks", "ner", "--types", "disease")
    root = psutil.Process(driver.pid)
    samples: list[tuple[int, int, int, int]] = []
    while driver.poll() is None:
        done = len(unit_files(output))
        with suppress(psutil.Error):
            workers = [p for p in root.children(recursive=True) if "ray::" in "".join(p.cmdline())]
            store = max((p.memory_info().shared for p in workers), default=0)
            samples.append((done, memory(root), max(map(memory, workers), default=0), store))
        time.sleep(0.5)
    text = driver.communicate()[0]
    assert driver.returncode == 0, text
    units = len(unit_files(output))
    assert units == DOCUMENTS // 1000

    def highest(column: int, first: float, last: float) -> int:
        return max(s[column] for s in samples if first * units <= s[0] <= last * units)

    for name, column in (("driver", 1), ("workers", 2), ("object store", 3)):
        early, late = highest(column, 0.25, 0.5), highest(column, 0.75, 0.99)
        print(
            f"{name}: {early / 2**20:.0f} MiB in the second quarter, {late / 2**20:.0f} in the last"
        )
        assert late < 1.15 * early + (16 << 20), name
