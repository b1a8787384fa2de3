"""The work on the cluster: a Ray task reads units, an actor annotates and commits them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any, NoReturn

import pyarrow as pa
from pydantic import SecretStr

from taiyi_ray.annotation import Annotated, Annotator, failed, guarded
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.corpus.plan import opened
from taiyi_ray.corpus.reuse import Answered
from taiyi_ray.corpus.source import PlannedSource
from taiyi_ray.corpus.sources import SourceKinds
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine.engine import Engine
from taiyi_ray.engine.start import NOT_STARTED, model_here, start, why_not_started
from taiyi_ray.errors import ConfigError, EngineDied, ModelError, TaiyiError
from taiyi_ray.job.asks import Ask
from taiyi_ray.job.metrics import JobMetrics
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.receipt import Fault, Receipt, fault_of_reading, fault_of_work
from taiyi_ray.records import (
    DOCUMENT_SCHEMA,
    Document,
    Failure,
    as_table,
    document_from_row,
    document_row,
    passed_row,
)

_HOLD = 300.0
"""Seconds for which an actor without an engine holds each unit but its first before it answers."""

_DEATHS_ALONE = 2
"""When an engine died so often with one document alone in flight, that document's row is `failed`
and no engine is asked about it again."""


def unit_row(
    unit: Unit,
    source: PlannedSource,
    *,
    columns: Mapping[Any, str] | None = None,
    replaces: str = "",
) -> dict[str, Any]:
    """Return the row that stands for a pending unit at the beginning of the pipeline.

    Args:
        unit: the unit.
        source: the unit's source, as it was planned.
        columns: the source's own names for keys of a document (`--column`).
        replaces: tag of the unit's present object, when the unit is done again; else empty.
    """
    return {
        "unit": unit.model_dump_json(),
        "source": unit.source,
        "planned": source.model_copy(update={"units": []}).model_dump_json(),
        "columns": json.dumps(dict(columns or {})),
        "replaces": replaces,
    }


def read_units(row: dict[str, Any], kinds: SourceKinds) -> Iterator[dict[str, Any]]:
    """Read units of one source in one pass over it; yield a row for each unit, in their order.

    The documents of a unit are one Arrow IPC binary in its row. If each document were a row, Ray
    would split a large table into blocks, and half a unit cannot be committed. If the source cannot
    be read, the row has a `fault` and the reason as `error`. Else `asked` is the fingerprint by
    which the actor knows what to ask.

    Args:
        row: `units` is a list of rows that `unit_row` made.
        kinds: the kinds of sources. The driver hands them over, because the process of a Ray task
            imports only what it is given.
    """
    units = [Unit.model_validate_json(one["unit"]) for one in row["units"]]
    planned = PlannedSource.model_validate_json(row["units"][0]["planned"])
    error, fault = "", Fault.NONE
    with ExitStack() as stack:
        documents: Iterator[Document] = iter(())
        try:
            columns = json.loads(row["units"][0]["columns"])
            documents = stack.enter_context(
                opened(planned, kinds, units[0].first, units[-1].last, columns)
            )
        except (TaiyiError, OSError) as raised:
            error, fault = str(raised), fault_of_reading(raised)
        for unit, one in zip(units, row["units"], strict=True):
            rows: list[dict[str, Any]] = []
            try:
                for document in documents:
                    if document.position >= unit.first:
                        rows.append(passed_row(document))
                    if document.position == unit.last:
                        break
            except (TaiyiError, OSError) as raised:
                error, fault = str(raised), fault_of_reading(raised)
            if not fault and len(rows) != unit.records:
                error = f"{planned.path}: holds {len(rows)} of {unit.records} planned records"
                fault = Fault.UNREADABLE
            yield {
                "unit": one["unit"],
                "asked": planned.fingerprint,
                "replaces": one["replaces"],
                "documents": b"" if fault else _binary(rows),
                "fault": fault.value,
                "error": error,
            }


def _binary(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, DOCUMENT_SCHEMA) as writer:
        writer.write_table(as_table(rows, DOCUMENT_SCHEMA, _unreadable))
    return buffer.getvalue()


def _unreadable(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the row that replaces a document that Arrow cannot hold: `failed`, with the reason."""
    where = f"{row['source']}, record {row['position']}"
    failure = Failure("not_arrow", where, f"a row cannot hold its content: {reason}")
    document = Document(None, status="failed", errors=[failure])
    document.source, document.position = row["source"], row["position"]
    return document_row(document)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _documents(data: bytes) -> Iterator[Document]:
    for row in pa.ipc.open_stream(data).read_all().to_pylist():
        yield document_from_row(row)


