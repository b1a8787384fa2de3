"""Upkeep of a lake: removing files that no commit needs any more; making the Delta logs anew."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.lake import commits, delta
from taiyi_ray.lake.tables import TABLES

_WRITTEN = re.compile(r"-(\d{8}T\d{6})-[0-9a-f]{8}\.parquet$")
"""The time (UTC) of a data file, in its name."""

_LONGEST = 36_525.0
"""Days (a century) that keep everything: dates do not reach back as far as a user may ask for."""

_AT_WORK = commits.LONGEST_UPDATE + timedelta(days=1)
"""Files of no commit that are younger may be those of an update that is at work; the clocks of its
machine and of this one may differ."""


def vacuum(lake: str, keep_days: float, *, dry_run: bool = False) -> list[storage.Stored]:
    """Remove data files that no commit of the last days needs.

    Commits that are older can no longer be asked, by Delta's time travel neither. What changed
    stays known: no commit, log or row of `changes` and `revisions` goes.

    Args:
        lake: address of the lake.
        keep_days: the newest commit and those of so many days stay whole.
        dry_run: whether nothing is removed.

    Returns:
        The files.
    """
    lake = storage.absolute(lake)
    commits.opened(lake)
    days = timedelta(days=min(keep_days, _LONGEST))
    until = (datetime.now(UTC) - days).isoformat(timespec="microseconds")
    needed: set[str] = set()
    committed: set[str] = set()
    recent = True
    for number in reversed(commits.numbers(lake)):
        commit = commits.read(lake, number)
        files = {
            storage.join(lake, name, path) for name in commit.files for path in commit.files[name]
        }
        committed |= files
        if recent:
            needed |= files
        recent = recent and commit.committed_at >= until  # else it was the state when they began
    young = f"{datetime.now(UTC) - _AT_WORK:%Y%m%dT%H%M%S}"
    found = []
    for table in TABLES:
        for stored in storage.walk(storage.join(lake, table)):
            written = _WRITTEN.search(stored.path)
            if written is None or stored.path in needed:
                continue
            if stored.path in committed or written[1] < young:
                found.append(stored)
    if not dry_run:
        for stored in found:
            storage.remove(stored.path)
    return found


def rebuild(lake: str) -> int:
    """Make the Delta logs of all tables anew from the lake's own commits; return the newest one.

    What another program did to the tables (OPTIMIZE, DELETE, ...) is undone; files that it wrote
    stay until they are removed by hand.

    Args:
        lake: address of the lake.

    Raises:
        ConfigError: data files of the newest commit are gone, so that only the outputs can help.
    """
    lake = storage.absolute(lake)
    newest = commits.opened(lake)
    for table in TABLES:
        folder = storage.join(lake, table)
        there = {stored.path: stored.size for stored in storage.walk(folder)}
        for path, file in newest.files.get(table, {}).items():
            if there.get(storage.join(folder, path)) != file.size:
                raise ConfigError(
                    f"{storage.join(folder, path)}: is gone or changed; make a new lake of the "
                    "outputs (`taiyi-ray lake update OUT... --table NEW`)"
                )
        for path in there:
            if path.startswith(storage.join(folder, "_delta_log", "")):
                storage.remove(path)
    delta.follow(lake, newest)
    return newest.number
