"""The corpus job on S3 while its parts are killed: run again until it is done, the same table."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import pytest
import s3fs

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output
from tests.faults import FaultyProxy
from tests.job.jobs import annotate, content, corpus, start, table

KILLS = ("driver", "worker", "node", "engine", "storage")
DOCUMENTS = 20  # in each source, which is one unit


class Chaos:
    """A job that is started again whenever it ended unfinished, and what kills its parts.

    What a killed driver leaves running goes on beside the next one, as on a cluster, to the end
    of the test.
    """

    def __init__(
        self, command: list[str], output: str, proxy: FaultyProxy, direct: Any, folder: Path
    ) -> None:
        self._proxy, self._direct = proxy, direct
        self._die_when, self._log = folder / "die", folder / "log"
        self._command = [*command, "-o", output, "--engine-arg", f"die_when={self._die_when}"]
        self._units = f"{output.removeprefix('s3://')}/annotations"
        self._started: list[psutil.Process] = []
        self._driver: Popen[str] | None = None
        self.runs = 0
        self.killed: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()

    def committed(self) -> int:
        return len(self._direct.find(self._units)) if self._direct.exists(self._units) else 0

    def go_on(self) -> None:
        """See that a driver runs; one that ended by itself was not done yet."""
        if self._driver and (code := self._driver.poll()) is not None:
            self.codes[code] += 1
            assert code == 4 or self.killed["node"], f"the job ended with {code}: {self.said()}"
            self._driver = None
        if self._driver is None:
            self._driver = start(*self._command, log=self._log)
            self.runs += 1

    def wait_for(self, units: int, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while self.committed() < units:
            self.go_on()
            assert time.monotonic() < until, f"{self.committed()} of {units} units"
            time.sleep(0.05)
        self.go_on()

    def said(self) -> str:
        return self._log.read_text()

    def ended(self) -> int:
        """Wait for the driver's end; return its exit code."""
        assert self._driver is not None
        return self._driver.wait(600)

    def finish(self) -> None:
        """Run to the end."""
        while True:
            self.go_on()
            assert self._driver is not None
            if self.ended() == 0:
                self.codes[0] += 1
                return

    def kill(self, kind: str, draw: random.Random) -> None:
        getattr(self, f"_kill_{kind}")(draw)
        self.killed[kind] += 1

    def _kill_driver(self, _: random.Random) -> None:
        assert self._driver is not None
        self._below(self._driver.pid)
        self._driver.kill()
        self._driver.wait()
        self._driver = None

    def _kill_worker(self, draw: random.Random) -> None:
        self._kill_one("ray::MapWorker", draw)

    def _kill_node(self, draw: random.Random) -> None:
        self._kill_one("raylet/raylet", draw)
        assert self._driver is not None
        self._driver.wait(60)  # it ends by itself; in which way is Ray's affair

    def _kill_engine(self, _: random.Random) -> None:
        self._die_when.touch()
        until = time.monotonic() + 60
        while self._die_when.exists():
            assert time.monotonic() < until, "no engine took its death"
            self.go_on()
            time.sleep(0.02)

    def _kill_storage(self, draw: random.Random) -> None:
        self._proxy.down = True
        time.sleep(draw.uniform(1, 4))
        self._proxy.down = False

    def _kill_one(self, name: str, draw: random.Random) -> None:
        assert self._driver is not None
        until = time.monotonic() + 60
        while True:
            found = [p for p in self._below(self._driver.pid) if name in _command_line(p)]
            if found:
                draw.choice(found).kill()
                return
            assert time.monotonic() < until, f"no {name} is running"
            self.go_on()
            time.sleep(0.05)

    def _below(self, driver: int) -> list[psutil.Process]:
        """The driver's processes, remembered to be ended with the test."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(driver).children(recursive=True)
            self._started += found
            return found
        return []

    def end(self) -> None:
        """End what still runs."""
        if self._driver and self._driver.poll() is None:
            self._below(self._driver.pid)
            self._driver.kill()
            self._driver.wait()
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(self._started, timeout=10)
        assert not alive, alive


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def direct(faulty_bucket: str, s3_server: str) -> s3fs.S3FileSystem:
    """The bucket, not through the proxy."""
    return s3fs.S3FileSystem(endpoint_url=s3_server, use_listings_cache=False)


@pytest.fixture
def chaos(
    faulty: FaultyProxy, faulty_bucket: str, direct: s3fs.S3FileSystem, tmp_path: Path
) -> Iterator[Chaos]:
    command = [f"{faulty_bucket}/in", "--engine", "fake", "--engines", "2"]
    # Some 80 documents a second, and few suspects, which are asked alone, when an engine dies.
    command += ["--engine-arg", "latency=0.15", "--engine-arg", "question_slots=8"]
    made = Chaos(command, f"{faulty_bucket}/out", faulty, direct, tmp_path)
    try:
        yield made
    finally:
        made.end()


def put_sources(bucket: str, number: int, folder: Path) -> None:
    for n in range(number):
        path = corpus(folder / f"{n:03}.jsonl", DOCUMENTS, seed=n)
        storage.replace(f"{bucket}/in/{path.name}", path.read_bytes())


def check(
    chaos: Chaos, faulty: FaultyProxy, bucket: str, sources: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every document once, each as in an undisturbed run."""
    faulty.heal()
    keys = Counter((row["source"], row["position"]) for row in table(f"{bucket}/out"))
    lost = sources * DOCUMENTS - len(keys)
    twice = sum(n > 1 for n in keys.values())
    annotate(f"{bucket}/in", "-o", f"{bucket}/quiet", "--engine", "fake")
    digests = [
        hashlib.sha256("\n".join(content(f"{bucket}/{name}")).encode()).hexdigest()
        for name in ("out", "quiet")
    ]
    with capsys.disabled():
        sys.stdout.write(
            f"\nkilled: {dict(chaos.killed)}; faults: {dict(faulty.done)}; runs: {chaos.runs}, "
            f"ended by themselves with {dict(chaos.codes)}; documents: {sources * DOCUMENTS}, "
            f"lost {lost}, twice {twice}; digests {digests[0][:12]} {digests[1][:12]}\n"
        )
    assert (lost, twice) == (0, 0)
    assert digests[0] == digests[1]


