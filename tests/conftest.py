"""What several test modules share: one Ray cluster, one real engine, the shared data folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora that lie beside some checkouts."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real corpora is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of its own on localhost; yields the environment of those who join it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on the loopback address only
        "RAY_process_group_cleanup_enabled": "1",
    }
    started = {k: v for k, v in environment.items() if k != "RAY_ADDRESS"}
    ray = Path(sys.executable).with_name("ray")
    arguments = (
        "start --head --block --include-dashboard=false --disable-usage-stats --num-cpus 8 "
        f"--port {port} --object-store-memory 300000000"
    )
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with log.open("w") as output:
        head = subprocess.Popen(
            [ray, *arguments.split()],
            env=os.environ | started,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + 60
    while "Ray runtime started" not in log.read_text():
        assert head.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    yield environment
    for process in [*psutil.Process(head.pid).children(recursive=True), head]:
        process.kill()
    head.wait()
