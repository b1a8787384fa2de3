"""Files that no commit needs are removed; logs that another program changed are made anew."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import commits
from taiyi_ray.lake.check import check
from taiyi_ray.lake.tables import TABLES
from taiyi_ray.lake.update import update
from taiyi_ray.lake.upkeep import rebuild, vacuum
from tests.lake.lakes import Record, asked, paths


def test_vacuum_removes_what_no_recent_commit_needs(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps")], "2")
    update(lake, [out.address])
    orphan = f"{lake}/mentions/p000000-20200101T000000-01234567.parquet"
    at_work = orphan.replace("2020", "2999")
    for path in (orphan, at_work):
        Path(path).write_bytes(b"of a run that died, or is at work")
    assert {stored.path for stored in vacuum(lake, 30)} == {orphan}
    removed = vacuum(lake, 0, dry_run=True)
    assert removed and all(Path(stored.path).exists() for stored in removed)
    time.sleep(0.01)
    assert vacuum(lake, 0) == removed
    assert Path(at_work).exists()
    assert not list(check(lake))
    assert asked(lake, "SELECT count(*) FROM mentions") == [(3,)]
    with pytest.raises(ConfigError, match="files of commit 1 cannot be read"):
        asked(lake, "SELECT title FROM documents", "1")
    assert vacuum(lake, 0) == []


def test_what_another_program_wrote_is_found_out_and_undone_by_rebuild(out, lake):
    write_deltalake(
        f"{lake}/labels", DeltaTable(f"{lake}/labels").to_pyarrow_table(), mode="append"
    )
    out.add("pubmed26n0002.xml.gz", [Record("9", "Nine")], "2")
    with pytest.raises(ConfigError, match=r"labels: another program wrote version 2.*rebuild"):
        update(lake, [out.address])
    assert commits.opened(lake).number == 1
    assert rebuild(lake) == 1
    update(lake, [out.address])
    assert len(DeltaTable(f"{lake}/labels").to_pyarrow_table()) == 4
    DeltaTable(f"{lake}/mentions").optimize.compact()
    with pytest.raises(ConfigError, match="OPTIMIZE"):
        list(check(lake))
    Path(lake, "mentions", paths(lake, "mentions")["p000000"]).unlink()
    with pytest.raises(ConfigError, match="is gone or changed; make a new lake"):
        rebuild(lake)


def test_an_update_that_took_so_long_that_vacuum_may_have_come_is_not_committed(
    out, lake, monkeypatch
):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps")], "2")
    files = {table: set(Path(lake, table).glob("*.parquet")) for table in TABLES}
    began = datetime.now(UTC) - commits.LONGEST_UPDATE - timedelta(seconds=1)
    with monkeypatch.context() as earlier:
        earlier.setattr(commits, "now", lambda: began.isoformat(timespec="microseconds"))
        with pytest.raises(ConfigError, match="the update took more than 7 days"):
            update(lake, [out.address])
    assert commits.opened(lake).number == 1
    assert files == {table: set(Path(lake, table).glob("*.parquet")) for table in TABLES}
    assert update(lake, [out.address]).commit.number == 2


def test_vacuum_may_keep_more_days_than_there_ever_were(out, lake):
    out.add("pubmed26n0002.xml.gz", [Record("7", "Aspirin helps")], "2")
    update(lake, [out.address])
    assert vacuum(lake, 1e9) == []
