"""Updates that are killed, or at work at once, on a disk and in a bucket."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Self

import pytest
from deltalake import DeltaTable

from taiyi_ray.lake import commits, delta
from taiyi_ray.lake.check import check
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.lake.update import Settings, update
from taiyi_ray.lake.upkeep import vacuum
from tests.lake.lakes import FIRST, Naive, Out, Record, asked, compare


def test_a_lake_in_a_bucket_is_what_it_is_on_a_disk(bucket):
    out, lake = Out(f"{bucket}/out"), f"{bucket}/lake"
    naive = Naive()
    out.add("pubmed26n0001.xml.gz", FIRST, "1")
    update(lake, [out.address], Settings(answers=True))
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin"), Record("12", status="deleted")], "2")
    update(lake, [out.address])
    naive.take(out.rows())
    compare(lake, naive)
    assert not list(check(lake))
    assert asked(lake, "SELECT count(*) FROM mentions WHERE text = 'Stroke'") == [(1,)]
    table = DeltaTable(f"{lake}/mentions", storage_options=delta.options(lake))
    assert len(table.to_pyarrow_table()) == 3
    assert vacuum(lake, 0)
    assert asked(lake, "SELECT count(*) FROM documents") == [(2,)]


_WRITER = """
import os, sys
import duckdb, deltalake, pyarrow.parquet
from taiyi_ray.lake.update import Settings, update
for line in sys.stdin:
    lake, *outputs = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        update(lake, outputs, Settings(pmids=1000))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Writer:
    """A process that updates lakes: in children that have all imported, and can be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WRITER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def begin(self, lake: str, *outputs: str) -> int:
        """Begin an update; return the number of its process."""
        assert self._process.stdin is not None
        print(lake, *outputs, sep="\t", file=self._process.stdin, flush=True)
        return self._line()

    def end(self) -> int:
        """Wait for the update; return how it ended: 0, or the signal that killed it."""
        return self._line()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _two_writers(lake: str, folder: str) -> None:
    naive = Naive()
    outs = [Out(f"{folder}/out-{n}") for n in range(2)]
    for n, out in enumerate(outs):
        records = [Record(str(pmid), f"Text {n}") for pmid in range(1 + n, 3000, 300)]
        out.add(f"pubmed26n{n + 1:04d}.xml.gz", records, "1")
        naive.take(out.rows())
    with Writer() as one, Writer() as other:
        one.begin(lake, outs[0].address, outs[1].address)
        other.begin(lake, outs[1].address, outs[0].address)
        assert (one.end(), other.end()) == (0, 0)
    compare(lake, naive)
    _check_whole(lake)


def _check_whole(lake: str) -> None:
    """See that nothing is wrong, and that all logs are at the newest commit."""
    assert not list(check(lake))
    logs = [DeltaTable(f"{lake}/{t}", storage_options=delta.options(lake)) for t in TABLES]
    assert {log.version() for log in logs} == {commits.opened(lake).number}


def test_two_writers_at_once_leave_what_one_would(tmp_path):
    _two_writers(str(tmp_path / "lake"), str(tmp_path))


@pytest.mark.slow
def test_two_writers_at_once_in_a_bucket_leave_what_one_would(bucket):
    _two_writers(f"{bucket}/lake", bucket)


def _killed(lake: str, out: Out, seed: int, kills: int) -> None:
    """Update a lake while it is killed at random moments; compare it after each file.

    The moments are drawn from the time that the last whole update took on this machine.
    """
    draw, naive, done, number, seconds = random.Random(seed), Naive(), 0, 0, 1.0
    with Writer() as writer:
        while done < kills:
            number += 1
            records = [
                Record(str(draw.randint(1, 3000)), f"Text {draw.randint(0, 9)}") for _ in range(9)
            ]
            out.add(f"pubmed26n{number:04d}.xml.gz", records, f"{number}")
            naive.take(out.rows())
            while True:
                began, kill = time.monotonic(), draw.random() < 0.85
                process = writer.begin(lake, out.address)
                if kill:
                    time.sleep(draw.uniform(0, seconds))
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                if not (status := writer.end()):
                    seconds = seconds if kill else time.monotonic() - began
                    break
                assert status == signal.SIGKILL
                done += 1
            compare(lake, naive)
    _check_whole(lake)


def test_an_update_that_is_killed_at_any_moment_loses_nothing(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=1, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_lose_nothing_and_take_nothing_twice(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=2, kills=170)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_lose_nothing_in_a_bucket(bucket):
    _killed(f"{bucket}/lake", Out(f"{bucket}/out"), seed=3, kills=30)
