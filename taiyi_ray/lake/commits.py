"""The commits of a lake: DIR/_lake/<n>.json, put if absent.

That this object exists is the commit of update n, over all tables at once: Delta has no transaction
across tables. It says the whole state after the update, so that one object is enough to read a lake
as it was at n. The Delta log of each table follows it, version n for commit n (`delta.py`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, Field

from taiyi_ray import storage
from taiyi_ray.corpus.reuse import LAKE_COMMITS, LAKE_FORMAT, check_format
from taiyi_ray.errors import ConfigError
from taiyi_ray.lake.rule import PMIDS_A_RANGE, Key

LONGEST_UPDATE = timedelta(days=7)
"""An update that took longer is not committed: `vacuum` takes files of no commit that are a day
older than this for those of an update that died."""

_NAME = re.compile(r"(\d{9})\.json")


class DataFile(BaseModel, frozen=True):
    """A data file of a table.

    Attributes:
        range: the documents that it holds; each table has one file for a range at most.
        size: in bytes.
        rows: number of its rows.
        stats: what Delta keeps of its columns, as JSON.
    """

    range: str
    size: int
    rows: int
    stats: str


class Commit(BaseModel, frozen=True):
    """The state of a lake after an update.

    Attributes:
        format: version of the tables and of this object.
        number: of the commit; 0 made the empty tables.
        attempt: an id, so that no two writers put the same bytes.
        committed_at: the time of the update (ISO 8601, UTC).
        key: what makes records revisions of one document outside of PubMed's files.
        answers: whether the table `answers` is filled.
        pmids: number of PMIDs in a range.
        outputs: the outputs that rows came from, each with its fingerprint.
        floor: year of the newest yearly baseline; -1 before the first.
        counts: what this update did: rows taken, and documents changed by kind.
        files: the files of each table, by their paths below the table.
    """

    format: int = LAKE_FORMAT
    number: int
    attempt: str
    committed_at: str
    key: Key = "record"
    answers: bool = False
    pmids: int = PMIDS_A_RANGE
    outputs: dict[str, str] = Field(default_factory=dict)
    floor: int = -1
    counts: dict[str, int] = Field(default_factory=dict)
    files: dict[str, dict[str, DataFile]] = Field(default_factory=dict)

    def rows(self, table: str) -> int:
        """Number of rows of a table."""
        return sum(file.rows for file in self.files.get(table, {}).values())

    def by_range(self, table: str) -> dict[str, str]:
        """The paths of a table's files, by range."""
        return {file.range: path for path, file in self.files.get(table, {}).items()}


def now() -> str:
    """The present time as commits have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def numbers(lake: str) -> list[int]:
    """The numbers of all commits, ascending: one listing.

    Raises:
        ConfigError: some are missing between others: somebody removed them.
    """
    folder = storage.join(lake, LAKE_COMMITS)
    names = (stored.path[len(folder) + 1 :] for stored in storage.walk(folder))
    found = sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))
    if found != list(range(len(found))):
        raise ConfigError(
            f"{folder}: commits are missing there; make a new lake of the outputs "
            "(`taiyi-ray lake update OUT... --table NEW`)"
        )
    return found


def read(lake: str, number: int) -> Commit:
    """Read a commit.

    Raises:
        ConfigError: there is none of this number, or another version of this program made it.
    """
    path = _path(lake, number)
    data = storage.read(path)
    if data is None:
        raise ConfigError(f"{lake}: has no commit {number}; `taiyi-ray lake show` says the newest")
    check_format(lake, data)
    return Commit.model_validate_json(data)


def newest(lake: str) -> Commit | None:
    """Read the newest commit; None when no lake is there."""
    found = numbers(lake)
    return read(lake, found[-1]) if found else None


def opened(lake: str, when: str | None = None) -> Commit:
    """Read the commit that a user asks for.

    Args:
        lake: address of the lake.
        when: the number of a commit, or a date or time (ISO 8601; UTC unless it says otherwise):
            then the last one that was made until then. A date means its end. None for the newest.

    Raises:
        ConfigError: no lake is there, or it has no such commit.
    """
    found = numbers(lake)
    if not found:
        raise ConfigError(
            f"{lake}: is no lake; `taiyi-ray lake update OUT... --table {lake}` makes one"
        )
    if when is None:
        return read(lake, found[-1])
    if when.isdecimal() and len(when) < 9:
        return read(lake, int(when))
    until = moment(when)
    for number in reversed(found):
        commit = read(lake, number)
        if commit.committed_at <= until:
            return commit
    raise ConfigError(f"{when}: the lake is younger; its first commit is {commit.committed_at}")


def moment(when: str, *, end: bool = True) -> str:
    """The time that a user names, as commits have it.

    Args:
        when: a date or a time (ISO 8601); UTC unless it says otherwise.
        end: whether a date means its end; else it means its beginning.

    Raises:
        ConfigError: it is neither a date nor a time.
    """
    try:
        parsed = datetime.fromisoformat(when)
        if len(when) == len("2026-11-23") and end:
            parsed = parsed.replace(hour=23, minute=59, second=59, microsecond=999_999)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        parsed = parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the last hours of the year 9999 are 10000 in UTC
        raise ConfigError(
            f"{when}: is neither the number of a commit nor a date such as 2026-11-23"
        ) from error
    return parsed.isoformat(timespec="microseconds")


def put(lake: str, commit: Commit) -> bool:
    """Put a commit, unless there is one of its number; return whether this one is there."""
    data = commit.model_dump_json().encode()
    return storage.put_if_absent(_path(lake, commit.number), data)


def _path(lake: str, number: int) -> str:
    return storage.join(lake, LAKE_COMMITS, f"{number:09d}.json")
