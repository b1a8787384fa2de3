"""An update of a lake: what outputs have and the ledger lacks is taken, and committed at once.

1. The new rows are sorted into ranges of documents on the local disk (`staging.py`).
2. Range by range the tables are brought to their new state (`ranges.py`).
3. One object is put if absent: `_lake/<n>.json`. Until then nobody sees the new files; if another
   writer was first, all begins anew from the state that it left.
4. The Delta logs follow (`delta.py`).
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output, is_output
from taiyi_ray.corpus.plan import load_job, load_plan
from taiyi_ray.corpus.reuse import LAKE_COMMITS
from taiyi_ray.errors import ConfigError, amount
from taiyi_ray.lake import commits, delta, ranges
from taiyi_ray.lake.commits import LONGEST_UPDATE, Commit
from taiyi_ray.lake.ranges import Work
from taiyi_ray.lake.rule import NUMBERED, PMIDS_A_RANGE, Key
from taiyi_ray.lake.staging import Given, TakenUnit
from taiyi_ray.lake.tables import RUNS, TABLES, UNITS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an update is asked for.

    Attributes:
        baseline: YY of a yearly baseline that is whole now: what is not in it vanishes.
        mixed: whether outputs of other fingerprints are taken.
        key: the key of documents outside of PubMed's files; None for that of the lake.
        answers: whether the table `answers` is filled; None for what the lake has.
        pmids: number of PMIDs in a range, of a new lake.
    """

    baseline: int | None = None
    mixed: bool = False
    key: Key | None = None
    answers: bool | None = None
    pmids: int = PMIDS_A_RANGE