def kill_at_random(chaos: Chaos, kinds: list[str], seed: int) -> None:
    draw = random.Random(seed)
    for kind in kinds:
        chaos.wait_for(chaos.committed() + 1)
        time.sleep(draw.random())
        chaos.kill(kind, draw)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_five_kills_of_different_kinds(chaos, faulty, faulty_bucket, tmp_path, capsys):
    sources = 60
    put_sources(faulty_bucket, sources, tmp_path)
    kinds = list(KILLS)
    random.Random(11).shuffle(kinds)
    kill_at_random(chaos, kinds, seed=11)
    chaos.finish()
    check(chaos, faulty, faulty_bucket, sources, capsys)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_twenty_kills_on_a_store_that_breaks(chaos, faulty, faulty_bucket, tmp_path, capsys):
    sources = 300
    put_sources(faulty_bucket, sources, tmp_path)
    kinds = [*KILLS] * 4
    random.Random(23).shuffle(kinds)
    faulty.inflict_at_random(seed=23, share=0.05)
    kill_at_random(chaos, kinds, seed=23)
    chaos.finish()
    assert chaos.killed == dict.fromkeys(KILLS, 4)
    check(chaos, faulty, faulty_bucket, sources, capsys)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_store_that_stays_down_ends_the_job_unfinished(
    chaos, faulty, faulty_bucket, tmp_path, capsys
):
    put_sources(faulty_bucket, 100, tmp_path)
    chaos.wait_for(2)
    faulty.down = True
    assert chaos.ended() == 4
    assert "tried 8 times" in chaos.said().splitlines()[-1]
    assert "Traceback" not in chaos.said()
    faulty.down = False
    chaos.finish()
    check(chaos, faulty, faulty_bucket, 100, capsys)


# ------------------------------------------------------------- two at once, and what is read again


@pytest.mark.slow
@pytest.mark.alone
def test_two_drivers_at_once_and_what_a_restart_reads(faulty, faulty_bucket, direct, tmp_path):
    for name in ("a", "b"):
        path = corpus(tmp_path / f"{name}.jsonl", 200, seed=ord(name))
        storage.replace(f"{faulty_bucket}/in/{name}.jsonl", path.read_bytes())
    size = direct.size("bucket/in/a.jsonl")
    command = (f"{faulty_bucket}/in", "--engine", "fake", "--engines", "2")
    output = Output(f"{faulty_bucket}/out")
    slow = ("--engine-arg", "latency=0.5")
    logs = [tmp_path / "log0", tmp_path / "log1"]
    drivers = [start(*command, "-o", output.address, *slow, log=log) for log in logs]
    for driver, log in zip(drivers, logs, strict=True):
        assert driver.wait(240) == 0, log.read_text()
    # Both were right to end: the table is whole, whoever of them won which unit.
    assert len({(row["source"], row["position"]) for row in table(output.address)}) == 400
    assert len(table(output.address)) == 400
    assert len(output.committed()) == 16
    # Each of them read a source twice at most: to plan, and for its eight units together.
    assert 2 * size <= faulty.sent["/bucket/in/a.jsonl"] <= 4 * size
    before = content(output.address)
    # What is finished is not opened again, and what is not is read once.
    for name in sorted(output.committed())[8:11]:
        direct.rm(f"bucket/out/annotations/{name}.parquet")
    faulty.sent.clear()
    annotate(*command, "-o", output.address)
    read = {path: n for path, n in faulty.sent.items() if path.startswith("/bucket/in/")}
    assert read == {"/bucket/in/b.jsonl": direct.size("bucket/in/b.jsonl")}
    assert content(output.address) == before