class Turns:
    """A lock for the engine: many units share it, or one unit has it alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sharing = 0
        self._alone = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Have the engine together with other units that share it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            async with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Have the engine alone: wait until no other unit has it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone and self._sharing == 0)
            self._alone = True
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()


class AnnotateUnits:
    """An actor: it answers units, each by a receipt, with its engine or without one.

    Args:
        config: the settings of the run.
        asks: what is asked of sources, by the fingerprints that the plan has.
        model_digest: digest of the model that the driver prepared; this node must have the same.
        run_id: of the run; it goes into each row.
        key: for the server that answers, where one is needed.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        asks: Mapping[str, Ask],
        model_digest: str,
        run_id: str,
        key: SecretStr | None = None,
    ) -> None:
        name = f"{platform.node()}:{os.getpid()}"
        self._answers: _WithEngine | _WithoutEngine
        try:
            engine = start(config, model_here(config, model_digest), key)
        except Exception as error:
            # If this were raised here, Ray would start one actor after another. Instead the
            # receipts of this actor tell the job the reason.
            self._answers = _WithoutEngine(name, error)
        else:
            self._answers = _WithEngine(name, config, engine, asks, run_id)

    def __del__(self) -> None:
        # Ray deletes the actor's object when the actor ends normally: end the engine's processes.
        self._answers.close()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[dict[str, list[Any]]]:
        """Answer the one unit of a batch, a row of `read_units`, and yield its receipt."""
        (row,) = batch.to_pylist()
        unit = Unit.model_validate_json(row["unit"])
        yield (await self._answers.receipt(unit, row)).as_batch()


