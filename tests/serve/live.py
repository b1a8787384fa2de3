"""The service with the real engine, as the tests see it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil

from tests.job.jobs import processes

QUESTION: Any = [{"role": "user", "content": "Name a drug for diabetes."}]
SETTINGS = ("--engine-arg", "dtype=float32", "--context-length", "1024")


class Live:
    """The service with the real engine and two adapters, one of which is in S3."""

    def __init__(self, address: str, pid: int, log: Path) -> None:
        self.address, self.pid, self.log = address, pid, log
        self.http = httpx.Client(base_url=address, timeout=120)
        self.openai = openai.OpenAI(
            base_url=f"{address}/v1", api_key="none", timeout=120, max_retries=0
        )

    def questions(self) -> int:
        """Questions in the engine."""
        return int(self.http.get("/health").json()["questions"])

    def kill(self, name: str) -> None:
        """Kill the newest process of the service whose command line holds this."""
        mine = {child.pid for child in psutil.Process(self.pid).children(recursive=True)}
        found = mine & {int(line.split()[0]) for line in processes(name)}
        os.kill(max(found), signal.SIGKILL)  # the newest: one that is replaced may still end

    def healed(self) -> bool:
        try:
            return self.http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def chat(self, **wanted: Any) -> Any:
        asked = {"model": "taiyi", "messages": QUESTION, "temperature": 0, "max_tokens": 8}
        return self.openai.chat.completions.create(**(asked | wanted))
