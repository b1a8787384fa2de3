"""What the tests of the service share: the application in this process, and a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from taiyi_ray.config import ServeConfig
from taiyi_ray.serve.service import Service
from tests.conftest import free_port

MIGRAINE = "Aspirin eased headache in patients with migraine. It raised expression of COX-2."


def application(**settings: Any) -> Any:
    """The ASGI application of a replica with the fake engine, without Ray."""
    config = ServeConfig(**{"engine": "fake", "context_length": 4096, **settings})
    service = Service(config, "fake")
    built: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not built:  # in the loop that it lives in
            built.append(service.__serve_build_asgi_app__())
        await built[0](scope, receive, send)

    return app


@contextmanager
def client(**settings: Any) -> Iterator[TestClient]:
    """A client of `application`, in this process."""
    with TestClient(
        application(**settings), base_url="http://127.0.0.1", raise_server_exceptions=False
    ) as testing:
        yield testing


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An application on a port of localhost, in a thread of this process; yields its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@contextmanager
def server(log: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, int]]:
    """A real `taiyi-ray serve` on localhost; yields its address and process id.

    It is ended as a person ends it, and must then be gone with all that it started.
    """
    port = free_port()
    if "--batches" not in arguments:  # else in the user's folder
        arguments += ("--batches", str(log.with_name("batches")))
    main = "from taiyi_ray.cli import main; main()"
    before = len(log.read_text()) if log.exists() else 0
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", main, "serve", "--port", str(port), *arguments],
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while not (_is_ready(address) and "metrics: " in log.read_text()[before:]):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield address, process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def fuzz(service: httpx.Client, method: str, path: str, *, good: int, bad: int) -> Counter[int]:
    """Send valid and invalid requests by the service's own description; none may be its fault.

    Args:
        good, bad: how many of each kind.

    Returns:
        How often each status was the answer.
    """
    schema = schemathesis.openapi.from_dict(service.get("/openapi.json").json())
    seen: Counter[int] = Counter()
    for mode, examples in ((GenerationMode.POSITIVE, good), (GenerationMode.NEGATIVE, bad)):
        if not examples:
            continue

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(schema[path][method].as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            if isinstance(case.body, dict) and path.endswith("completions"):
                case.body = {**case.body, "max_tokens": 2}  # a small model goes on and on
                case.body.pop("max_completion_tokens", None)
            answer = sent(service, case)
            seen[answer.status_code] += 1
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert answer.json()["error"]["code"] == answer.status_code

        check()
    return seen


def sent(service: httpx.Client, case: schemathesis.Case) -> httpx.Response:
    """The answer to a request that schemathesis made."""
    wanted = case.as_transport_kwargs(base_url=str(service.base_url))
    wanted = {k: v for k, v in wanted.items() if v is not None and k != "cookies"}
    headers = wanted.get("headers") or {}
    wanted["headers"] = {k: v for k, v in headers.items() if v == v.strip()}  # else it is no HTTP
    if files := wanted.get("files"):
        wanted["files"] = [(name, _part(value)) for name, value in files]
    if isinstance(wanted.get("data"), (str, bytes)):
        wanted["content"] = wanted.pop("data")
    return service.request(**wanted)


def _part(value: Any) -> Any:
    """A part of a form as httpx takes it: text, bytes, or a file with a name."""
    if isinstance(value, tuple):
        name, content, *kind = value
        return (name, content if isinstance(content, (str, bytes)) else str(content), *kind)
    return value if isinstance(value, (str, bytes)) else str(value)
