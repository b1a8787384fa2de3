"""Updates that are killed, or at work at once, on a disk and in a bucket."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

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
import sys
from taiyi_ray.lake.update import Settings, update
lake, *outputs = sys.argv[1:]
update(lake, outputs, Settings(pmids=1000))
"""


def _writer(lake: str, *outputs: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, lake, *outputs])


def test_two_writers_at_once_leave_what_one_would(tmp_path):
    lake, naive = str(tmp_path / "lake"), Naive()
    outs = [Out(str(tmp_path / f"out-{n}")) for n in range(2)]
    for n, out in enumerate(outs):
        records = [Record(str(pmid), f"Text {n}") for pmid in range(1 + n, 3000, 300)]
        out.add(f"pubmed26n{n + 1:04d}.xml.gz", records, "1")
        naive.take(out.rows())
    writers = [_writer(lake, outs[n].address, outs[1 - n].address) for n in range(2)]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    compare(lake, naive)
    assert not list(check(lake))
    (number,) = {DeltaTable(f"{lake}/{table}").version() for table in TABLES}
    assert number == commits.opened(lake).number


def _killed(lake: str, out: Out, seed: int, kills: int) -> None:
    """Update a lake while it is killed at random moments; compare it after each file."""
    draw, naive, done = random.Random(seed), Naive(), 0
    number = 0
    while done < kills:
        number += 1
        records = [
            Record(str(draw.randint(1, 3000)), f"Text {draw.randint(0, 9)}") for _ in range(9)
        ]
        out.add(f"pubmed26n{number:04d}.xml.gz", records, f"{number}")
        naive.take(out.rows())
        while True:
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-c", _READY + _WRITER, lake, out.address], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process.stdout.readline()  # all is imported
            try:
                process.wait(draw.uniform(0, 1.5) if draw.random() < 0.8 else 300)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                continue
            finally:
                process.stdout.close()
            assert process.returncode == 0, time.monotonic() - began
            break
        compare(lake, naive)
    assert not list(check(lake))
    (version,) = {
        DeltaTable(f"{lake}/{t}", storage_options=delta.options(lake)).version() for t in TABLES
    }
    assert version == commits.opened(lake).number


_READY = """
import duckdb, pyarrow.parquet, deltalake, taiyi_ray.lake.update
print("ready", flush=True)
"""


def test_an_update_that_is_killed_at_any_moment_loses_nothing(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=1, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_nothing_and_take_nothing_twice(tmp_path):
    _killed(str(tmp_path / "lake"), Out(str(tmp_path / "out")), seed=2, kills=200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_lose_nothing_in_a_bucket(bucket):
    _killed(f"{bucket}/lake", Out(f"{bucket}/out"), seed=3, kills=30)
