"""The service on Ray Serve, started as a person starts it, with fake engines: it heals, it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from taiyi_ray.serve.app import ENVIRONMENT
from taiyi_ray.serve.metrics import METRICS
from tests.conftest import free_port
from tests.serve.serving import MIGRAINE, server

pytestmark = pytest.mark.alone

BODY = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}
LATENCY = 0.5


class Served:
    """A service of two replicas whose answers take half a second."""

    def __init__(self, address: str, pid: int, log: Path) -> None:
        self.address, self.pid, self.log = address, pid, log
        self.http = httpx.Client(base_url=address, timeout=60)

    def replicas(self) -> set[int]:
        """Process ids of the engines' replicas."""
        children = psutil.Process(self.pid).children(recursive=True)
        return {p.pid for p in children if "ServeReplica:taiyi:Service" in " ".join(_line(p))}


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def wait_for(found: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("serve") / "log"
    arguments = f"--engine fake --engines 2 --engine-arg latency={LATENCY} --document-slots 16"
    with server(log, *arguments.split()) as (address, pid):
        found = Served(address, pid, log)
        wait_for(lambda: len(found.replicas()) == 2)
        with found.http:
            yield found
        children = psutil.Process(pid).children(recursive=True)
    assert not psutil.wait_procs(children, timeout=20)[1], "processes are left"
    assert "Traceback" not in log.read_text()


def test_it_says_where_it_is_and_where_its_metrics_are(served):
    text = served.log.read_text()
    assert f"ready: {served.address}/" in text and "metrics: http://127.0.0.1:" in text


def test_the_settings_of_ray_serve_are_where_its_processes_start(served):
    children = psutil.Process(served.pid).children(recursive=True)
    (raylet,) = (process for process in children if process.name() == "raylet")
    assert raylet.environ().items() >= ENVIRONMENT.items()


def test_nothing_listens_beyond_this_machine(served):
    mine = [psutil.Process(served.pid), *psutil.Process(served.pid).children(recursive=True)]
    listening = [
        connection.laddr
        for process in mine
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_client_that_goes_away_ends_its_questions(served):
    def questions() -> int:
        seen = [served.http.get("/health").json()["questions"] for _ in range(8)]
        return max(seen)  # of whichever replica answers

    long = MIGRAINE * 2000  # in windows, so many that it takes seconds
    body = json.dumps({"text": long}).encode()
    head = (
        f"POST /v1/annotate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    port = int(served.address.rpartition(":")[2])
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        wait_for(lambda: questions() > 0, LATENCY * 10)
    if time.monotonic() - began < 4 * LATENCY:  # else it may have been answered
        wait_for(lambda: questions() == 0, 2 * LATENCY)
    wait_for(lambda: questions() == 0)


def test_a_replica_that_is_killed_loses_nothing_silently_and_is_replaced(served):
    """Every request is answered or has an error; soon there are two replicas again."""
    before = served.replicas()
    ends: Counter[str] = Counter()
    victim = min(before)

    def ask(number: int) -> str:
        if number == 20:
            os.kill(victim, signal.SIGKILL)
        try:
            answer = httpx.post(f"{served.address}/v1/annotate", json=BODY, timeout=60)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code == 200:
            (row,) = answer.json()["rows"]
            assert row["status"] == "ok" and row["answers"]
        return str(answer.status_code)

    with futures.ThreadPoolExecutor(12) as pool:
        ends.update(pool.map(ask, range(80)))
    assert ends.total() == 80
    assert ends["200"] >= 60, ends
    assert "ReadTimeout" not in ends, ends
    wait_for(lambda: len(served.replicas() - {victim}) == 2)
    wait_for(lambda: served.http.get("/ready").status_code == 200)
    assert all(served.http.post("/v1/annotate", json=BODY).status_code == 200 for _ in range(6))


def test_an_answer_of_any_size_arrives_whole(served):
    """Of a request near the limit, in JSON and as a file; gRPC alone would stop at 4 MiB."""
    text = f"{MIGRAINE} " * 9500
    documents = [{"text": text} for _ in range(10)]
    tasks = {"tasks": ["tc"], "options": {"tc": {"labels": ["a", "b"]}}}
    body = {"documents": documents, "prompts": True, **tasks}
    assert 7 << 20 < len(json.dumps(body)) < 8 << 20
    answer = served.http.post("/v1/annotate", json=body)
    assert answer.status_code == 200 and len(answer.content) > 7 << 20
    rows = answer.json()["rows"]
    assert [row["passages"][0]["text"] for row in rows] == [text] * 10
    with served.http.stream(
        "POST", "/v1/annotate", json=body, headers={"accept": "application/jsonl"}
    ) as streamed:
        lines = list(streamed.iter_lines())
    assert [json.loads(line)["passages"][0]["text"] for line in lines] == [text] * 10


def test_overload_is_shed_and_those_let_in_are_not_slower(served):
    """Three times what two replicas take at once, all together."""

    async def ask(http: httpx.AsyncClient) -> tuple[int, float, str]:
        began = time.monotonic()
        answer = await http.post("/v1/annotate", json=BODY)
        return answer.status_code, time.monotonic() - began, answer.headers.get("retry-after", "")

    async def all_at_once() -> tuple[float, list[tuple[int, float, str]]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=served.address, timeout=60, limits=limits) as http:
            alone = min([(await ask(http))[1] for _ in range(3)])
            return alone, await asyncio.gather(*(ask(http) for _ in range(96)))

    alone, ends = asyncio.run(all_at_once())
    seconds = sorted(taken for status, taken, _ in ends if status == 200)
    shed = [again for status, _, again in ends if status in (429, 503)]
    assert len(seconds) + len(shed) == 96
    assert len(seconds) >= 16 and shed
    assert all(int(again) >= 1 for again in shed)
    assert seconds[len(seconds) // 2] < 4 * alone


def test_the_access_log_is_json_without_text(served):
    answer = served.http.post("/v1/annotate", json=BODY, headers={"x-request-id": "find-me"})
    assert answer.headers["x-request-id"] == "find-me"
    session = next(Path("/tmp/ray").glob(f"session_*_{served.pid}"))

    def logged() -> list[dict[str, Any]]:
        files = (session / "logs/serve").glob("replica_taiyi_Service_*.log")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [line for line in lines if line.get("request") == "find-me"]

    wait_for(logged, 10)
    (line,) = logged()
    assert line["route"] == "/v1/annotate" and line["status"] == 200 and line["documents"] == 1
    assert line["seconds"] >= LATENCY and line["output_tokens"] > 0
    assert "migraine" not in str(line)


def test_the_metrics_stand_beside_ray_serves(served):
    served.http.post("/v1/annotate", json=BODY)
    address = served.log.read_text().rpartition("metrics: ")[2].split()[0]

    def exported() -> str:
        return httpx.get(address, timeout=30).text

    wait_for(lambda: "taiyi_ray_served_tokens_total" in exported(), 30)
    text = exported()
    missing = [name for name in METRICS if f"ray_{name}" not in text]
    assert set(missing) <= {"taiyi_ray_served_failures_total"}, missing  # nothing failed yet
    assert "ray_serve_num_http_requests" in text
    assert MIGRAINE not in text


@pytest.mark.slow
def test_an_engine_that_cannot_start_is_one_line_with_its_reason(tmp_path):
    main = "from taiyi_ray.cli import main; main()"
    arguments = ["--engine", "fake", "--engine-arg", "start_error=the GPU is on fire"]
    arguments += ["--batches", str(tmp_path)]
    command = [sys.executable, "-c", main, "serve", "--port", str(free_port()), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 4
    *_, last = ended.stderr.splitlines()
    reason = "no engine could be started: the GPU is on fire"
    assert last == f"taiyi-ray: the service did not start: {reason}"


@pytest.mark.slow
def test_replicas_follow_the_requests(tmp_path):
    """One replica, and two when more is asked than it should have at work."""
    arguments = "--engine fake --engines 1:2 --engine-arg latency=0.5 --document-slots 8"
    with server(tmp_path / "log", *arguments.split()) as (address, pid):
        grown = Served(address, pid, tmp_path / "log")
        assert len(grown.replicas()) == 1
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                httpx.post(f"{address}/v1/annotate", json=BODY, timeout=60)

        with futures.ThreadPoolExecutor(8) as pool, grown.http:
            asking = [pool.submit(ask) for _ in range(8)]
            try:
                wait_for(lambda: len(grown.replicas()) == 2, 90)
            finally:
                ended.set()
            for one in asking:
                one.result()
