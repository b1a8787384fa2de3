"""The work on the cluster: a Ray task reads units, an actor annotates and commits them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, NoReturn

import pyarrow as pa
from pydantic import SecretStr

from taiyi_ray.annotation import Annotated, Annotator, failed, guarded
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.corpus.plan import PlannedSource, opened
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine.engine import Engine
from taiyi_ray.engine.start import NOT_STARTED, model_here, start, why_not_started
from taiyi_ray.errors import (
    ConfigError,
    EngineDied,
    ModelError,
    StorageError,
    StorageGone,
    TaiyiError,
)
from taiyi_ray.job.metrics import Metrics
from taiyi_ray.job.output import JobOutput
from taiyi_ray.records import (
    DOCUMENT_SCHEMA,
    Document,
    Failure,
    as_table,
    document_from_row,
    document_row,
    passed_row,
)
from taiyi_ray.tasks.task import Assignment

COUNTED = ("documents", "failed", "prompt_tokens", "output_tokens")
"""The counts of a receipt: of the documents and tokens in its unit."""

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


def read_units(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read units of one source in one pass over it; yield a row for each unit, in their order.

    The documents of a unit are one Arrow IPC binary in its row. If each document were a row, Ray
    would split a large table into blocks, and half a unit cannot be committed. If the source cannot
    be read, the row has the reason as `error`; `gone` tells that the storage did not answer, so
    that another try may succeed.

    Args:
        row: `units` is a list of rows that `unit_row` made.
    """
    units = [Unit.model_validate_json(one["unit"]) for one in row["units"]]
    planned = PlannedSource.model_validate_json(row["units"][0]["planned"])
    error, gone = "", False
    with ExitStack() as stack:
        found: Iterator[Document] = iter(())
        try:
            columns = json.loads(row["units"][0]["columns"])
            found = stack.enter_context(
                opened(planned, units[0].first, units[-1].last, columns=columns)
            )
        except (TaiyiError, OSError) as fault:
            error, gone = str(fault), isinstance(fault, StorageGone)
        for unit, one in zip(units, row["units"], strict=True):
            rows: list[dict[str, Any]] = []
            try:
                for document in found:
                    if document.position >= unit.first:
                        rows.append(passed_row(document))
                    if document.position == unit.last:
                        break
            except (TaiyiError, OSError) as fault:
                error, gone = str(fault), isinstance(fault, StorageGone)
            if not error and len(rows) != unit.records:
                error = f"{planned.path}: holds {len(rows)} of {unit.records} planned records"
            yield {
                "unit": one["unit"],
                "replaces": one["replaces"],
                "documents": b"" if error else _binary(rows),
                "error": error,
                "gone": gone,
            }


def _binary(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, DOCUMENT_SCHEMA) as writer:
        writer.write_table(as_table(rows, DOCUMENT_SCHEMA, _unreadable))
    return buffer.getvalue()