class _WithoutEngine:
    """Answers every unit with the reason why the engine of this actor did not start.

    Args:
        name: host and process of the actor.
        error: the reason.
    """

    def __init__(self, name: str, error: Exception) -> None:
        changes = isinstance(error, (ConfigError, ModelError))
        self._fault = Fault.ENGINE_REFUSED if changes else Fault.NO_ENGINE
        self._error = _one_line(f"{NOT_STARTED} ({name}): {why_not_started(error)}")
        self._name, self._said = name, False

    async def receipt(self, unit: Unit, _: dict[str, Any]) -> Receipt:
        if self._said:
            # Answering at once would take units from the engines that work.
            await asyncio.sleep(_HOLD)
        self._said = True
        return Receipt(unit.name, self._name, 0.0, time.time(), self._fault, self._error)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _WithEngine:
    """Annotates units, several at a time, and commits each whole.

    Args:
        name: host and process of the actor.
        config: the settings of the run.
        engine: the engine, which is ready.
        asks: as for `AnnotateUnits`.
        run_id: of the run.
    """

    def __init__(
        self,
        name: str,
        config: AnnotateConfig,
        engine: Engine,
        asks: Mapping[str, Ask],
        run_id: str,
    ) -> None:
        self._name, self._ready = name, time.time()
        self._engine, self._asks, self._run_id = engine, asks, run_id
        annotator = Annotator(engine, (), config.max_tokens)
        self._annotators = {asked: annotator.asking(ask.assignments) for asked, ask in asks.items()}
        self._in_flight = annotator.in_flight
        self._output = JobOutput(config.output)
        fingerprints = {ask.identity.fingerprint for ask in asks.values()}
        self._answered = Answered(config.reuse, fingerprints) if config.reuse else None
        self._marks: dict[str, list[str]] | None = None
        """Addresses of the marks, by the names of their units; None until they are listed. They are
        listed once: an actor writes marks only just before its process ends, for later actors."""
        self._turns = Turns()
        self._open: dict[str, tuple[Unit, str]] = {}
        """The units at work by name, each with the tag of the object that it will replace."""
        self._single: int | None = None
        """Position of the suspected document that is alone at the engine; None at other times."""
        self._metrics = JobMetrics(self._in_flight, engine.question_slots, config.price)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()

    async def receipt(self, unit: Unit, row: dict[str, Any]) -> Receipt:
        """Annotate and commit a unit.

        Args:
            unit: the unit.
            row: the row of `read_units` that holds its documents.
        """
        fault, error, counts = Fault(row["fault"]), row["error"], dict[str, int]()
        if not fault:
            try:
                totals, unreadable = await self._commit(unit, row)
            except (TaiyiError, OSError) as raised:  # not of a document: those are rows
                fault, error = fault_of_work(raised), str(raised)
            else:
                self._metrics.count(totals)
                counts = {
                    "documents": totals.documents.total(),
                    "failed": totals.documents["failed"],
                    "prompt_tokens": totals.tokens["prompt_tokens"],
                    "output_tokens": totals.tokens["output_tokens"],
                    "unreadable_answers": unreadable,
                }
        return Receipt(
            unit.name, self._name, self._ready, time.time(), fault, _one_line(error), **counts
        )

    async def _commit(self, unit: Unit, row: dict[str, Any]) -> tuple[Totals, int]:
        replaces: str = row["replaces"]
        self._open[unit.name] = (unit, replaces)
        try:
            documents = list(_documents(row["documents"]))
            rows, unreadable = await self._rows(unit, documents, row["asked"], replaces)
            committed = await asyncio.to_thread(
                self._output.commit, unit, rows, self._run_id, replaces=replaces
            )
        finally:
            del self._open[unit.name]
        return committed.totals, unreadable

    async def _rows(
        self, unit: Unit, documents: list[Document], asked: str, replaces: str
    ) -> tuple[list[dict[str, Any]], int]:
        """The rows of a unit, and for how many documents earlier answers could not be read."""
        kept: dict[int, dict[str, Any]] = {}
        if replaces:
            old = await asyncio.to_thread(self._output.rows, unit)
            kept = {r["position"]: r for r in old if r["status"] not in ("failed", "partial")}
        todo = [document for document in documents if document.position not in kept]
        fingerprint = self._asks[asked].identity.fingerprint
        run = {"unit": unit.name, "run_id": self._run_id, "fingerprint": fingerprint}
        unreadable = 0
        if self._answered:
            copied, unreadable = await asyncio.to_thread(self._answered.find, fingerprint, todo)
            for document in todo:
                if known := copied.get(document.position):
                    row = Annotated(document, errors=document.errors).row(**run)
                    kept[document.position] = (
                        row | known | {"errors": row["errors"] + known["errors"]}
                    )
            todo = [document for document in todo if document.position not in copied]
        for annotated in await self._annotate(unit, todo, self._annotators[asked], replaces):
            kept[annotated.document.position] = annotated.row(**run)
        return [kept[position] for position in sorted(kept)], unreadable

    async def _annotate(
        self, unit: Unit, todo: list[Document], annotator: Annotator, replaces: str
    ) -> list[Annotated]:
        async def one(document: Document) -> Annotated:
            try:
                return await guarded(annotator, document)
            except EngineDied:
                self._die()

        if self._marks is None:
            self._marks = await asyncio.to_thread(self._output.marks)
        marks = self._marks.get(unit.name, [])
        suspects, deaths = await asyncio.to_thread(self._output.died, marks, replaces)
        if not suspects:
            async with self._turns.shared():
                return list(await asyncio.gather(*map(one, todo)))
        async with self._turns.alone():
            calm = [d for d in todo if d.position not in suspects]
            done = list(await asyncio.gather(*map(one, calm)))
            for document in todo:
                if document.position not in suspects:
                    continue
                if deaths[document.position] >= _DEATHS_ALONE:
                    number = deaths[document.position]
                    message = f"the engine died {number} times while it had this document only"
                    done.append(failed(document, "engine_died", message))
                    continue
                self._single = document.position
                done.append(await one(document))
                self._single = None
            return done

    def _die(self) -> NoReturn:
        """Write marks for the documents in flight, and end the process, so that Ray replaces it.

        If an exception were raised instead, Ray would take it for an application error, and the
        actor would stay with its dead engine. `ray.actor.exit_actor()` would be an intended end:
        Ray would not try the actor's tasks again.
        """
        try:
            for unit, replaces in self._open.values():
                positions = sorted(
                    position
                    for source, position in self._in_flight
                    if source == unit.source and unit.first <= position <= unit.last
                )
                if positions:
                    self._output.mark_died(
                        unit, positions, alone=positions == [self._single], replaces=replaces
                    )
        finally:
            os._exit(1)
