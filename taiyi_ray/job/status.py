"""The progress of an output, by its listing, its units' footers and its `runs/`; without Ray.

The progress can be asked for while a job runs, after it died, and before it wrote anything. Only
committed units are counted. A run's own file tells only whether the run still works, and how fast.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from taiyi_ray import storage
from taiyi_ray.corpus.output import Output, Totals
from taiyi_ray.corpus.plan import Job, load_job, load_plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.states import MEANING, SILENT, State, time_left

_RUNS = 5
"""Number of the newest runs that are read: a job on machines that vanish has many runs."""


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of an output.

    Attributes:
        output: its address.
        state: one of MEANING.
        records: number of planned records.
        left: how many of these are in no committed unit.
        units: number of planned units.
        units_done: how many of these are committed.
        documents: number of committed rows by status.
        failures: number of their errors by kind; a `partial` document has errors too.
        tokens: `prompt_tokens`, `cached_tokens`, `output_tokens` and `questions` of the answers.
        run_id: of a run that works, or else of the newest run.
        written: when that run last wrote its state (ISO 8601).
        documents_per_second: sum over the runs that work now, each from when its first engine was
            ready.
        seconds_left: at that rate; None when no run works or the rate is not known yet.
    """

    output: str
    state: State
    records: int = 0
    left: int = 0
    units: int = 0
    units_done: int = 0
    documents: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    run_id: str | None = None
    written: str | None = None
    documents_per_second: float | None = None
    seconds_left: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _RunState:
    """The state that a run wrote about itself.

    Attributes:
        run_id: of the run.
        state: `running`, `unfinished` or `complete`.
        written: when it wrote this.
        silent: seconds since then.
        rate: documents per second; None when it has committed nothing yet.
    """

    run_id: str
    state: str
    written: datetime
    silent: float
    rate: float | None

    @property
    def works(self) -> bool:
        return self.state == "running" and self.silent <= SILENT


@dataclass(frozen=True, slots=True)
class _Seen:
    """The counts of a unit that was read.

    Attributes:
        tag: of its object; `--retry-failed` replaces the object, which then has another tag.
        records: number of its records.
        documents, failures, tokens: as in `Totals`.
    """

    tag: str
    records: int
    documents: Counter[str]
    failures: Counter[str]
    tokens: Counter[str]


class Progress:
    """Follows the progress of one output; reads a unit's footer again only if it was replaced.

    Args:
        output: the output, as a user wrote it.
    """

    def __init__(self, output: str) -> None:
        self._output = Output(output)
        self._job: Job | None = None
        self._seen: dict[str, _Seen] = {}

    def status(self) -> Status:
        """Return the present progress.

        Raises:
            ConfigError, StorageError: the folder is no output of this program, or cannot be read.
        """
        address = self._output.address
        self._job = self._job or load_job(address)
        if self._job is None:
            return Status(address, "absent")
        plan = load_plan(address, self._job)
        units = list(plan.units())
        self._look(units)
        totals = Totals()
        for seen in self._seen.values():
            totals.documents += seen.documents
            totals.failures += seen.failures
            totals.tokens += seen.tokens
        records = sum(unit.records for unit in units)
        left = records - sum(seen.records for seen in self._seen.values())
        runs = list(_runs(address))
        working = [run for run in runs if run.works]
        rates = [run.rate for run in working if run.rate]
        newest = next(iter([*working, *runs]), None)
        counts = totals.as_dict()
        return Status(
            output=address,
            state=_state(newest, left),
            records=records,
            left=left,
            units=len(units),
            units_done=len(self._seen),
            documents=counts["documents"],
            failures=counts["failures"],
            tokens=counts["tokens"],
            run_id=newest.run_id if newest else None,
            written=newest.written.isoformat(timespec="seconds") if newest else None,
            documents_per_second=round(sum(rates), 2) if rates else None,
            seconds_left=round(left / sum(rates)) if rates else None,
        )

    def _look(self, units: list[Unit]) -> None:
        """Bring `_seen` up to date by one listing."""
        tags = self._output.committed()
        planned = {unit.name for unit in units}
        for name in [name for name in self._seen if name not in tags or name not in planned]:
            del self._seen[name]
        fresh = [
            unit
            for unit in units
            if unit.name in tags
            and (unit.name not in self._seen or self._seen[unit.name].tag != tags[unit.name])
        ]
        for unit, footer in self._output.footers(fresh):
            totals = footer.totals
            self._seen[unit.name] = _Seen(
                tags[unit.name], unit.records, totals.documents, totals.failures, totals.tokens
            )


def _runs(output: str) -> Iterator[_RunState]:
    """Yield the newest runs, the newest first: an id of a run begins with its time."""
    paths = [s.path for s in storage.walk(storage.join(output, "runs")) if s.path.endswith(".json")]
    for path in sorted(paths, reverse=True)[:_RUNS]:
        data = storage.read(path)
        if data is None:
            continue
        run = json.loads(data)
        started = datetime.fromisoformat(run["started"])
        written = started + timedelta(seconds=run["seconds"])
        silent = (datetime.now(UTC) - written).total_seconds()
        yield _RunState(
            run["run_id"], run["state"], written, silent, run["documents_per_second"] or None
        )


def _state(newest: _RunState | None, left: int) -> State:
    if newest is None:
        return "planned"
    if newest.works:
        return "running"
    if newest.state == "running":
        return "died"
    return "complete" if newest.state == "complete" and left == 0 else "unfinished"


# ------------------------------------------------------------------------------------ for a person


def table(status: Status) -> Table:
    """Return a status as a table of two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("output", status.output)
    table.add_row("state", _told(status))
    if status.state == "absent":
        return table
    share = 1 - status.left / status.records if status.records else 1.0
    done = status.records - status.left
    table.add_row(
        "done",
        f"{done:,} of {status.records:,} documents ({share:.1%}), "
        f"{status.units_done:,} of {status.units:,} units",
    )
    table.add_row("left", f"{status.left:,}")
    table.add_row("documents", _counted(status.documents) or "none")
    table.add_row("failures", _counted(status.failures) or "none")
    if status.tokens:
        names = ("prompt_tokens", "cached_tokens", "output_tokens")
        prompt, cached, output = (status.tokens.get(name, 0) for name in names)
        table.add_row("tokens", f"{prompt:,} prompt ({cached:,} cached), {output:,} output")
    if status.documents_per_second:
        table.add_row("rate", f"{status.documents_per_second:,.2f} documents/s")
    if status.seconds_left is not None:
        table.add_row("time left", time_left(status.seconds_left))
    return table


def _told(status: Status) -> str:
    told = MEANING[status.state]
    if status.state == "complete" or status.run_id is None:
        return told
    return f"{told} (run {status.run_id}, which last wrote its state at {status.written})"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
