"""Servers for the tests of the HTTP engine: one that plays a part, and a real `vllm serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from taiyi_ray import models
from tests.conftest import free_port

Body = dict[str, Any]


@dataclass
class Reply:
    """What a server answers: a status with JSON or a text; 0 closes the connection instead."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, message: str, **headers: str) -> Reply:
    return Reply(status, {"error": {"message": message}}, dict(headers))


def text_of(body: Body) -> str:
    """The prompt of a request."""
    return str(body.get("prompt") or body["messages"][-1]["content"])


def obedient(body: Body) -> str:
    """An answer that the grammar of a request allows."""
    grammar = body.get("structured_outputs", {}).get("grammar", "")
    if '"k3"' in grammar:
        return "w7: qvx" if "qvx" in grammar else "w7: 龘靐"
    return "none"


def completion(body: Body, text: str, reason: str = "stop", **usage: Any) -> Reply:
    """A response of OpenAI's form; each character is a token."""
    tokens = {
        "prompt_tokens": 10 + len(text_of(body)) // 4,
        "completion_tokens": len(text),
        **usage,
    }
    choice: Body = {"index": 0, "finish_reason": reason}
    if "prompt" in body:
        choice["text"] = text
        if body.get("logprobs"):
            choice["logprobs"] = {"tokens": list(text), "token_logprobs": [-0.5] * len(text)}
    else:
        choice["message"] = {"role": "assistant", "content": text}
        if body.get("logprobs"):
            content = [{"token": "?", "bytes": [b], "logprob": -0.5} for b in text.encode()]
            choice["logprobs"] = {"content": content}
    return Reply(200, {"choices": [choice], "usage": tokens})


class Played(ThreadingHTTPServer):
    """A server on localhost that answers each question as `answer` says; the rest is usual.

    Attributes:
        models: what it says it serves.
        key: the only one that it takes, if it wants one.
        asked: the requests to answer questions, in order.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, answer: Callable[[Body], Reply] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer or (lambda body: completion(body, obedient(body)))
        self.models: Any = [{"id": "m", "root": "there/m", "max_model_len": 2048}]
        self.key: str | None = None
        self.asked: list[tuple[str, Body]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def stop(self) -> None:
        """Take no more connections, and end those that are there."""
        self.answer = lambda _: Reply(0)
        self.shutdown()
        self.server_close()

    def reply(self, method: str, path: str, headers: Any, body: Body) -> Reply:
        if self.key and headers["Authorization"] != f"Bearer {self.key}":
            return refusal(401, "wrong key")
        if (method, path) == ("GET", "/v1/models"):
            listed = self.models
            return listed if isinstance(listed, Reply) else Reply(200, {"data": listed})
        if method == "POST" and path in ("/v1/chat/completions", "/v1/completions"):
            self.asked.append((path, body))
            return self.answer(body)
        return refusal(404, "Not Found")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Played

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        reply = self.server.reply(self.command, self.path, self.headers, body)
        if reply.status == 0:
            self.close_connection = True
            return
        is_text = isinstance(reply.body, str)
        data = reply.body.encode() if is_text else json.dumps(reply.body).encode()
        with suppress(OSError):  # who asked may have gone
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/html" if is_text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = _do

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def vllm_serve(log: Path, *arguments: str, context: int = 2048) -> Iterator[str]:
    """A real server of the embedded model (float32, on CPU, localhost); yields its address."""
    port = free_port()
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    environment = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
    }
    command = (
        f"-m vllm.entrypoints.openai.api_server --host 127.0.0.1 --port {port} --enforce-eager "
        f"--dtype float32 --max-model-len {context} --max-num-seqs 16 --served-model-name small"
    )
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *command.split(), "--model", str(models.resolve().path), *arguments],
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while not _is_up(address):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.5)
        yield f"{address}/v1"
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
