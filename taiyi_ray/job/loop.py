"""The loop of a run: pending units are executed again and again until none is pending."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console

from taiyi_ray import cluster, storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.corpus.plan import Plan
from taiyi_ray.corpus.units import Unit
from taiyi_ray.errors import ConfigError, ServerGone, StorageError, TaiyiError, Unfinished
from taiyi_ray.job.interrupts import Watchdog, terminable
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.progress import JobProgress
from taiyi_ray.job.receipt import Fault, Receipt
from taiyi_ray.job.record import RunRecord
from taiyi_ray.job.workers import unit_row

EXECUTION_UNITS = 1000
"""Units of one Ray Data execution at most: the driver's memory grows with the number of blocks."""

_LUCKLESS = 3
"""When so many engines cannot start while none works, the job ends. It also ends when so many units
in a row could not be written to the output."""


class Loop:
    """Executes the units of a plan that are not committed.

    Args:
        config: the settings of the run.
        output: the output, whose listing tells what is committed.
        plan: the plan of the output.
        record: counts what the run does.
        console: where progress is shown.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        output: JobOutput,
        plan: Plan,
        record: RunRecord,
        console: Console,
    ) -> None:
        self._config, self._output, self._plan = config, output, plan
        self._record, self._console = record, console
        self._redo: dict[str, str] | None = None
        """The tags of the objects that `--retry-failed` will replace, by the names of their units;
        None until they were looked for."""

    def pending(self) -> list[Unit]:
        """Return the planned units that are not committed.

        With `--retry-failed` also those that hold `failed` or `partial` documents.
        """
        there = self._output.committed()
        units = list(self._plan.units())
        if self._config.retry_failed and self._redo is None:
            committed = [unit for unit in units if unit.name in there]
            self._redo = {
                unit.name: there[unit.name]
                for unit, footer in self._output.footers(committed)
                if footer.totals.documents["failed"] + footer.totals.documents["partial"]
            }
        # A unit whose object has another tag by now was done again, by this run or another one.
        self._redo = {n: tag for n, tag in (self._redo or {}).items() if there.get(n) == tag}
        return [unit for unit in units if unit.name not in there or unit.name in self._redo]

    def work(self, pending: Sequence[Unit], constructor: tuple[Any, ...]) -> None:
        """Execute the units until none is pending.

        Args:
            pending: the units.
            constructor: the arguments of the actors (`workers.AnnotateUnits`).

        Raises:
            ConfigError: the user must change something about an engine, a source or the output.
            ServerGone: the server that answers questions is gone.
            Unfinished: no engine can be started, two executions in a row committed nothing, or
                nothing was committed for too long.
        """
        dog = Watchdog(self._config.stall_minutes)
        engines = cluster.engines(self._config)
        records = self._plan.records
        left = sum(unit.records for unit in pending)
        dog.feed()
        try:
            with JobProgress(self._console, records, records - left) as progress:
                progress.stage("starting Ray")
                with (
                    self._record.kept_fresh(),
                    cluster.connected(engines),
                    terminable(),
                ):
                    progress.stage("starting the engine")
                    try:
                        self._execute_all(pending, constructor, dog, progress)
                    except KeyboardInterrupt:
                        if not dog.barked:
                            raise
                        raise Unfinished(
                            f"no unit was committed for {self._config.stall_minutes:g} minutes: "
                            f"{self._record.engines} engines committed units before; "
                            f"{cluster.situation(engines)}"
                        ) from None
        finally:
            dog.stop()
            with suppress(StorageError):  # the error that ends the job tells more than this one
                self._record.write("unfinished", Totals())

    def _execute_all(
        self,
        pending: Sequence[Unit],
        constructor: tuple[Any, ...],
        dog: Watchdog,
        progress: JobProgress,
    ) -> None:
        idle = 0
        while pending:
            faulty = self._execute(pending[:EXECUTION_UNITS], constructor, dog, progress)
            before, pending = len(pending), self.pending()
            idle = idle + 1 if len(pending) >= before else 0
            serious = [receipt for receipt in faulty if idle or not receipt.fault.may_pass]
            if serious or idle == 2:
                raise _end(len(pending), serious)

    def _execute(
        self,
        units: Sequence[Unit],
        constructor: tuple[Any, ...],
        dog: Watchdog,
        progress: JobProgress,
    ) -> list[Receipt]:
        """Execute units once; return the receipts of those that were not committed."""
        from taiyi_ray.job import execution

        faulty: list[Receipt] = []
        unwritten = 0
        rows = [self._unit_row(unit) for unit in units]
        records = sum(unit.records for unit in units)
        for receipt in execution.execute(rows, records, self._config, constructor):
            if not receipt.fault:
                dog.feed()
                self._record.add(receipt)
                progress.add(receipt)
                unwritten = 0
                continue
            faulty.append(receipt)
            if receipt.fault is Fault.STORE_GONE:
                # If this process cannot write to the output either, `probe` raises and the job
                # ends now: else every unit that is left would fail first.
                storage.probe(self._output.address)
            unwritten += receipt.fault is Fault.UNWRITABLE
            if unwritten == _LUCKLESS:
                break  # else engines would annotate more documents that cannot be written
            if not self._record.committed and self._no_engine_starts(faulty):
                break  # else more of the input would be read for nothing
        return faulty

    def _no_engine_starts(self, faulty: Sequence[Receipt]) -> bool:
        """Tell whether too many engines could not start: _LUCKLESS, or the least number if fewer.

        The least number is that of the setting `engines`.
        """
        without = {receipt.engine for receipt in faulty if receipt.fault.without_engine}
        return len(without) >= min(_LUCKLESS, self._config.engine_range[0])

    def _unit_row(self, unit: Unit) -> dict[str, Any]:
        replaces = (self._redo or {}).get(unit.name, "")
        source = self._plan.sources[unit.source]
        return unit_row(unit, source, columns=self._config.columns, replaces=replaces)


def _end(left: int, serious: Sequence[Receipt]) -> TaiyiError:
    """Return the error that ends a job with so many units left, for the most useful reason."""
    if not serious:
        return Unfinished(f"{left} units are left: two attempts in a row committed nothing")
    receipt = next((r for r in serious if r.fault.to_be_changed), serious[0])
    kind: type[TaiyiError] = Unfinished
    if receipt.fault.to_be_changed:
        kind = ConfigError
    elif receipt.fault is Fault.SERVER_GONE:
        kind = ServerGone
    return kind(f"{left} units are left: {receipt.error}")