@dataclass(slots=True)
class Updated:
    """What an update did.

    Attributes:
        commit: the state of the lake now.
        new: whether this update made it.
        units: number of units that were taken.
        counts: rows taken, and documents changed by kind.
        notes: what a person should know besides.
    """

    commit: Commit
    new: bool = False
    units: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return a line on what was done, and one for each note."""
        documents = amount(self.commit.rows("documents"), "document")
        done = f"commit {self.commit.number}: {documents}"
        if not self.new:
            return "\n".join([f"nothing new; {done}", *self.notes])
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.counts.most_common() if n)
        changes = f" ({kinds})" if kinds else ""
        taken = f"{amount(self.units, 'unit')} taken{changes}"
        return "\n".join([f"{done}; {taken}", *self.notes])


def update(lake: str, outputs: Sequence[str], settings: Settings | None = None) -> Updated:
    """Take what outputs have and the lake lacks.

    Args:
        lake: address of the lake's folder; it is made if nothing is there.
        outputs: addresses of outputs of `annotate`, finished or not.
        settings: what else is asked for.

    Raises:
        ConfigError: an output or a setting does not fit the lake; nothing was changed.
        StorageError: something cannot be read or written.
    """
    settings = settings or Settings()
    lake = storage.absolute(lake)
    delta.check_address(lake)
    # An output that is named twice would be taken twice.
    addresses = dict.fromkeys(map(storage.absolute, outputs))
    _check_apart(lake, addresses)
    given = [_given(address) for address in addresses]
    storage.probe(lake)
    while True:
        before = commits.newest(lake) or _first(settings)
        _check_settings(before, settings)
        delta.check(lake, before)
        done = _attempt(lake, before, given, settings)
        if done is not None:
            delta.follow(lake, done.commit)
            return done
        _log.warning("%s: another writer was first; beginning anew from its state", lake)


def _check_apart(lake: str, outputs: Iterable[str]) -> None:
    """See that a lake and outputs have no folder in common: both have one called `runs`.

    Raises:
        ConfigError: the lake is an output, or lies in one, or an output in a folder of the lake's.
    """
    if is_output(lake):
        raise ConfigError(f"--table {lake}: is an output of `annotate`; name another folder")
    for output in outputs:
        if storage.is_within(lake, output):
            raise ConfigError(f"--table {lake}: lies in the output {output}; name another folder")
        for name in (*TABLES, LAKE_COMMITS):
            if storage.is_within(output, storage.join(lake, name)):
                raise ConfigError(
                    f"--table {lake}: its folder {name} holds the output {output}; name another "
                    "folder"
                )


def _given(address: str) -> Given:
    job = load_job(address)
    if job is None:
        raise ConfigError(f"{address}: no output of `taiyi-ray annotate` is there (no job.json)")
    reading = Output(address)
    return Given(address, reading, job, load_plan(address, job), reading.committed())


def _first(settings: Settings) -> Commit:
    """The commit of an empty lake; it is put when nothing speaks against the first update."""
    return Commit(
        number=0,
        attempt=secrets.token_hex(8),
        committed_at=commits.now(),
        key=settings.key or "record",
        answers=bool(settings.answers),
        pmids=settings.pmids,
    )


def _check_settings(lake: Commit, settings: Settings) -> None:
    if settings.key not in (None, lake.key):
        raise ConfigError(f"--key {settings.key}: the lake was made with --key {lake.key}")
    if settings.answers and not lake.answers:
        raise ConfigError("--answers: the lake was made without; make a new one of the outputs")


def _check_fingerprints(
    known: dict[str, str], given: Sequence[Given], settings: Settings
) -> dict[str, str]:
    """Return the fingerprints of all outputs; refuse one that is new to a lake without --mixed."""
    prints = set(known.values())
    for one in given:
        if prints and one.job.fingerprint not in prints and not settings.mixed:
            raise ConfigError(
                f"{one.address}: has the fingerprint {one.job.fingerprint}, other rows have "
                f"{', '.join(sorted(prints))}; with --mixed it is taken, and the column "
                "fingerprint tells them apart"
            )
        prints.add(one.job.fingerprint)
    return known | {one.address: one.job.fingerprint for one in given}


# --------------------------------------------------------------------------------------- one try


def _attempt(
    lake: str, before: Commit, given: Sequence[Given], settings: Settings
) -> Updated | None:
    """Make an update from the state `before`; None if another writer committed meanwhile."""
    outputs = _check_fingerprints(before.outputs, given, settings)
    taken = _taken(lake, before)
    tags = {unit: row["tag"] for unit, row in taken.items()}
    new = [
        one
        for output in given
        for one in output.units()
        if tags.get((one.address, one.unit.name)) != one.tag
    ]
    floor = before.floor
    if settings.baseline is not None:
        units = [*taken, *((u.address, u.unit.name) for u in new)]
        _check_series(settings.baseline, given, units)
        floor = max(floor, settings.baseline)
    if before.number == 0 and not commits.put(lake, before):
        return None
    if not new and floor == before.floor:
        return Updated(before)
    with (
        tempfile.TemporaryDirectory(prefix="taiyi-ray-lake-") as folder,
        closing(Work(lake, before, floor, Path(folder), outputs)) as work,
    ):
        rows = work.take(new)
        work.rewrite()
        work.write(UNITS, _units(taken, new, before.number + 1), "all")
        work.write(RUNS, _runs(given, work), "all")
        counts = Counter({"rows": rows}) + work.counts
        commit = work.commit(outputs, counts)
        if datetime.now(UTC) - datetime.fromisoformat(commit.committed_at) > LONGEST_UPDATE:
            work.forget()
            raise ConfigError(
                f"{lake}: the update took more than {LONGEST_UPDATE.days} days, in which `lake "
                "vacuum` may have removed its files; take fewer outputs at once"
            )
        if not commits.put(lake, commit):
            work.forget()
            return None
        return Updated(commit, True, len(new), work.counts, _notes(new))


def _taken(lake: str, commit: Commit) -> dict[tuple[str, str], dict[str, Any]]:
    """The units that were taken: the rows of the table, by output and name."""
    rows = ranges.read(lake, commit, UNITS, "all").to_pylist()
    return {(row["output"], row["unit"]): row for row in rows}


def _notes(new: Sequence[TakenUnit]) -> list[str]:
    unnamed = {u.unit.source for u in new if u.pubmed and not re.search(NUMBERED, u.unit.source)}
    if not unnamed:
        return []
    some = ", ".join(sorted(unnamed)[:3]) + (", ..." if len(unnamed) > 3 else "")
    return [
        f"{amount(len(unnamed), 'PubMed file')} without a name pubmedYYn<digits> ({some}): older "
        "than all that have one, in the order of their names"
    ]


def _check_series(year: int, given: Sequence[Given], units: Sequence[tuple[str, str]]) -> None:
    """See that the files of a year are all there, from the first to the last, and whole.

    Args:
        year: YY of the files.
        given: the outputs of this update.
        units: the units of all outputs, also of earlier ones: the output's address, and the name.

    Raises:
        ConfigError: a file is missing, or an output has not all of it yet.
    """
    series: dict[int, set[str]] = {}
    for address, name in units:
        if (number := _number(year, name)) is not None:
            series.setdefault(number, set()).add(address)
    if not series:
        raise ConfigError(f"--baseline {year:02d}: no file pubmed{year:02d}n<digits> was taken")
    missing = sorted(set(range(1, max(series) + 1)) - series.keys())
    if missing:
        raise ConfigError(
            f"--baseline {year:02d}: {amount(len(missing), 'file')} missing below number "
            f"{max(series)}, the first is pubmed{year:02d}n{missing[0]:04d}; annotate what is "
            "missing, then update again"
        )
    for output in given:
        _check_whole(year, output)
    here = {output.address for output in given}
    left = {number for number, addresses in series.items() if not addresses & here}
    for address in sorted({address for number in left for address in series[number]}):
        if load_job(address) is not None:  # else it is gone, and nobody can tell
            _check_whole(year, _given(address), left)


def _check_whole(year: int, output: Given, only: set[int] | None = None) -> None:
    """See that an output has all of its files of a year.

    Args:
        year: YY of the files.
        output: the output.
        only: the numbers of the files that matter; None for all.
    """
    wanted = f"--baseline {year:02d}"

    def matters(name: str) -> bool:
        number = _number(year, name)
        return number is not None and (only is None or number in only)

    for source in output.plan.sources.values():
        if matters(source.name) and not source.complete:
            raise ConfigError(f"{wanted}: {source.path} was cut short by --limit; annotate it all")
    for unit in output.plan.units():
        if matters(unit.source) and unit.name not in output.committed:
            raise ConfigError(
                f"{wanted}: {output.address} is not finished ({unit.name} is missing); run "
                "its annotate again"
            )


def _number(year: int, name: str) -> int | None:
    """The number of a file of this year, by the name of its source; None of any other."""
    match = re.search(NUMBERED, name)
    return int(match[3]) if match and int(match[2]) == year else None


def _units(
    taken: dict[tuple[str, str], dict[str, Any]], new: Sequence[TakenUnit], number: int
) -> pa.Table:
    """The units that were taken before, and those that this update takes."""
    rows = taken | {
        (one.address, one.unit.name): {
            "output": one.address,
            "unit": one.unit.name,
            "tag": one.tag,
            "committed_in": number,
        }
        for one in new
    }
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], UNITS.schema)


def _runs(given: Sequence[Given], work: Work) -> pa.Table:
    """The runs whose rows were taken: those that the lake has, and the outputs' own."""
    known = ranges.read(work.lake, work.before, RUNS, "all").to_pylist()
    rows = {(row["run_id"], row["output"]): row for row in known}
    for output in given:
        identity = [(name, json.dumps(value)) for name, value in output.job.identity.items()]
        for stored in storage.walk(storage.join(output.address, "runs")):
            data = storage.read(stored.path)
            if not stored.path.endswith(".json") or data is None:
                continue
            run = json.loads(data)
            config = run.get("config", {})
            rows[run["run_id"], output.address] = {
                "run_id": run["run_id"],
                "output": output.address,
                "state": run.get("state"),
                "started": run.get("started"),
                "model": run.get("model"),
                "adapter": config.get("adapter"),
                "engine": config.get("engine"),
                "tasks": run.get("tasks"),
                "fingerprint": run.get("fingerprint"),
                "identity": identity,
            }
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], RUNS.schema)