def _unreadable(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the row that replaces a document that Arrow cannot hold: `failed`, with the reason."""
    place = f"{row['source']}, record {row['position']}"
    failure = Failure("not_arrow", place, f"holds what no row can: {reason}")
    document = Document(None, status="failed", errors=[failure])
    document.source, document.position = row["source"], row["position"]
    return document_row(document)


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
    """An actor with one engine. It annotates units, several at a time, and commits each whole.

    Args:
        config: the settings of the run.
        assignments: the tasks.
        model_digest: digest of the model that the driver prepared; this node must have the same.
        run_id: of the run; it goes into each row.
        fingerprint: of the run; it goes into each row.
        key: for the server that answers, where one is needed.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        assignments: Sequence[Assignment],
        model_digest: str,
        run_id: str,
        fingerprint: str,
        key: SecretStr | None = None,
    ) -> None:
        self._engine: Engine | None = None
        self._no_engine, self._to_be_changed, self._said = "", False, False
        self._name = f"{platform.node()}:{os.getpid()}"
        self._ready = 0.0
        try:
            self._engine = start(config, model_here(config, model_digest), key)
        except Exception as error:
            # If this were raised here, Ray would start one actor after another. Instead the
            # receipts of this actor tell the job the reason.
            self._no_engine = f"{NOT_STARTED} ({self._name}): {why_not_started(error)}"
            self._to_be_changed = isinstance(error, (ConfigError, ModelError))
            return
        self._ready = time.time()
        self._annotator = Annotator(self._engine, assignments, config.max_tokens)
        self._output = JobOutput(config.output)
        self._marks: dict[str, list[str]] | None = None
        """Addresses of the marks, by the names of their units; None until they are listed. They are
        listed once: an actor writes marks only just before its process ends, for later actors."""
        self._provenance = {"run_id": run_id, "fingerprint": fingerprint}
        self._turns = Turns()
        self._open: dict[str, tuple[Unit, str]] = {}
        """The units at work by name, each with the tag of the object that it will replace."""
        self._single: int | None = None
        """Position of the suspected document that is alone at the engine; None at other times."""
        self._metrics = Metrics(
            self._annotator.in_flight, self._engine.most_in_flight, config.price
        )

    def __del__(self) -> None:
        # Ray deletes the actor's object when the actor ends normally: end the engine's processes.
        if self._engine:
            self._engine.close()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[dict[str, list[Any]]]:
        """Annotate and commit the one unit of a batch, and yield its receipt.

        A receipt has the counts of COUNTED and these keys: `unit` (its name), `engine` (host and
        process of the actor), `ready` and `committed` (when the engine was ready and when the
        receipt was made, in seconds since 1970), `error` (empty if the unit is committed),
        `no_engine` (the engine could not start), `gone` (a storage did not answer), `unwritten`
        (the output could not be read or written), `to_be_changed` (the user must change something).
        """
        (row,) = batch.to_pylist()
        unit = Unit.model_validate_json(row["unit"])
        receipt: dict[str, Any] = dict.fromkeys(COUNTED, 0)
        error = self._no_engine or row["error"]
        gone, unwritten = row["gone"], False
        to_be_changed = self._to_be_changed if self._no_engine else bool(error) and not gone
        if self._no_engine and self._said:
            # Answering at once would take units from the engines that work.
            await asyncio.sleep(_HOLD)
        self._said = bool(self._no_engine)
        if not error:
            try:
                totals = await self._commit(unit, row["documents"], row["replaces"])
            except (TaiyiError, OSError) as fault:  # not of a document: those are rows
                error, gone = str(fault), isinstance(fault, StorageGone)
                unwritten = isinstance(fault, StorageError) and not gone
                to_be_changed = unwritten or isinstance(fault, ConfigError)
            else:
                self._metrics.count(totals)
                receipt["documents"] = totals.documents.total()
                receipt["failed"] = totals.documents["failed"]
                for name in ("prompt_tokens", "output_tokens"):
                    receipt[name] = totals.tokens[name]
        receipt |= {"unit": unit.name, "ready": self._ready, "committed": time.time()}
        receipt |= {"error": " ".join(error.split()), "to_be_changed": to_be_changed}
        receipt |= {"no_engine": bool(self._no_engine), "gone": gone, "engine": self._name}
        receipt["unwritten"] = unwritten
        yield {name: [value] for name, value in receipt.items()}

    async def _commit(self, unit: Unit, data: bytes, replaces: str) -> Totals:
        self._open[unit.name] = (unit, replaces)
        try:
            rows = await self._rows(unit, list(_documents(data)), replaces)
            run_id = self._provenance["run_id"]
            committed = await asyncio.to_thread(
                self._output.commit, unit, rows, run_id, replaces=replaces
            )
        finally:
            del self._open[unit.name]
        return committed.totals

    async def _rows(self, unit: Unit, found: list[Document], replaces: str) -> list[dict[str, Any]]:
        kept: dict[int, dict[str, Any]] = {}
        if replaces:
            old = await asyncio.to_thread(self._output.rows, unit)
            kept = {r["position"]: r for r in old if r["status"] not in ("failed", "partial")}
        todo = [document for document in found if document.position not in kept]
        for annotated in await self._annotate(unit, todo, replaces):
            row = annotated.row(unit=unit.name, **self._provenance)
            kept[annotated.document.position] = row
        return [kept[position] for position in sorted(kept)]

    async def _annotate(self, unit: Unit, todo: list[Document], replaces: str) -> list[Annotated]:
        if self._marks is None:
            self._marks = await asyncio.to_thread(self._output.marks)
        marks = self._marks.get(unit.name, [])
        suspects, deaths = await asyncio.to_thread(self._output.died, marks, replaces)
        if not suspects:
            async with self._turns.shared():
                return list(await asyncio.gather(*map(self._one, todo)))
        async with self._turns.alone():
            calm = [d for d in todo if d.position not in suspects]
            done = list(await asyncio.gather(*map(self._one, calm)))
            for document in todo:
                if document.position not in suspects:
                    continue
                if deaths[document.position] >= _DEATHS_ALONE:
                    message = f"the engine died {deaths[document.position]} times on it alone"
                    done.append(failed(document, "engine_died", message))
                    continue
                self._single = document.position
                done.append(await self._one(document))
                self._single = None
            return done

    async def _one(self, document: Document) -> Annotated:
        try:
            return await guarded(self._annotator, document)
        except EngineDied:
            self._die()

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
                    for source, position in self._annotator.in_flight
                    if source == unit.source and unit.first <= position <= unit.last
                )
                if positions:
                    self._output.mark_died(
                        unit, positions, alone=positions == [self._single], replaces=replaces
                    )
        finally:
            os._exit(1)
